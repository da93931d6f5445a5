//! Losses of an ordered pair of modalities that are no softmax: sigmoid, triplets, M2FNet's adaptive triplets.

use super::settings::{Negatives, TripletSettings};
use engine::{Result, Tensor};
use kernels::ops::Matmul;

/// Added to squared distances before the root, and to the denominators of M2FNet's margin.
const EPSILON: f64 = 1e-6;
/// Added to variances before the root (Bardes et al. 2022).
const VARIANCE_EPSILON: f64 = 1e-4;
/// The weights of M2FNet's triplets, covariance and variance (equation 9).
const WEIGHTS: [f64; 3] = [20.0, 5.0, 1.0];

/// Matrices `[R, R]` by which anchor i is compared with candidate j.
#[derive(Debug, Clone)]
pub struct Squares {
    /// 1 where i = j, else 0.
    pub own: Tensor,
    /// 0 where i = j, else 1.
    pub others: Tensor,
}

/// The sigmoid loss of logits `[R, R]` (Zhai et al. 2023, equation 1): the sum over candidates, for each anchor `[R]`.
///
/// # Errors
/// When the shapes do not match.
pub fn siglip(logits: &Tensor, squares: &Squares) -> Result<Tensor> {
    // -1 for the positive, 1 for others: ln(1 + e^(-z logit)).
    let signs = squares.others.subtract(&squares.own)?;
    logits.multiply(&signs)?.softplus()?.sum(&[1])
}

/// The hinge of squared distances of unit embeddings, from their cosines `[R, R]`, for each anchor `[R]`.
///
/// # Errors
/// When the shapes do not match.
pub fn triplet(cosines: &Tensor, squares: &Squares, settings: &TripletSettings) -> Result<Tensor> {
    // |a - p|² - |a - n|² = 2 cos(a, n) - 2 cos(a, p)
    let positives = cosines.multiply(&squares.own)?.sum_keeping(&[1])?;
    let hinge =
        |negatives: &Tensor| negatives.subtract(&positives)?.affine(2.0, settings.margin)?.relu();
    match settings.negatives {
        Negatives::All => {
            let negatives = cosines.shape()[1] - 1;
            let sum = hinge(cosines)?.multiply(&squares.others)?.sum(&[1])?;
            sum.affine(1.0 / negatives as f64, 0.0)
        }
        Negatives::Hardest => {
            // Below the least cosine, so that the positive is never the nearest negative.
            let own = squares.own.affine(4.0, 0.0)?;
            hinge(&cosines.subtract(&own)?.max_keeping(&[1])?)?.sum(&[1])
        }
    }
}

/// The loss of M2FNet between anchors and candidates, a scalar: `WEIGHTS` times the mean over anchors and negatives of the
/// adaptive triplets of unit embeddings, and covariance and variance of the embeddings. The negatives are the other
/// candidates, so that covariance and variance of positives and negatives are equal: those of the candidates count twice.
///
/// # Errors
/// When the shapes do not match.
pub fn m2fnet(
    unit: [&Tensor; 2],
    raw: [&Tensor; 2],
    squares: &Squares,
    constant: bool,
) -> Result<Tensor> {
    let [anchors, candidates] = unit;
    let negatives = distances(anchors, candidates)?;
    let positives = negatives.multiply(&squares.own)?.sum_keeping(&[1])?;
    let between = distances(candidates, candidates)?;
    let all = adaptive_triplet(&positives, &negatives, &between, constant)?;
    let rows = anchors.shape()[0] as f64;
    let triplets =
        all.multiply(&squares.others)?.sum(&[0, 1])?.affine(1.0 / (rows * (rows - 1.0)), 0.0)?;
    let [(anchor_covariance, anchor_variance), (covariance, variance)] =
        [spread(raw[0])?, spread(raw[1])?];
    let covariance = anchor_covariance.add(&covariance.affine(2.0, 0.0)?)?;
    let variance = anchor_variance.add(&variance.affine(2.0, 0.0)?)?;
    let [triplet_weight, covariance_weight, variance_weight] = WEIGHTS;
    triplets
        .affine(triplet_weight, 0.0)?
        .add(&covariance.affine(covariance_weight, 0.0)?)?
        .add(&variance.affine(variance_weight, 0.0)?)
}

