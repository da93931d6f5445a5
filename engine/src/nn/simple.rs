use crate::{Init, ParameterId, Pass, Result, Scope, Tensor};

/// PReLU, max(x, 0) + a min(x, 0) (He et al. 2015). The slope a is learned, one or one for each feature, initially
/// 0.25.
#[derive(Debug, Clone)]
pub struct Prelu {
    weight: ParameterId,
}

impl Prelu {
    /// One slope for all features. Makes `weight` `[1]`.
    ///
    /// # Errors
    /// When the scope already has this name.
    pub fn new(scope: Scope<'_>) -> Result<Self> {
        Prelu::per_feature(scope, 1)
    }

    /// One slope for each feature. Makes `weight` `[features]`.
    ///
    /// # Errors
    /// When the scope already has this name.
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

/// Inverted dropout (Srivastava et al. 2014): sets random elements to 0 in training; the identity otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The probability that an element is dropped, in [0, 1).
    pub probability: f64,
}

impl Dropout {
    /// x to the same shape. Each call draws from its own random stream.
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
