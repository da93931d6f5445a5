//! Late fusion: the baseline that trains the same networks with labels, end to end.

use super::{Batch, EncoderSettings, Encoders, Loss, System};
use crate::heads::Prediction;
use crate::targets::Task;
use engine::{Error, Parameters, Pass, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The head of [`LateFusion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LateFusionSettings {
    /// Width between the two linear maps; 0 for one linear map.
    pub hidden: usize,
    /// Dropout before the last linear map.
    pub dropout: f64,
}

impl Default for LateFusionSettings {
    fn default() -> Self {
        LateFusionSettings { hidden: 512, dropout: 0.0 }
    }
}

/// Encoders, their features side by side, and a classifier.
#[derive(Debug, Clone)]
pub struct LateFusion {
    encoders: Encoders,
    head: Prediction,
    task: Task,
}

impl LateFusion {
    /// Makes all parameters: `{modality}.*` and `head.*`.
    ///
    /// # Errors
    /// When settings do not go together.
    pub fn new(
        modalities: &[EncoderSettings],
        settings: &LateFusionSettings,
        task: Task,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let mut scope = parameters.scope();
        let encoders = Encoders::new(modalities, &mut scope)?;
        let width = encoders.widths().iter().sum();
        let LateFusionSettings { hidden, dropout } = *settings;
        let head = Prediction::new(scope.sub("head"), width, hidden, task.outputs(), dropout)?;
        Ok(LateFusion { encoders, head, task })
    }

    /// Logits [N, outputs of the task].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn logits(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Tensor> {
        let features = self.encoders.forward_filled(pass, batch)?;
        let joined = Tensor::concat(&features.iter().collect::<Vec<_>>(), 1)?;
        self.head.forward(pass, &joined)
    }
}

impl System for LateFusion {
    fn loss(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Loss> {
        let Some(labels) = &batch.labels else {
            return Err(Error::Parameter {
                name: "late fusion".into(),
                what: "needs labels in every batch".into(),
            });
        };
        let total = self.task.loss(&self.logits(pass, batch)?, labels)?;
        Ok(Loss { total, pairs: None })
    }

    fn encoders(&self) -> &Encoders {
        &self.encoders
    }
}
