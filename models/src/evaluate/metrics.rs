//! Metrics: accuracy, weighted accuracy, F1, confusion matrix, cross-modal retrieval, means over seeds.

use crate::targets::Targets;
use serde::{Deserialize, Serialize};

/// The fraction of correct predictions; NaN without predictions.
pub fn accuracy(predicted: &[usize], labels: &[usize]) -> f64 {
    let right = predicted.iter().zip(labels).filter(|(p, l)| p == l).count();
    right as f64 / labels.len() as f64
}

/// The main metric of predictions: the accuracy for classes, the mean weighted accuracy for labels, the mean CCC for
/// attributes.
pub fn score(predicted: &Targets, truth: &Targets) -> f64 {
    match (predicted, truth) {
        (Targets::Classes(predicted), Targets::Classes(truth)) => accuracy(predicted, truth),
        (Targets::Values { .. }, Targets::Values { .. }) => {
            let found = agreement(predicted, truth);
            found.iter().map(|attribute| attribute.ccc).sum::<f64>() / found.len() as f64
        }
        _ => {
            let counts = label_counts(predicted, truth);
            counts.iter().map(|label| label.weighted_accuracy()).sum::<f64>() / counts.len() as f64
        }
    }
}

/// The agreement of predicted numbers with the true ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Lin's concordance correlation coefficient: 2 cov / (var + var' + (mean - mean')² + 1e-8), with the variances of the
    /// population; 1 at best, 0 for a constant.
    pub ccc: f64,
    /// Mean squared error.
    pub mse: f64,
}

/// The agreement of each attribute over all samples; empty for classes and labels.
pub fn agreement(predicted: &Targets, truth: &Targets) -> Vec<Agreement> {
    let (Targets::Values { width, values: truth }, Targets::Values { values: predicted, .. }) =
        (truth, predicted)
    else {
        return Vec::new();
    };
    let of = |attribute: usize| {
        let column = |values: &[f32]| -> Vec<f64> {
            values.iter().skip(attribute).step_by(*width).map(|&v| f64::from(v)).collect()
        };
        let (x, y) = (column(predicted), column(truth));
        let count = y.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(&x), mean(&y));
        let moment = |a: &[f64], mean_a: f64, b: &[f64], mean_b: f64| {
            a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>() / count
        };
        let covariance = moment(&x, mean_x, &y, mean_y);
        let variances = moment(&x, mean_x, &x, mean_x) + moment(&y, mean_y, &y, mean_y);
        let ccc = 2.0 * covariance / (variances + (mean_x - mean_y).powi(2) + 1e-8);
        let mse = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / count;
        Agreement { ccc, mse }
    };
    (0..*width).map(of).collect()
}

/// The counts of each label; empty for classes.
pub fn label_counts(predicted: &Targets, truth: &Targets) -> Vec<BinaryCounts> {
    let (Targets::Marks { width, marks: truth }, Targets::Marks { marks: predicted, .. }) =
        (truth, predicted)
    else {
        return Vec::new();
    };
    let pairs = |label: usize| predicted.iter().copied().zip(truth.iter().copied()).skip(label);
    (0..*width).map(|label| BinaryCounts::of(pairs(label).step_by(*width))).collect()
}

/// The binary counts of one label, or of one class against the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryCounts {
    /// Predicted and true.
    pub true_positives: usize,
    /// Predicted and not true.
    pub false_positives: usize,
    /// True and not predicted.
    pub false_negatives: usize,
    /// Not predicted and not true.
    pub true_negatives: usize,
}

