//! Positives and denominators of softmax losses, as masks of a matrix of logits.

use super::settings::{ContrastiveSettings, Denominator, Positives};
use engine::{DType, Device, Result, Tensor};
use kernels::ops::info_nce::Reduction;

/// The masks of the loss Σᵢ cᵢ ln Σⱼ e^(sᵢⱼ + eᵢⱼ) - Σᵢⱼ wᵢⱼ sᵢⱼ of logits s `[R, R]`.
#[derive(Debug, Clone)]
pub struct Columns {
    /// w: the share of each positive.
    positives: Tensor,
    /// e: 0 for a column of the denominator, otherwise -∞; absent if it is 0 everywhere.
    excluded: Option<Tensor>,
    /// c: the share of each anchor; 0 for an anchor without a positive, or without a column.
    anchors: Tensor,
}

/// The rows of a pair of modalities, by which masks are built.
#[derive(Debug, Clone, Copy)]
pub struct PairRows<'a> {
    /// The number of rows, R: views times samples, the second view behind the first.
    pub count: usize,
    /// The label of each row, where positives are by label.
    pub labels: Option<&'a [&'a [f64]]>,
    /// Whether anchors and candidates are of one modality, so that an anchor is not its own candidate.
    pub within: bool,
}

impl Columns {
    /// The masks of a pair; `None` if no anchor has a positive and a column.
    pub fn new(
        settings: &ContrastiveSettings,
        rows: PairRows<'_>,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Self>> {
        let r = rows.count;
        let authors = settings.denominator == Denominator::Authors;
        let positive = |i: usize, j: usize| match (settings.positives, rows.labels) {
            (Positives::Label, Some(labels)) => labels[i] == labels[j] && !(rows.within && i == j),
            _ if authors => j == (i + r / 2) % r,
            _ => i == j,
        };
        let column = |i: usize, j: usize| match settings.denominator {
            Denominator::ExcludePositive => !(positive(i, j) || rows.within && i == j),
            Denominator::IncludePositive => !(rows.within && i == j),
            Denominator::Authors => i != j,
        };
        let counts = |i: usize| {
            let count =
                |what: &dyn Fn(usize, usize) -> bool| (0..r).filter(|&j| what(i, j)).count();
            (count(&positive), count(&column))
        };
        let counts: Vec<(usize, usize)> = (0..r).map(counts).collect();
        let valid = counts.iter().filter(|(positives, columns)| *positives > 0 && *columns > 0);
        let share = match (settings.reduction, valid.count()) {
            (_, 0) => return Ok(None),
            (Reduction::Mean, valid) => 1.0 / valid as f64,
            (Reduction::Sum, _) => 1.0,
        } * if authors { 0.5 } else { 1.0 };
        let mut positives = vec![0.0; r * r];
        let mut excluded = vec![0.0; r * r];
        let mut anchors = vec![0.0; r];
        for (i, &(own, columns)) in counts.iter().enumerate() {
            if own == 0 || columns == 0 {
                continue;
            }
            anchors[i] = share;
            for j in 0..r {
                if positive(i, j) {
                    positives[i * r + j] = share / own as f64;
                }
                if !column(i, j) {
                    excluded[i * r + j] = f64::NEG_INFINITY;
                }
            }
        }
        let there = |values: &[f64], shape: &[usize]| -> Result<Tensor> {
            Tensor::from_slice(values, shape)?.to(dtype)?.on(device)
        };
        let some = excluded.iter().any(|&value| value != 0.0);
        Ok(Some(Columns {
            positives: there(&positives, &[r, r])?,
            excluded: some.then(|| there(&excluded, &[r, r])).transpose()?,
            anchors: there(&anchors, &[r])?,
        }))
    }

    /// The loss of logits `[R, R]`, a scalar.
    ///
    /// # Errors
    /// When they have another shape.
    pub fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        let candidates = match &self.excluded {
            Some(excluded) => logits.add(excluded)?,
            None => logits.clone(),
        };
        let sums = candidates.log_sum_exp(&[1])?.multiply(&self.anchors)?.sum(&[0])?;
        sums.subtract(&logits.multiply(&self.positives)?.sum(&[0, 1])?)
    }
}
