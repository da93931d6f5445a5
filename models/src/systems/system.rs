//! The traits that a system implements.

use super::{Batch, EncoderSettings, SystemSettings};
use crate::targets::Task;
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// Networks and the loss that trains them.
///
/// Training, evaluation, bundles and reports use only this trait. A system's structs hold names and sizes; all learned
/// values are in [`Parameters`](engine::Parameters).
pub trait System: Debug + Send + Sync {
    /// Computes the outputs for a batch. Evaluation reads every field that is not empty.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape.
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs>;

    /// The updates of one batch, in order. The default is one update of every parameter.
    fn phases(&self) -> Vec<Phase> {
        vec![Phase::whole()]
    }

    /// The loss that phase `phase` (an index into [`phases`](Self::phases)) minimises.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape, or the loss needs labels that the batch lacks.
    fn loss(&self, pass: &Pass<'_>, batch: &Batch, phase: usize) -> Result<Loss>;

    /// Whether a batch lacks what phase `phase` needs, so that it is left out of the step.
    fn skips(&self, _batch: &Batch, _phase: usize) -> bool {
        false
    }

    /// The loss of networks that tell no sample from another: equal embeddings, equal probabilities. The first loss of
    /// training lies near it or above. `None` if no such value is known. `batch` is the number of samples of a batch.
    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        None
    }

    /// The loss at which training can stop improving, with the reason; `None` if no such value is known. `batch` is the
    /// number of samples of a batch.
    fn plateau(&self, _batch: usize) -> Option<Plateau> {
        None
    }
}

/// The name, settings and constructor of a system. Every system of [`systems!`](crate::systems) implements it.
pub trait Definition: System + Sized + 'static {
    /// The system's name in configurations and results.
    const NAME: &'static str;

    /// The settings of heads and loss, without those of encoders, optimiser and schedule.
    type Settings: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// Validates the settings.
    ///
    /// # Errors
    /// The first invalid setting.
    fn check(settings: &Self::Settings) -> std::result::Result<(), Refusal>;

    /// The system's requirements on the data.
    fn needs(settings: &Self::Settings) -> Needs;

    /// Makes all parameters.
    ///
    /// # Errors
    /// When the settings do not match the encoders.
    fn new(settings: &Self::Settings, parts: Parts<'_>, scope: Scope<'_>) -> Result<Self>;
}

/// The arguments of [`Definition::new`] besides the settings.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The encoders of the modalities, in the order of a batch's inputs.
    pub encoders: &'a [EncoderSettings],
    /// The task of the labels; `None` without labels.
    pub task: Option<&'a Task>,
    /// The number of groups of the training samples, e.g. of actors; 0 if it is not known.
    pub groups: usize,
    /// The system of the arm that the configuration names as `teacher`; `None` if it names no teacher.
    pub teacher: Option<&'a SystemSettings>,
}

/// The trained networks of another arm, frozen inside a system.
#[derive(Debug)]
pub struct Teacher(Box<dyn System>);

impl Teacher {
    /// The scope of a teacher's parameters: `teacher.*`.
    pub const SCOPE: &'static str = "teacher";

    /// The teacher's outputs for a batch, in evaluation mode and without gradients.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape.
    pub fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        self.0.outputs(&Pass::evaluate(pass.parameters()), batch)
    }
}

impl<'a> Parts<'a> {
    /// Parts without groups and without a teacher.
    pub fn new(encoders: &'a [EncoderSettings], task: Option<&'a Task>) -> Self {
        Parts { encoders, task, groups: 0, teacher: None }
    }

    /// Makes the teacher's networks in the scope `teacher`. The caller of [`Definition::new`] must then load and freeze
    /// their parameters.
    ///
    /// # Errors
    /// When the configuration names no teacher.
    pub fn teacher(&self, system: &'static str, scope: &mut Scope<'_>) -> Result<Teacher> {
        let Some(settings) = self.teacher else {
            return Err(Error::Model {
                model: system.into(),
                what: "needs the trained networks of another arm; set the arm's `teacher`".into(),
            });
        };
        let parts = Parts { teacher: None, ..*self };
        Ok(Teacher(settings.build(parts, scope.sub(Teacher::SCOPE))?))
    }

    /// The task, for a system that needs labels.
    ///
    /// # Errors
    /// When no sample has a label.
    pub fn task(&self, system: &'static str) -> Result<&'a Task> {
        self.task.ok_or_else(|| Error::Model {
            model: system.into(),
            what: "needs labels, but no sample has one; leave the system out".into(),
        })
    }
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The setting's key, e.g. `loss.temperature`.
    pub key: &'static str,
    /// What it got, what it expected and what to do.
    pub why: String,
}

impl Refusal {
    /// The error of the setting at `key`.
    pub fn new(key: &'static str, why: impl Into<String>) -> Self {
        Refusal { key, why: why.into() }
    }

    /// Requires a finite number above 0.
    ///
    /// # Errors
    /// When `value` is not finite or not above 0.
    pub fn positive(key: &'static str, value: f64) -> std::result::Result<(), Self> {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(Refusal::new(key, format!("is {value}; it must be above 0")))
    }

