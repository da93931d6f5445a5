//! The metrics of predictions on held-out samples.

use super::metrics::{BinaryCounts, Confusion, accuracy, label_counts};
use crate::targets::Targets;
use serde::{Deserialize, Serialize};

/// The metrics of predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Fraction of correct predictions: of samples for classes, of pairs of sample and label for labels.
    pub accuracy: f64,
    /// Mean over classes or labels of [`BinaryCounts::weighted_accuracy`].
    pub weighted_accuracy: f64,
    /// For classes [`Confusion::f1_weighted`]; for labels the mean of [`BinaryCounts::f1_weighted`].
    pub f1_weighted: f64,
    /// Mean over classes or labels of the F1 score of each.
    pub f1_macro: f64,
    /// The counts from which the metrics are computed.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts of correct and wrong predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// The confusion matrix of classes.
    Confusion(Confusion),
    /// The counts of each label.
    Labels(Vec<BinaryCounts>),
}

impl Evaluation {
    /// The metrics of predictions. Both targets must be of the same kind, with `classes` classes or labels.
    pub fn new(predicted: &Targets, truth: &Targets, classes: usize) -> Self {
        if let (Targets::Classes(predicted), Targets::Classes(truth)) = (predicted, truth) {
            let confusion = Confusion::new(predicted, truth, classes);
            let weighted =
                (0..classes).map(|class| confusion.binary(class).weighted_accuracy()).sum::<f64>();
            return Evaluation {
                accuracy: accuracy(predicted, truth),
                weighted_accuracy: weighted / classes as f64,
                f1_weighted: confusion.f1_weighted(),
                f1_macro: confusion.f1_macro(),
                counts: Counts::Confusion(confusion),
            };
        }
        let labels = label_counts(predicted, truth);
        let mean = |figure: fn(BinaryCounts) -> f64| {
            labels.iter().map(|&label| figure(label)).sum::<f64>() / labels.len() as f64
        };
        Evaluation {
            accuracy: mean(BinaryCounts::accuracy),
            weighted_accuracy: mean(BinaryCounts::weighted_accuracy),
            f1_weighted: mean(BinaryCounts::f1_weighted),
            f1_macro: mean(BinaryCounts::f1),
            counts: Counts::Labels(labels),
        }
    }

    /// The metric by which systems are compared: the accuracy for classes, the weighted accuracy for labels.
    pub fn score(&self) -> f64 {
        match self.counts {
            Counts::Confusion(_) => self.accuracy,
            Counts::Labels(_) => self.weighted_accuracy,
        }
    }

    /// The score of the best constant prediction.
    pub fn chance(&self) -> f64 {
        match &self.counts {
            Counts::Confusion(confusion) => confusion.majority(),
            Counts::Labels(_) => 0.5,
        }
    }
}
