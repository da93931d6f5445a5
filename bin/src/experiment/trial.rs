//! A trial, one seed on one fold: every arm is trained and evaluated.

mod networks;

pub use networks::Networks;

use super::batches::Batches;
use super::judging::{Features, cross_modal, own_head};
use super::missing::{Missing, MissingScore, Probed};
use super::stage::Unfinished;
use super::{PreparedData, Session};
use crate::bundle::{self, BundledModality, BundledProbe, Description};
use crate::config::{Arm, EvaluationKind, Origin};
use crate::failure::{Failure, Kind, Result};
use data::folds::Split;
use engine::Philox;
use models::evaluate::metrics::Retrieval;
use models::evaluate::{Evaluation, Probe};
use models::targets::Task;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

/// The result of one arm on one trial. A figure that was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArmResult {
    /// The arm's name.
    pub arm: String,
    /// Seed.
    pub seed: u64,
    /// Fold, from 0.
    pub fold: usize,
    /// A hash of the settings and the data behind the figures: 16 hexadecimal digits.
    pub made_by: String,
    /// The evaluation on the test part; absent if no sample has a label.
    pub evaluation: Option<Evaluation>,
    /// Cross-modal retrieval on the test part, where the system has embeddings and samples have every modality.
    pub retrieval: Option<Retrieval>,
    /// R@1 of random guessing.
    pub retrieval_chance: Option<f64>,
    /// The scores when samples lack a modality; see `[missing]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingScore>,
    /// Mean loss of the first epoch of training.
    pub loss_first: Option<f64>,
    /// Mean loss of the last epoch.
    pub loss_last: Option<f64>,
    /// Duration in seconds, over all processes that worked on it; since its last checkpoint only of the last one.
    pub seconds: f64,
    /// The progress of its networks' training, if that was not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
}

/// A trial: one seed on one fold.
pub struct Trial<'a> {
    session: &'a Session<'a>,
    prepared: &'a PreparedData,
    split: &'a Split,
    seed: u64,
    fold: usize,
    /// The batches of the run's settings.
    batches: Batches<'a>,
    /// Those of arms with settings of modalities of their own, by the name under which the arm is defined.
    own_batches: RefCell<BTreeMap<String, Batches<'a>>>,
    task: Option<Task>,
    /// By the name of the arm.
    networks: RefCell<BTreeMap<String, Rc<Networks>>>,
    features: RefCell<BTreeMap<String, Rc<Features>>>,
}

impl<'a> Trial<'a> {
    /// A trial without results.
    ///
    /// # Errors
    /// When a feature cannot be read, or no training sample has a modality.
    pub fn new(
        session: &'a Session<'a>,
        prepared: &'a PreparedData,
        seed: u64,
        fold: usize,
    ) -> Result<Self> {
        let config = &session.resolved.config;
        let prepared = prepared.of_fold(fold);
        let split = &prepared.splits[fold];
        let batches = Batches::new(config, prepared, &split.train, seed)?;
        let some = |part: &[usize]| !prepared.labelled(part).is_empty();
        let labelled = some(&split.train) && some(&split.test);
        let weights = config.data.positive_weights.as_deref();
        let task = labelled.then(|| prepared.task(&split.train, weights));
        Ok(Trial {
            session,
            prepared,
            split,
            seed,
            fold,
            batches,
            own_batches: RefCell::default(),
            task,
            networks: RefCell::default(),
            features: RefCell::default(),
        })
    }

