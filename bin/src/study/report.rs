//! The report of a study: figures of each arm over units and seeds, and paired comparisons.

use super::results::CellResult;
use super::statistics::{Paired, holm};
use crate::config::{Arm, Origin, Pairing, Resolved, Stamp, Study, ValidationPart};
use crate::experiment::{ArmResult, MissingFigure};
use crate::failure::Result;
use crate::published;
use indexmap::IndexMap;
use models::evaluate::metrics::Summary;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

/// The figures of one arm under one condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StudyArm {
    /// Its title.
    pub title: String,
    /// Its score: mean and standard deviation over units, of means over seeds.
    pub score: Summary,
    /// The number of units.
    pub n: usize,
    /// The score on each unit, mean over seeds; `null` where the unit has none.
    pub by_unit: Vec<Option<f64>>,
    /// The standard deviation over the seeds of a unit, pooled over units; absent with one seed.
    pub over_seeds: Option<f64>,
    /// The weighted F1, mean over units.
    pub f1_weighted: Option<f64>,
    /// Cross-modal R@1, mean over units.
    pub retrieval: Option<f64>,
    /// Its scores when samples lack a modality: means and deviations over units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingFigure>,
    /// The paper's score, from 0 to 1, where it has this system on this corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<f64>,
    /// What its networks' training read of the labels.
    pub labels: LabelsRead,
    /// The hash of its settings: 8 hexadecimal digits.
    pub settings: String,
    /// Seconds of all its cells, summed.
    pub seconds: f64,
    /// Its difference from the baseline.
    pub against: Option<Paired>,
}

/// What the training of an arm's networks read of the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelsRead {
    /// Nothing: labels serve the probe alone.
    None,
    /// The labels of the training part.
    Labels,
    /// The groups of the training part, e.g. its actors.
    Groups,
    /// It has no networks.
    NoNetworks,
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

/// How results are grouped.
struct By<'a> {
    pairing: &'a PairedBy,
    seeds: Vec<u64>,
    folds: usize,
}

impl By<'_> {
    /// The number of a result's unit, and what distinguishes it within the unit.
    fn place(&self, result: &CellResult<'_>) -> (usize, (u64, usize)) {
        let cell = result.cell;
        match self.pairing {
            PairedBy::Units(_) => (cell.unit, (cell.seed, cell.fold)),
            PairedBy::Folds(_) => (cell.fold - 1, (cell.seed, 0)),
            PairedBy::Seeds => {
                let unit = self.seeds.iter().position(|&seed| seed == cell.seed).unwrap_or(0);
                (unit, (0, 0))
            }
        }
    }

    fn correction(&self) -> f64 {
        match self.pairing {
            PairedBy::Folds(share) => *share,
            _ => 0.0,
        }
    }
}

/// The paper's score of an arm that trains a system; see [`published::score`].
fn of_the_paper(corpus: &str, arm: &Arm, name: &str, resolved: &Resolved) -> Option<f64> {
    let all: Vec<String> = resolved.config.modality.keys().cloned().collect();
    let modalities = match name.split_once('.') {
        Some((_, alone)) => vec![alone.to_owned()],
        None => arm.modalities.clone().unwrap_or(all),
    };
    let trained = arm.training.epochs > 0 && arm.pairing == Pairing::Own;
    let system = arm.system().filter(|_| trained)?;
    published::score(corpus, &resolved.config, system.name(), &modalities)
}

/// The figures of each unit: by seed and fold.
type ByUnit = BTreeMap<usize, BTreeMap<(u64, usize), f64>>;

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

