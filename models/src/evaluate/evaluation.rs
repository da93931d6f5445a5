//! The metrics of predictions on held-out samples.

use super::metrics::{Agreement, BinaryCounts, Confusion, accuracy, agreement, label_counts};
use crate::targets::Targets;
use serde::{Deserialize, Serialize};

/// The metrics of predictions. Attributes have only the last field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Fraction of correct predictions: of samples for classes, of pairs of sample and label for labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean over classes or labels of [`BinaryCounts::weighted_accuracy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_accuracy: Option<f64>,
    /// For classes [`Confusion::f1_weighted`]; for labels the mean of [`BinaryCounts::f1_weighted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1_weighted: Option<f64>,
    /// Mean over classes or labels of the F1 score of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1_macro: Option<f64>,
    /// The counts from which the metrics are computed.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts of correct and wrong predictions, or the agreement of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// The confusion matrix of classes.
    Confusion(Confusion),
    /// The counts of each label.
    Labels(Vec<BinaryCounts>),
    /// The agreement of each attribute.
    Attributes(Vec<Agreement>),
}

impl Evaluation {
    /// The metrics of predictions. Both targets must be of the same kind, with `classes` classes, labels or attributes.
    pub fn new(predicted: &Targets, truth: &Targets, classes: usize) -> Self {
        if let (Targets::Classes(predicted), Targets::Classes(truth)) = (predicted, truth) {
            let confusion = Confusion::new(predicted, truth, classes);
            let weighted =
                (0..classes).map(|class| confusion.binary(class).weighted_accuracy()).sum::<f64>();
            return Evaluation {
                accuracy: Some(accuracy(predicted, truth)),
                weighted_accuracy: Some(weighted / classes as f64),
                f1_weighted: Some(confusion.f1_weighted()),
                f1_macro: Some(confusion.f1_macro()),
                counts: Counts::Confusion(confusion),
            };
        }
        if let Targets::Values { .. } = truth {
            let counts = Counts::Attributes(agreement(predicted, truth));
            return Evaluation {
                accuracy: None,
                weighted_accuracy: None,
                f1_weighted: None,
                f1_macro: None,
                counts,
            };
        }
        let labels = label_counts(predicted, truth);
        let mean = |figure: fn(BinaryCounts) -> f64| {
            Some(labels.iter().map(|&label| figure(label)).sum::<f64>() / labels.len() as f64)
        };
        Evaluation {
            accuracy: mean(BinaryCounts::accuracy),
            weighted_accuracy: mean(BinaryCounts::weighted_accuracy),
            f1_weighted: mean(BinaryCounts::f1_weighted),
            f1_macro: mean(BinaryCounts::f1),
            counts: Counts::Labels(labels),
        }
    }

    /// The metric by which systems are compared: the accuracy for classes, the weighted accuracy for labels, the mean CCC
    /// for attributes.
    pub fn score(&self) -> Option<f64> {
        match &self.counts {
            Counts::Confusion(_) => self.accuracy,
            Counts::Labels(_) => self.weighted_accuracy,
            Counts::Attributes(all) => {
                Some(all.iter().map(|one| one.ccc).sum::<f64>() / all.len() as f64)
            }
        }
    }

    /// The score of the best constant prediction.
    pub fn chance(&self) -> f64 {
        match &self.counts {
            Counts::Confusion(confusion) => confusion.majority(),
            Counts::Labels(_) => 0.5,
            Counts::Attributes(_) => 0.0,
        }
    }
}
