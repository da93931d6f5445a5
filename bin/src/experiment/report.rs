//! The report of an experiment: means and standard deviations over seeds, by arm, as a table and as JSON.

use super::missing_report::{MissingFigure, missing_tables};
use super::trial::ArmResult;
use crate::config::{Arm, Resolved, Stamp};
use crate::output;
use crate::progress::seconds;
use indexmap::IndexMap;
use models::evaluate::metrics::{Agreement, BinaryCounts, Confusion, Summary};
use models::evaluate::{Counts, Evaluation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Figures on held-out samples: the mean over the folds of each seed, then mean and standard deviation over seeds. A
/// figure that was not measured is `null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The metric of `score`: `accuracy`, `weighted_accuracy` for samples with several labels, or `ccc` for attributes.
    pub figure: String,
    /// The score of the best constant prediction.
    pub chance: Option<Summary>,
    /// The arm that the others are compared with in the table.
    #[serde(default)]
    pub baseline: Option<String>,
    /// By the arm's name, in the order of the table.
    pub arms: IndexMap<String, ArmReport>,
    /// Duration of the run in seconds, over all processes; of an evaluation, its own.
    #[serde(default)]
    pub seconds: f64,
    /// The run folder.
    #[serde(default, serialize_with = "crate::output::path")]
    pub run: PathBuf,
    /// The protocol of the run.
    pub protocol: Stamp,
}

/// The results of one arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArmReport {
    /// Its name in tables.
    pub title: String,
    /// The system that it trains; absent if it uses features of another arm.
    pub system: Option<String>,
    /// The metric by which arms are compared: see [`Report::figure`].
    pub score: Option<Summary>,
    /// Weighted accuracy (Tong et al.), mean over classes.
    pub weighted_accuracy: Option<Summary>,
    /// F1 of classes, weighted by their frequency; for several labels, of positives and negatives, mean over labels.
    pub f1_weighted: Option<Summary>,
    /// F1, mean over classes; absent for several labels.
    pub f1_macro: Option<Summary>,
    /// F1 of positives, mean over labels; absent for classes.
    pub f1_binary: Option<Summary>,
    /// The sum of confusion matrices over all seeds and folds; rows are true classes.
    pub confusion: Option<Confusion>,
    /// The figures of each label; empty for classes.
    pub emotions: Vec<Emotion>,
    /// The figures of each attribute; empty for classes and labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// The scores when samples lack a modality.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingFigure>,
    /// Cross-modal retrieval.
    pub retrieval: Option<RetrievalReport>,
    /// Mean loss of the first epoch of training.
    pub loss_first: Option<f64>,
    /// Mean loss of the last epoch.
    pub loss_last: Option<f64>,
    /// Duration of training and evaluation in seconds, summed over trials; see `ArmResult::seconds`.
    pub seconds: f64,
}

/// Cross-modal retrieval over all seeds and folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// R@1: share of samples whose counterpart in another modality is the nearest candidate.
    pub at_1: f64,
    /// R@5: share of samples whose counterpart is among the five nearest.
    pub at_5: f64,
    /// R@1 of random guessing.
    pub chance: f64,
}

/// Figures of one label, for samples with several labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emotion {
    /// Its name.
    pub name: String,
    /// Test samples that have it, over all seeds and folds.
    pub positives: usize,
    /// Weighted accuracy (Tong et al.).
    pub weighted_accuracy: Summary,
    /// F1 of positives and of negatives, weighted by their frequency.
    pub f1_weighted: Summary,
    /// F1 of positives.
    pub f1_binary: Summary,
}

/// Figures of one attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Concordance correlation coefficient.
    pub ccc: Summary,
    /// Mean squared error.
    pub mse: Summary,
}

impl Attribute {
    /// The figures of the attribute with this number; `None` if the results are of classes or labels.
    fn new(results: &[&ArmResult], number: usize, name: &str) -> Option<Self> {
        let over = |figure: fn(Agreement) -> f64| {
            over_seeds(results, &|result| match &result.evaluation.as_ref()?.counts {
                Counts::Attributes(all) => all.get(number).copied().map(figure),
                _ => None,
            })
        };
        let (ccc, mse) = (over(|found| found.ccc)?, over(|found| found.mse)?);
        Some(Attribute { name: name.to_owned(), ccc, mse })
    }
}

