use crate::{Init, ParameterId, Pass, Result, Scope, Tensor};

/// He et al. 2015: max(x, 0) + a min(x, 0) with one learned slope a, or one for each feature, 0.25 at first.
#[derive(Debug, Clone)]
pub struct Prelu {
    weight: ParameterId,
}

impl Prelu {
    /// `weight` `[1]`.
    ///
    /// # Errors
    /// When the scope has this name already.
    pub fn new(scope: Scope<'_>) -> Result<Self> {
        Prelu::per_feature(scope, 1)
    }

    /// `weight` `[features]`.
    ///
    /// # Errors
    /// When the scope has this name already.
    pub fn per_feature(mut scope: Scope<'_>, features: usize) -> Result<Self> {
        Ok(Prelu { weight: scope.parameter("weight", &[features], Init::Constant(0.25))? })
    }

    /// x to the same shape.
    ///
    /// # Errors
    /// Never for floats.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        x.prelu(&pass.get(self.weight))
    }
}

/// Srivastava et al. 2014: in training, drops numbers and scales up the others; otherwise does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The chance of a number to be dropped.
    pub probability: f64,
}

impl Dropout {
    /// x to the same shape, with a random stream of its own for each call.
    ///
    /// # Errors
    /// When the probability is not in [0, 1).
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        if !pass.training() || self.probability == 0.0 {
            return Ok(x.clone());
        }
        x.dropout(self.probability, pass.stream())
    }
}
