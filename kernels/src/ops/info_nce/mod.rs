//! InfoNCE with cosine similarity over all ordered pairs of modalities. Normalisation, logits, log-sum-exps and
//! gradients are fused in one op that never stores an N x N matrix.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The contrastive loss of M modalities: the mean over the M (M-1) ordered pairs (m, n) of
///
/// L(m, n) = reduction over i of  -s_ip(i) + log Σ_j∈J(i) exp(s_ij),  s_ij = cos(z_i of m, z_j of n) / temperature
///
/// where the [`Denominator`] defines the column p(i) of the positive and the columns J(i) of the sum.
///
/// Inputs: M embeddings `[N, D]`, M ≥ 2 (`[2N, D]` with [`Denominator::Authors`]: view 1, then view 2). If `masked`,
/// the index input `present` `[M, N]` is 0 where a sample lacks a modality: the rows and columns of a pair are the
/// samples present in both. Pairs with fewer than 2 such samples are excluded from the mean; if all are, the loss and
/// its gradient are 0.
///
/// An embedding with norm below 1e-12 counts as zero: its cosines and its gradient are 0.
///
/// Output: a scalar. Saved: the reciprocal norms `[M, R]`; the log-sum-exps `[M (M-1), R]` (pairs in the order (0,1),
/// (0,2) ... (1,0), (1,2) ...; 0 for excluded rows); the loss of each ordered pair `[M, M]` (0 on the diagonal and
/// for excluded pairs). R is the number of rows of an embedding.
///
/// Memory is linear in N. Equation 1 of Franceschini et al., ICPR 2022; van den Oord et al. 2018.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InfoNce {
    /// The divisor of the cosines, above 0; .07 in the paper.
    pub temperature: f64,
    /// The positive and the columns of the sum.
    pub denominator: Denominator,
    /// Mean or sum over the rows of a pair.
    pub reduction: Reduction,
    /// Whether the index input `present` is given.
    pub masked: bool,
}

/// The column of the positive of row i, and the columns of its log-sum-exp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denominator {
    /// Positive i; the sum runs over j ≠ i. Equation 1 as printed; decoupled contrastive learning. May be negative.
    ExcludePositive,
    /// Positive i; the sum runs over all j. The rows of CLIP's loss.
    IncludePositive,
    /// The published code with two views of each of N samples, 2N rows: the positive is the other view of the same
    /// sample, and the sum runs over the 2N-1 columns j ≠ i. The pair of equal views is in neither term.
    Authors {
        /// Whether the loss is halved: the published code divides by the number of positives + 1.
        half: bool,
    },
}

/// The reduction of the losses of a pair's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The mean: the size of the gradient does not depend on the batch size.
    Mean,
    /// The sum, as Equation 1 is printed: the gradient grows with the batch size.
    Sum,
}

impl InfoNce {
    /// Equation 1 with the mean over rows and no mask.
    pub fn new(temperature: f64) -> Self {
        InfoNce {
            temperature,
            denominator: Denominator::ExcludePositive,
            reduction: Reduction::Mean,
            masked: false,
        }
    }

    fn views(&self) -> usize {
        if matches!(self.denominator, Denominator::Authors { .. }) { 2 } else { 1 }
    }
}