impl BinaryCounts {
    /// Counts pairs of prediction and truth.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = BinaryCounts::default();
        for pair in pairs {
            match pair {
                (true, true) => counts.true_positives += 1,
                (true, false) => counts.false_positives += 1,
                (false, true) => counts.false_negatives += 1,
                (false, false) => counts.true_negatives += 1,
            }
        }
        counts
    }

    /// Adds the counts of another fold.
    pub fn add(&mut self, other: BinaryCounts) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.true_negatives += other.true_negatives;
    }

    /// The fraction of correct predictions.
    pub fn accuracy(self) -> f64 {
        let right = self.true_positives + self.true_negatives;
        right as f64 / (right + self.false_positives + self.false_negatives) as f64
    }

    /// The number of samples for which the label is true.
    pub fn positives(self) -> usize {
        self.true_positives + self.false_negatives
    }

    fn swapped(self) -> Self {
        BinaryCounts {
            true_positives: self.true_negatives,
            false_positives: self.false_negatives,
            false_negatives: self.false_positives,
            true_negatives: self.true_positives,
        }
    }

    /// Weighted accuracy (Tong et al. 2017): (TP N/P + TN) / 2N, the mean of the true positive rate and the true
    /// negative rate; without positives or without negatives, the rate of the others.
    pub fn weighted_accuracy(self) -> f64 {
        let positives = self.true_positives + self.false_negatives;
        let negatives = self.true_negatives + self.false_positives;
        let of_positives = self.true_positives as f64 / positives as f64;
        let of_negatives = self.true_negatives as f64 / negatives as f64;
        match (positives, negatives) {
            (_, 0) => of_positives,
            (0, _) => of_negatives,
            _ => (of_positives + of_negatives) / 2.0,
        }
    }

    /// F1 score: 2 TP / (2 TP + FP + FN); 0 for 0/0, as in scikit-learn.
    pub fn f1(self) -> f64 {
        let denominator = 2 * self.true_positives + self.false_positives + self.false_negatives;
        if denominator == 0 { 0.0 } else { 2.0 * self.true_positives as f64 / denominator as f64 }
    }

    /// The mean of the F1 scores of the label and of its absence, weighted by frequency: scikit-learn's
    /// `average="weighted"` on one binary column, as in the paper's code.
    pub fn f1_weighted(self) -> f64 {
        let positives = (self.true_positives + self.false_negatives) as f64;
        let negatives = (self.true_negatives + self.false_positives) as f64;
        (positives * self.f1() + negatives * self.swapped().f1()) / (positives + negatives)
    }
}

/// The confusion matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// `[true class][predicted class]`.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Counts predictions over `classes` classes.
    pub fn new(predicted: &[usize], labels: &[usize], classes: usize) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (&p, &l) in predicted.iter().zip(labels) {
            counts[l][p] += 1;
        }
        Confusion { counts }
    }

    /// Adds the counts of another fold.
    pub fn add(&mut self, other: &Confusion) {
        let rows = self.counts.iter_mut().flatten().zip(other.counts.iter().flatten());
        rows.for_each(|(a, b)| *a += b);
    }

    /// The counts of one class against the rest.
    pub fn binary(&self, class: usize) -> BinaryCounts {
        let total: usize = self.counts.iter().flatten().sum();
        let true_positives = self.counts[class][class];
        let actual: usize = self.counts[class].iter().sum();
        let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
        BinaryCounts {
            true_positives,
            false_positives: predicted - true_positives,
            false_negatives: actual - true_positives,
            true_negatives: total + true_positives - actual - predicted,
        }
    }

    /// The unweighted mean of the F1 scores of the classes.
    pub fn f1_macro(&self) -> f64 {
        let classes = self.counts.len();
        (0..classes).map(|class| self.binary(class).f1()).sum::<f64>() / classes as f64
    }

    /// The mean of the F1 scores of the classes, weighted by their frequency.
    pub fn f1_weighted(&self) -> f64 {
        let total: usize = self.counts.iter().flatten().sum();
        let weighted = |(class, row): (usize, &Vec<usize>)| {
            row.iter().sum::<usize>() as f64 * self.binary(class).f1()
        };
        self.counts.iter().enumerate().map(weighted).sum::<f64>() / total as f64
    }

    /// The frequency of the most frequent true class: the accuracy of always predicting it.
    pub fn majority(&self) -> f64 {
        let total: usize = self.counts.iter().flatten().sum();
        let largest = self.counts.iter().map(|row| row.iter().sum::<usize>()).max().unwrap_or(0);
        largest as f64 / total as f64
    }
}

/// Cross-modal retrieval: recall of a query's partner among the nearest candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// R@1: fraction of queries whose partner is the nearest.
    pub at_1: f64,
    /// R@5: fraction of queries whose partner is among the 5 nearest.
    pub at_5: f64,
}

/// Retrieval by cosine similarity of each row of `queries` among all rows of `candidates`, both `[N, width]`. Row i of
/// one is the partner of row i of the other. A tie counts as not found.
pub fn retrieval(queries: &[f64], candidates: &[f64], width: usize) -> Retrieval {
    let unit = |row: &[f64]| {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        row.iter().map(|v| v / norm).collect::<Vec<_>>()
    };
    let candidates: Vec<Vec<f64>> = candidates.chunks(width).map(unit).collect();
    let count = candidates.len() as f64;
    let mut found = Retrieval::default();
    for (i, query) in queries.chunks(width).map(unit).enumerate() {
        let cosine = |row: &[f64]| row.iter().zip(&query).map(|(a, b)| a * b).sum::<f64>();
        let own = cosine(&candidates[i]);
        let nearer =
            candidates.iter().enumerate().filter(|(j, row)| *j != i && cosine(row) >= own).count();
        found.at_1 += if nearer < 1 { 1.0 / count } else { 0.0 };
        found.at_5 += if nearer < 5 { 1.0 / count } else { 0.0 };
    }
    found
}

