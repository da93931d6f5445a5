//! Mean zero and deviation one, from training samples only.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::features::clip::{KINETICS_DEVIATION, KINETICS_MEAN};
use crate::values::Numbers;
use crate::{Error, Result};

/// Whether each value of a step has a deviation of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Each its own (mel bands).
    #[default]
    Each,
    /// The mean of all deviations for all, so that relative sizes stay (coordinates).
    Shared,
}

/// `(x - mean) / deviation`, for the values of one step or of its last axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardiser {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

/// Count, means and sums of squared distances of one or many samples.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn of(values: Numbers<'_>, width: usize) -> Self {
        let at = |i: usize| match values {
            Numbers::F32(values) => f64::from(values[i]),
            Numbers::U8(values) => f64::from(values[i]),
        };
        let length = match values {
            Numbers::F32(values) => values.len(),
            Numbers::U8(values) => values.len(),
        };
        let count = (length / width) as f64;
        let mut mean = vec![0.0; width];
        (0..length).for_each(|i| mean[i % width] += at(i) / count);
        let mut squares = vec![0.0; width];
        (0..length).for_each(|i| squares[i % width] += (at(i) - mean[i % width]).powi(2));
        Self { count, mean, squares }
    }

    /// Both together (Chan et al. 1979).
    fn and(mut self, other: Self) -> Self {
        let count = self.count + other.count;
        for i in 0..self.mean.len() {
            let step = other.mean[i] - self.mean[i];
            self.squares[i] += other.squares[i] + step * step * self.count * other.count / count;
            self.mean[i] += step * other.count / count;
        }
        Self { count, ..self }
    }
}

impl Standardiser {
    /// From the training samples that have the modality; time steps count alike. Sums are in f64 and added in the
    /// order of `samples`, so the numbers do not depend on threads. Values that never change keep deviation 1.
    ///
    /// # Errors
    /// Bad settings when no sample has the modality; whatever is wrong with a feature.
    pub fn fit(
        dataset: &Dataset,
        modality: usize,
        samples: &[usize],
        spread: Spread,
    ) -> Result<Self> {
        let width: usize = dataset.step_shape(modality).iter().product();
        let each: Vec<Result<Moments>> = samples
            .par_iter()
            .filter_map(|&sample| dataset.view(sample, modality).transpose())
            .map(|view| Ok(Moments::of(view?.numbers(), width)))
            .collect();
        let mut total: Option<Moments> = None;
        for moments in each {
            let moments = moments?;
            total = Some(match total {
                Some(total) => total.and(moments),
                None => moments,
            });
        }
        let Some(total) = total else {
            return Err(Error::config(format!(
                "no training sample has `{}`, so it cannot be standardised; leave the modality out",
                dataset.modalities()[modality]
            )));
        };
        let mut deviation: Vec<f64> =
            total.squares.iter().map(|squares| (squares / total.count).sqrt()).collect();
        if spread == Spread::Shared {
            let mean = deviation.iter().sum::<f64>() / width.max(1) as f64;
            deviation.fill(mean);
        }
        let sound = |deviation: f64| if deviation > 1e-12 { deviation as f32 } else { 1.0 };
        Ok(Self {
            mean: total.mean.iter().map(|&mean| mean as f32).collect(),
            deviation: deviation.into_iter().map(sound).collect(),
        })
    }

    /// For RGB pixels in 0 to 255: Kinetics-400's mean and deviation, as torchvision's video networks expect.
    pub fn kinetics() -> Self {
        Self {
            mean: KINETICS_MEAN.map(|x| x * 255.0).to_vec(),
            deviation: KINETICS_DEVIATION.map(|x| x * 255.0).to_vec(),
        }
    }

    /// How many values in a row it is for: a step's, or its last axis's.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Standardises whole steps in place.
    pub fn apply(&self, values: &mut [f32]) {
        for row in values.chunks_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = (*x - mean) / deviation;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Array;
    use crate::feature::Feature;
    use crate::values::Values;
    use std::sync::Arc;

    fn dataset(samples: &[&[f32]]) -> Dataset {
        let feature = |values: &&[f32]| {
            let array = Array::new([values.len() / 2, 2], values.to_vec()).unwrap();
            vec![Some(Feature::Memory(Arc::new(Values::F32(array))))]
        };
        Dataset::new(vec!["m".into()], samples.iter().map(feature).collect()).unwrap()
    }

    #[test]
    fn training_samples_get_mean_zero_and_deviation_one() {
        let data = dataset(&[&[1.0, 7.0, 3.0, 7.0], &[8.0, 7.0], &[1e9, 1e9]]);
        let standardiser = Standardiser::fit(&data, 0, &[0, 1], Spread::Each).unwrap();
        let mut values = vec![1.0, 7.0, 3.0, 7.0, 8.0, 7.0];
        standardiser.apply(&mut values);
        let first: Vec<f32> = values.iter().copied().step_by(2).collect();
        assert!(first.iter().sum::<f32>().abs() < 1e-6);
        assert!((first.iter().map(|x| x * x).sum::<f32>() / 3.0 - 1.0).abs() < 1e-6);
        assert_eq!([values[1], values[3], values[5]], [0.0; 3]);
        let shared = Standardiser::fit(&data, 0, &[0, 1], Spread::Shared).unwrap();
        assert_eq!(shared.deviation[0], shared.deviation[1]);
        assert!(
            Standardiser::fit(&data, 0, &[], Spread::Each).unwrap_err().to_string().contains("`m`")
        );
    }

    #[test]
    fn kinetics_pixels_are_centred() {
        let mut grey = KINETICS_MEAN.map(|x| x * 255.0);
        Standardiser::kinetics().apply(&mut grey);
        assert_eq!(grey, [0.0; 3]);
    }
}
