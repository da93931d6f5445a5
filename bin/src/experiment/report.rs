//! The outcome of an experiment: means and deviations over seeds, as a table and as JSON.

use super::UnitResult;
use crate::config::Stamp;
use crate::output;
use crate::progress::seconds;
use models::metrics::{Confusion, Summary};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Figures over all seeds and folds. Accuracies are of held-out samples: of each seed the mean over its folds, and
/// of these mean and deviation over the seeds. What was not run is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The most frequent class.
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
    /// F1 of MPUC over classes, weighted by how frequent they are.
    pub f1_weighted: Option<Summary>,
    /// F1 of MPUC, mean over classes.
    pub f1_macro: Option<Summary>,
    /// MPUC's confusion matrix over all seeds and folds; rows are true classes.
    pub confusion: Option<Confusion>,
    /// Share of samples whose partner in another modality is the nearest of the candidates.
    pub retrieval_at_1: f64,
    /// The same among the five nearest.
    pub retrieval_at_5: f64,
    /// What chance would score at 1.
    pub retrieval_chance: f64,
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

impl Report {
    /// Of the units' results.
    pub fn new(units: &[UnitResult], protocol: Stamp, run: &Path, seconds: f64) -> Self {
        let over = |figure: &dyn Fn(&UnitResult) -> Option<f64>| over_seeds(units, figure);
        let mean = |figure: fn(&UnitResult) -> f64| {
            Summary::of(&units.iter().map(figure).collect::<Vec<_>>()).mean
        };
        let names: BTreeSet<&String> = units.iter().flat_map(|unit| unit.single.keys()).collect();
        let single =
            |name: &String| over(&|unit| unit.single.get(name).copied()).map(|s| (name.clone(), s));
        let mut confusions =
            units.iter().filter_map(|unit| unit.mpuc.as_ref()).map(|m| m.confusion.clone());
        let first = confusions.next();
        let confusion = first.map(|first| {
            confusions.fold(first, |mut sum, next| {
                sum.add(&next);
                sum
            })
        });
        Report {
            chance: over(&|unit| unit.chance),
            untrained: over(&|unit| unit.untrained),
            single: names.into_iter().filter_map(single).collect(),
            late_fusion_supervised: over(&|unit| unit.late_fusion_supervised),
            mpuc: over(&|unit| unit.mpuc.as_ref().map(|m| m.accuracy)),
            mpuc_shuffled_pairs: over(&|unit| unit.mpuc_shuffled_pairs),
            permuted_labels: over(&|unit| unit.permuted_labels),
            oracle: over(&|unit| unit.oracle),
            weighted_accuracy: over(&|unit| unit.mpuc.as_ref().map(|m| m.weighted_accuracy)),
            f1_weighted: over(&|unit| unit.mpuc.as_ref().map(|m| m.f1_weighted)),
            f1_macro: over(&|unit| unit.mpuc.as_ref().map(|m| m.f1_macro)),
            confusion,
            retrieval_at_1: mean(|unit| unit.retrieval.at_1),
            retrieval_at_5: mean(|unit| unit.retrieval.at_5),
            retrieval_chance: mean(|unit| unit.retrieval_chance),
            loss_first: mean(|unit| unit.loss_first),
            loss_last: mean(|unit| unit.loss_last),
            seconds,
            run: run.into(),
            protocol,
        }
    }
}

/// Mean over the folds of each seed; of these mean and deviation.
fn over_seeds(
    units: &[UnitResult],
    figure: &dyn Fn(&UnitResult) -> Option<f64>,
) -> Option<Summary> {
    let seeds: BTreeSet<u64> = units.iter().map(|unit| unit.seed).collect();
    let of_seed = |seed: u64| {
        let figures: Option<Vec<f64>> =
            units.iter().filter(|unit| unit.seed == seed).map(figure).collect();
        figures.map(|figures| Summary::of(&figures).mean)
    };
    let figures: Option<Vec<f64>> = seeds.into_iter().map(of_seed).collect();
    figures.filter(|figures| !figures.is_empty()).map(|figures| Summary::of(&figures))
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
        row("chance (most frequent class)", self.chance);
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
                output::table(&["accuracy, held out", "mean", "deviation", "vs untrained"], &rows)
            )?;
        }
        writeln!(
            f,
            "retrieval across modalities: R@1 {:.3}, R@5 {:.3} (chance at 1: {:.3})",
            self.retrieval_at_1, self.retrieval_at_5, self.retrieval_chance
        )?;
        writeln!(
            f,
            "contrastive loss: {:.3} in the first epoch, {:.3} in the last",
            self.loss_first, self.loss_last
        )?;
        writeln!(f, "protocol: {}", self.protocol)?;
        write!(f, "{} in {}", seconds(self.seconds), self.run.display())
    }
}
