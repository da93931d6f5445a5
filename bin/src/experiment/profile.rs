//! Steps of an arm's training that are recorded, op by op. Nothing is saved.

use super::stage::Stage;
use super::trial::Trial;
use super::{PreparedData, Session};
use crate::config::Arm;
use crate::failure::{Failure, Result};
use crate::signals::{Reason, Saving};
use engine::Parameters;
use engine::profile::{Part, Profile, record, span};
use kernels::gpu::{Trace, nvtx};
use models::systems::System;
use models::train::Trainer;
use std::time::{Duration, Instant};

/// Steps before the first that counts: the pool and the caches are filled.
const WARM_UP: usize = 3;

/// The recorded steps of an arm.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The arm's name.
    pub arm: String,
    /// Samples of a batch.
    pub batch: usize,
    /// What each recorded step did.
    pub steps: Vec<Profile>,
    /// The duration of each step without a record, which alternate with the recorded ones.
    pub plain: Vec<Duration>,
    /// One more step on a GPU: what it did, and its launches.
    pub traced: Option<(Profile, Trace)>,
    /// What ended it before its last step.
    pub stopped: Option<Reason>,
    /// Until this is dropped a signal does not end the program: the record is not written yet.
    pub(crate) _saving: Option<Saving>,
}

/// Trains an arm for some steps of the first seed and fold, and records every second one.
///
/// # Errors
/// When data or configuration are wrong, the arm trains nothing, or a stop was requested.
pub fn profile(session: &Session<'_>, name: Option<&str>, steps: usize) -> Result<Recorded> {
    let prepared = PreparedData::open(session.resolved, session.progress, session.stop)?;
    let trial = Trial::first(session, &prepared)?;
    let trains = |arm: &&Arm| arm.system().is_some() && arm.training.epochs > 0;
    let all = super::arms(session.resolved, &prepared);
    let found = match name {
        Some(name) => all.iter().find(|arm| arm.name == name),
        None => {
            let usual = all.iter().find(|arm| arm.name == "mpuc" && trial.can_run(arm));
            usual.or_else(|| all.iter().find(|arm| trains(arm) && trial.can_run(arm)))
        }
    };
    let known = || {
        let names = all.iter().filter(trains).map(|arm| arm.name.as_str());
        format!("the arms that train are {}", names.collect::<Vec<_>>().join(", "))
    };
    let arm = found.filter(trains).ok_or_else(|| {
        let what = match name {
            Some(name) => format!("--arm: `{name}` is no arm of this configuration that trains"),
            None => "no arm of this configuration trains".into(),
        };
        Failure::config(what).hint(known())
    })?;
    if !trial.can_run(arm) {
        let what = format!("--arm: `{}` needs labels, and the data has none", arm.name);
        return Err(Failure::config(what).hint(known()));
    }
    let (stage, system, parameters) = trial.beginning(arm)?;
    stage.recorded(&*system, parameters, steps)
}

impl Stage<'_> {
    /// Trains without checkpoints or metrics, and records every second step after the first few.
    fn recorded(
        &self,
        system: &dyn System,
        parameters: Parameters,
        steps: usize,
    ) -> Result<Recorded> {
        let steps_an_epoch = self.steps_an_epoch()?;
        let mut trainer =
            Trainer::new(self.settings, system, parameters, self.seed, steps_an_epoch)?;
        let mut found = Recorded {
            arm: self.arm.to_owned(),
            batch: self.settings.batch,
            _saving: Some(self.session.stop.saving()),
            ..Recorded::default()
        };
        let task = self.session.progress.task(&self.name, (WARM_UP + 2 * steps) as u64);
        let mut done = 0;
        for epoch in 0.. {
            let plan = self.plan(epoch);
            let mut batches = self.batches.training(&plan, 0, epoch, &self.needs, self.pairing)?;
            loop {
                if let Some(reason) = self.session.stop.asked() {
                    if found.steps.is_empty() {
                        return Err(reason.saved("no step was recorded yet"));
                    }
                    return Ok(Recorded { stopped: Some(reason), ..found });
                }
                let mut step = || -> Result<bool> {
                    let _range = nvtx::range(|| format!("step {done}"));
                    let batch = span("data", Part::Other, || batches.next()).transpose()?;
                    let Some(batch) = batch else { return Ok(false) };
                    trainer.step(system, &batch)?;
                    Ok(true)
                };
                let whole = found.steps.len() == steps;
                match self.session.device.gpu().filter(|_| whole) {
                    Some(gpu) => {
                        gpu.trace();
                        let (ran, profile) = record(step);
                        let trace = gpu.traced();
                        if ran? {
                            found.traced = Some((profile, trace?));
                            return Ok(found);
                        }
                        break;
                    }
                    None if whole => return Ok(found),
                    None => {}
                }
                let recorded = done >= WARM_UP && (done - WARM_UP).is_multiple_of(2);
                let started = Instant::now();
                let (ran, profile) = match recorded {
                    true => record(step),
                    false => (step(), Profile::default()),
                };
                if !ran? {
                    break;
                }
                match recorded {
                    true => found.steps.push(profile),
                    false if done >= WARM_UP => found.plain.push(started.elapsed()),
                    false => {}
                }
                done += 1;
                task.tick(done as u64, "");
            }
        }
        Ok(found)
    }
}
