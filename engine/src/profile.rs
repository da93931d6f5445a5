//! Records what a computation does: every op with its place in the model, its time and its work.
//!
//! [`record`] runs a body and returns the [`Profile`] of this thread's ops. Outside of it an op pays one check of a flag.
//!
//! Where a profiler of NVIDIA is attached ([`kernels::gpu::nvtx`]), every op and span is a range of it too.
//!
//! An op belongs to the module whose parameter was read last ([`Pass::get`](crate::Pass::get)): an activation to the layer
//! before it. What has no parameter of its own names its place with [`span`].

use kernels::gpu::nvtx;
use kernels::op::Cost;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The part of a training step to which work belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Computing outputs and the loss.
    Forward,
    /// Computing gradients.
    Backward,
    /// A forward op that ran again in the backward pass, because its output was not kept.
    Recomputed,
    /// All else: an optimiser's update, copies between devices.
    Other,
}

impl Part {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Part::Forward => "forward",
            Part::Backward => "backward",
            Part::Recomputed => "recomputed",
            Part::Other => "other",
        }
    }
}

/// One op, or one span without the ops inside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Its place: an index of [`Profile::scopes`].
    pub scope: usize,
    /// The op's name, or the span's.
    pub name: &'static str,
    /// Its part of a step.
    pub part: Part,
    /// Time from the start of the record to its start.
    pub start: Duration,
    /// Time from its start to its end.
    pub whole: Duration,
    /// The same without the events inside it. On a GPU this is the time of the launch, not of the work.
    pub own: Duration,
    /// Floating-point operations by the op's [cost](kernels::Op::cost).
    pub flops: f64,
    /// Bytes read and written by the op's cost.
    pub bytes: f64,
    /// Bytes of tensors in use at its end.
    pub in_use: usize,
}

/// What a computation did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Events in the order of their starts.
    pub events: Vec<Event>,
    /// The places of events, with dots between a module and those inside it; the first is empty.
    pub scopes: Vec<String>,
    /// Duration of the whole body.
    pub whole: Duration,
}

impl Profile {
    /// Floating-point operations and bytes of all forward and backward passes. What ran again is not counted twice.
    pub fn work(&self) -> Cost {
        let mut sum = Cost::default();
        for event in &self.events {
            let (flops, bytes) = match event.part {
                Part::Backward => (&mut sum.backward_flops, &mut sum.backward_bytes),
                Part::Forward => (&mut sum.forward_flops, &mut sum.forward_bytes),
                Part::Recomputed | Part::Other => continue,
            };
            *flops += event.flops;
            *bytes += event.bytes;
        }
        sum
    }
}