    /// The trial of the first seed and fold.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn first(session: &'a Session<'a>, prepared: &'a PreparedData) -> Result<Self> {
        let config = &session.resolved.config;
        Trial::new(session, prepared, config.seeds[0], prepared.folds(config.only_fold)?.start)
    }

    /// Warns of labels by which an evaluation says nothing: none at all, or of one class alone.
    pub fn warn_of_labels(&self) {
        let PreparedData { classes, labels, .. } = self.prepared;
        let fold = self.fold + 1;
        for (name, part) in [("training", &self.split.train), ("test", &self.split.test)] {
            let labelled = self.prepared.labelled(part);
            if labelled.is_empty() && !classes.is_empty() {
                self.session.progress.warn(format_args!(
                    "fold {fold}: no sample of its {name} part has a label, so nothing is evaluated by labels"
                ));
            }
            let found: BTreeSet<usize> =
                labelled.into_iter().filter_map(|sample| labels[sample]?.class()).collect();
            if let (1, Some(&class)) = (found.len(), found.first()) {
                self.session.progress.warn(format_args!(
                    "fold {fold}: every labelled sample of its {name} part is of the class `{}`: the accuracy says nothing",
                    classes[class]
                ));
            }
        }
    }

    /// Trains and evaluates an arm, or reads its result from the run folder. `None` if the data lacks what the arm
    /// needs: labels, or true factors.
    ///
    /// # Errors
    /// When training fails or is stopped.
    pub fn run(&self, arm: &Arm) -> Result<Option<ArmResult>> {
        let file = format!("eval/{}.json", self.name(&arm.name));
        let made_by = self.made_by(arm)?;
        if let Ok(bytes) = std::fs::read(self.session.run.file(&file))
            && let Ok(result) = serde_json::from_slice::<ArmResult>(&bytes)
            && result.made_by == made_by
        {
            return Ok(Some(result));
        }
        if !self.can_run(arm) {
            return Ok(None);
        }
        let (started, before) =
            (Instant::now(), self.session.run.seconds_of(&self.name(&arm.name)));
        let (mut result, probe) = self.judge(arm)?;
        if arm.system().is_some() && arm.training.epochs > 0 {
            self.bundle(arm, probe.as_ref())?;
        }
        result.made_by = made_by;
        result.seconds = before + started.elapsed().as_secs_f64();
        self.session.run.write_json(&file, &result)?;
        Ok(Some(result))
    }

    /// Evaluates a trained arm from its checkpoint. `None` as for [`run`](Self::run).
    ///
    /// # Errors
    /// When there is no checkpoint, it is not of this configuration, or training is not finished.
    pub fn judge_again(&self, arm: &Arm) -> Result<Option<ArmResult>> {
        if !self.can_run(arm) {
            return Ok(None);
        }
        Ok(Some(self.judge(arm)?.0))
    }

    fn made_by(&self, arm: &Arm) -> Result<String> {
        let resolved = self.session.resolved;
        let source = self.source(arm);
        let teacher = source.and_then(|arm| self.arm(arm.teacher.as_ref()?));
        let others = [source, teacher].into_iter().flatten();
        let others: Vec<String> = others.map(|arm| resolved.hash_of(arm)).collect::<Result<_>>()?;
        let weights = self.prepared.pretrained.stamp();
        let parts = (resolved.hash_of(arm)?, others, self.prepared.hash(), weights);
        Ok(blake3::hash(format!("{parts:?}").as_bytes()).to_hex()[..16].to_owned())
    }

    /// Whether the data has what the arm needs.
    pub fn can_run(&self, arm: &Arm) -> bool {
        let labels = self.source(arm).and_then(Arm::system).is_some_and(|s| s.needs().labels);
        let probed = arm.origin == Origin::Factors || matches!(arm.origin, Origin::Arm(_));
        let factors = arm.origin != Origin::Factors || self.prepared.factors.is_some();
        // An untrained network serves only as a probe's input.
        let untrained = arm.system().is_some() && arm.training.epochs == 0;
        factors && (self.task.is_some() || !(labels || probed || untrained))
    }

    /// The arm whose networks an arm uses: itself, or the one that it names; none for true factors.
    fn source<'b>(&'b self, arm: &'b Arm) -> Option<&'b Arm> {
        match &arm.origin {
            Origin::System(_) => Some(arm),
            Origin::Arm(name) => self.arm(name),
            Origin::Factors => None,
        }
    }

    fn arm(&self, name: &str) -> Option<&Arm> {
        self.session.resolved.arms.iter().find(|arm| arm.name == name)
    }

    /// `seed0-fold1-ARM`: the name of an arm's checkpoint and result.
    pub fn name(&self, arm: &str) -> String {
        format!("seed{}-fold{}-{arm}", self.seed, self.fold + 1)
    }

    /// The numbers of an arm's modalities in the data.
    fn modalities(&self, arm: &Arm) -> Result<Vec<usize>> {
        let all = &self.prepared.names;
        let Some(names) = &arm.modalities else { return Ok((0..all.len()).collect()) };
        let number = |name: &String| {
            all.iter().position(|known| known == name).ok_or_else(|| {
                let known = all.join(", ");
                Failure::config(format!("`arm.{}.modalities` names `{name}`", arm.name))
                    .hint(format!("the data has {known}"))
            })
        };
        names.iter().map(number).collect()
    }

    /// The frozen features of an arm's networks.
    fn features(&self, arm: &Arm) -> Result<Rc<Features>> {
        if let Some(features) = self.features.borrow().get(&arm.name) {
            return Ok(Rc::clone(features));
        }
        let networks = self.networks(arm)?;
        let features = Rc::new(Features::from_system(
            &*networks.system,
            &networks.parameters,
            &self.batches(arm, &networks.modalities)?,
            self.prepared,
            self.split,
        )?);
        self.features.borrow_mut().insert(arm.name.clone(), Rc::clone(&features));
        Ok(features)
    }

    fn judge(&self, arm: &Arm) -> Result<(ArmResult, Option<Probe>)> {
        let mut result = ArmResult {
            arm: arm.name.clone(),
            seed: self.seed,
            fold: self.fold,
            ..ArmResult::default()
        };
        if arm.system().is_some() && arm.training.epochs > 0 {
            let networks = self.networks(arm)?;
            result.loss_first = networks.history.first().map(|epoch| epoch.loss);
            result.loss_last = networks.history.last().map(|epoch| epoch.loss);
            let found = cross_modal(
                &*networks.system,
                &networks.parameters,
                &self.batches(arm, &networks.modalities)?,
                &self.split.test,
                &self.session.resolved.config.retrieval,
            )?;
            if found.is_none() && networks.settings.needs().pairs {
                self.session.progress.warn(format_args!(
                    "{}: retrieval not measured: fewer than 2 test samples have all modalities",
                    self.name(&arm.name)
                ));
            }
            result.retrieval = found.map(|(retrieval, _)| retrieval);
            result.retrieval_chance = found.map(|(_, chance)| chance);
        }
        let source = self.source(arm).map(|source| self.networks(source)).transpose()?;
        result.unfinished = source.and_then(|networks| networks.unfinished.clone());
        let mut probe = None;
        if let Some(task) = &self.task {
            let (evaluation, missing, trained) = self.evaluate(arm, task)?;
            result.evaluation = Some(evaluation);
            result.missing = missing;
            probe = trained;
        }
        Ok((result, probe))
    }

    /// Evaluates an arm on the test part, also without each modality. Returns the probe too, if one was trained.
    fn evaluate(
        &self,
        arm: &Arm,
        task: &Task,
    ) -> Result<(Evaluation, Vec<MissingScore>, Option<Probe>)> {
        if let (Origin::Factors, Some(factors)) = (&arm.origin, &self.prepared.factors) {
            let features = Features::from_factors(factors, self.prepared, self.split);
            return Ok((features.probe(&[0], &arm.probe, task, self.seed)?.0, Vec::new(), None));
        }
        let Some(source) = self.source(arm) else {
            return Err(Failure::new(Kind::Bug, format!("arm {} has no networks", arm.name)));
        };
        let networks = self.networks(source)?;
        let batches = self.batches(source, &networks.modalities)?;
        let config = &self.session.resolved.config.missing;
        let name = self.name(&arm.name);
        let missing = Missing {
            config,
            prepared: self.prepared,
            split: self.split,
            batches: &batches,
            networks: &networks,
            task,
            name: &name,
            progress: self.session.progress,
        };
        let measured = !config.shares.is_empty() && networks.modalities.len() > 1;
        if arm.evaluation == EvaluationKind::Head {
            let (system, parameters) = (&*networks.system, &networks.parameters);
            let test = &self.split.test;
            let evaluation = own_head(system, parameters, &batches, self.prepared, test, task)?;
            let missing = if measured { missing.of_head()? } else { Vec::new() };
            return Ok((evaluation, missing, None));
        }
        // The columns of the arm's modalities in the networks' features.
        let wanted = self.modalities(arm)?;
        let column = |number: &usize| networks.modalities.iter().position(|m| m == number);
        let columns: Vec<usize> = match arm.modalities {
            None => (0..networks.modalities.len()).collect(),
            Some(_) => wanted.iter().filter_map(column).collect(),
        };
        if columns.len() < wanted.len() && arm.modalities.is_some() {
            return Err(Failure::config(format!(
                "`arm.{}.modalities` names one that the arm `{}` is not trained on",
                arm.name, source.name
            )));
        }
        let features = self.features(source)?;
        let part = arm.modalities.is_some() && arm.name != source.name;
        if part && features.joint(networks.modalities.len()) {
            return Err(Failure::config(format!(
                "`arm.{}.modalities` is set, but the arm `{}` has features of all modalities together",
                arm.name, source.name
            ))
            .hint("remove it, or train the system on these modalities"));
        }
        let permuted;
        let features = match arm.evaluation {
            EvaluationKind::PermutedLabels => {
                let random = Philox::new(self.seed, "permuted labels");
                permuted = Features::clone(&features).permuted(random);
                &permuted
            }
            _ => &*features,
        };
        let (evaluation, probe) = features.probe(&columns, &arm.probe, task, self.seed)?;
        let measured =
            measured && columns.len() > 1 && arm.evaluation != EvaluationKind::PermutedLabels;
        let missing = match measured {
            false => Vec::new(),
            true => {
                let (settings, seed) = (&arm.probe, self.seed);
                let (probe, columns) = (&probe, &columns[..]);
                missing.of_probe(&Probed { probe, settings, features, columns, seed })?
            }
        };
        Ok((evaluation, missing, Some(probe)))
    }

    /// Writes the bundle of an arm that was trained.
    fn bundle(&self, arm: &Arm, probe: Option<&Probe>) -> Result<()> {
        let networks = self.networks(arm)?;
        let batches = self.batches(arm, &networks.modalities)?;
        let settings = batches.modalities().zip(batches.standardisers());
        let modalities = networks.modalities.iter().zip(settings);
        let modalities = modalities.map(|(&number, (settings, standardiser))| BundledModality {
            decoder: self.prepared.decoders[number].clone(),
            standardiser: standardiser.clone(),
            frame: self.prepared.dataset.frame_shape(number).to_vec(),
            settings: settings.clone(),
        });
        let description = Description {
            version: bundle::VERSION,
            arm: arm.name.clone(),
            seed: self.seed,
            fold: self.fold + 1,
            system: networks.settings.clone(),
            teacher: arm.teacher.as_ref().and_then(|name| self.arm(name)?.system().cloned()),
            groups: self.groups(arm, &networks.settings)?,
            encoders: networks.encoders.clone(),
            modalities: modalities.collect(),
            task: self.task.clone(),
            classes: self.prepared.classes.clone(),
            probe: probe.map(|probe| BundledProbe {
                settings: arm.probe.clone(),
                scaling: probe.scaling().clone(),
            }),
            protocol: self.prepared.stamp(self.session.resolved, self.session.device)?,
        };
        let path = self.session.run.file(bundle::file(&arm.name, self.seed, self.fold + 1));
        bundle::save(&path, &description, &networks.parameters, probe)
    }
}