impl Emotion {
    /// The figures of the label with this number; `None` if the results are of classes.
    fn new(results: &[&ArmResult], number: usize, name: &str) -> Option<Self> {
        let counts = |result: &ArmResult| match &result.evaluation.as_ref()?.counts {
            Counts::Labels(labels) => labels.get(number).copied(),
            _ => None,
        };
        let over =
            |figure: fn(BinaryCounts) -> f64| over_seeds(results, &|r| counts(r).map(figure));
        let positives = results.iter().filter_map(|result| counts(result));
        Some(Emotion {
            name: name.to_owned(),
            positives: positives.map(BinaryCounts::positives).sum(),
            weighted_accuracy: over(BinaryCounts::weighted_accuracy)?,
            f1_weighted: over(BinaryCounts::f1_weighted)?,
            f1_binary: over(BinaryCounts::f1)?,
        })
    }
}

impl ArmReport {
    /// The report of an arm's results; `classes` are the names of classes, labels or attributes.
    fn new(arm: &Arm, results: &[&ArmResult], classes: &[String]) -> Self {
        let of = |figure: &dyn Fn(&Evaluation) -> Option<f64>| {
            over_seeds(results, &|result| result.evaluation.as_ref().and_then(figure))
        };
        let mean = |figure: &dyn Fn(&ArmResult) -> Option<f64>| {
            let figures: Vec<f64> = results.iter().filter_map(|result| figure(result)).collect();
            (!figures.is_empty()).then(|| Summary::of(&figures).mean)
        };
        let mut confusion: Option<Confusion> = None;
        for evaluation in results.iter().filter_map(|result| result.evaluation.as_ref()) {
            if let Counts::Confusion(more) = &evaluation.counts {
                match &mut confusion {
                    Some(sum) => sum.add(more),
                    None => confusion = Some(more.clone()),
                }
            }
        }
        let emotions = classes.iter().enumerate();
        let emotions: Vec<Emotion> =
            emotions.filter_map(|(number, name)| Emotion::new(results, number, name)).collect();
        let attributes = classes.iter().enumerate();
        let attributes = attributes.filter_map(|(n, name)| Attribute::new(results, n, name));
        let f1 = of(&|evaluation| evaluation.f1_macro);
        let (f1_macro, f1_binary) = if emotions.is_empty() { (f1, None) } else { (None, f1) };
        let retrieval = || {
            Some(RetrievalReport {
                at_1: mean(&|result| result.retrieval.map(|r| r.at_1))?,
                at_5: mean(&|result| result.retrieval.map(|r| r.at_5))?,
                chance: mean(&|result| result.retrieval_chance)?,
            })
        };
        ArmReport {
            title: arm.title.clone(),
            system: arm.system().map(|settings| settings.name().to_owned()),
            score: of(&Evaluation::score),
            weighted_accuracy: of(&|evaluation| evaluation.weighted_accuracy),
            f1_weighted: of(&|evaluation| evaluation.f1_weighted),
            f1_macro,
            f1_binary,
            confusion,
            emotions,
            attributes: attributes.collect(),
            missing: MissingFigure::of(
                results.iter().flat_map(|result| &result.missing),
                |score| {
                    over_seeds(results, &|result| {
                        Some(result.missing.iter().find(|other| other.matches(score))?.score)
                    })
                },
            ),
            retrieval: retrieval(),
            loss_first: mean(&|result| result.loss_first),
            loss_last: mean(&|result| result.loss_last),
            seconds: results.iter().map(|result| result.seconds).sum(),
        }
    }
}

impl Report {
    /// The report of the arms' results; `classes` are the names of classes, labels or attributes.
    pub fn new(
        resolved: &Resolved,
        arms: &[Arm],
        results: &[ArmResult],
        classes: &[String],
        protocol: Stamp,
        run: &Path,
        seconds: f64,
    ) -> Self {
        let mut by_name = IndexMap::new();
        for arm in arms {
            let own: Vec<&ArmResult> =
                results.iter().filter(|result| result.arm == arm.name).collect();
            if !own.is_empty() {
                by_name.insert(arm.name.clone(), ArmReport::new(arm, &own, classes));
            }
        }
        // Chance depends only on the test part, so any evaluated arm gives it.
        let judged = |result: &&ArmResult| result.evaluation.is_some();
        let first = results.iter().find(judged).map(|result| &result.arm);
        let of_first: Vec<&ArmResult> =
            results.iter().filter(|result| Some(&result.arm) == first).collect();
        let chance = over_seeds(&of_first, &|r| r.evaluation.as_ref().map(Evaluation::chance));
        let some = |has: fn(&ArmReport) -> bool| by_name.values().any(has);
        let figure = match () {
            () if some(|arm| !arm.emotions.is_empty()) => "weighted_accuracy",
            () if some(|arm| !arm.attributes.is_empty()) => "ccc",
            () => "accuracy",
        };
        Report {
            figure: figure.into(),
            chance,
            baseline: resolved.config.baseline.clone(),
            arms: by_name,
            seconds,
            run: run.into(),
            protocol,
        }
    }
}

