//! A batch of samples: the input of a system in training and evaluation.

use engine::{Device, Error, Result, Tensor};

/// The samples of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One input for each modality, in the order of the system's encoders.
    pub modalities: Vec<Input>,
    /// The targets, from [`Targets::tensor`](crate::targets::Targets::tensor); `None` if a sample has no target.
    pub labels: Option<Tensor>,
    /// The number of each sample's group among the training groups `[samples]` (u32), e.g. of its actor; `None` if it is
    /// not known, or a sample is of no training group.
    pub groups: Option<Tensor>,
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

    /// Whether a row of the batch has this modality.
    pub fn has(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|present| present[row] == 1)
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
        Batch { modalities, labels: None, groups: None, samples, views: 1 }
    }

    /// A batch with targets whose samples have every modality: classes `[N]` (u32) or marks `[N, labels]` (0 or 1).
    pub fn labelled(modalities: Vec<Tensor>, labels: Tensor) -> Self {
        Batch { labels: Some(labels), ..Batch::new(modalities) }
    }

    /// This batch with its data on a device. Lengths and targets stay where they are: they are small, and systems look at
    /// them.
    ///
    /// # Errors
    /// When a GPU is out of memory.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let mut batch = self.clone();
        for input in &mut batch.modalities {
            input.data = input.data.on(device)?;
        }
        Ok(batch)
    }

    /// The number of rows, N: samples times views.
    pub fn rows(&self) -> usize {
        self.samples * self.views
    }

    /// The rows of the batch that have a modality.
    pub fn rows_with(&self, modality: usize) -> Vec<usize> {
        (0..self.rows()).filter(|&row| self.modalities[modality].has(row)).collect()
    }

    /// The rows of the batch that have every modality.
    pub fn complete_rows(&self) -> Vec<usize> {
        let complete = |&row: &usize| self.modalities.iter().all(|input| input.has(row));
        (0..self.rows()).filter(complete).collect()
    }

    /// The targets of these rows, for the loss of `system`. Targets on a GPU are copied to the CPU, unless all rows are asked
    /// for.
    ///
    /// # Errors
    /// When the batch has no targets, or work on a GPU failed.
    pub fn labels_of(&self, system: &str, rows: &[usize]) -> Result<Tensor> {
        let Some(labels) = &self.labels else {
            return Err(Error::Model {
                model: system.into(),
                what:
                    "got a batch without labels; leave samples without a label out of its training"
                        .into(),
            });
        };
        if rows.len() == self.rows() { Ok(labels.clone()) } else { pick(labels, rows) }
    }

    /// The groups of these rows, for the loss of `system`.
    ///
    /// # Errors
    /// When the batch has no groups, or work on a GPU failed.
    pub fn groups_of(&self, system: &str, rows: &[usize]) -> Result<Tensor> {
        let Some(groups) = &self.groups else {
            return Err(Error::Model {
                model: system.into(),
                what: "got a batch without groups, or with a sample of no training group; train it on samples of the training part".into(),
            });
        };
        if rows.len() == self.rows() { Ok(groups.clone()) } else { pick(groups, rows) }
    }

    /// The presence flags `[M, samples]` of M modalities; `None` if every sample has every modality. All views of a sample
    /// have the same modalities.
    ///
    /// # Errors
    /// When an input's flags are fewer than the samples.
    pub fn presence(&self) -> Result<Option<Tensor>> {
        if self.modalities.iter().all(|input| input.present.is_none()) {
            return Ok(None);
        }
        let samples = self.samples;
        let flags = |input: &Input| {
            let present = input.present.clone().unwrap_or_else(|| vec![1; samples]);
            present.into_iter().take(samples)
        };
        let flags: Vec<u32> = self.modalities.iter().flat_map(flags).collect();
        Tensor::from_slice(&flags, &[self.modalities.len(), samples]).map(Some)
    }
}

/// These rows of a tensor, on the CPU.
fn pick(tensor: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let (shape, values) = (tensor.shape(), tensor.to_vec()?);
    let width: usize = shape[1..].iter().product();
    let picked = rows.iter().flat_map(|&row| &values[row * width..][..width]).copied();
    let mut shape = shape.to_vec();
    shape[0] = rows.len();
    let picked = Tensor::from_slice(&picked.collect::<Vec<f64>>(), &shape)?;
    picked.to(tensor.dtype())
}