    /// Requires a dropout probability in [0, 1).
    ///
    /// # Errors
    /// When `probability` is outside.
    pub fn dropout(key: &'static str, probability: f64) -> std::result::Result<(), Self> {
        if (0.0..1.0).contains(&probability) {
            return Ok(());
        }
        Err(Refusal::new(key, format!("is {probability}; it must be at least 0 and less than 1")))
    }
}

/// A system's requirements on the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Whether the loss reads labels.
    pub labels: bool,
    /// Whether the system predicts labels with a head of its own, so that it needs no probe.
    pub head: bool,
    /// Whether the loss reads the group of each sample, e.g. its actor.
    pub groups: bool,
    /// Whether the loss compares modalities. A batch then needs at least 2 samples with the same 2 modalities.
    pub pairs: bool,
    /// Whether the loss leaves out a modality that fewer than 2 samples of a batch have. Other systems get no such batch:
    /// batch norm has no statistics there.
    pub unpaired: bool,
    /// Whether the windows of all modalities must start at one time, also if the configuration draws them independently.
    pub aligned: bool,
    /// The modality that keeps its place beside the labels where pairs are shuffled, a control; `None` for the first.
    pub anchor: Option<String>,
    /// Windows of each sample in a training batch.
    pub views: usize,
    /// The accepted numbers of modalities.
    pub modalities: RangeInclusive<usize>,
}

impl Default for Needs {
    /// No labels, no groups, one window of each sample, any number of modalities.
    fn default() -> Self {
        Needs {
            labels: false,
            head: false,
            groups: false,
            pairs: false,
            unpaired: false,
            aligned: false,
            anchor: None,
            views: 1,
            modalities: 1..=usize::MAX,
        }
    }
}

/// The outputs of a system for a batch. Fields that the system does not have are empty.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// The features `[R, C]` of each modality, for the rows that have it ([`Input::fill`](super::Input::fill) spreads
    /// them over the batch).
    pub features: Vec<Tensor>,
    /// Instead of features of each modality: those of all together, `[N, C]`.
    pub joint: Option<Tensor>,
    /// The embeddings `[N, C]` of each modality in a common space, not normalised. A row without the modality holds the
    /// embedding of another row: do not use it.
    pub embeddings: Vec<Tensor>,
    /// Logits `[N, outputs]` of the task.
    pub logits: Option<Tensor>,
    /// The reconstruction of each modality's input.
    pub reconstructions: Vec<Tensor>,
}

/// The loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to minimise.
    pub total: Tensor,
    /// The parts of the loss, for the records only; they have no gradient.
    pub parts: Option<LossParts>,
    /// The embeddings that the loss compares, as [`Outputs::embeddings`], for the records only; empty if it compares none.
    pub embeddings: Vec<Tensor>,
}

/// The named parts of a loss.
#[derive(Debug)]
pub struct LossParts {
    /// The parts' values, in any shape.
    pub values: Tensor,
    /// The index of each part in the elements of `values`, and its name.
    pub names: Vec<(usize, String)>,
}

impl Loss {
    /// A loss with named parts of one element each.
    ///
    /// # Errors
    /// When there is no part, or a part has several elements.
    pub fn with_parts(total: Tensor, named: &[(Tensor, String)]) -> Result<Self> {
        let values = named.iter().map(|(value, _)| value.detached().reshape(&[1]));
        let values: Vec<Tensor> = values.collect::<Result<_>>()?;
        let values = Tensor::concat(&values.iter().collect::<Vec<_>>(), 0)?;
        let names = named.iter().enumerate().map(|(at, (_, name))| (at, name.clone())).collect();
        Ok(Loss { parts: Some(LossParts { values, names }), ..Loss::from(total) })
    }

    /// The sum of scalar losses, which are its parts under these names. There must be at least one.
    ///
    /// # Errors
    /// When a loss is not one number.
    pub fn sum(losses: &[Tensor], names: &[String]) -> Result<Self> {
        let total = losses[1..].iter().try_fold(losses[0].clone(), |sum, loss| sum.add(loss))?;
        let named: Vec<(Tensor, String)> =
            losses.iter().cloned().zip(names.iter().cloned()).collect();
        Loss::with_parts(total, &named)
    }

    /// This loss and another scalar, which is a part under this name.
    ///
    /// # Errors
    /// When the other loss is not one number.
    pub fn plus(self, other: Tensor, name: &str) -> Result<Loss> {
        let value = other.detached().reshape(&[1])?;
        let parts = match self.parts {
            None => LossParts { values: value, names: vec![(0, name.into())] },
            Some(LossParts { values, mut names }) => {
                let flat = values.reshape(&[values.count()])?;
                names.push((values.count(), name.into()));
                LossParts { values: Tensor::concat(&[&flat, &value], 0)?, names }
            }
        };
        Ok(Loss { total: self.total.add(&other)?, parts: Some(parts), ..self })
    }
}

impl From<Tensor> for Loss {
    fn from(total: Tensor) -> Self {
        Loss { total, parts: None, embeddings: Vec::new() }
    }
}

/// One parameter update of a training step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The modules to update, as prefixes of parameter names; the empty prefix is every parameter. Each module has one
    /// optimiser, also if several phases update it. Modules must not overlap.
    pub updates: Vec<String>,
    /// Whether this phase applies dropout and batch statistics.
    pub training: bool,
}

impl Phase {
    /// A phase in training mode that updates every trainable parameter.
    pub fn whole() -> Self {
        Phase { updates: vec![String::new()], training: true }
    }

    /// A phase in training mode that updates these modules.
    pub fn of(modules: &[&str]) -> Self {
        Phase { updates: modules.iter().map(|&module| module.into()).collect(), training: true }
    }
}

/// A value of the loss at which training can stop improving.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    /// The loss.
    pub loss: f64,
    /// The cause and the remedy.
    pub why: &'static str,
}
