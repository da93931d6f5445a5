//! The outcome of an experiment: means and deviations over seeds, as a table and as JSON.

use super::UnitResult;
use super::judge::{Counts, Judgement};
use crate::config::Stamp;
use crate::output;
use crate::progress::seconds;
use models::metrics::{BinaryCounts, Confusion, Summary};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Figures over all seeds and folds, of held-out samples: of each seed the mean over its folds, and of these mean and
/// deviation over the seeds. What was not run is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the single figures of systems and controls are: `accuracy` of classes, or `weighted_accuracy` of labels
    /// that may apply together.
    pub figure: &'static str,
    /// The most frequent class; one half where any one answer scores that.
    pub chance: Option<Summary>,
    /// Frozen features of networks as they start.
    pub untrained: Option<Summary>,
    /// Frozen MPUC features of one modality.
    pub single: BTreeMap<String, Summary>,
    /// The same networks trained with labels.
    pub late_fusion_supervised: Option<Summary>,
    /// Frozen MPUC features of all modalities.
    pub mpuc: Option<Summary>,
    /// The same, trained with partners drawn from other samples.
    pub mpuc_shuffled_pairs: Option<Summary>,
    /// The same features under permuted labels.
    pub permuted_labels: Option<Summary>,
    /// The true factors.
    pub oracle: Option<Summary>,
    /// Weighted accuracy of MPUC (Tong et al.), mean over classes.
    pub weighted_accuracy: Option<Summary>,
    /// F1 of MPUC over classes, weighted by how frequent they are; of labels, that of yes and no, mean over labels.
    pub f1_weighted: Option<Summary>,
    /// F1 of MPUC, mean over classes.
    pub f1_macro: Option<Summary>,
    /// F1 of MPUC, mean over labels.
    pub f1_binary: Option<Summary>,
    /// MPUC's confusion matrix over all seeds and folds; rows are true classes.
    pub confusion: Option<Confusion>,
    /// MPUC on each of the labels that may apply together.
    pub emotions: Vec<Emotion>,
    /// Share of samples whose partner in another modality is the nearest of the candidates.
    pub retrieval_at_1: Option<f64>,
    /// The same among the five nearest.
    pub retrieval_at_5: Option<f64>,
    /// What chance would score at 1.
    pub retrieval_chance: Option<f64>,
    /// Mean contrastive loss of the first epoch.
    pub loss_first: f64,
    /// The same of the last.
    pub loss_last: f64,
    /// Time of this sitting.
    pub seconds: f64,
    /// The run folder.
    pub run: PathBuf,
    /// What must stand beside every figure.
    pub protocol: Stamp,
}

/// MPUC on one of the labels that may apply together.
#[derive(Debug, Clone, Serialize)]
pub struct Emotion {
    /// Its name.
    pub name: String,
    /// Test samples that have it, over all seeds and folds.
    pub positives: usize,
    /// Weighted accuracy (Tong et al.).
    pub weighted_accuracy: Summary,
    /// F1 of yes and of no, weighted by how often each is true.
    pub f1_weighted: Summary,
    /// F1 of yes.
    pub f1_binary: Summary,
}

impl Emotion {
    /// The label of this number; `None` where units have no labels that may apply together.
    fn new(units: &[UnitResult], number: usize, name: &str) -> Option<Self> {
        let counts = |unit: &UnitResult| match &unit.mpuc.as_ref()?.counts {
            Counts::Labels(labels) => labels.get(number).copied(),
            Counts::Confusion(_) => None,
        };
        let over = |figure: fn(BinaryCounts) -> f64| over_seeds(units, &|u| counts(u).map(figure));
        Some(Emotion {
            name: name.to_owned(),
            positives: units.iter().filter_map(counts).map(BinaryCounts::positives).sum(),
            weighted_accuracy: over(BinaryCounts::weighted_accuracy)?,
            f1_weighted: over(BinaryCounts::f1_weighted)?,
            f1_binary: over(BinaryCounts::f1)?,
        })
    }
}

