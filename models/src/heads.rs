//! Heads: the projection and prediction networks after the backbones.

use crate::targets::Task;
use engine::nn::{BatchNorm, Dropout, Linear};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`Projection`]; the defaults are those of the paper's authors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectionSettings {
    /// Features between the two linear layers.
    pub hidden: usize,
    /// Features of the embedding.
    pub output: usize,
    /// Whether batch norm follows each linear layer. It avoids the initial plateau of the loss at ln(N-1), which
    /// nearly parallel embeddings cause. The paper has no batch norm.
    pub batch_norm: bool,
}

impl Default for ProjectionSettings {
    fn default() -> Self {
        ProjectionSettings { hidden: 1024, output: 512, batch_norm: false }
    }
}

/// The projection head: linear, ReLU, linear, from features to the embedding of the contrastive loss.
#[derive(Debug, Clone)]
pub struct Projection {
    first: Linear,
    second: Linear,
    norms: Option<(BatchNorm, BatchNorm)>,
}

impl Projection {
    /// Makes `0.*` and `2.*`, with batch norm also `norm1.*` and `norm2.*`.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        settings: &ProjectionSettings,
        mut scope: Scope<'_>,
        features: usize,
    ) -> Result<Self> {
        let ProjectionSettings { hidden, output, batch_norm } = *settings;
        let first = Linear::new(scope.sub(0), features, hidden)?;
        let second = Linear::new(scope.sub(2), hidden, output)?;
        if !batch_norm {
            return Ok(Projection { first: first.relu(), second, norms: None });
        }
        let norms = (
            BatchNorm::new(scope.sub("norm1"), hidden)?,
            BatchNorm::new(scope.sub("norm2"), output)?,
        );
        Ok(Projection { first, second, norms: Some(norms) })
    }

    /// Features `[N, features]` to embeddings `[N, output]`, not normalised.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, features: &Tensor) -> Result<Tensor> {
        let hidden = self.first.forward(pass, features)?;
        match &self.norms {
            None => self.second.forward(pass, &hidden),
            Some((norm1, norm2)) => {
                let output = self.second.forward(pass, &norm1.forward_relu(pass, &hidden)?)?;
                norm2.forward(pass, &output)
            }
        }
    }
}

/// The settings of [`Prediction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierSettings {
    /// Features between the two linear layers; 0 for one linear layer.
    pub hidden: usize,
    /// Dropout probability before the last linear layer.
    pub dropout: f64,
}

impl Default for ClassifierSettings {
    fn default() -> Self {
        ClassifierSettings { hidden: 512, dropout: 0.0 }
    }
}

/// The classifier head: linear, ReLU, linear, from features to logits; without hidden layer one linear layer.
#[derive(Debug, Clone)]
pub struct Prediction {
    hidden: Option<Linear>,
    output: Linear,
    dropout: Dropout,
}

impl Prediction {
    /// Makes `0.*` and `2.*`; with `hidden` 0 one linear layer.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        mut scope: Scope<'_>,
        features: usize,
        hidden: usize,
        classes: usize,
        dropout: f64,
    ) -> Result<Self> {
        let first = if hidden == 0 {
            None
        } else {
            Some(Linear::new(scope.sub(0), features, hidden)?.relu())
        };
        let inputs = if hidden == 0 { features } else { hidden };
        let output = Linear::new(scope.sub(2), inputs, classes)?;
        Ok(Prediction { hidden: first, output, dropout: Dropout { probability: dropout } })
    }

    /// A classifier for a task.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn from_settings(
        settings: &ClassifierSettings,
        scope: Scope<'_>,
        features: usize,
        task: &Task,
    ) -> Result<Self> {
        Prediction::new(scope, features, settings.hidden, task.outputs(), settings.dropout)
    }

    /// Features `[N, features]` to logits `[N, classes]`.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, features: &Tensor) -> Result<Tensor> {
        let x = match &self.hidden {
            Some(hidden) => hidden.forward(pass, features)?,
            None => features.clone(),
        };
        self.output.forward(pass, &self.dropout.forward(pass, &x)?)
    }
}
