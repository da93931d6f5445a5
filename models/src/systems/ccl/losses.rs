//! The losses between features and between logits of CCL.

use crate::contrast::unit;
use engine::{DType, Device, Result, Tensor};
use kernels::ops::Matmul;

/// Added to probabilities before the logarithm, as in the authors' code.
const EPSILON: f64 = 1e-10;

/// Which samples of a batch have the same label, as weights of a mean over anchors.
#[derive(Debug, Clone)]
pub struct Likeness {
    /// 1 / (R |Pᵢ|) where j has the label of i, else 0.
    positives: Tensor,
    /// 1 / (R |Nᵢ|) where it has another, else 0.
    negatives: Tensor,
}

impl Likeness {
    /// The weights of samples with these classes.
    ///
    /// # Errors
    /// When a GPU is out of memory.
    pub fn new(classes: &[f64], dtype: DType, device: &Device) -> Result<Self> {
        let rows = classes.len();
        let weights = |equal: bool| -> Result<Tensor> {
            let is = |i: usize, j: usize| (classes[i] == classes[j]) == equal;
            let mut weights = vec![0.0; rows * rows];
            for i in 0..rows {
                let count = (0..rows).filter(|&j| is(i, j)).count();
                for j in (0..rows).filter(|&j| is(i, j)) {
                    weights[i * rows + j] = 1.0 / (rows * count) as f64;
                }
            }
            Tensor::from_slice(&weights, &[rows, rows])?.to(dtype)?.on(device)
        };
        Ok(Likeness { positives: weights(true)?, negatives: weights(false)? })
    }
}

/// The contrast with labels of anchors and candidates `[R, C]`, a scalar: with p = softmaxⱼ(cos(aᵢ, bⱼ) / temperature) the
/// mean over i of -mean over Pᵢ of ln(p + ε) - mean over Nᵢ of ln(1 - p + ε), where Pᵢ has the label of i, Nᵢ another. The
/// second term is 0 where Nᵢ is empty; the authors' code divides by 0 there.
///
/// # Errors
/// When the shapes do not match.
pub fn nce(
    anchors: &Tensor,
    candidates: &Tensor,
    temperature: f64,
    likeness: &Likeness,
) -> Result<Tensor> {
    let cosines = unit(anchors)?.matmul(Matmul::TRANSPOSE_RIGHT, &unit(candidates)?)?;
    let shares = cosines.affine(1.0 / temperature, 0.0)?.softmax()?;
    let term = |shares: Tensor, weights: &Tensor| shares.log()?.multiply(weights)?.sum(&[0, 1]);
    let near = term(shares.affine(1.0, EPSILON)?, &likeness.positives)?;
    // Added after the difference: in f32, 1 + ε is 1.
    let far = term(shares.affine(-1.0, 1.0)?.affine(1.0, EPSILON)?, &likeness.negatives)?;
    near.add(&far)?.negate()
}

/// The Jeffreys divergence of the probabilities of logits `[R, classes]`: half the sum of both Kullback-Leibler divergences,
/// the mean over rows.
///
/// # Errors
/// When the shapes do not match.
pub fn jeffreys(p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let difference = log_softmax(p)?.subtract(&log_softmax(q)?)?;
    let all = p.softmax()?.subtract(&q.softmax()?)?.multiply(&difference)?.sum(&[0, 1])?;
    all.affine(0.5 / p.shape()[0] as f64, 0.0)
}

/// The Kullback-Leibler divergence KL(p || q) of the probabilities of logits `[R, classes]`, the mean over rows.
///
/// # Errors
/// When the shapes do not match.
pub fn divergence(p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let difference = log_softmax(p)?.subtract(&log_softmax(q)?)?;
    p.softmax()?.multiply(&difference)?.sum(&[0, 1])?.affine(1.0 / p.shape()[0] as f64, 0.0)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    logits.subtract(&logits.log_sum_exp_keeping(&[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Tape;

    fn rows(values: &[f64], width: usize) -> Result<Tensor> {
        Tensor::from_slice(values, &[values.len() / width, width])
    }

    #[test]
    fn samples_of_one_class_have_no_term_of_negatives() -> Result<()> {
        let tape = Tape::new();
        let a = tape.leaf(&rows(&[1.0, 0.0, 0.0, 1.0], 2)?);
        let likeness = Likeness::new(&[3.0, 3.0], DType::F64, &Device::Cpu)?;
        let loss = nce(&a, &a.detached(), 0.5, &likeness)?;
        // Shares e² / (e² + 1) and 1 / (e² + 1), the mean of both logarithms.
        let (near, far) = (2f64.exp() / (2f64.exp() + 1.0), 1.0 / (2f64.exp() + 1.0));
        let expected = -0.5 * (near.ln() + far.ln());
        assert!((loss.item()? - expected).abs() < 1e-9);
        let gradients = tape.backward(&loss)?;
        let gradient = gradients.get(&a).map_or(Ok(Vec::new()), Tensor::to_vec)?;
        assert!(gradient.len() == 4 && gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
        Ok(())
    }

    #[test]
    fn divergences_are_0_for_equal_logits_and_half_their_sum_otherwise() -> Result<()> {
        let (p, q) = (
            rows(&[0.3, -1.0, 2.0, 0.0, 0.5, 0.5], 3)?,
            rows(&[1.0, 0.0, 0.0, 2.0, 0.0, -1.0], 3)?,
        );
        // Adding a number to all logits changes no probability.
        assert!(jeffreys(&p, &p.affine(1.0, 3.0)?)?.item()?.abs() < 1e-12);
        let half = 0.5 * (divergence(&p, &q)?.item()? + divergence(&q, &p)?.item()?);
        assert!((jeffreys(&p, &q)?.item()? - half).abs() < 1e-12 && half > 0.1);
        Ok(())
    }
}
