//! What a system must say of itself.

use super::{Batch, EncoderSettings, Encoders, SystemSettings};
use crate::targets::Task;
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// Networks and the loss that trains them.
///
/// Training, evaluation, bundles and reports know this trait alone. A system's structs hold names and sizes; every
/// number it learns stands in [`Parameters`](engine::Parameters).
pub trait System: Debug + Send + Sync {
    /// The backbones whose features a probe reads.
    fn encoders(&self) -> &Encoders;

    /// What the system computes of a batch. Evaluation reads it, each field that a system has.
    ///
    /// # Errors
    /// When an input is not of its backbone's shape.
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs>;

    /// The updates that one batch brings, in their order; one that updates everything where a system says nothing else.
    fn phases(&self) -> Vec<Phase> {
        vec![Phase::whole()]
    }

    /// The loss that the phase of this number minimises.
    ///
    /// # Errors
    /// When an input is not of its backbone's shape, or the batch lacks labels that the loss needs.
    fn loss(&self, pass: &Pass<'_>, batch: &Batch, phase: usize) -> Result<Loss>;

    /// The value of the loss at which training can stand still, with the reason; `None` where there is none. `batch`
    /// is the number of samples a step.
    fn plateau(&self, _batch: usize) -> Option<Plateau> {
        None
    }
}

/// How a system is made from its settings: what a word in [`systems!`](crate::systems) needs beside [`System`].
pub trait Definition: System + Sized + 'static {
    /// The system's name in configurations and results.
    const NAME: &'static str;

    /// The settings of the system itself: heads and loss. Encoders, optimiser and schedule are not among them.
    type Settings: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// Refuses settings that cannot work: the key within the settings, and what is wrong with it.
    ///
    /// # Errors
    /// The first setting that cannot work.
    fn check(settings: &Self::Settings) -> std::result::Result<(), Refusal>;

    /// What it needs of data.
    fn needs(settings: &Self::Settings) -> Needs;

    /// Makes all parameters.
    ///
    /// # Errors
    /// When the settings do not go with the encoders.
    fn new(settings: &Self::Settings, parts: Parts<'_>, scope: Scope<'_>) -> Result<Self>;
}

/// What a system is made of beside its own settings.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The modalities, in the order of a batch's inputs.
    pub encoders: &'a [EncoderSettings],
    /// What is to be learned from labels; `None` where there are none.
    pub task: Option<&'a Task>,
    /// The system of another arm whose trained networks this one takes; `None` where none was named.
    pub teacher: Option<&'a SystemSettings>,
}

/// The trained networks of another arm, frozen inside a system.
#[derive(Debug)]
pub struct Teacher(Box<dyn System>);

impl Teacher {
    /// The scope that holds a teacher's parameters: `teacher.*`.
    pub const SCOPE: &'static str = "teacher";

    /// What the teacher computes of a batch: in evaluation, without gradients.
    ///
    /// # Errors
    /// When an input is not of its backbone's shape.
    pub fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        self.0.outputs(&Pass::evaluate(pass.parameters()), batch)
    }
}

impl<'a> Parts<'a> {
    /// The parts of a system without a teacher.
    pub fn new(encoders: &'a [EncoderSettings], task: Option<&'a Task>) -> Self {
        Parts { encoders, task, teacher: None }
    }

    /// Makes the teacher's networks in the scope `teacher`. Whoever builds the system fills and freezes them.
    ///
    /// # Errors
    /// Where no teacher was named.
    pub fn teacher(&self, system: &'static str, scope: &mut Scope<'_>) -> Result<Teacher> {
        let Some(settings) = self.teacher else {
            return Err(Error::Model {
                model: system.into(),
                what: "takes the networks of another arm; name it as the arm's `teacher`".into(),
            });
        };
        let parts = Parts { teacher: None, ..*self };
        Ok(Teacher(settings.build(parts, scope.sub(Teacher::SCOPE))?))
    }

    /// The task of a system that cannot be without.
    ///
    /// # Errors
    /// Where nothing is labelled.
    pub fn task(&self, system: &'static str) -> Result<&'a Task> {
        self.task.ok_or_else(|| Error::Model {
            model: system.into(),
            what: "learns from labels, and no sample has one; leave the system out".into(),
        })
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its key within the settings, e.g. `loss.temperature`.
    pub key: &'static str,
    /// What it is, what was expected and what to do.
    pub why: String,
}

impl Refusal {
    /// A refusal of the setting at `key`.
    pub fn new(key: &'static str, why: impl Into<String>) -> Self {
        Refusal { key, why: why.into() }
    }

    /// Refuses a number that is not finite and above 0.
    ///
    /// # Errors
    /// When it is not.
    pub fn positive(key: &'static str, value: f64) -> std::result::Result<(), Self> {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(Refusal::new(key, format!("is {value}; it must be above 0")))
    }

    /// Refuses a dropout probability outside [0, 1).
    ///
    /// # Errors
    /// When it is.
    pub fn dropout(key: &'static str, probability: f64) -> std::result::Result<(), Self> {
        if (0.0..1.0).contains(&probability) {
            return Ok(());
        }
        Err(Refusal::new(key, format!("is {probability}; it must be at least 0 and less than 1")))
    }
}

/// What a system needs of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Whether the loss reads labels.
    pub labels: bool,
    /// Whether the loss is between modalities: then a batch needs two samples that have the same two modalities.
    pub pairs: bool,
    /// Windows of each sample in a training batch.
    pub views: usize,
    /// How many modalities it takes.
    pub modalities: RangeInclusive<usize>,
}

/// What a system computes of a batch: whatever it has.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// The features [R, C] of each modality, for the rows that have it ([`Input::fill`](super::Input::fill) spreads
    /// them over the batch).
    pub features: Vec<Tensor>,
    /// The embedding [N, C] of each modality in a space that all share, not yet of length 1. Rows that lack a modality
    /// hold another row's.
    pub embeddings: Vec<Tensor>,
    /// Logits [N, outputs of the task].
    pub logits: Option<Tensor>,
    /// The reconstruction of each modality's input.
    pub reconstructions: Vec<Tensor>,
}

/// The loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// The number to be minimised.
    pub total: Tensor,
    /// What it is made of, for the records; no gradient flows from it.
    pub parts: Option<LossParts>,
}

/// The named parts of a loss.
#[derive(Debug)]
pub struct LossParts {
    /// Any shape; read in the order of its numbers.
    pub values: Tensor,
    /// The position of each part in `values`, and its name.
    pub names: Vec<(usize, String)>,
}

impl From<Tensor> for Loss {
    fn from(total: Tensor) -> Self {
        Loss { total, parts: None }
    }
}

/// One update of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The modules that it updates: prefixes of parameters' names; the empty prefix is every parameter. Each module has
    /// an optimiser of its own, whichever phases update it. Modules must not overlap.
    pub updates: Vec<String>,
    /// Whether dropout drops and batch norm measures in this phase.
    pub training: bool,
}

impl Phase {
    /// A phase of training that updates every trainable parameter.
    pub fn whole() -> Self {
        Phase { updates: vec![String::new()], training: true }
    }

    /// A phase of training that updates these modules.
    pub fn of(modules: &[&str]) -> Self {
        Phase { updates: modules.iter().map(|&module| module.into()).collect(), training: true }
    }
}

/// A value of the loss at which training can stand still.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    /// The loss.
    pub loss: f64,
    /// Why it stands there and what ends it.
    pub why: &'static str,
}
