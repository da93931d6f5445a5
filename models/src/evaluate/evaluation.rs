//! What predictions came to on held-out samples.

use super::metrics::{BinaryCounts, Confusion, accuracy, label_counts};
use crate::targets::Targets;
use serde::{Deserialize, Serialize};

/// Figures of predictions against the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of samples whose class was predicted; of labels that may apply together, share of right answers.
    pub accuracy: f64,
    /// Mean over classes or labels of the weighted accuracy of Tong et al.
    pub weighted_accuracy: f64,
    /// F1 over classes, weighted by how frequent they are; of labels, the mean over them of the F1 of yes and no
    /// weighted by how frequent these are.
    pub f1_weighted: f64,
    /// Mean over classes or labels of the F1 of each against the rest.
    pub f1_macro: f64,
    /// The counts that the figures are computed from.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How often predictions were right and wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// How often each class was taken for each.
    Confusion(Confusion),
    /// Of labels that may apply together, each for itself.
    Labels(Vec<BinaryCounts>),
}

impl Evaluation {
    /// The figures of predictions for samples with these targets, of so many classes or labels.
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

    /// The one number that systems are compared by: the accuracy of classes, the weighted accuracy of labels.
    pub fn score(&self) -> f64 {
        match self.counts {
            Counts::Confusion(_) => self.accuracy,
            Counts::Labels(_) => self.weighted_accuracy,
        }
    }

    /// The score of the best single answer given for every sample.
    pub fn chance(&self) -> f64 {
        match &self.counts {
            Counts::Confusion(confusion) => confusion.majority(),
            Counts::Labels(_) => 0.5,
        }
    }
}
