//! The inference loop: a system's outputs over batches, on the CPU.

use crate::systems::{Batch, System};
use engine::{Device, Error, Parameters, Pass, Result, Tensor};

/// A matrix `[rows, width]` of numbers, one row for each sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// The numbers, row-major.
    pub values: Vec<f32>,
    /// Numbers of a row; 0 without rows.
    pub width: usize,
}

impl Rows {
    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..][..self.width]
    }

    /// These rows, in this order.
    pub fn pick(&self, rows: &[usize]) -> Rows {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Rows { values, width: self.width }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Concatenates the rows of several matrices, which must have equal numbers of rows.
    pub fn join(tables: &[&Rows]) -> Rows {
        let count = tables.first().map_or(0, |rows| rows.len());
        let width = tables.iter().map(|rows| rows.width).sum();
        let values = (0..count).flat_map(|i| tables.iter().flat_map(move |rows| rows.row(i)));
        Rows { values: values.copied().collect(), width }
    }

    fn extend(&mut self, tensor: &Tensor) -> Result<()> {
        self.width = tensor.shape().features();
        self.values.extend_from_slice(tensor.on(&Device::Cpu)?.as_slice::<f32>()?);
        Ok(())
    }
}

/// A system's outputs for many samples, on the CPU. Fields that the system does not have are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostOutputs {
    /// The features of each modality, with zeros for samples without it; or one table, of all modalities together.
    pub features: Vec<Rows>,
    /// The embeddings of each modality.
    pub embeddings: Vec<Rows>,
    /// The logits.
    pub logits: Rows,
}

/// Computes a system's outputs in evaluation mode: no dropout, running statistics, no gradients.
///
/// # Errors
/// When the system does not accept a batch, or a batch cannot be read.
pub fn evaluate<E: From<Error>>(
    system: &dyn System,
    parameters: &Parameters,
    batches: impl IntoIterator<Item = std::result::Result<Batch, E>>,
) -> std::result::Result<HostOutputs, E> {
    let mut all = HostOutputs::default();
    for batch in batches {
        let batch = batch?;
        let outputs = system.outputs(&Pass::evaluate(parameters), &batch)?;
        let filled = match outputs.joint {
            Some(joint) => vec![joint],
            None => {
                let filled = outputs.features.iter().zip(&batch.modalities);
                filled.map(|(f, input)| input.fill(f)).collect::<Result<_>>()?
            }
        };
        extend(&mut all.features, &filled)?;
        extend(&mut all.embeddings, &outputs.embeddings)?;
        if let Some(logits) = &outputs.logits {
            all.logits.extend(logits)?;
        }
    }
    Ok(all)
}

fn extend(tables: &mut Vec<Rows>, tensors: &[Tensor]) -> Result<()> {
    tables.resize(tensors.len(), Rows::default());
    tables.iter_mut().zip(tensors).try_for_each(|(rows, tensor)| rows.extend(tensor))
}
