//! The report of a study: figures of each arm over units and seeds, and paired comparisons.

use super::arm::{By, LabelsRead, StudyArm, labels_read, of_the_paper};
use super::results::CellResult;
use super::statistics::{Paired, holm};
use crate::config::{Stamp, Study, ValidationPart};
use crate::failure::Result;
use indexmap::IndexMap;
use models::evaluate::metrics::Summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The report of a study.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StudyReport {
    /// The study's name.
    pub study: String,
    /// Its title.
    pub title: String,
    /// The metric of every score; see [`Report::figure`](crate::experiment::Report::figure).
    pub figure: String,
    /// What figures are paired by.
    pub pairing: PairedBy,
    /// The labels of the units: values of the units' setting, or numbers of folds or seeds.
    pub units: Vec<String>,
    /// The seeds of training.
    pub seeds: Vec<u64>,
    /// The setting that changes over the conditions, for a plot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
    /// The figures under each condition.
    pub conditions: Vec<ConditionReport>,
    /// Finished cells, and all.
    pub cells: [usize; 2],
    /// Seconds of all cells, summed.
    pub seconds: f64,
    /// The commits of the program that made the cells.
    pub commits: BTreeSet<String>,
    /// The protocol of the first cell.
    pub protocol: Stamp,
}

/// What figures are paired by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairedBy {
    /// Independent data sets: the values of this setting.
    Units(String),
    /// Folds of one corpus. Their training parts overlap, so the variance of a mean difference has this share more.
    Folds(f64),
    /// Seeds of training on one fold: they show the noise of training alone.
    Seeds,
}

/// The figures under one condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConditionReport {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The value of the study's setting `plot` under this condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// The score of the best constant prediction, mean over units.
    pub chance: Option<f64>,
    /// The arm that the others are compared with.
    pub baseline: Option<String>,
    /// By the arm's name, in the order of the configuration.
    pub arms: IndexMap<String, StudyArm>,
    /// The differences of all pairs of arms, first minus second; p values are corrected over all of them.
    pub pairs: Vec<Pair>,
}

/// The difference of two arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The first arm.
    pub first: String,
    /// The second arm.
    pub second: String,
    /// The first minus the second.
    #[serde(flatten)]
    pub paired: Paired,
}