/// The adaptive triplet loss of distances (M2FNet, equation 10): max(0, D_ap - (D_an + D_pn) / 2 + m), with the margin
/// m = 1 + 2 / e^(4 D_ap) + 1 + 2 / e^(4 - 4 D_an), which is a constant if `constant`.
///
/// # Errors
/// When the shapes do not broadcast.
pub fn adaptive_triplet(
    positive: &Tensor,
    negative: &Tensor,
    between: &Tensor,
    constant: bool,
) -> Result<Tensor> {
    let [p, n] = match constant {
        true => [positive.detached(), negative.detached()],
        false => [positive.clone(), negative.clone()],
    };
    let term =
        |exponent: Tensor| exponent.exp()?.affine(1.0, EPSILON)?.reciprocal()?.affine(2.0, 1.0);
    let margin = term(n.affine(-4.0, 4.0)?)?.add(&term(p.affine(4.0, 0.0)?)?)?;
    let mean = negative.add(between)?.affine(0.5, 0.0)?;
    margin.subtract(&mean)?.add(positive)?.relu()
}

/// The Euclidean distances `[R, R]` of unit embeddings `[R, D]`; a distance of 0 is √ε, with a bounded gradient.
fn distances(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let cosines = a.matmul(Matmul::TRANSPOSE_RIGHT, b)?;
    cosines.affine(-2.0, 2.0)?.clamp(0.0, 4.0)?.affine(1.0, EPSILON)?.sqrt()
}

/// VICReg's covariance and variance of embeddings `[R, D]`, two scalars (Bardes et al. 2022): squared covariances of
/// different features, and the hinge that keeps each feature's standard deviation at 1, both divided by D.
fn spread(z: &Tensor) -> Result<(Tensor, Tensor)> {
    let [rows, features] = z.extents("m2fnet")?;
    let centred = z.subtract(&z.mean_keeping(&[0])?)?;
    let unbiased = 1.0 / (rows - 1) as f64;
    let variances = centred.square()?.sum(&[0])?.affine(unbiased, 0.0)?;
    let deviations = variances.affine(1.0, VARIANCE_EPSILON)?.sqrt()?;
    let hinge = deviations.affine(-1.0, 1.0)?.relu()?.mean(&[0])?;
    let covariances = centred.matmul(Matmul::TRANSPOSE_LEFT, &centred)?.affine(unbiased, 0.0)?;
    // All squares less those of the diagonal, which are the variances'.
    let squares = covariances.square()?.sum(&[0, 1])?.subtract(&variances.square()?.sum(&[0])?)?;
    Ok((squares.affine(1.0 / features as f64, 0.0)?, hinge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Tape;

    fn number(value: f64) -> Result<Tensor> {
        Tensor::from_slice(&[value], &[1])
    }

    #[test]
    fn the_adaptive_triplet_has_its_published_values() -> Result<()> {
        let table =
            [(0.0, 2.307), (0.3, 2.242), (0.6, 2.374), (1.0, 3.771), (1.414, 12.04), (2.0, 110.46)];
        for constant in [false, true] {
            for (negative, expected) in table {
                let (p, n, between) = (number(0.5)?, number(negative)?, number(1.0)?);
                let loss = adaptive_triplet(&p, &n, &between, constant)?.item()?;
                assert!((loss - expected).abs() < 1e-3 * expected, "{negative}: {loss}");
            }
        }
        Ok(())
    }

    /// The minimum of the printed loss has the negative at .307, nearer than the positive at .520. With the margin
    /// constant the gradients have no minimum and no end: the hinge is open everywhere on the sphere.
    #[test]
    fn the_printed_loss_is_inverted() -> Result<()> {
        let gradients = |constant, positive, negative| -> Result<[f64; 2]> {
            let tape = Tape::new();
            let p = tape.leaf(&number(positive)?);
            let n = tape.leaf(&number(negative)?);
            let loss = adaptive_triplet(&p, &n, &number(1.0)?, constant)?;
            let gradients = tape.backward(&loss)?;
            let of = |leaf| gradients.get(leaf).map_or(Ok(0.0), Tensor::item);
            Ok([of(&p)?, of(&n)?])
        };
        let (positive, negative) = (8f64.ln() / 4.0, 1.0 - 16f64.ln() / 4.0);
        assert!(negative < positive);
        let [p, n] = gradients(false, positive, negative)?;
        assert!(p.abs() < 1e-5 && n.abs() < 1e-5, "{p} {n}");
        // From equal distances a step against the gradient moves the negative nearer and the positive away.
        let [p, n] = gradients(false, 0.45, 0.45)?;
        assert!(p < -0.1 && n > 0.1, "{p} {n}");
        for distance in [0.0, 0.45, 1.0, 2.0] {
            assert_eq!(gradients(true, distance, distance)?, [1.0, -0.5]);
        }
        // The least of the margin on the sphere, where the other terms are at least -2.
        let least = adaptive_triplet(&number(2.0)?, &number(0.0)?, &number(4.0)?, true)?.item()?;
        assert!(least > 2.03 && least < 2.04, "{least}");
        Ok(())
    }
}
