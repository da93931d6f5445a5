//! Facial landmarks: selection of points and scaling of a clip.

use serde::{Deserialize, Serialize};

use crate::formats::openface::{Coordinates, POINTS};
use crate::{Array, Error, Result};

/// Number of points on the jaw line, which come first; the others are brows, nose, eyes and mouth.
const JAW: usize = 17;

/// The selection among the 68 points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Points {
    /// Points 17 to 67: everything but the jaw line (MPUC's 51 nodes).
    #[default]
    Inner51,
    /// All points.
    All68,
}

impl Points {
    /// The number of selected points.
    pub fn count(self) -> usize {
        POINTS - self.first()
    }

    fn first(self) -> usize {
        match self {
            Self::Inner51 => JAW,
            Self::All68 => 0,
        }
    }
}

/// The scaling of coordinates: one for the whole clip, so that motion is preserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Each axis to [0, 1] by its minimum and maximum over all frames and all 68 points (the code of MPUC's authors).
    #[default]
    Authors,
    /// Subtracts the mean over all frames and points 17 to 67, and divides by the root-mean-square distance from it.
    Centred,
    /// No scaling.
    None,
}

/// Settings of the landmark feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LandmarkSettings {
    /// 2-D image or 3-D space coordinates.
    pub coordinates: Coordinates,
    /// The selected points.
    pub points: Points,
    /// The scaling.
    pub scaling: Scaling,
}

impl LandmarkSettings {
    /// Scales frames `[T, 68, C]` and selects points: `[T, points, C]`.
    ///
    /// # Errors
    /// Bad settings when a frame does not have 68 points.
    pub fn apply(&self, frames: Array<f32>) -> Result<Array<f32>> {
        let (shape, mut values) = frames.into_parts();
        let &[length, POINTS, axes @ (2 | 3)] = shape.as_slice() else {
            return Err(Error::config(format!(
                "landmarks: shape {shape:?} where [T, 68, 2 or 3] is needed"
            )));
        };
        match self.scaling {
            Scaling::Authors => stretch(&mut values, axes),
            Scaling::Centred => centre(&mut values, axes),
            Scaling::None => {}
        }
        let kept = values
            .chunks_exact(POINTS * axes)
            .flat_map(|frame| &frame[self.points.first() * axes..])
            .copied()
            .collect();
        Array::new([length, self.points.count(), axes], kept)
    }
}

/// Scales each axis to [0, 1]; a constant axis becomes 0.
fn stretch(values: &mut [f32], axes: usize) {
    for axis in 0..axes {
        let along = || values.iter().skip(axis).step_by(axes);
        let least = along().copied().fold(f32::INFINITY, f32::min);
        let greatest = along().copied().fold(f32::NEG_INFINITY, f32::max);
        let extent = if greatest > least { greatest - least } else { 1.0 };
        for value in values.iter_mut().skip(axis).step_by(axes) {
            *value = (*value - least) / extent;
        }
    }
}

/// Scales to mean 0 and root-mean-square radius 1 over the points off the jaw line; sums in f64.
fn centre(values: &mut [f32], axes: usize) {
    let inner = |values: &[f32], f: &mut dyn FnMut(&[f32])| {
        values
            .chunks_exact(POINTS * axes)
            .flat_map(|frame| frame[JAW * axes..].chunks_exact(axes))
            .for_each(f);
    };
    let (mut sums, mut count) = (vec![0.0f64; axes], 0.0f64);
    inner(values, &mut |point| {
        count += 1.0;
        sums.iter_mut().zip(point).for_each(|(sum, &x)| *sum += f64::from(x));
    });
    let mean: Vec<f64> = sums.iter().map(|sum| sum / count.max(1.0)).collect();
    let mut squares = 0.0;
    inner(values, &mut |point| {
        squares +=
            point.iter().zip(&mean).map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum::<f64>();
    });
    let radius = (squares / count.max(1.0)).sqrt();
    let radius = if radius > 0.0 { radius } else { 1.0 };
    for point in values.chunks_exact_mut(axes) {
        point
            .iter_mut()
            .zip(&mean)
            .for_each(|(x, mean)| *x = ((f64::from(*x) - mean) / radius) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame t: point p at (10 p + t, 2 p).
    fn frames(length: usize) -> Array<f32> {
        let values = (0..length * POINTS)
            .flat_map(|i| [(10 * (i % POINTS) + i / POINTS) as f32, (2 * (i % POINTS)) as f32])
            .collect();
        Array::new([length, POINTS, 2], values).unwrap()
    }

    fn apply(points: Points, scaling: Scaling, frames: Array<f32>) -> Array<f32> {
        LandmarkSettings { coordinates: Coordinates::Image, points, scaling }.apply(frames).unwrap()
    }

    #[test]
    fn the_authors_scaling_spans_all_points_of_the_clip() {
        let all = apply(Points::All68, Scaling::Authors, frames(3));
        assert_eq!((all.shape(), &all.data()[..2]), (&[3usize, 68, 2][..], &[0.0f32, 0.0][..]));
        assert_eq!(all.data()[all.data().len() - 2..], [1.0, 1.0]);
        let inner = apply(Points::Inner51, Scaling::Authors, frames(3));
        assert_eq!(
            (inner.shape(), &inner.data()[..2]),
            (&[3usize, 51, 2][..], &all.data()[34..36])
        );
    }

    #[test]
    fn centred_clips_have_mean_zero_and_radius_one() {
        let inner = apply(Points::Inner51, Scaling::Centred, frames(4));
        let points: Vec<_> = inner.data().chunks(2).collect();
        let count = points.len() as f32;
        assert!(points.iter().map(|p| p[0]).sum::<f32>().abs() < 1e-3);
        let square = points.iter().map(|p| p[0] * p[0] + p[1] * p[1]).sum::<f32>() / count;
        assert!((square - 1.0).abs() < 1e-5, "{square}");
    }

    #[test]
    fn a_face_without_extent_stays_finite() {
        for scaling in [Scaling::Authors, Scaling::Centred, Scaling::None] {
            let still = Array::new([2, POINTS, 3], vec![5.0; 2 * POINTS * 3]).unwrap();
            assert!(apply(Points::All68, scaling, still).data().iter().all(|x| x.is_finite()));
        }
        assert!(
            LandmarkSettings::default().apply(Array::new([2, 3], vec![0.0; 6]).unwrap()).is_err()
        );
    }
}
