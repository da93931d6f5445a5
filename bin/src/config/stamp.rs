//! The protocol of a run: split, seeds, sampler, weights, device; printed with every result.

use super::{Arm, Protocol, Resolved};
use engine::Device;
use models::sampler::Sampler;
use models::systems::{Needs, SystemSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Whether pretraining used held-out samples (without labels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learning {
    /// It did not.
    Inductive,
    /// It did.
    Transductive,
}

/// The protocol of a run, stored and printed with its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// Whether pretraining used held-out samples.
    pub learning: Learning,
    /// Whether pretraining read labels: that of an arm below, or a sampler that draws by class.
    pub labels_in_pretraining: bool,
    /// The arms that learn features with labels, without a head of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms_with_labels: Vec<String>,
    /// The arms that learn features with the groups of training samples, e.g. their actors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups_in_pretraining: Vec<String>,
    /// How the data was split.
    pub protocol: Protocol,
    /// Number of folds.
    pub folds: usize,
    /// Number of folds that were run.
    pub run_folds: usize,
    /// The fold that was run alone, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_fold: Option<usize>,
    /// A hash of the samples of each part of each fold: 16 hexadecimal digits.
    pub split_hash: String,
    /// The preset the configuration started from.
    pub preset: String,
    /// The system of each arm that trains one, with its settings. Absent in runs of old versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub systems: BTreeMap<String, SystemSettings>,
    /// Whether windows were drawn independently for each modality.
    pub independent_windows: bool,
    /// How batches were drawn.
    pub sampler: Sampler,
    /// The seeds; figures are means over them.
    pub seeds: Vec<u64>,
    /// By modality, the name of the file of its initial weights, with the beginning of the file's hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, String>,
    /// The corpus: "synthetic world" (old versions: "made-up world"), or its format, e.g. "ravdess". Old runs may lack it.
    #[serde(default)]
    pub corpus: Option<String>,
    /// Its number of samples.
    #[serde(default)]
    pub samples: Option<usize>,
    /// Number of groups of each training part that kept their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled: Option<usize>,
    /// By modality, the share of samples that it was taken from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, f64>,
    /// Maximum of steps of each training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Maximum of training samples of a fold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    /// Number of batches that all epochs repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overfit_batches: Option<usize>,
    /// The device of the networks.
    pub device: String,
    /// Networks whose training was stopped before its end, e.g. `seed0-fold1-mpuc after 12 of 22000 steps`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
    /// The hash of the configuration.
    pub configuration: String,
    /// The program's version.
    pub version: String,
    /// The commit that the program was built from, with `-dirty` if files differed; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Stamp {
    /// The stamp of a configuration on splits with this hash, networks that start from these files, and a device.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn new(
        resolved: &Resolved,
        split_hash: impl Into<String>,
        weights: BTreeMap<String, String>,
        device: &Device,
    ) -> crate::failure::Result<Self> {
        let config = &resolved.config;
        let transductive = config.sampling.transductive;
        let with = |reads: fn(&Needs) -> bool| -> Vec<String> {
            let trained = |arm: &&Arm| arm.system().is_some_and(|system| reads(&system.needs()));
            resolved.arms.iter().filter(trained).map(|arm| arm.name.clone()).collect()
        };
        let arms_with_labels = with(|needs| needs.labels && !needs.head);
        Ok(Stamp {
            learning: if transductive { Learning::Transductive } else { Learning::Inductive },
            labels_in_pretraining: config.sampling.sampler.uses_labels()
                || !arms_with_labels.is_empty(),
            arms_with_labels,
            groups_in_pretraining: with(|needs| needs.groups),
            protocol: config.data.protocol,
            folds: config.data.folds,
            run_folds: config.data.run_folds,
            only_fold: config.only_fold,
            split_hash: split_hash.into(),
            preset: resolved.preset.clone(),
            systems: resolved
                .arms
                .iter()
                .filter_map(|arm| Some((arm.name.clone(), arm.system()?.clone())))
                .collect(),
            independent_windows: config.sampling.independent_windows,
            sampler: config.sampling.sampler,
            seeds: config.seeds.clone(),
            weights,
            corpus: None,
            samples: None,
            labelled: config.data.labelled,
            missing: config.data.missing.clone(),
            steps: config.steps,
            limit_train: config.limit_train,
            overfit_batches: config.overfit_batches,
            device: device.to_string(),
            unfinished: Vec::new(),
            configuration: resolved.hash()?,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("MPUC_COMMIT").map(str::to_owned),
        })
    }
}