/// Mean and standard deviation over repetitions (seeds, folds).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; 0 of one value.
    #[serde(alias = "deviation")]
    pub std: f64,
}

impl Summary {
    /// The mean and standard deviation of these values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let std = if values.len() < 2 { 0.0 } else { (square / (count - 1.0)).sqrt() };
        Summary { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_accuracy_and_f1() {
        // scikit-learn: f1_score(y, p) and f1_score(y, p, average="weighted") of these ten.
        let truth = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0].map(|v| v == 1);
        let predicted = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0].map(|v| v == 1);
        let counts = BinaryCounts::of(predicted.into_iter().zip(truth));
        assert!((counts.weighted_accuracy() - (2.0 / 3.0 + 6.0 / 7.0) / 2.0).abs() < 1e-12);
        assert!((counts.f1() - 2.0 / 3.0).abs() < 1e-12);
        assert!((counts.f1_weighted() - 0.8).abs() < 1e-12);
        let none = BinaryCounts::of([(false, false), (true, false)]);
        assert!((none.weighted_accuracy() - 0.5).abs() < 1e-12);
        assert_eq!(none.f1(), 0.0);
        // The same ten as the second of two labels; the first is always right.
        let marks = |second: [bool; 10]| Targets::Marks {
            width: 2,
            marks: truth.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect(),
        };
        let labels = label_counts(&marks(predicted), &marks(truth));
        assert_eq!((labels[0].false_positives, labels[1]), (0, counts));
        let mean = (1.0 + counts.weighted_accuracy()) / 2.0;
        assert!((score(&marks(predicted), &marks(truth)) - mean).abs() < 1e-12);
    }

    #[test]
    fn the_papers_surprise_entry() {
        // Prevalence 4.9 %, all positives found, .6 % of negatives: the weighted F1 of Table II's 2.8 to 3.3 %.
        let counts = BinaryCounts {
            true_positives: 49,
            false_positives: 945,
            false_negatives: 0,
            true_negatives: 6,
        };
        assert!((counts.f1_weighted() - 0.0165).abs() < 0.001, "{}", counts.f1_weighted());
    }

    #[test]
    fn confusion() {
        let mut confusion = Confusion::new(&[0, 1, 1, 2], &[0, 1, 2, 2], 3);
        assert_eq!(confusion.counts, [[1, 0, 0], [0, 1, 0], [0, 1, 1]]);
        assert!((confusion.f1_macro() - (1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!(
            (confusion.f1_weighted() - (1.0 + 2.0 / 3.0 + 2.0 * 2.0 / 3.0) / 4.0).abs() < 1e-12
        );
        assert_eq!(confusion.majority(), 0.5);
        confusion.add(&confusion.clone());
        assert_eq!(confusion.counts[2], [0, 2, 2]);
        assert_eq!(accuracy(&[0, 1, 1, 2], &[0, 1, 2, 2]), 0.75);
    }

    #[test]
    fn attributes_agree_as_lin_says() {
        let values = |values: &[f32]| Targets::Values { width: 2, values: values.to_vec() };
        let truth = values(&[1.0, 1.0, 2.0, 5.0, 3.0, 3.0]);
        // The first column is 1 too large, the second constant.
        let predicted = values(&[2.0, 3.0, 3.0, 3.0, 4.0, 3.0]);
        let found = agreement(&predicted, &truth);
        // cov 2/3, variances 2/3 each, means 1 apart: 4/3 / (4/3 + 1).
        assert!((found[0].ccc - 4.0 / 7.0).abs() < 1e-8 && (found[0].mse - 1.0).abs() < 1e-12);
        assert!(found[1].ccc.abs() < 1e-12 && (found[1].mse - 8.0 / 3.0).abs() < 1e-12);
        assert!((score(&predicted, &truth) - 2.0 / 7.0).abs() < 1e-8);
        assert!((score(&truth, &truth) - 1.0).abs() < 1e-7);
    }

    #[test]
    fn retrieval_finds_partners() {
        let queries = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let found = retrieval(&queries, &queries.map(|v| 3.0 * v), 2);
        assert!((found.at_1 - 1.0).abs() < 1e-12 && (found.at_5 - 1.0).abs() < 1e-12);
        // All rows are equal: ties count as not found.
        assert_eq!(retrieval(&[1.0; 12], &[1.0; 12], 2).at_1, 0.0);
    }

    #[test]
    fn summaries() {
        assert_eq!(Summary::of(&[0.5]), Summary { mean: 0.5, std: 0.0 });
        let summary = Summary::of(&[1.0, 3.0]);
        assert!((summary.mean - 2.0).abs() < 1e-12 && (summary.std - 2f64.sqrt()).abs() < 1e-12);
    }
}