thread_local! {
    /// Whether this thread records.
    static ON: Cell<bool> = const { Cell::new(false) };
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// A record in the making.
#[derive(Debug)]
struct Recording {
    started: Instant,
    profile: Profile,
    numbers: HashMap<String, usize>,
    /// The place of ops that begin now.
    scope: usize,
    /// The part of ops that begin now, in place of their own.
    part: Option<Part>,
    /// The events that have begun: their index, and the time of those inside them that have ended.
    open: Vec<(usize, Duration)>,
}

impl Recording {
    fn new() -> Self {
        Recording {
            started: Instant::now(),
            profile: Profile { scopes: vec![String::new()], ..Profile::default() },
            numbers: HashMap::from([(String::new(), 0)]),
            scope: 0,
            part: None,
            open: Vec::new(),
        }
    }

    fn enter(&mut self, name: &str) {
        self.scope = match self.numbers.get(name) {
            Some(&number) => number,
            None => {
                let number = self.profile.scopes.len();
                self.profile.scopes.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
        };
    }
}

/// Runs the body and returns its result and what it did on this thread.
pub fn record<T>(body: impl FnOnce() -> T) -> (T, Profile) {
    let before = RECORDING.replace(Some(Recording::new()));
    let was = ON.replace(true);
    let value = body();
    let recording = RECORDING.replace(before);
    ON.set(was);
    let profile = recording
        .map(|recording| Profile { whole: recording.started.elapsed(), ..recording.profile });
    (value, profile.unwrap_or_default())
}

/// Runs the body as one event, at the place of this name; ops inside it that read no parameter have that place too.
pub fn span<T>(name: &'static str, part: Part, body: impl FnOnce() -> T) -> T {
    let Some(scope) = with(|recording| {
        let scope = recording.scope;
        recording.enter(name);
        scope
    }) else {
        let _range = nvtx::range(|| name);
        return body();
    };
    let value = {
        let _open = open(Scope::current(), name, part);
        body()
    };
    with(|recording| recording.scope = scope);
    value
}

/// A place, for an op that runs again or backward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scope(usize);

impl Scope {
    /// The place of ops that begin now.
    pub(crate) fn current() -> Self {
        Scope(with(|recording| recording.scope).unwrap_or(0))
    }
}

/// Sets the place of the next ops to the module of a parameter.
pub(crate) fn enter_module_of(parameter: &str) {
    with(|recording| recording.enter(parameter.rsplit_once('.').map_or("", |(module, _)| module)));
}

/// Runs a forward op that was not kept, at its place in the forward pass.
pub(crate) fn again<T>(scope: Scope, body: impl FnOnce() -> T) -> T {
    let before = with(|recording| {
        let last = recording.profile.scopes.len() - 1;
        let scope = std::mem::replace(&mut recording.scope, scope.0.min(last));
        (scope, recording.part.replace(Part::Recomputed))
    });
    let value = body();
    if let Some((scope, part)) = before {
        with(|recording| (recording.scope, recording.part) = (scope, part));
    }
    value
}

/// An event that ends when this value is dropped; nothing outside a [`record`].
pub(crate) struct Open {
    number: Option<usize>,
    _range: Option<nvtx::Range>,
}

/// Begins an event.
pub(crate) fn open(scope: Scope, name: &'static str, part: Part) -> Open {
    let number = with(|recording| {
        let number = recording.profile.events.len();
        recording.profile.events.push(Event {
            scope: scope.0.min(recording.profile.scopes.len() - 1),
            name,
            part: recording.part.unwrap_or(part),
            start: recording.started.elapsed(),
            whole: Duration::ZERO,
            own: Duration::ZERO,
            flops: 0.0,
            bytes: 0.0,
            in_use: 0,
        });
        recording.open.push((number, Duration::ZERO));
        number
    });
    let place = || with(|recording| recording.profile.scopes[scope.0].clone());
    let _range = nvtx::range(|| match place() {
        Some(place) if !place.is_empty() => format!("{place}: {name} {}", part.name()),
        _ => format!("{name} {}", part.name()),
    });
    Open { number, _range }
}

impl Open {
    /// Notes the work of the event.
    pub(crate) fn work(&self, work: impl FnOnce() -> (f64, f64)) {
        if let Some(number) = self.number {
            let (flops, bytes) = work();
            with(|recording| {
                if let Some(event) = recording.profile.events.get_mut(number) {
                    (event.flops, event.bytes) = (flops, bytes);
                }
            });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        with(|recording| {
            let Some((_, inside)) = recording.open.pop_if(|(own, _)| *own == number) else {
                return;
            };
            let event = &mut recording.profile.events[number];
            event.whole = recording.started.elapsed() - event.start;
            event.own = event.whole.saturating_sub(inside);
            event.in_use = crate::pool::statistics().in_use;
            let whole = event.whole;
            if let Some((_, inside)) = recording.open.last_mut() {
                *inside += whole;
            }
        });
    }
}

/// Runs the body on this thread's record, if there is one.
fn with<T>(body: impl FnOnce(&mut Recording) -> T) -> Option<T> {
    if !ON.get() {
        return None;
    }
    RECORDING.with_borrow_mut(|recording| recording.as_mut().map(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Linear;
    use crate::{DType, Parameters, Pass, Philox, Result, Tensor};

    #[test]
    fn what_runs_again_belongs_to_its_place_in_the_forward_pass() -> Result<()> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let mut scope = parameters.scope();
        let first = Linear::new(scope.sub("voice.first"), 64, 64)?;
        let second = Linear::new(scope.sub("voice.second"), 64, 2)?;
        let x = Tensor::zeros(&[5, 64], DType::F32);
        let (done, profile) = record(|| -> Result<()> {
            let pass = Pass::train(&parameters, Philox::new(0, "pass"));
            let hidden = first.forward(&pass, &x)?;
            let kept = hidden.detached();
            let hidden = hidden.multiply(&hidden)?.recompute_with(move || kept.multiply(&kept));
            second.forward(&pass, &hidden)?;
            let reader = hidden.kept();
            drop(hidden);
            reader.get().map(drop)
        });
        done?;
        let again = profile.events.iter().find(|event| event.part == Part::Recomputed);
        let place = again.map(|event| (event.name, &profile.scopes[event.scope][..]));
        assert_eq!(place, Some(("arithmetic", "voice.first")), "{:?}", profile.events);
        Ok(())
    }

    #[test]
    fn ops_belong_to_the_modules_whose_parameters_they_read() -> Result<()> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let mut scope = parameters.scope();
        let first = Linear::new(scope.sub("voice.first"), 3, 4)?;
        let second = Linear::new(scope.sub("voice.second"), 4, 2)?;
        let x = Tensor::zeros(&[5, 3], DType::F32);
        let target = Tensor::zeros(&[5, 2], DType::F32);
        let step = || -> Result<()> {
            let pass = Pass::train(&parameters, Philox::new(0, "pass"));
            let hidden = first.forward(&pass, &x)?.relu()?;
            let y = second.forward(&pass, &hidden)?;
            let loss = span("loss", Part::Forward, || y.mse(&target))?;
            pass.backward(&loss).map(drop)
        };
        let (done, profile) = record(step);
        done?;
        let named: Vec<(&str, &str, Part)> = profile
            .events
            .iter()
            .map(|event| (&profile.scopes[event.scope][..], event.name, event.part))
            .collect();
        let wanted = [
            ("voice.first", "linear", Part::Forward),
            ("voice.first", "activation", Part::Forward),
            ("voice.second", "linear", Part::Forward),
            ("loss", "loss", Part::Forward),
            ("loss", "regression", Part::Forward),
            ("loss", "regression", Part::Backward),
            ("voice.second", "linear", Part::Backward),
            ("voice.first", "activation", Part::Backward),
            ("voice.first", "linear", Part::Backward),
        ];
        assert_eq!(named, wanted);
        for event in &profile.events {
            assert!(event.own <= event.whole && event.start + event.whole <= profile.whole);
            assert!(event.name == "loss" || event.flops > 0.0 && event.bytes > 0.0, "{event:?}");
        }
        let linear = 2.0 * 5.0 * (3.0 * 4.0 + 4.0 * 2.0);
        let work = profile.work();
        assert!(work.forward_flops >= linear && work.backward_flops >= linear, "{work:?}");
        let (_, nothing) = record(|| ());
        assert!(nothing.events.is_empty());
        Ok(())
    }
}
