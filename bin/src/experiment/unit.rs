//! One seed on one fold: MPUC and its controls.

use super::batches::{Batches, Partners};
use super::judge::{Features, Judgement, cross_modal};
use super::stage::{Stage, Trained, contrastive_samples};
use super::{Material, Session};
use crate::config::{Config, Control};
use crate::failure::{Failure, Kind, Result};
use data::folds::Split;
use engine::checkpoint::Checkpoint;
use engine::{DType, Parameters, Pass, Philox};
use models::metrics::Retrieval;
use models::systems::{EncoderSettings, LateFusion, Mpuc, System};
use models::targets::Task;
use models::training::{calibrate, plateau, restore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// What one seed on one fold came to. Single numbers are [`Judgement::score`]s of the test part; those whose control
/// was not asked for, or that need labels where there are none, are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitResult {
    /// Seed.
    pub seed: u64,
    /// Fold, from 0.
    pub fold: usize,
    /// See [`Judgement::chance`].
    pub chance: Option<f64>,
    /// See [`Control::Untrained`].
    pub untrained: Option<f64>,
    /// See [`Control::Single`].
    pub single: BTreeMap<String, f64>,
    /// See [`Control::LateFusionSupervised`].
    pub late_fusion_supervised: Option<f64>,
    /// All modalities' frozen features under the probe.
    pub mpuc: Option<Judgement>,
    /// See [`Control::ShuffledPairs`].
    pub mpuc_shuffled_pairs: Option<f64>,
    /// See [`Control::PermutedLabels`].
    pub permuted_labels: Option<f64>,
    /// See [`Control::Oracle`].
    pub oracle: Option<f64>,
    /// Cross-modal retrieval on the test part, where samples have every modality.
    pub retrieval: Option<Retrieval>,
    /// What chance would score at 1.
    pub retrieval_chance: Option<f64>,
    /// Mean contrastive loss of the first epoch.
    pub loss_first: f64,
    /// The same of the last.
    pub loss_last: f64,
    /// Time it took; of the last sitting if there were several.
    pub seconds: f64,
}

/// One seed on one fold, in the making.
struct Unit<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    material: &'a Material,
    split: &'a Split,
    seed: u64,
    fold: usize,
    batches: Batches<'a>,
    encoders: Vec<EncoderSettings>,
    task: Task,
}

/// Runs a unit, or takes its result from the run folder.
///
/// # Errors
/// Whatever its training ends with.
pub fn run(
    session: &Session<'_>,
    material: &Material,
    seed: u64,
    fold: usize,
) -> Result<UnitResult> {
    let file = format!("eval/seed{seed}-fold{}.json", fold + 1);
    if let Ok(bytes) = std::fs::read(session.run.file(&file))
        && let Ok(result) = serde_json::from_slice(&bytes)
    {
        return Ok(result);
    }
    let started = Instant::now();
    let unit = Unit::new(session, material, seed, fold)?;
    let mut result = unit.mpuc()?;
    unit.controls(&mut result)?;
    result.seconds = started.elapsed().as_secs_f64();
    session.run.write_json(&file, &result)?;
    Ok(result)
}

/// Judges the MPUC of a unit again, from its checkpoint.
///
/// # Errors
/// When there is no checkpoint, or it is not of this configuration.
pub fn judge_again(
    session: &Session<'_>,
    material: &Material,
    seed: u64,
    fold: usize,
) -> Result<UnitResult> {
    let unit = Unit::new(session, material, seed, fold)?;
    let (system, mut parameters) = unit.new_mpuc()?;
    let path = session.run.file(format!("checkpoints/{}.safetensors", unit.name("mpuc")));
    if !path.exists() {
        let message =
            format!("{}: no checkpoint of seed {seed}, fold {}", path.display(), fold + 1);
        return Err(Failure::new(Kind::MissingData, message)
            .hint("train first; the same command goes on with a run"));
    }
    let (checkpoint, _) = Checkpoint::load_or_previous(&path)?;
    let best = checkpoint.tensors().any(|(name, _)| name.starts_with("best."));
    restore(&checkpoint, if best { "best" } else { "model" }, &mut parameters)?;
    unit.judge(&system, &parameters)
}

