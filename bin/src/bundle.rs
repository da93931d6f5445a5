//! A bundle: one file with all that a trained system needs for use without its corpus.
//!
//! It holds encoders, heads, standardisers, feature settings, class names and the protocol. Word vectors and weight
//! files are named by hash, not copied.

use crate::config::{ModalityConfig, Stamp};
use crate::failure::{Context, Failure, Kind, Result};
use data::dataset::Dataset;
use data::feature::Feature;
use data::features::{Extractor, Source};
use data::loader::{Item, Loader, Window};
use data::standardise::Standardiser;
use engine::checkpoint::Checkpoint;
use engine::{DType, Device, Parameters};
use models::evaluate::{HostOutputs, Probe, ProbeSettings, Rows, Scaling, evaluate};
use models::systems::{Batch, EncoderSettings, Input, Parts, System, SystemSettings};
use models::targets::Task;
use models::train::{insert, restore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the description that this program writes and reads.
pub const VERSION: u32 = 1;
/// Samples in a batch.
const ROWS: usize = 64;

/// The description in a bundle, beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The version of this description.
    pub version: u32,
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// The fold, from 1.
    pub fold: usize,
    /// The system with its settings.
    pub system: SystemSettings,
    /// The system of its teacher, if it has one.
    #[serde(default)]
    pub teacher: Option<SystemSettings>,
    /// The number of training groups, e.g. of actors, if the system classifies them; otherwise 0.
    #[serde(default)]
    pub groups: usize,
    /// Its encoders.
    pub encoders: Vec<EncoderSettings>,
    /// The modalities, in the order of the encoders.
    pub modalities: Vec<BundledModality>,
    /// The task of its classifier; absent if training had no labels.
    pub task: Option<Task>,
    /// Names of the classes or labels.
    pub classes: Vec<String>,
    /// The probe on frozen features, if the system has no head.
    pub probe: Option<BundledProbe>,
    /// The protocol of the run.
    pub protocol: Stamp,
}

/// How one modality's files become the input of its encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledModality {
    /// Its settings: feature, windows, padding.
    pub settings: ModalityConfig,
    /// Its standardiser, fitted on the training part.
    pub standardiser: Option<Standardiser>,
    /// The shape of one frame, without time.
    pub frame: Vec<usize>,
    /// The fingerprint of its decoder: feature settings, and the hash of word vectors if it uses any.
    pub decoder: String,
}

/// A trained probe without its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledProbe {
    /// Its settings.
    pub settings: ProbeSettings,
    /// The standardisation of its input features.
    pub scaling: Scaling,
}

/// The path of an arm's bundle in its run folder; folds count from 1.
pub fn file(arm: &str, seed: u64, fold: usize) -> String {
    format!("models/seed{seed}-fold{fold}-{arm}.safetensors")
}

/// Writes a bundle.
///
/// # Errors
/// When the file cannot be written, or parameters cannot be read from a GPU.
pub fn save(
    path: &Path,
    description: &Description,
    parameters: &Parameters,
    probe: Option<&Probe>,
) -> Result<()> {
    let mut checkpoint = Checkpoint::new();
    insert(&mut checkpoint, "model", parameters)?;
    if let Some(probe) = probe {
        insert(&mut checkpoint, "probe", probe.parameters())?;
    }
    checkpoint.set("bundle", description)?;
    checkpoint.save(path)?;
    Ok(())
}

/// A bundle, ready to be used.
pub struct Bundle {
    /// Its description.
    pub description: Description,
    system: Box<dyn System>,
    parameters: Parameters,
    probe: Option<Probe>,
}

/// The files of one sample, by modality.
pub type Sample = BTreeMap<String, PathBuf>;

