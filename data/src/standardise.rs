//! Standardisation to mean 0 and standard deviation (std) 1, or to the range 0 to 1, measured on training samples only.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::features::clip::{KINETICS_MEAN, KINETICS_STD};
use crate::values::Numbers;
use crate::{Error, Result};

/// How the std is shared among the values of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Each value has its own std (mel bands).
    #[default]
    Each,
    /// All values share the mean of their stds, so that their ratios stay (coordinates).
    Shared,
    /// Each value is mapped to 0 to 1: the minimum takes the place of the mean, the difference to the maximum that of the
    /// std.
    Range,
}

/// Computes `(x - mean) / std` for each value of a frame, or of its last axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardiser {
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// Count, means and sums of squared deviations from the mean, of one or many samples.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
    least: Vec<f64>,
    greatest: Vec<f64>,
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
        let (mut least, mut greatest) =
            (vec![f64::INFINITY; width], vec![f64::NEG_INFINITY; width]);
        for i in 0..length {
            least[i % width] = least[i % width].min(at(i));
            greatest[i % width] = greatest[i % width].max(at(i));
        }
        Self { count, mean, squares, least, greatest }
    }

    /// The moments of both sets together (Chan et al. 1979).
    fn and(mut self, other: Self) -> Self {
        let count = self.count + other.count;
        for i in 0..self.mean.len() {
            let step = other.mean[i] - self.mean[i];
            self.squares[i] += other.squares[i] + step * step * self.count * other.count / count;
            self.mean[i] += step * other.count / count;
            self.least[i] = self.least[i].min(other.least[i]);
            self.greatest[i] = self.greatest[i].max(other.greatest[i]);
        }
        Self { count, ..self }
    }
}

impl Standardiser {
    /// Measures mean and std over all frames of the training samples that have the modality.
    ///
    /// Sums are in f64 and added in the order of `samples`, so they do not depend on the number of threads. A constant
    /// value gets std 1.
    ///
    /// # Errors
    /// Bad settings when no sample has the modality; errors of [`Dataset::view`].
    pub fn fit(
        dataset: &Dataset,
        modality: usize,
        samples: &[usize],
        spread: Spread,
    ) -> Result<Self> {
        let width: usize = dataset.frame_shape(modality).iter().product();
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
                "`{}` cannot be standardised: no training sample has it; remove the modality",
                dataset.modalities()[modality]
            )));
        };
        let mut std: Vec<f64> =
            total.squares.iter().map(|squares| (squares / total.count).sqrt()).collect();
        if spread == Spread::Shared {
            let mean = std.iter().sum::<f64>() / width.max(1) as f64;
            std.fill(mean);
        }
        let mut mean = total.mean;
        if spread == Spread::Range {
            std =
                total.greatest.iter().zip(&total.least).map(|(most, least)| most - least).collect();
            mean = total.least;
        }
        let sound = |std: f64| if std > 1e-12 { std as f32 } else { 1.0 };
        Ok(Self {
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            std: std.into_iter().map(sound).collect(),
        })
    }

    /// Mean and std of Kinetics-400 for RGB pixels in 0 to 255, as torchvision's video networks expect.
    pub fn kinetics() -> Self {
        Self {
            mean: KINETICS_MEAN.map(|x| x * 255.0).to_vec(),
            std: KINETICS_STD.map(|x| x * 255.0).to_vec(),
        }
    }

    /// The number of means and stds: the values of a frame, or of its last axis.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Standardises whole frames in place; `values.len()` must be a multiple of [`Standardiser::width`].
    pub fn apply(&self, values: &mut [f32]) {
        for row in values.chunks_mut(self.mean.len().max(1)) {
            for ((x, mean), std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *x = (*x - mean) / std;
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
        let range = Standardiser::fit(&data, 0, &[0, 1], Spread::Range).unwrap();
        let mut all = [1.0, 7.0, 8.0, 7.0, 4.5, 7.0];
        range.apply(&mut all);
        assert_eq!(all, [0.0, 0.0, 1.0, 0.0, 0.5, 0.0]);
        let shared = Standardiser::fit(&data, 0, &[0, 1], Spread::Shared).unwrap();
        assert_eq!(shared.std[0], shared.std[1]);
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
