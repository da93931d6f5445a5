//! The networks of an arm: how they are built, trained and kept.

use super::Trial;
use crate::config::{Arm, ModalityConfig, Pairing};
use crate::experiment::batches::Batches;
use crate::experiment::donor::TrainingInputs;
use crate::experiment::judging::ROWS;
use crate::experiment::stage::{Stage, Trained, Unfinished, samples_to_learn_from};
use crate::experiment::{PreparedData, Training};
use crate::failure::{Failure, Kind, Result};
use engine::{DType, Parameters};
use models::systems::{EncoderSettings, Needs, Parts, System, SystemSettings, Teacher};
use models::train::{EpochRecord, Estimate, Evaluated, calibrate, estimate, plateau};
use std::rc::Rc;
use std::time::Instant;

/// Trained networks.
pub struct Networks {
    /// The system.
    pub system: Box<dyn System>,
    /// Its settings.
    pub settings: SystemSettings,
    /// Its encoders' settings.
    pub encoders: Vec<EncoderSettings>,
    /// Its trained parameters.
    pub parameters: Parameters,
    /// The numbers of its modalities in the data.
    pub modalities: Vec<usize>,
    /// Its epochs.
    pub(super) history: Vec<EpochRecord>,
    /// The progress of a training run that was not finished.
    pub(super) unfinished: Option<Unfinished>,
}