impl Bundle {
    /// Reads a bundle and moves its networks to a device.
    ///
    /// # Errors
    /// 65 when the file is damaged or not a bundle, 66 when it does not exist.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::load(path)?;
        let description: Description = checkpoint.get("bundle").context(path.display())?;
        if description.version > VERSION {
            let (found, known) = (description.version, VERSION);
            let message = format!(
                "{}: is a bundle of version {found}, but this program reads versions up to {known}",
                path.display()
            );
            return Err(Failure::new(Kind::BadData, message).hint("use a newer mpuc"));
        }
        let mut parameters = Parameters::new(DType::F32, 0);
        let parts = Parts {
            encoders: &description.encoders,
            task: description.task.as_ref(),
            groups: description.groups,
            teacher: description.teacher.as_ref(),
        };
        let system = description.system.build(parts, parameters.scope())?;
        restore(&checkpoint, "model", &mut parameters).context(path.display())?;
        parameters.move_to(device)?;
        let probe = match (&description.probe, &description.task) {
            (Some(BundledProbe { settings, scaling }), Some(task)) => {
                let mut probe = Probe::empty(settings, task, scaling.clone())?;
                restore(&checkpoint, "probe", probe.parameters_mut()).context(path.display())?;
                Some(probe)
            }
            _ => None,
        };
        Ok(Bundle { description, system, parameters, probe })
    }

    /// The names of its modalities.
    pub fn modalities(&self) -> impl Iterator<Item = &str> {
        self.description.encoders.iter().map(|encoder| encoder.name.as_str())
    }

    /// The modality of this name with its settings.
    fn modality(&self, name: &str) -> Option<&BundledModality> {
        let position = self.modalities().position(|known| known == name)?;
        self.description.modalities.get(position)
    }

    /// The modality that reads files with this ending; `None` if no modality or several can.
    pub fn modality_of(&self, path: &Path) -> Option<&str> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let reads = |name: &&str| {
            let Some(modality) = self.modality(name) else { return false };
            match &modality.settings.feature {
                Extractor::Voice(_) => ending == "wav",
                Extractor::Landmarks(_) => ending == "csv",
                Extractor::Clip(_) => {
                    ["npy", "mp4", "avi", "mov", "mkv", "webm", "flv"].contains(&ending.as_str())
                }
                Extractor::Words(_) => ending == "txt",
                Extractor::Sequence(_) => ending == "npy",
            }
        };
        let mut able = self.modalities().filter(reads);
        able.next().filter(|_| able.next().is_none())
    }

    /// Computes features, embeddings and logits of samples, one row a sample. A modality without a file is
    /// missing.
    ///
    /// # Errors
    /// When a file cannot be decoded, with its path.
    pub fn outputs(&self, samples: &[Sample]) -> Result<HostOutputs> {
        let dataset = self.decode(samples)?;
        let outputs = evaluate(&*self.system, &self.parameters, self.batches(dataset, samples)?)?;
        Ok(outputs)
    }

    /// The probabilities of the classes or labels, one row a sample.
    ///
    /// # Errors
    /// 78 when the system was trained without labels.
    pub fn probabilities(&self, outputs: &HostOutputs) -> Result<Rows> {
        let Some(task) = &self.description.task else {
            return Err(Failure::config(
                "the system of this bundle was trained without labels and cannot predict any",
            )
            .hint("use `mpuc embed`, which computes its features"));
        };
        let logits = match &self.probe {
            Some(probe) => {
                probe.logits(&Rows::join(&outputs.features.iter().collect::<Vec<_>>()))?
            }
            None => outputs.logits.clone(),
        };
        Ok(task.probabilities(&logits))
    }

    /// Decodes the samples' files, for the modalities that at least one sample has.
    fn decode(&self, samples: &[Sample]) -> Result<Dataset> {
        let mut decoders = Vec::new();
        for name in self.present(samples) {
            let Some(modality) = self.modality(name) else { continue };
            let decoder = modality.settings.feature.decoder(None)?;
            if decoder.fingerprint() != modality.decoder {
                let message = format!(
                    "`{name}`: its features have other settings or word vectors than in training"
                );
                return Err(Failure::config(message).hint(
                    "put the word vectors of the training at the path in its configuration",
                ));
            }
            decoders.push((name, decoder));
        }
        let mut features = Vec::new();
        for sample in samples {
            let mut row = Vec::new();
            for (name, decoder) in &decoders {
                let Some(path) = sample.get(*name) else {
                    row.push(None);
                    continue;
                };
                let decoded = decoder.decode(&Source::File(path.clone()))?;
                row.push(Some(Feature::Memory(Arc::new(decoded.values))));
            }
            features.push(row);
        }
        let names = decoders.iter().map(|(name, _)| (*name).to_owned()).collect();
        Ok(Dataset::new(names, features)?)
    }

    /// The modalities that at least one sample has, in the order of the encoders.
    fn present(&self, samples: &[Sample]) -> Vec<&str> {
        self.modalities()
            .filter(|name| samples.iter().any(|sample| sample.contains_key(*name)))
            .collect()
    }

    fn batches(
        &self,
        dataset: Dataset,
        samples: &[Sample],
    ) -> Result<impl Iterator<Item = Result<Batch>> + '_> {
        let present: Vec<bool> =
            self.modalities().map(|name| dataset.modalities().iter().any(|m| m == name)).collect();
        let windows = self.description.modalities.iter().zip(&present).filter(|(_, p)| **p);
        let windows = windows.map(|(modality, _)| Window {
            steps: modality.settings.evaluation_window,
            pick: modality.settings.pick,
            padding: modality.settings.padding,
            standardiser: modality.standardiser.clone(),
        });
        let starts = vec![0; dataset.modalities().len()];
        let items: Vec<Item> =
            (0..samples.len()).map(|sample| Item { sample, starts: starts.clone() }).collect();
        let plan = items.chunks(ROWS).map(<[Item]>::to_vec).collect();
        let loader = Loader::new(Arc::new(dataset), windows.collect(), plan, 1, 1)?;
        Ok(loader.map(move |batch| {
            let batch = batch?;
            let count = batch.samples.len();
            let mut stacked = batch.modalities.into_iter();
            let modalities = self.description.modalities.iter().zip(&present);
            let inputs = modalities.map(|(modality, &present)| {
                match present.then(|| stacked.next()).flatten() {
                    Some(stacked) => crate::experiment::input(stacked),
                    None => Ok(Input::missing(&self.shape(modality), count)?),
                }
            });
            let modalities = inputs.collect::<Result<_>>()?;
            Ok(Batch { modalities, labels: None, groups: None, samples: count, views: 1 })
        }))
    }

    /// The shape of one sample in evaluation: [T, ..].
    fn shape(&self, modality: &BundledModality) -> Vec<usize> {
        let settings = &modality.settings;
        let steps = settings.pick.unwrap_or(settings.evaluation_window);
        [&[steps], &modality.frame[..]].concat()
    }
}