impl StudyReport {
    /// The report of these results; there must be one at least.
    ///
    /// # Errors
    /// When a configuration cannot be hashed.
    pub fn new(study: &Study, results: &[CellResult<'_>]) -> Result<Option<Self>> {
        let Some(first) = results.first() else { return Ok(None) };
        let config = &first.cell.resolved.config;
        let seeds: BTreeSet<u64> = study.cells.iter().map(|cell| cell.seed).collect();
        let folds = config.data.run_folds;
        let (pairing, units) = match &study.units {
            Some(units) => {
                let labels = (0..units.values.len()).map(|unit| units.label(unit));
                (PairedBy::Units(units.key.clone()), labels.collect::<Vec<_>>())
            }
            None if folds > 1 => {
                let held_out = match config.data.validation {
                    ValidationPart::None => 1.0,
                    ValidationPart::NextFold => 2.0,
                };
                let share = 1.0 / (config.data.folds as f64 - held_out);
                (PairedBy::Folds(share), (1..=folds).map(|fold| fold.to_string()).collect())
            }
            None => (PairedBy::Seeds, seeds.iter().map(u64::to_string).collect()),
        };
        let by = By { pairing: &pairing, seeds: seeds.iter().copied().collect(), folds };
        let mut conditions = Vec::new();
        for (number, condition) in study.conditions.iter().enumerate() {
            let own: Vec<&CellResult<'_>> =
                results.iter().filter(|result| result.cell.condition == number).collect();
            if let Some(report) = ConditionReport::new(&own, &by, units.len())? {
                let (name, title) = (condition.name.clone(), condition.title().to_owned());
                let cell = own.first().map(|result| &result.cell.resolved);
                let x = study.plot.as_ref().zip(cell);
                let x = x.map(|(key, resolved)| resolved.number(key)).transpose()?.flatten();
                conditions.push(ConditionReport { name, title, x, ..report });
            }
        }
        Ok(Some(StudyReport {
            study: study.name.clone(),
            title: study.title.clone(),
            figure: first.report.figure.clone(),
            pairing,
            units,
            seeds: seeds.into_iter().collect(),
            plot: study.plot.clone(),
            conditions,
            cells: [results.len(), study.cells.len()],
            seconds: results.iter().map(|result| result.report.seconds).sum(),
            commits: results.iter().filter_map(|r| r.report.protocol.commit.clone()).collect(),
            protocol: first.report.protocol.clone(),
        }))
    }
}

impl ConditionReport {
    fn new(results: &[&CellResult<'_>], by: &By<'_>, units: usize) -> Result<Option<Self>> {
        let Some(first) = results.first() else { return Ok(None) };
        let resolved = &first.cell.resolved;
        let baseline = resolved.config.baseline.clone();
        let mut names: Vec<&String> = Vec::new();
        for name in results.iter().flat_map(|result| result.report.arms.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut arms = IndexMap::new();
        for name in names {
            // An arm of each modality is defined under the name before the dot.
            let defined = name.split('.').next().unwrap_or(name);
            let arm = resolved.arms.iter().find(|arm| arm.name == defined);
            let settings = arm.map(|arm| resolved.hash_of(arm)).transpose()?;
            if let Some(mut report) = StudyArm::new(name, results, by, units) {
                report.settings = settings.unwrap_or_default().chars().take(8).collect();
                report.labels =
                    arm.map_or(LabelsRead::NoNetworks, |arm| labels_read(arm, &resolved.arms));
                let corpus = first.report.protocol.corpus.as_deref().unwrap_or_default();
                report.paper = arm.and_then(|arm| of_the_paper(corpus, arm, name, resolved));
                arms.insert(name.clone(), report);
            }
        }
        let pairs = pairs(&arms, by.correction());
        if let Some(base) = baseline.as_ref().and_then(|base| arms.get(base)).cloned() {
            for (name, arm) in &mut arms {
                if Some(name) != baseline.as_ref() {
                    arm.against = Paired::of(&differences(arm, &base), by.correction());
                }
            }
            let mut all: Vec<&mut Paired> =
                arms.values_mut().filter_map(|arm| arm.against.as_mut()).collect();
            holm(&mut all);
        }
        let chance = results.iter().filter_map(|result| result.report.chance);
        let chance: Vec<f64> = chance.map(|chance| chance.mean).collect();
        let chance = (!chance.is_empty()).then(|| Summary::of(&chance).mean);
        let (name, title, x) = (String::new(), String::new(), None);
        Ok(Some(ConditionReport { name, title, x, chance, baseline, arms, pairs }))
    }
}

/// The differences of two arms on the units that both have.
fn differences(first: &StudyArm, second: &StudyArm) -> Vec<f64> {
    let both = first.by_unit.iter().zip(&second.by_unit);
    both.filter_map(|(a, b)| Some((*a)? - (*b)?)).collect()
}

fn pairs(arms: &IndexMap<String, StudyArm>, correction: f64) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (place, (first, a)) in arms.iter().enumerate() {
        for (second, b) in arms.iter().skip(place + 1) {
            if let Some(paired) = Paired::of(&differences(a, b), correction) {
                pairs.push(Pair { first: first.clone(), second: second.clone(), paired });
            }
        }
    }
    holm(&mut pairs.iter_mut().map(|pair| &mut pair.paired).collect::<Vec<_>>());
    pairs
}

/// What the pairs of a comparison are, for people.
impl std::fmt::Display for PairedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PairedBy::Units(key) => write!(f, "values of {key}"),
            PairedBy::Folds(_) => f.write_str("folds"),
            PairedBy::Seeds => f.write_str("seeds of training"),
        }
    }
}