impl Op for InfoNce {
    const NAME: &'static str = "info_nce";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::setting(
            Self::NAME,
            self.temperature > 0.0 && self.temperature.is_finite(),
            || format!("got temperature {}; give a positive number such as .07", self.temperature),
        )?;
        let modalities = inputs.len();
        expect::setting(Self::NAME, modalities >= 2, || {
            format!("got {modalities} embeddings; give one for each of at least 2 modalities")
        })?;
        expect::rank(Self::NAME, "input 0: reshape it to [N, D]", inputs[0], 2)?;
        for (m, &input) in inputs.iter().enumerate() {
            let what = format!("input {m}: give all modalities the same samples and features");
            expect::shape(Self::NAME, &what, input, &inputs[0])?;
        }
        let (rows, views) = (inputs[0][0], self.views());
        if rows < 2 * views || rows % views != 0 || inputs[0][1] == 0 {
            return Err(Error::Shape {
                op: Self::NAME,
                what: "embeddings: InfoNCE needs at least 2 samples per batch; skip batches of one"
                    .into(),
                got: inputs[0],
                expected: format!("at least 2 samples of {views} view(s) each, and 1 feature"),
            });
        }
        let expected: &[Shape] =
            if self.masked { &[Shape::from([modalities, rows / views])] } else { &[] };
        expect::setting(Self::NAME, indices == expected, || {
            format!(
                "got index inputs {indices:?}, expected {expected:?}; give `present` [M, N] if and only if `masked` \
                 is set"
            )
        })?;
        let saved = vec![
            Shape::from([modalities, rows]),
            Shape::from([modalities * (modalities - 1), rows]),
            Shape::from([modalities, modalities]),
        ];
        Ok(Plan::saving(Shape::SCALAR, saved))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        cpu::backward(self, call);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let (m, n, d) = (inputs.len() as f64, inputs[0][0] as f64, inputs[0][1] as f64);
        let pairs = m * (m - 1.0) / 2.0;
        let bytes = 4.0 * m * n * d;
        Cost {
            // One matrix of logits for each unordered pair gives both directions.
            forward_flops: pairs * n * n * (2.0 * d + 4.0) + 3.0 * m * n * d,
            backward_flops: pairs * n * n * (6.0 * d + 8.0) + 5.0 * m * n * d,
            forward_bytes: bytes,
            backward_bytes: 2.0 * bytes,
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let base = InfoNce::new(0.07);
        let op = |denominator, reduction| InfoNce { denominator, reduction, ..base };
        let masked = |op: Self| InfoNce { masked: true, ..op };
        let include = op(Denominator::IncludePositive, Reduction::Sum);
        let authors = op(Denominator::Authors { half: true }, Reduction::Mean);
        vec![
            Case::new(base, &[&[3, 2], &[3, 2]]),
            Case::new(base, &[&[2, 1], &[2, 1]]).input(1, Input::constant(&[2, 1], Values::Normal)),
            Case::new(InfoNce { temperature: 0.5, ..include }, &[&[5, 7], &[5, 7], &[5, 7]]),
            Case::new(authors, &[&[8, 6], &[8, 6]]),
            // Two tiles of rows.
            Case::new(InfoNce { temperature: 0.3, ..base }, &[&[37, 5], &[37, 5]]),
            // Several tiles of rows and of features.
            Case::new(InfoNce { temperature: 0.3, ..base }, &[&[70, 66], &[70, 66], &[70, 66]]),
            Case::new(masked(base), &[&[4, 5], &[4, 5], &[4, 5]])
                .index(&[3, 4], vec![1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]),
            // One pair included, then none.
            Case::new(masked(authors), &[&[6, 5], &[6, 5], &[6, 5]])
                .index(&[3, 3], vec![1, 0, 1, 1, 1, 1, 0, 1, 0]),
            Case::new(masked(include), &[&[3, 4], &[3, 4]]).index(&[2, 3], vec![0, 0, 1, 1, 1, 1]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let denominator = prop_oneof![
            Just(Denominator::ExcludePositive),
            Just(Denominator::IncludePositive),
            any::<bool>().prop_map(|half| Denominator::Authors { half }),
        ];
        let reduction = prop_oneof![Just(Reduction::Mean), Just(Reduction::Sum)];
        let sizes = (2usize..5, 2usize..9, 1usize..20);
        (sizes, denominator, reduction, 0.1f64..2.0, proptest::option::of(any::<u64>()))
            .prop_map(|((m, n, d), denominator, reduction, temperature, mask)| {
                let op = InfoNce { temperature, denominator, reduction, masked: mask.is_some() };
                let shape = [n * op.views(), d];
                let case = Case::new(op, &vec![&shape[..]; m]);
                match mask {
                    None => case,
                    // Three of four are present.
                    Some(bits) => {
                        let bit = |i| bits.rotate_left(i) & 3 != 0;
                        let present = (0..m * n).map(|i| u32::from(bit(2 * i as u32))).collect();
                        case.index(&[m, n], present)
                    }
                }
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests;
