//! A batch of samples: the input of a system in training and evaluation.

use engine::{Result, Tensor};

/// The samples of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One input for each modality, in the order of the system's encoders.
    pub modalities: Vec<Input>,
    /// The targets, from [`Targets::tensor`](crate::targets::Targets::tensor); `None` if a sample has no target.
    pub labels: Option<Tensor>,
    /// The number of samples; each has `views` rows.
    pub samples: usize,
    /// Windows of each sample. The rows of the second view follow all rows of the first.
    pub views: usize,
}

/// One modality of a batch.
#[derive(Debug, Clone)]
pub struct Input {
    /// `[R, T, ..]`: one row for each row of the batch that has this modality.
    pub data: Tensor,
    /// The number of valid steps of each row `[R]`; `None` if no row is padded.
    pub lengths: Option<Tensor>,
    /// For each of the N rows of the batch its row of `data`, and any row where the modality is missing. `None` if no
    /// row lacks it.
    pub rows: Option<Tensor>,
    /// `[N]`: 1 for rows of the batch that have the modality, otherwise 0. `None` if no row lacks it.
    pub present: Option<Vec<u32>>,
}

impl Input {
    /// A modality that every sample has, without padding: `[N, T, ..]`.
    pub fn new(data: Tensor) -> Self {
        Input { data, lengths: None, rows: None, present: None }
    }

    /// A modality that none of the `rows` rows has; `sample` is the shape of one sample, `[T, ..]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn missing(sample: &[usize], rows: usize) -> Result<Self> {
        Ok(Input {
            data: Tensor::zeros(&[&[0], sample].concat(), engine::DType::F32),
            lengths: Some(Tensor::zeros(&[0], engine::DType::U32)),
            rows: Some(Tensor::from_slice(&vec![0u32; rows], &[rows])?),
            present: Some(vec![0; rows]),
        })
    }

    /// Spreads features `[R, C]` of the rows that have the modality to `[N, C]`, with zeros for the other rows.
    ///
    /// # Errors
    /// When the features do not have this input's R rows.
    pub fn fill(&self, features: &Tensor) -> Result<Tensor> {
        let (Some(rows), Some(present)) = (&self.rows, &self.present) else {
            return Ok(features.clone());
        };
        let width = features.shape().features();
        let spread = features.embedding(rows)?;
        let mask: Vec<f64> =
            present.iter().flat_map(|&p| std::iter::repeat_n(f64::from(p), width)).collect();
        spread.multiply(&Tensor::from_slice(&mask, &[present.len(), width])?.to(spread.dtype())?)
    }
}

impl Batch {
    /// A batch without targets whose samples have every modality: one tensor `[N, T, ..]` for each modality.
    pub fn new(modalities: Vec<Tensor>) -> Self {
        let samples = modalities.first().map_or(0, |data| data.shape()[0]);
        let modalities = modalities.into_iter().map(Input::new).collect();
        Batch { modalities, labels: None, samples, views: 1 }
    }

    /// A batch with targets whose samples have every modality: classes `[N]` (u32) or marks `[N, labels]` (0 or 1).
    pub fn labelled(modalities: Vec<Tensor>, labels: Tensor) -> Self {
        Batch { labels: Some(labels), ..Batch::new(modalities) }
    }

    /// The number of rows, N: samples times views.
    pub fn rows(&self) -> usize {
        self.samples * self.views
    }

    /// The presence flags `[M, N]` of M modalities and N rows; `None` if every sample has every modality.
    ///
    /// # Errors
    /// When an input's flags are not `[N]`.
    pub fn presence(&self) -> Result<Option<Tensor>> {
        if self.modalities.iter().all(|input| input.present.is_none()) {
            return Ok(None);
        }
        let rows = self.rows();
        let flags = |input: &Input| input.present.clone().unwrap_or_else(|| vec![1; rows]);
        let flags: Vec<u32> = self.modalities.iter().flat_map(flags).collect();
        Tensor::from_slice(&flags, &[self.modalities.len(), rows]).map(Some)
    }
}
