//! One thread and f64: batches of labels are small.

use crate::Float;
use crate::op::Gradient;

const EPSILON: f64 = 1e-8;

pub(super) fn forward<T: Float>(
    width: usize,
    prediction: &[T],
    target: &[T],
    moments: &mut [T],
) -> T {
    let share = width as f64 / prediction.len() as f64;
    let mut loss = 0.0;
    for c in 0..width {
        let column = || {
            let pairs = prediction[c..].iter().zip(&target[c..]).step_by(width);
            pairs.map(|(p, t)| (p.to_f64(), t.to_f64()))
        };
        let p_mean = column().map(|(p, _)| p).sum::<f64>() * share;
        let t_mean = column().map(|(_, t)| t).sum::<f64>() * share;
        let spread = column().map(|(p, t)| (p - p_mean).powi(2) + (t - t_mean).powi(2));
        let spread = spread.sum::<f64>() * share;
        let covariance = column().map(|(p, t)| (p - p_mean) * (t - t_mean)).sum::<f64>() * share;
        let denominator = spread + (p_mean - t_mean).powi(2) + EPSILON;
        let coefficient = 2.0 * covariance / denominator;
        loss += 1.0 - coefficient;
        let values = [p_mean, t_mean, covariance, denominator, coefficient];
        for (moment, value) in moments[c..].iter_mut().step_by(width).zip(values) {
            *moment = T::from_f64(value);
        }
    }
    T::from_f64(loss)
}

/// The gradient of `a`; the mean of the other input is row `other_mean` of the moments:
/// dCCC/da = 2 / (N denominator) * (b - mean of b - CCC * (a - mean of b)).
pub(super) fn backward<T: Float>(
    other_mean: usize,
    moments: &[T],
    a: &[T],
    b: &[T],
    dy: T,
    gradient: &mut Gradient<T>,
) {
    let width = moments.len() / 5;
    let share = 2.0 * width as f64 / a.len() as f64 * dy.to_f64();
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let moment = |row: usize| moments[row * width + i % width].to_f64();
        let (mean, denominator, coefficient) = (moment(other_mean), moment(3), moment(4));
        let pull = (b.to_f64() - mean) - coefficient * (a.to_f64() - mean);
        gradient.put(i, T::from_f64(-share / denominator * pull));
    }
}