impl<'a> Trial<'a> {
    /// The batches of these modalities as an arm's networks read them: with the arm's own windows and standardisers.
    pub(super) fn batches(&self, arm: &Arm, modalities: &[usize]) -> Result<Batches<'a>> {
        if arm.modality.is_empty() {
            return Ok(self.batches.select(modalities));
        }
        let name = defined(arm);
        if let Some(batches) = self.own_batches.borrow().get(name) {
            return Ok(batches.select(modalities));
        }
        let PreparedData { entries, modalities: settings, .. } = self.prepared;
        let settings = entries.iter().zip(settings).map(|(entry, all)| {
            arm.modality.get(entry).map_or_else(|| all.clone(), |own| own.over(all))
        });
        let batches = self.batches.with(settings.collect(), &self.split.train)?;
        let chosen = batches.select(modalities);
        self.own_batches.borrow_mut().insert(name.into(), batches);
        Ok(chosen)
    }

    /// Builds a system with its initial parameters, on the device.
    fn build(&self, arm: &Arm, settings: &SystemSettings) -> Result<Networks> {
        let modalities = self.modalities(arm)?;
        let encoders = self.encoders(arm, &modalities)?;
        let mut parameters = Parameters::new(DType::F32, self.seed);
        let teacher = arm.teacher.as_ref().and_then(|name| self.arm(name));
        let parts = Parts {
            encoders: &encoders,
            task: self.task.as_ref(),
            groups: self.groups(arm, settings)?,
            teacher: teacher.and_then(Arm::system),
        };
        let system = settings.build(parts, parameters.scope())?;
        if let Some(teacher) = teacher {
            install(&self.networks(teacher)?.parameters, &mut parameters)?;
        }
        self.prepared.pretrained.load(&mut parameters, |modality| {
            encoders.iter().any(|encoder| encoder.name == modality)
        })?;
        parameters.move_to(self.session.device)?;
        Ok(Networks {
            system,
            settings: settings.clone(),
            encoders,
            parameters,
            modalities,
            history: Vec::new(),
            unfinished: None,
        })
    }

    /// The number of training groups, if the system classifies them; otherwise 0.
    pub(super) fn groups(&self, arm: &Arm, settings: &SystemSettings) -> Result<usize> {
        match settings.needs().groups {
            true => self.batches.groups(&arm.name, &self.split.train),
            false => Ok(0),
        }
    }

    fn encoders(&self, arm: &Arm, modalities: &[usize]) -> Result<Vec<EncoderSettings>> {
        let batches = self.batches(arm, modalities)?;
        let settings = batches.modalities().zip(batches.shapes());
        let encoder = |(&number, (modality, input)): (&usize, (&ModalityConfig, Vec<usize>))| {
            let own = arm.backbones.get(&self.prepared.entries[number]);
            EncoderSettings {
                backbone: own.unwrap_or(&modality.backbone).clone(),
                name: self.prepared.names[number].clone(),
                dropout: modality.dropout,
                input,
            }
        };
        Ok(modalities.iter().zip(settings).map(encoder).collect())
    }

    /// The size of an arm's networks, and the steps of its training.
    ///
    /// # Errors
    /// When the system does not accept its settings or the data.
    pub fn estimate(&self, arm: &Arm) -> Result<(Estimate, u64)> {
        let Some(system) = arm.system() else {
            return Err(Failure::new(Kind::Bug, format!("arm {} trains no system", arm.name)));
        };
        let modalities = self.modalities(arm)?;
        let encoders = self.encoders(arm, &modalities)?;
        let teacher = arm.teacher.as_ref().and_then(|name| self.arm(name)?.system());
        let groups = self.groups(arm, system)?;
        let parts = Parts { encoders: &encoders, task: self.task.as_ref(), groups, teacher };
        let batches = self.batches(arm, &modalities)?;
        let evaluated = Evaluated { rows: ROWS, shapes: &batches.evaluation_shapes() };
        let gpu = self.session.device.gpu().is_some();
        let measured = estimate(system, parts, &arm.training, evaluated, gpu)?;
        let steps = match arm.training.epochs {
            0 => 0,
            epochs => epochs * self.stage(arm, system.needs(), batches).steps_an_epoch()?,
        };
        let most = self.session.resolved.config.steps;
        Ok((measured, most.map_or(steps, |most| most.min(steps))))
    }

    /// The networks of an arm, which are trained on the first call. The arm must train a system.
    ///
    /// # Errors
    /// When training fails or is stopped.
    pub fn networks(&self, arm: &Arm) -> Result<Rc<Networks>> {
        if let Some(networks) = self.networks.borrow().get(&arm.name) {
            return Ok(Rc::clone(networks));
        }
        let Some(settings) = arm.system() else {
            let what = format!("arm {} trains no system", arm.name);
            return Err(Failure::new(Kind::Bug, what));
        };
        let mut networks = self.build(arm, settings)?;
        let batches = self.batches(arm, &networks.modalities)?;
        if arm.training.epochs == 0 {
            let needs = Needs { views: 1, pairs: false, ..settings.needs() };
            let plan = batches.plan(&self.split.train, arm.training.batch, 0, &needs);
            let drawn = batches.training(&plan, 0, 0, &needs, Pairing::Own)?;
            calibrate(&*networks.system, &mut networks.parameters, drawn)?;
        } else {
            let mut stage = self.stage(arm, settings.needs(), batches);
            let parameters = networks.parameters;
            let trained = match self.session.training {
                Training::Continue => {
                    stage.key = self.training_inputs(arm, &stage).key()?;
                    stage.run(&*networks.system, parameters)?
                }
                Training::Restore { unfinished: allowed } => {
                    let (trained, unfinished) = stage.trained(&*networks.system, parameters)?;
                    if let (Some(unfinished), false) = (&unfinished, allowed) {
                        return Err(Failure::new(
                            Kind::TryAgain,
                            format!("training is not finished: {unfinished}"),
                        )
                        .hint("the same `mpuc train` command continues it; --unfinished evaluates it as it is"));
                    }
                    networks.unfinished = unfinished;
                    trained
                }
            };
            Trained { parameters: networks.parameters, history: networks.history } = trained;
            let at = networks.system.plateau(arm.training.batch);
            if let Some(notice) = at.and_then(|at| plateau(&networks.history, &at)) {
                self.session.progress.warn(format_args!("{}: {notice}", arm.name));
            }
        }
        Ok(self.keep(arm, networks))
    }

    /// The training of an arm before its first step, with its system and parameters. The arm must train a system.
    ///
    /// # Errors
    /// When the system does not accept its settings or the data.
    pub fn beginning<'b>(
        &'b self,
        arm: &'b Arm,
    ) -> Result<(Stage<'b>, Box<dyn System>, Parameters)> {
        let Some(settings) = arm.system() else {
            let what = format!("arm {} trains no system", arm.name);
            return Err(Failure::new(Kind::Bug, what));
        };
        let Networks { system, parameters, modalities, .. } = self.build(arm, settings)?;
        let stage = self.stage(arm, settings.needs(), self.batches(arm, &modalities)?);
        Ok((stage, system, parameters))
    }

    /// The training of an arm's system.
    fn stage<'b>(&'b self, arm: &'b Arm, needs: Needs, batches: Batches<'b>) -> Stage<'b> {
        let transductive = self.session.resolved.config.sampling.transductive;
        let (train, validation) =
            samples_to_learn_from(self.prepared, self.split, &needs, transductive);
        let name = self.name(&arm.name);
        let own = format!("arm.{}.training.batch", defined(arm));
        let has_own = self.session.resolved.sources.contains_key(&own);
        Stage {
            batch_key: if has_own { own } else { "training.batch".into() },
            session: self.session,
            begun: (Instant::now(), self.session.run.seconds_of(&name)),
            name,
            arm: &arm.name,
            settings: &arm.training,
            batches,
            train,
            validation,
            needs,
            pairing: arm.pairing,
            seed: self.seed,
            key: None,
        }
    }

    /// What the training of an arm reads.
    fn training_inputs<'b>(&'b self, arm: &'b Arm, stage: &'b Stage<'b>) -> TrainingInputs<'b> {
        let samples = [&stage.train[..], &stage.validation[..]];
        let Trial { session, prepared, split, seed, .. } = *self;
        TrainingInputs { session, prepared, split, arm, needs: &stage.needs, samples, seed }
    }

    fn keep(&self, arm: &Arm, networks: Networks) -> Rc<Networks> {
        let networks = Rc::new(networks);
        self.networks.borrow_mut().insert(arm.name.clone(), Rc::clone(&networks));
        networks
    }
}

/// The name under which an arm is defined: an arm of each modality is `NAME.MODALITY`.
fn defined(arm: &Arm) -> &str {
    arm.name.split('.').next().unwrap_or(&arm.name)
}

/// Copies a teacher's parameters into a student's and freezes them.
fn install(teacher: &Parameters, student: &mut Parameters) -> Result<()> {
    let prefix = format!("{}.", Teacher::SCOPE);
    let owns: Vec<_> = student.ids().filter(|id| student.name(*id).starts_with(&prefix)).collect();
    for own in owns {
        let name = &student.name(own)[prefix.len()..];
        let Some(id) = teacher.find(name) else {
            return Err(Failure::config(format!(
                "the teacher's networks have no `{name}`, which the student's copy of them has"
            ))
            .hint(
                "train the arm and its teacher on the same modalities, with the same backbones",
            ));
        };
        student.import(own, &teacher.export(id)?)?;
    }
    student.freeze(&prefix);
    Ok(())
}