impl<'a> Unit<'a> {
    fn new(
        session: &'a Session<'a>,
        material: &'a Material,
        seed: u64,
        fold: usize,
    ) -> Result<Self> {
        let config = &session.resolved.config;
        let split = &material.splits[fold];
        let batches = Batches::new(config, material, &split.train, seed)?;
        let task = material.task(&split.train, config.data.positive_weights.as_deref());
        let encoder =
            |((name, modality), input): ((&String, &crate::config::ModalityConfig), Vec<usize>)| {
                EncoderSettings {
                    name: name.clone(),
                    backbone: modality.backbone.clone(),
                    dropout: modality.dropout,
                    input,
                }
            };
        let encoders = material
            .names
            .iter()
            .zip(&material.modalities)
            .zip(batches.shapes())
            .map(encoder)
            .collect();
        Ok(Unit { session, config, material, split, seed, fold, batches, encoders, task })
    }

    fn name(&self, system: &str) -> String {
        format!("seed{}-fold{}-{system}", self.seed, self.fold + 1)
    }

    fn new_mpuc(&self) -> Result<(Mpuc, Parameters)> {
        let mut parameters = Parameters::new(DType::F32, self.seed);
        let system =
            Mpuc::new(&self.encoders, &self.config.projection, self.config.loss, &mut parameters)?;
        self.material.pretrained.load(&mut parameters)?;
        parameters.move_to(self.session.device)?;
        Ok((system, parameters))
    }

    fn all(&self) -> Vec<usize> {
        (0..self.material.names.len()).collect()
    }

    fn wants(&self, control: Control) -> bool {
        self.config.controls.contains(&control)
    }

    /// Whether there are labels to learn from and to judge by.
    fn labelled(&self) -> bool {
        let labelled = |part: &[usize]| part.iter().any(|&i| self.material.labels[i].is_some());
        labelled(&self.split.train) && labelled(&self.split.test)
    }

    fn probe(&self, features: &Features, modalities: &[usize]) -> Result<Judgement> {
        features.judge(modalities, &self.config.probe, &self.task, self.seed)
    }

    /// Trains MPUC and judges it.
    fn mpuc(&self) -> Result<UnitResult> {
        let (system, trained) = self.pretrain("mpuc", Partners::Own)?;
        if let Some(notice) =
            plateau(&trained.history, self.config.loss.plateau(self.config.training.batch))
        {
            self.session.progress.warn(notice);
        }
        if !self.material.classes.is_empty() && !self.labelled() {
            self.session.progress.warn(format_args!(
                "fold {}: no sample of its {} part has a label: nothing is judged by labels",
                self.fold + 1,
                if self.split.test.iter().any(|&i| self.material.labels[i].is_some()) {
                    "training"
                } else {
                    "test"
                }
            ));
        }
        let mut result = self.judge(&system, &trained.parameters)?;
        result.loss_first = trained.history.first().map_or(f64::NAN, |epoch| epoch.loss);
        result.loss_last = trained.history.last().map_or(f64::NAN, |epoch| epoch.loss);
        Ok(result)
    }

    fn pretrain(&self, name: &str, partners: Partners) -> Result<(Mpuc, Trained)> {
        let (system, parameters) = self.new_mpuc()?;
        let stage = Stage {
            session: self.session,
            name: self.name(name),
            settings: &self.config.training,
            batches: &self.batches,
            pairs: true,
            train: &contrastive_samples(self.split, self.config.sampling.transductive),
            validation: &self.split.validation,
            partners,
            views: self.config.sampling.views,
            seed: self.seed,
        };
        let trained = stage.run(&system, parameters)?;
        Ok((system, trained))
    }

