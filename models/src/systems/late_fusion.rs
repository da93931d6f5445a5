//! Late fusion: a classifier on the backbones' concatenated features, trained end to end with labels.

use super::{Batch, Definition, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System};
use crate::heads::{ClassifierSettings, Prediction};
use crate::targets::Task;
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`LateFusion`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LateFusionSettings {
    /// The classifier.
    pub head: ClassifierSettings,
}

/// Encoders and a classifier on their concatenated features.
#[derive(Debug, Clone)]
pub struct LateFusion {
    encoders: Encoders,
    head: Prediction,
    task: Task,
}

impl Definition for LateFusion {
    const NAME: &'static str = "late_fusion";
    type Settings = LateFusionSettings;

    fn check(settings: &LateFusionSettings) -> std::result::Result<(), Refusal> {
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(_: &LateFusionSettings) -> Needs {
        Needs { labels: true, head: true, ..Needs::default() }
    }

    /// Makes `{modality}.*` and `head.*`.
    fn new(settings: &LateFusionSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let task = parts.task(Self::NAME)?.clone();
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let width = encoders.widths().iter().sum();
        let head = Prediction::from_settings(&settings.head, scope.sub("head"), width, &task)?;
        Ok(LateFusion { encoders, head, task })
    }
}

impl System for LateFusion {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = self.encoders.forward(pass, batch)?;
        let filled = features.iter().zip(&batch.modalities).map(|(f, input)| input.fill(f));
        let filled: Vec<Tensor> = filled.collect::<Result<_>>()?;
        let joined = Tensor::concat(&filled.iter().collect::<Vec<_>>(), 1)?;
        let logits = self.head.forward(pass, &joined)?;
        Ok(Outputs { features, logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        self.task.loss_of(Self::NAME, &self.outputs(pass, batch)?, batch)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        self.task.chance_loss()
    }
}