impl StudyArm {
    /// `None` if no cell has a score of the arm.
    fn new(name: &str, results: &[&CellResult<'_>], by: &By<'_>, units: usize) -> Option<Self> {
        let own = |result: &&CellResult<'_>| -> Option<ArmResult> {
            result.arms.iter().find(|arm| arm.arm == name).cloned()
        };
        let gather = |figure: &dyn Fn(&ArmResult) -> Option<f64>| -> ByUnit {
            let mut found = ByUnit::new();
            for result in results {
                let (unit, within) = by.place(result);
                if let Some(value) = own(result).as_ref().and_then(figure) {
                    found.entry(unit).or_default().insert(within, value);
                }
            }
            found
        };
        let mean_over_units = |found: &ByUnit| {
            let means: Vec<f64> = found.values().map(mean_of).collect();
            (!means.is_empty()).then(|| Summary::of(&means).mean)
        };
        let scores = gather(&|result| result.evaluation.as_ref()?.score());
        if scores.is_empty() {
            return None;
        }
        let by_unit: Vec<Option<f64>> =
            (0..units).map(|unit| scores.get(&unit).map(mean_of)).collect();
        let means: Vec<f64> = by_unit.iter().flatten().copied().collect();
        let report = results.iter().find_map(|result| result.report.arms.get(name))?;
        Some(StudyArm {
            title: report.title.clone(),
            score: Summary::of(&means),
            n: means.len(),
            by_unit,
            over_seeds: pooled(&scores, by.folds),
            f1_weighted: mean_over_units(&gather(&|result| {
                result.evaluation.as_ref()?.f1_weighted
            })),
            retrieval: mean_over_units(&gather(&|result| Some(result.retrieval?.at_1))),
            missing: MissingFigure::of(
                results
                    .iter()
                    .filter_map(own)
                    .flat_map(|result| result.missing)
                    .collect::<Vec<_>>()
                    .iter(),
                |score| {
                    let found = gather(&|result| {
                        Some(result.missing.iter().find(|other| other.matches(score))?.score)
                    });
                    let means: Vec<f64> = found.values().map(mean_of).collect();
                    (!means.is_empty()).then(|| Summary::of(&means))
                },
            ),
            paper: None,
            labels: LabelsRead::NoNetworks,
            settings: String::new(),
            seconds: results.iter().filter_map(own).map(|result| result.seconds).sum(),
            against: None,
        })
    }
}

fn mean_of(values: &BTreeMap<(u64, usize), f64>) -> f64 {
    values.values().sum::<f64>() / values.len() as f64
}

/// The standard deviation over the seeds of a unit (and fold), pooled over units; `None` with one seed.
fn pooled(scores: &ByUnit, folds: usize) -> Option<f64> {
    let (mut square, mut freedom) = (0.0, 0);
    for values in scores.values() {
        for fold in 0..=folds {
            let own: Vec<f64> =
                values.iter().filter(|((_, f), _)| *f == fold).map(|(_, &value)| value).collect();
            if own.len() > 1 {
                square += Summary::of(&own).std.powi(2) * (own.len() - 1) as f64;
                freedom += own.len() - 1;
            }
        }
    }
    (freedom > 0).then(|| (square / freedom as f64).sqrt())
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

/// What the training of an arm's networks, or of those that it takes, read of the labels.
fn labels_read(arm: &Arm, all: &[Arm]) -> LabelsRead {
    let source = match &arm.origin {
        Origin::System(_) => Some(arm),
        Origin::Arm(name) => all.iter().find(|other| other.name == *name),
        Origin::Factors => None,
    };
    match source.and_then(|arm| Some((arm.system()?, arm.training.epochs))) {
        None => LabelsRead::NoNetworks,
        Some((system, epochs)) if epochs > 0 && system.needs().labels => LabelsRead::Labels,
        Some((system, epochs)) if epochs > 0 && system.needs().groups => LabelsRead::Groups,
        Some(_) => LabelsRead::None,
    }
}

impl std::fmt::Display for LabelsRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LabelsRead::None => "none",
            LabelsRead::Labels => "labels",
            LabelsRead::Groups => "groups",
            LabelsRead::NoNetworks => "-",
        })
    }
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