    /// Probes on all modalities and on each alone, and retrieval.
    fn judge(&self, system: &Mpuc, parameters: &Parameters) -> Result<UnitResult> {
        let found = cross_modal(
            system,
            parameters,
            &self.batches,
            self.material,
            &self.split.test,
            &self.config.retrieval,
        )?;
        let mut result = UnitResult {
            seed: self.seed,
            fold: self.fold,
            retrieval: found.map(|(retrieval, _)| retrieval),
            retrieval_chance: found.map(|(_, chance)| chance),
            ..UnitResult::default()
        };
        if !self.labelled() {
            return Ok(result);
        }
        let features = Features::of(system, parameters, &self.batches, self.material, self.split)?;
        let judgement = self.probe(&features, &self.all())?;
        result.chance = Some(judgement.chance());
        result.mpuc = Some(judgement);
        if self.wants(Control::Single) {
            for (number, name) in self.material.names.iter().enumerate() {
                result.single.insert(name.clone(), self.probe(&features, &[number])?.score());
            }
        }
        if self.wants(Control::PermutedLabels) {
            let permuted = features.permuted(Philox::new(self.seed, "permuted labels"));
            result.permuted_labels = Some(self.probe(&permuted, &self.all())?.score());
        }
        Ok(result)
    }

    /// The controls that are not read off the trained MPUC.
    fn controls(&self, result: &mut UnitResult) -> Result<()> {
        if !self.labelled() {
            return Ok(());
        }
        if self.wants(Control::Untrained) {
            let (system, mut parameters) = self.new_mpuc()?;
            let plan =
                self.batches.plan(&self.split.train, self.config.training.batch, 0, 1, false);
            let batches = self.batches.training(&plan, 0, 0, 1, Partners::Own)?;
            calibrate(system.encoders(), &mut parameters, batches)?;
            result.untrained = Some(self.score(&system, &parameters)?);
        }
        if self.wants(Control::ShuffledPairs) {
            let (system, trained) = self.pretrain("shuffled", Partners::Shuffled)?;
            result.mpuc_shuffled_pairs = Some(self.score(&system, &trained.parameters)?);
        }
        if self.wants(Control::LateFusionSupervised) {
            result.late_fusion_supervised = Some(self.late_fusion()?);
        }
        if let (true, Some(factors)) = (self.wants(Control::Oracle), &self.material.factors) {
            let features = Features::given(factors, self.material, self.split);
            result.oracle = Some(self.probe(&features, &[0])?.score());
        }
        Ok(())
    }

    fn score(&self, system: &impl System, parameters: &Parameters) -> Result<f64> {
        let features = Features::of(system, parameters, &self.batches, self.material, self.split)?;
        Ok(self.probe(&features, &self.all())?.score())
    }

    /// Trains the same networks with labels, end to end.
    fn late_fusion(&self) -> Result<f64> {
        let labelled = |samples: &[usize]| -> Vec<usize> {
            samples
                .iter()
                .copied()
                .filter(|&sample| self.material.labels[sample].is_some())
                .collect()
        };
        let mut parameters = Parameters::new(DType::F32, self.seed);
        let supervised = &self.config.supervised;
        let (head, task) = (&supervised.head, self.task.clone());
        let system = LateFusion::new(&self.encoders, head, task, &mut parameters)?;
        self.material.pretrained.load(&mut parameters)?;
        parameters.move_to(self.session.device)?;
        let stage = Stage {
            session: self.session,
            name: self.name("late-fusion"),
            settings: &supervised.training,
            batches: &self.batches,
            pairs: false,
            train: &labelled(&self.split.train),
            validation: &labelled(&self.split.validation),
            partners: Partners::Own,
            views: 1,
            seed: self.seed,
        };
        let trained = stage.run(&system, parameters)?;
        let test = labelled(&self.split.test);
        let mut predicted = self.task.nothing();
        for batch in self.batches.evaluation(&test, 64)? {
            let logits = system.logits(&Pass::evaluate(&trained.parameters), &batch?)?;
            predicted.extend(self.task.decide(&logits)?);
        }
        let truth = self.material.targets(&test).unwrap_or_else(|| self.task.nothing());
        Ok(models::metrics::score(&predicted, &truth))
    }
}
