//! Targets and tasks: one class for each sample, several labels that apply or not, or attributes, which are numbers.

use crate::evaluate::Rows;
use crate::systems::{Batch, Loss, Outputs};
use engine::profile::{self, Part};
use engine::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The true or predicted targets of samples.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The class of each sample.
    Classes(Vec<usize>),
    /// Whether each label applies to each sample.
    Marks {
        /// The number of labels.
        width: usize,
        /// `[samples, labels]`, row-major.
        marks: Vec<bool>,
    },
    /// The attributes of each sample, e.g. arousal, valence and dominance.
    Values {
        /// The number of attributes.
        width: usize,
        /// `[samples, attributes]`, row-major.
        values: Vec<f32>,
    },
}

impl Targets {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Marks { width, marks } => marks.len() / width.max(&1),
            Targets::Values { width, values } => values.len() / width.max(&1),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These targets, with those of `other` for the samples that `which` marks. Both must be of the same kind.
    pub fn mixed(&self, other: &Targets, which: &[bool]) -> Targets {
        let mut both = self.clone();
        let marked = which.iter().enumerate().filter(|(_, marked)| **marked).map(|(i, _)| i);
        match (&mut both, other) {
            (Targets::Classes(own), Targets::Classes(other)) => {
                marked.for_each(|i| own[i] = other[i]);
            }
            (Targets::Marks { width, marks }, Targets::Marks { marks: other, .. }) => {
                let width = *width;
                marked.for_each(|i| {
                    marks[i * width..][..width].copy_from_slice(&other[i * width..][..width]);
                });
            }
            (Targets::Values { width, values }, Targets::Values { values: other, .. }) => {
                let width = *width;
                marked.for_each(|i| {
                    values[i * width..][..width].copy_from_slice(&other[i * width..][..width]);
                });
            }
            _ => {}
        }
        both
    }

    /// The targets of these samples, in this order.
    pub fn pick(&self, samples: &[usize]) -> Targets {
        match self {
            Targets::Classes(classes) => {
                Targets::Classes(samples.iter().map(|&i| classes[i]).collect())
            }
            Targets::Marks { width, marks } => {
                let row = |&i: &usize| &marks[i * width..][..*width];
                Targets::Marks {
                    width: *width,
                    marks: samples.iter().flat_map(row).copied().collect(),
                }
            }
            Targets::Values { width, values } => {
                let row = |&i: &usize| &values[i * width..][..*width];
                let values = samples.iter().flat_map(row).copied().collect();
                Targets::Values { width: *width, values }
            }
        }
    }

    /// Appends the targets of more samples. Both must be of the same kind.
    pub fn extend(&mut self, more: Targets) {
        match (self, more) {
            (Targets::Classes(classes), Targets::Classes(more)) => classes.extend(more),
            (Targets::Marks { marks, .. }, Targets::Marks { marks: more, .. }) => {
                marks.extend(more);
            }
            (Targets::Values { values, .. }, Targets::Values { values: more, .. }) => {
                values.extend(more);
            }
            _ => {}
        }
    }

    /// The tensor for a loss: classes `[N]` (u32), marks `[N, labels]` (0 or 1), or values `[N, attributes]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Targets::Classes(classes) => {
                let classes: Vec<u32> = classes.iter().map(|&class| class as u32).collect();
                Tensor::from_slice(&classes, &[classes.len()])
            }
            Targets::Marks { width, marks } => {
                let marks: Vec<f32> = marks.iter().map(|&mark| f32::from(u8::from(mark))).collect();
                Tensor::from_slice(&marks, &[marks.len() / width.max(&1), *width])
            }
            Targets::Values { width, values } => {
                Tensor::from_slice(values, &[values.len() / width.max(&1), *width])
            }
        }
    }
}

/// The task of a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of this number of classes: softmax and cross entropy.
    OneOf(usize),
    /// Several labels that apply or not: binary cross entropy, with this weight for the positives of each label.
    EachOf(Vec<f32>),
    /// This number of attributes: the sum of 1 - CCC (Lin 1989) over the batch.
    Attributes(usize),
}

impl Task {
    /// [`EachOf`](Self::EachOf) with balanced weights: the number of negatives divided by that of positives. A label
    /// without positives or without negatives has weight 1. `marks` is `[samples, labels]`.
    pub fn balanced(marks: &[bool], labels: usize) -> Self {
        let weight = |label: usize| {
            let column = || marks.iter().skip(label).step_by(labels.max(1));
            let positives = column().filter(|mark| **mark).count();
            let negatives = column().count() - positives;
            if positives == 0 || negatives == 0 { 1.0 } else { negatives as f32 / positives as f32 }
        };
        Task::EachOf((0..labels).map(weight).collect())
    }

    /// The number of logits for each sample; for attributes they are the predicted numbers.
    pub fn outputs(&self) -> usize {
        match self {
            Task::OneOf(classes) => *classes,
            Task::EachOf(weights) => weights.len(),
            Task::Attributes(count) => *count,
        }
    }

    /// The loss of equal probabilities, ln C for one of C classes, or of constant attributes, 1 for each; `None` for several
    /// labels, where it depends on the labels of the batch.
    pub fn chance_loss(&self) -> Option<f64> {
        match self {
            Task::OneOf(classes) => Some((*classes as f64).ln()),
            Task::EachOf(_) => None,
            Task::Attributes(count) => Some(*count as f64),
        }
    }

