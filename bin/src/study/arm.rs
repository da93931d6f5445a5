//! The figures of one arm of a study.

use super::report::PairedBy;
use super::results::CellResult;
use super::statistics::Paired;
use crate::config::{Arm, Origin, Pairing, Resolved};
use crate::experiment::{ArmResult, MissingFigure};
use crate::published;
use models::evaluate::metrics::Summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// How results are grouped.
pub struct By<'a> {
    /// What figures are paired by.
    pub pairing: &'a PairedBy,
    /// The seeds of the study.
    pub seeds: Vec<u64>,
    /// The folds of a unit.
    pub folds: usize,
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

    /// The share that overlapping training parts add to the variance of a mean difference.
    pub fn correction(&self) -> f64 {
        match self.pairing {
            PairedBy::Folds(share) => *share,
            _ => 0.0,
        }
    }
}

/// The paper's score of an arm that trains a system; see [`published::score`].
pub fn of_the_paper(corpus: &str, arm: &Arm, name: &str, resolved: &Resolved) -> Option<f64> {
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

impl StudyArm {
    /// `None` if no cell has a score of the arm.
    pub fn new(name: &str, results: &[&CellResult<'_>], by: &By<'_>, units: usize) -> Option<Self> {
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

/// What the training of an arm's networks, or of those that it takes, read of the labels.
pub fn labels_read(arm: &Arm, all: &[Arm]) -> LabelsRead {
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
