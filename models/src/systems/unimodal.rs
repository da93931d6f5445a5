//! Unimodal: one backbone and a classifier, trained end to end with labels (Franceschini et al., section IV-B).

use super::{Batch, Definition, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System};
use crate::heads::{ClassifierSettings, Prediction};
use crate::targets::Task;
use engine::{Pass, Result, Scope};
use serde::{Deserialize, Serialize};

/// The settings of [`Unimodal`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnimodalSettings {
    /// The classifier.
    pub head: ClassifierSettings,
}

/// The encoder of one modality and a classifier.
#[derive(Debug, Clone)]
pub struct Unimodal {
    encoders: Encoders,
    head: Prediction,
    task: Task,
}

impl Definition for Unimodal {
    const NAME: &'static str = "unimodal";
    type Settings = UnimodalSettings;

    fn check(settings: &UnimodalSettings) -> std::result::Result<(), Refusal> {
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(_: &UnimodalSettings) -> Needs {
        Needs { labels: true, head: true, modalities: 1..=1, ..Needs::default() }
    }

    /// Makes `{modality}.*` and `head.*`.
    fn new(settings: &UnimodalSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let task = parts.task(Self::NAME)?.clone();
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let width = encoders.widths().iter().sum();
        let head = Prediction::from_settings(&settings.head, scope.sub("head"), width, &task)?;
        Ok(Unimodal { encoders, head, task })
    }
}

impl System for Unimodal {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = self.encoders.forward(pass, batch)?;
        let filled = batch.modalities[0].fill(&features[0])?;
        let logits = self.head.forward(pass, &filled)?;
        Ok(Outputs { features, logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        self.task.loss_of(Self::NAME, &self.outputs(pass, batch)?, batch)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        self.task.chance_loss()
    }
}