/// One line, printed below a table.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let learning = match self.learning {
            Learning::Inductive => "inductive",
            Learning::Transductive => "TRANSDUCTIVE: pretraining saw held-out samples",
        };
        let labels = if self.labels_in_pretraining { "labels used" } else { "no labels" };
        write!(f, "{learning}, {labels} in pretraining")?;
        if !self.arms_with_labels.is_empty() && !self.sampler.uses_labels() {
            write!(f, " of {}", self.arms_with_labels.join(", "))?;
        }
        if !self.groups_in_pretraining.is_empty() {
            write!(f, ", groups used in pretraining of {}", self.groups_in_pretraining.join(", "))?;
        }
        let protocol = word(&self.protocol);
        write!(f, ", {protocol} ")?;
        match self.only_fold {
            Some(fold) => write!(f, "fold {fold} of {}", self.folds)?,
            None => write!(f, "{} of {} folds", self.run_folds, self.folds)?,
        }
        write!(
            f,
            " (split {}), {} seed{}, preset {}",
            self.split_hash,
            self.seeds.len(),
            if self.seeds.len() == 1 { "" } else { "s" },
            self.preset
        )?;
        let windows =
            if self.independent_windows { "a window for each modality" } else { "one window" };
        write!(f, ", {windows}, sampler {}", word(&self.sampler))?;
        for (modality, file) in &self.weights {
            write!(f, ", {modality} from {file}")?;
        }
        if let (Some(corpus), Some(samples)) = (&self.corpus, self.samples) {
            write!(f, ", {corpus} ({samples} samples)")?;
        }
        if let Some(groups) = self.labelled {
            write!(f, ", LABELS OF {groups} TRAINING GROUPS")?;
        }
        for (modality, share) in &self.missing {
            write!(f, ", {:.0} % without {modality}", 100.0 * share)?;
        }
        if let Some(steps) = self.steps {
            write!(f, ", AT MOST {steps} STEPS")?;
        }
        if let Some(samples) = self.limit_train {
            write!(f, ", AT MOST {samples} TRAINING SAMPLES")?;
        }
        if let Some(batches) = self.overfit_batches {
            write!(f, ", OVERFIT: {batches} batches in every epoch")?;
        }
        write!(f, ", {}, mpuc {}", self.device, self.version)?;
        if let Some(commit) = &self.commit {
            write!(f, " ({commit})")?;
        }
        for unfinished in &self.unfinished {
            write!(f, ", NOT FINISHED: {unfinished}")?;
        }
        Ok(())
    }
}

/// The name of a unit variant, as configurations write it.
pub fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn the_authors_sampler_reads_labels() -> crate::failure::Result<()> {
        let authors = Resolved::new(&Layers { preset: Some("authors"), ..Layers::default() })?;
        let stamp = Stamp::new(&authors, "0123", BTreeMap::new(), &Device::Cpu)?;
        assert!(stamp.labels_in_pretraining && stamp.learning == Learning::Inductive);
        let line = stamp.to_string();
        assert!(
            line.starts_with("inductive, labels used in pretraining, by_group 10 of 10 folds"),
            "{line}"
        );
        assert_eq!(stamp.arms_with_labels, [""; 0]);
        let back: Stamp = serde_json::from_str(&serde_json::to_string(&stamp).unwrap()).unwrap();
        assert_eq!(back, stamp);
        Ok(())
    }

    #[test]
    fn arms_that_learn_features_with_labels_are_named() -> crate::failure::Result<()> {
        let set = ["arms=[mpuc,label_positives,late_fusion]".to_owned()];
        let resolved =
            Resolved::new(&Layers { preset: Some("smoke"), set: &set, ..Layers::default() })?;
        let stamp = Stamp::new(&resolved, "0123", BTreeMap::new(), &Device::Cpu)?;
        assert_eq!(stamp.arms_with_labels, ["label_positives"]);
        let line = stamp.to_string();
        assert!(
            line.starts_with("inductive, labels used in pretraining of label_positives, by_"),
            "{line}"
        );
        Ok(())
    }
}