    /// The loss of logits `[N, outputs]` with the targets of [`Targets::tensor`].
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn loss(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
        profile::span("loss", Part::Forward, || match self {
            Task::OneOf(_) => logits.cross_entropy(targets),
            Task::EachOf(weights) => {
                let weights = Tensor::from_slice(weights, &[weights.len()])?.to(logits.dtype())?;
                logits.bce(&targets.to(logits.dtype())?, &weights)
            }
            Task::Attributes(_) => logits.ccc(&targets.to(logits.dtype())?.on(&logits.device())?),
        })
    }

    /// The loss of a system's logits with the batch's labels.
    ///
    /// # Errors
    /// When the system has no logits, the batch has no labels, or the shapes do not match.
    pub fn loss_of(&self, system: &str, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let logits = outputs.logits.as_ref().ok_or_else(|| Error::Model {
            model: system.into(),
            what: "has no logits; its outputs must have them".into(),
        })?;
        let all: Vec<usize> = (0..batch.rows()).collect();
        let labels = batch.labels_of(system, &all)?;
        self.loss(logits, &labels).map(Loss::from)
    }

    /// The prediction of logits `[N, outputs]`: the most probable class, the labels with a probability above 0.5, or the
    /// attributes.
    ///
    /// # Errors
    /// When the logits cannot be copied from a GPU.
    pub fn decide(&self, logits: &Tensor) -> Result<Targets> {
        Ok(self.decide_values(&logits.to_vec()?))
    }

    /// The probabilities of rows of logits: softmax over classes, or the sigmoid of each label; attributes stay.
    pub fn probabilities(&self, logits: &Rows) -> Rows {
        let row = |row: &[f32]| -> Vec<f32> {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            match self {
                Task::OneOf(_) => {
                    let powers: Vec<f64> = row.iter().map(|v| f64::from(v - most).exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    powers.iter().map(|power| (power / sum) as f32).collect()
                }
                Task::EachOf(_) => {
                    row.iter().map(|&v| (1.0 / (1.0 + (-f64::from(v)).exp())) as f32).collect()
                }
                Task::Attributes(_) => row.to_vec(),
            }
        };
        let values = logits.values.chunks(logits.width.max(1)).flat_map(row).collect();
        Rows { values, width: logits.width }
    }

    fn decide_values(&self, logits: &[f64]) -> Targets {
        match self {
            Task::OneOf(classes) => Targets::Classes(logits.chunks(*classes).map(argmax).collect()),
            Task::EachOf(weights) => Targets::Marks {
                width: weights.len(),
                marks: logits.iter().map(|&logit| logit > 0.0).collect(),
            },
            Task::Attributes(count) => Targets::Values {
                width: *count,
                values: logits.iter().map(|&value| value as f32).collect(),
            },
        }
    }

    /// [`decide`](Self::decide) for rows of logits.
    pub fn decide_rows(&self, logits: &Rows) -> Targets {
        let values: Vec<f64> = logits.values.iter().map(|&logit| f64::from(logit)).collect();
        self.decide_values(&values)
    }

    /// Targets of no samples, for [`Targets::extend`].
    pub fn empty(&self) -> Targets {
        match self {
            Task::OneOf(_) => Targets::Classes(Vec::new()),
            Task::EachOf(weights) => Targets::Marks { width: weights.len(), marks: Vec::new() },
            Task::Attributes(count) => Targets::Values { width: *count, values: Vec::new() },
        }
    }
}

/// The index of the maximum; the first of several.
pub fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_balance_positives_and_negatives() {
        let marks = [true, false, false, true, false, false, true, false, false, true, true, false];
        assert_eq!(Task::balanced(&marks, 3), Task::EachOf(vec![1.0, 3.0, 1.0]));
        let marks = [true, false, false, false];
        assert_eq!(Task::balanced(&marks, 1), Task::EachOf(vec![3.0]));
    }

    #[test]
    fn each_label_is_decided_for_itself() -> Result<()> {
        let task = Task::EachOf(vec![2.0, 1.0]);
        let logits = Tensor::from_slice(&[1.0f32, -2.0, -0.5, 3.0], &[2, 2])?;
        let truth = Targets::Marks { width: 2, marks: vec![true, false, true, true] };
        assert_eq!(
            task.decide(&logits)?,
            Targets::Marks { width: 2, marks: vec![true, false, false, true] }
        );
        // PyTorch's BCEWithLogitsLoss(pos_weight=[2, 1]).
        let softplus = |x: f64| (1.0 + x.exp()).ln();
        let sum = 2.0 * softplus(-1.0) + softplus(-2.0) + 2.0 * softplus(0.5) + softplus(-3.0);
        let loss = task.loss(&logits, &truth.tensor()?)?.item()?;
        assert!((loss - sum / 4.0).abs() < 1e-6, "{loss}");
        let swapped = truth.pick(&[1, 0]);
        assert_eq!(swapped, Targets::Marks { width: 2, marks: vec![true, true, true, false] });
        assert_eq!((swapped.len(), Targets::Classes(vec![3, 4]).pick(&[1]).len()), (2, 1));
        Ok(())
    }
}