impl Report {
    /// Of the units' results, with the names of classes or labels.
    pub fn new(
        units: &[UnitResult],
        classes: &[String],
        protocol: Stamp,
        run: &Path,
        seconds: f64,
    ) -> Self {
        let over = |figure: &dyn Fn(&UnitResult) -> Option<f64>| over_seeds(units, figure);
        let mean = |figure: fn(&UnitResult) -> f64| {
            Summary::of(&units.iter().map(figure).collect::<Vec<_>>()).mean
        };
        let some_mean = |figure: fn(&UnitResult) -> Option<f64>| {
            let figures: Vec<f64> = units.iter().filter_map(figure).collect();
            (!figures.is_empty()).then(|| Summary::of(&figures).mean)
        };
        let names: BTreeSet<&String> = units.iter().flat_map(|unit| unit.single.keys()).collect();
        let single =
            |name: &String| over(&|unit| unit.single.get(name).copied()).map(|s| (name.clone(), s));
        let confusion = |judgement: &Judgement| match &judgement.counts {
            Counts::Confusion(confusion) => Some(confusion.clone()),
            Counts::Labels(_) => None,
        };
        let mut confusions =
            units.iter().filter_map(|unit| unit.mpuc.as_ref()).filter_map(confusion);
        let first = confusions.next();
        let confusion = first.map(|first| {
            confusions.fold(first, |mut sum, next| {
                sum.add(&next);
                sum
            })
        });
        let emotions = classes.iter().enumerate();
        let emotions: Vec<Emotion> =
            emotions.filter_map(|(number, name)| Emotion::new(units, number, name)).collect();
        let f1 = over(&|unit| unit.mpuc.as_ref().map(|m| m.f1_macro));
        let (f1_macro, f1_binary) = if emotions.is_empty() { (f1, None) } else { (None, f1) };
        Report {
            figure: if emotions.is_empty() { "accuracy" } else { "weighted_accuracy" },
            chance: over(&|unit| unit.chance),
            untrained: over(&|unit| unit.untrained),
            single: names.into_iter().filter_map(single).collect(),
            late_fusion_supervised: over(&|unit| unit.late_fusion_supervised),
            mpuc: over(&|unit| unit.mpuc.as_ref().map(Judgement::score)),
            mpuc_shuffled_pairs: over(&|unit| unit.mpuc_shuffled_pairs),
            permuted_labels: over(&|unit| unit.permuted_labels),
            oracle: over(&|unit| unit.oracle),
            weighted_accuracy: over(&|unit| unit.mpuc.as_ref().map(|m| m.weighted_accuracy)),
            f1_weighted: over(&|unit| unit.mpuc.as_ref().map(|m| m.f1_weighted)),
            f1_macro,
            f1_binary,
            confusion,
            emotions,
            retrieval_at_1: some_mean(|unit| unit.retrieval.map(|r| r.at_1)),
            retrieval_at_5: some_mean(|unit| unit.retrieval.map(|r| r.at_5)),
            retrieval_chance: some_mean(|unit| unit.retrieval_chance),
            loss_first: mean(|unit| unit.loss_first),
            loss_last: mean(|unit| unit.loss_last),
            seconds,
            run: run.into(),
            protocol,
        }
    }
}

/// Mean over the folds of each seed that have the figure; of these mean and deviation.
fn over_seeds(
    units: &[UnitResult],
    figure: &dyn Fn(&UnitResult) -> Option<f64>,
) -> Option<Summary> {
    let seeds: BTreeSet<u64> = units.iter().map(|unit| unit.seed).collect();
    let of_seed = |seed: u64| {
        let figures: Vec<f64> =
            units.iter().filter(|unit| unit.seed == seed).filter_map(figure).collect();
        (!figures.is_empty()).then(|| Summary::of(&figures).mean)
    };
    let figures: Vec<f64> = seeds.into_iter().filter_map(of_seed).collect();
    (!figures.is_empty()).then(|| Summary::of(&figures))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        let base = self.untrained.map(|untrained| untrained.mean);
        let mut row = |name: &str, summary: Option<Summary>| {
            let Some(Summary { mean, deviation }) = summary else { return };
            let gain = base.map_or(String::new(), |base| format!("{:+.1}", 100.0 * (mean - base)));
            rows.push(vec![name.to_owned(), format!("{mean:.3}"), format!("{deviation:.3}"), gain]);
        };
        let (title, chance) = match self.figure {
            "accuracy" => ("accuracy, held out", "chance (most frequent class)"),
            _ => ("weighted accuracy, held out", "chance (any one answer)"),
        };
        row(chance, self.chance);
        row("permuted labels", self.permuted_labels);
        row("untrained networks", self.untrained);
        row("MPUC, shuffled pairs", self.mpuc_shuffled_pairs);
        for (name, summary) in &self.single {
            row(&format!("MPUC, {name} alone"), Some(*summary));
        }
        row("MPUC", self.mpuc);
        row("late fusion, supervised", self.late_fusion_supervised);
        row("true factors", self.oracle);
        if !rows.is_empty() {
            writeln!(
                f,
                "{}\n",
                output::table(&[title, "mean", "deviation", "vs untrained"], &rows)
            )?;
        }
        if !self.emotions.is_empty() {
            writeln!(f, "{}\n", self.table_of_emotions())?;
        }
        match (self.retrieval_at_1, self.retrieval_at_5, self.retrieval_chance) {
            (Some(first), Some(fifth), Some(chance)) => writeln!(
                f,
                "retrieval across modalities: R@1 {first:.3}, R@5 {fifth:.3} (chance at 1: {chance:.3})"
            )?,
            _ => writeln!(
                f,
                "retrieval across modalities: no two held-out samples have every modality"
            )?,
        }
        writeln!(
            f,
            "contrastive loss: {:.3} in the first epoch, {:.3} in the last",
            self.loss_first, self.loss_last
        )?;
        writeln!(f, "protocol: {}", self.protocol)?;
        write!(f, "{} in {}", seconds(self.seconds), self.run.display())
    }
}

impl Report {
    /// MPUC on each label and on all, as a table.
    fn table_of_emotions(&self) -> String {
        let cells = |name: &str, positives: String, figures: [Option<Summary>; 3]| {
            let figures = figures.map(|s| s.map_or("-".into(), |s| format!("{:.3}", s.mean)));
            [vec![name.to_owned(), positives], figures.to_vec()].concat()
        };
        let mut rows: Vec<Vec<String>> = self
            .emotions
            .iter()
            .map(|e| {
                let figures = [e.weighted_accuracy, e.f1_weighted, e.f1_binary].map(Some);
                cells(&e.name, e.positives.to_string(), figures)
            })
            .collect();
        let all = [self.weighted_accuracy, self.f1_weighted, self.f1_binary];
        rows.push(cells("mean", String::new(), all));
        output::table(
            &["MPUC", "positives", "weighted accuracy", "F1 weighted", "F1 binary"],
            &rows,
        )
    }
}
