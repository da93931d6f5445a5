use super::StepMask;
use crate::tensor::Kept;
use crate::{Error, Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::batch_norm::{self, BatchNorm as BatchNormOp};
use kernels::ops::{Activation, LayerNorm as LayerNormOp};

/// Batch norm over all axes but one (Ioffe & Szegedy 2015): batch statistics in training, running ones in evaluation.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    weight: ParameterId,
    bias: ParameterId,
    running_mean: ParameterId,
    running_var: ParameterId,
    epsilon: f64,
    momentum: f64,
    axis: Option<usize>,
}

impl BatchNorm {
    /// Makes `weight`, `bias`, `running_mean` and `running_var`, all `[features]`; epsilon 1e-5, momentum 0.1.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(scope: Scope<'_>, features: usize) -> Result<Self> {
        BatchNorm::padded(scope, features, features)
    }

    /// A layer that stores more features than its logical ones; padded features are zero in input and output.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn padded(mut scope: Scope<'_>, features: usize, stored: usize) -> Result<Self> {
        Ok(BatchNorm {
            weight: scope.padded("weight", &[features], &[stored], Init::Constant(1.0))?,
            bias: scope.padded("bias", &[features], &[stored], Init::Constant(0.0))?,
            running_mean: scope.statistic("running_mean", &[features], &[stored], 0.0)?,
            running_var: scope.statistic("running_var", &[features], &[stored], 1.0)?,
            epsilon: 1e-5,
            momentum: 0.1,
            axis: None,
        })
    }

    /// Normalises over all axes but `axis`, instead of the last; `axis` then has `features` entries.
    pub fn axis(self, axis: usize) -> Self {
        BatchNorm { axis: Some(axis), ..self }
    }

    /// Normalises x; the output has the shape of x.
    ///
    /// # Errors
    /// When the shapes do not match, or in training when x has only one element for each feature.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        self.run(pass, x, None, None)
    }

    /// relu(norm(x)), in one pass over memory.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_relu(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        self.run(pass, x, Some(Activation::Relu), None)
    }

    /// relu(norm(x) + residual), in one pass over memory.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_residual_relu(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        self.run(pass, x, Some(Activation::Relu), Some(residual))
    }

    fn run(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let axis = self.axis.unwrap_or(x.shape().len() - 1);
        let statistics = if pass.training() {
            batch_norm::Statistics::Batch
        } else {
            batch_norm::Statistics::Given
        };
        let op = BatchNormOp {
            epsilon: self.epsilon,
            statistics,
            relu: activation.is_some(),
            residual: residual.is_some(),
            axis: self.axis,
        };
        let (weight, bias) = (pass.get(self.weight), pass.get(self.bias));
        let running = [self.running_mean, self.running_var].map(|id| pass.get(id));
        let mut inputs = vec![x, &weight, &bias];
        if !pass.training() {
            inputs.extend(&running);
        }
        inputs.extend(residual);
        let applied = Tensor::apply(op, &inputs, &[])?;
        if pass.training() {
            let count = x.count() / x.shape()[axis];
            if count < 2 {
                return Err(Error::Op(kernels::Error::Shape {
                    op: "batch_norm",
                    what: "x in training".into(),
                    got: x.shape(),
                    expected: "two numbers or more a feature: a batch of 2 or more".into(),
                }));
            }
            // The running variance is the unbiased one (PyTorch's rule).
            let unbiased = count as f64 / (count - 1) as f64;
            let (keep, take) = (1.0 - self.momentum, self.momentum);
            let [mean, variance] = [0, 1].map(|i| applied.saved[i].clone());
            pass.note_statistic(self.running_mean, mean, keep, take);
            pass.note_statistic(self.running_var, variance, keep, take * unbiased);
        }
        let recorded = weight.place().is_some() && !applied.saved.is_empty();
        if !recorded || residual.is_some() || activation.is_none() {
            return Ok(applied.output);
        }
        // With the saved statistics, one pass over memory recomputes the same numbers.
        let inputs = [x, &weight, &bias, &applied.saved[0], &applied.saved[1]].map(Tensor::kept);
        let given = BatchNormOp { statistics: batch_norm::Statistics::Given, ..op };
        Ok(applied.output.recompute_with(move || {
            let inputs = inputs.iter().map(Kept::get).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::apply(given, &inputs.iter().collect::<Vec<_>>(), &[])?.output)
        }))
    }
}

/// Layer norm over the last axis (Ba et al. 2016), or over the last two (global layer norm of the TCN), with an affine
/// map for each feature.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    op: LayerNormOp,
    weight: ParameterId,
    bias: ParameterId,
}

impl LayerNorm {
    /// Layer norm over the last axis; epsilon 1e-5. Makes `weight` and `bias`, both `[features]`.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(scope: Scope<'_>, features: usize) -> Result<Self> {
        LayerNorm::over(scope, features, 1, 1e-5)
    }

    /// Global layer norm over time and features (Luo & Mesgarani 2019); epsilon 1e-8. Makes `weight` and `bias`.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn global(scope: Scope<'_>, features: usize) -> Result<Self> {
        LayerNorm::over(scope, features, 2, 1e-8)
    }

    fn over(mut scope: Scope<'_>, features: usize, axes: usize, epsilon: f64) -> Result<Self> {
        Ok(LayerNorm {
            op: LayerNormOp { axes, epsilon },
            weight: scope.parameter("weight", &[features], Init::Constant(1.0))?,
            bias: scope.parameter("bias", &[features], Init::Constant(0.0))?,
        })
    }

    /// Normalises x; the output has the shape of x.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(self.op, &pass.get(self.weight), &pass.get(self.bias))
    }

    /// As [`forward`](Self::forward) of x `[N, T, C]`. With a mask a [global](Self::global) norm measures the valid steps
    /// alone, and padding becomes 0; a norm over the last axis measures each step by itself.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward_masked(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        mask: Option<&StepMask>,
    ) -> Result<Tensor> {
        let whole = self.forward(pass, x)?;
        let Some(mask) = mask.filter(|_| self.op.axes == 2) else { return Ok(whole) };
        let [n, _, _] = x.extents("layer norm")?;
        let mean = |x: &Tensor| mask.mean(x)?.mean_keeping(&[1])?.reshape(&[n, 1, 1]);
        let centred = x.subtract(&mean(x)?)?;
        let std = mean(&centred.square()?)?.affine(1.0, self.op.epsilon)?.sqrt()?;
        let scaled = centred.divide(&std)?.multiply(&pass.get(self.weight))?;
        mask.choose(&whole, &scaled.add(&pass.get(self.bias))?)
    }
}
