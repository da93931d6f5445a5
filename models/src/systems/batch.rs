//! What a system is trained on and asked about: a batch of samples, one input a modality.

use engine::{Result, Tensor};

/// The samples of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One input a modality, in the order of the system's encoders.
    pub modalities: Vec<Input>,
    /// The samples' targets, as [`Targets::tensor`](crate::targets::Targets::tensor) gives them; absent where a sample
    /// has none.
    pub labels: Option<Tensor>,
    /// Samples in the batch; each has `views` rows.
    pub samples: usize,
    /// Windows drawn of each sample: the rows of the second view follow those of the first.
    pub views: usize,
}

/// One modality of a batch.
#[derive(Debug, Clone)]
pub struct Input {
    /// Rows [R, T, ..] of the samples that have this modality.
    pub data: Tensor,
    /// How many of the T steps are real `[R]`, where rows are padded.
    pub lengths: Option<Tensor>,
    /// Where some samples lack the modality: for each of the N rows of the batch the row of `data`, and any
    /// row for those that lack it.
    pub rows: Option<Tensor>,
    /// Which rows of the batch have it `[N]`, where some lack it.
    pub present: Option<Vec<u32>>,
}

impl Input {
    /// Rows [N, ..] of a modality that every sample has, none of them padded.
    pub fn new(data: Tensor) -> Self {
        Input { data, lengths: None, rows: None, present: None }
    }

    /// A modality that none of `rows` samples has; `sample` is the shape of one sample [T, ..].
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

    /// These features [R, C] of the rows that have the modality, as rows [N, C] of the whole batch: zeros where a row
    /// lacks it.
    ///
    /// # Errors
    /// When the features are not of this input's rows.
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
    /// Samples that have every modality, without targets: one tensor [N, T, ..] a modality.
    pub fn new(modalities: Vec<Tensor>) -> Self {
        let samples = modalities.first().map_or(0, |data| data.shape()[0]);
        let modalities = modalities.into_iter().map(Input::new).collect();
        Batch { modalities, labels: None, samples, views: 1 }
    }

    /// Samples that have every modality, with their targets: classes `[N]` (u32) or marks [N, labels] (0 or 1).
    pub fn labelled(modalities: Vec<Tensor>, labels: Tensor) -> Self {
        Batch { labels: Some(labels), ..Batch::new(modalities) }
    }

    /// Rows of every modality, present or not.
    pub fn rows(&self) -> usize {
        self.samples * self.views
    }

    /// The presence flags [M, N] of all modalities; `None` where every sample has them all.
    ///
    /// # Errors
    /// When an input's flags are not of this batch's rows.
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