/// Mean over the folds of each seed that have the figure, then mean and standard deviation over seeds.
fn over_seeds(
    results: &[&ArmResult],
    figure: &dyn Fn(&ArmResult) -> Option<f64>,
) -> Option<Summary> {
    let seeds: BTreeSet<u64> = results.iter().map(|result| result.seed).collect();
    let of_seed = |seed: u64| {
        let own = results.iter().filter(|result| result.seed == seed);
        let figures: Vec<f64> = own.filter_map(|result| figure(result)).collect();
        (!figures.is_empty()).then(|| Summary::of(&figures).mean)
    };
    let figures: Vec<f64> = seeds.into_iter().filter_map(of_seed).collect();
    (!figures.is_empty()).then(|| Summary::of(&figures))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.baseline.as_ref().and_then(|name| self.arms.get(name));
        let base_mean = base.and_then(|arm| arm.score).map(|score| score.mean);
        let mut rows = Vec::new();
        let mut row = |name: &str, score: Option<Summary>| {
            let Some(Summary { mean, std }) = score else { return };
            let gain =
                base_mean.map_or(String::new(), |base| format!("{:+.1}", 100.0 * (mean - base)));
            rows.push(vec![name.to_owned(), format!("{mean:.3}"), format!("{std:.3}"), gain]);
        };
        let (title, chance) = match self.figure.as_str() {
            "accuracy" => ("accuracy, held out", "chance (most frequent class)"),
            "ccc" => ("CCC, held out", "chance (constant)"),
            _ => ("weighted accuracy, held out", "chance (any one answer)"),
        };
        row(chance, self.chance);
        for arm in self.arms.values() {
            row(&arm.title, arm.score);
        }
        let mut header = vec![title.to_owned(), "mean".into(), "std".into()];
        match base {
            Some(base) => header.push(format!("vs {}", base.title)),
            None => rows.iter_mut().for_each(|row| row.truncate(3)),
        }
        if !rows.is_empty() {
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            writeln!(f, "{}\n", output::table(&header, &rows))?;
        }
        for arm in self.arms.values().filter(|arm| !arm.emotions.is_empty()) {
            if arm.system.is_some() && arm.loss_last.is_some() {
                writeln!(f, "{}\n", arm.table_of_emotions())?;
            }
        }
        let described: Vec<&ArmReport> =
            self.arms.values().filter(|arm| !arm.attributes.is_empty()).collect();
        if let Some(first) = described.first() {
            let names =
                first.attributes.iter().flat_map(|a| [format!("{} CCC", a.name), "MSE".into()]);
            let header: Vec<String> = std::iter::once("attributes".into()).chain(names).collect();
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            let cells = |arm: &&ArmReport| {
                let figures = arm.attributes.iter().flat_map(|a| [a.ccc.mean, a.mse.mean]);
                let figures = figures.map(|figure| format!("{figure:.3}"));
                std::iter::once(arm.title.clone()).chain(figures).collect()
            };
            let rows: Vec<Vec<String>> = described.iter().map(cells).collect();
            writeln!(f, "{}\n", output::table(&header, &rows))?;
        }
        let missing = self.arms.values().map(|arm| (arm.title.as_str(), arm.missing.as_slice()));
        let figure = self.figure.replace('_', " ");
        for (title, mut header, rows) in missing_tables(&figure, missing) {
            header[0] = title;
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            writeln!(f, "{}\n", output::table(&header, &rows))?;
        }
        for arm in self.arms.values() {
            let (Some(first), Some(last)) = (arm.loss_first, arm.loss_last) else { continue };
            write!(f, "{}: loss {first:.3} in the first epoch, {last:.3} in the last", arm.title)?;
            if let Some(RetrievalReport { at_1, at_5, chance }) = arm.retrieval {
                write!(
                    f,
                    "; retrieval across modalities R@1 {at_1:.3}, R@5 {at_5:.3} (chance at 1: {chance:.3})"
                )?;
            }
            writeln!(f)?;
        }
        writeln!(f, "protocol: {}", self.protocol)?;
        write!(f, "{} in {}", seconds(self.seconds), self.run.display())
    }
}

impl ArmReport {
    /// The figures of each label and of all, as a table.
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
        let header = ["positives", "weighted accuracy", "F1 weighted", "F1 binary"];
        let header: Vec<&str> = [self.title.as_str()].into_iter().chain(header).collect();
        output::table(&header, &rows)
    }
}
