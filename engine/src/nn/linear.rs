use crate::{Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::Matmul;

/// y = x W + b over the last axis, optionally with ReLU.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: ParameterId,
    bias: Option<ParameterId>,
    relu: bool,
}

impl Linear {
    /// Makes `weight` `[inputs, outputs]` and `bias` `[outputs]`, uniform in ±1/√inputs.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(mut scope: Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::fan_in(inputs);
        Linear::with_init(&mut scope, "weight", Some("bias"), [inputs, outputs], init, init)
    }

    /// A layer with given names and initial values of weight and bias; no bias if its name is `None`.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn with_init(
        scope: &mut Scope<'_>,
        weight: &str,
        bias: Option<&str>,
        shape: [usize; 2],
        weight_init: Init,
        bias_init: Init,
    ) -> Result<Self> {
        let weight = scope.parameter(weight, &shape, weight_init)?;
        let bias = bias.map(|name| scope.parameter(name, &shape[1..], bias_init)).transpose()?;
        Ok(Linear { weight, bias, relu: false })
    }

    /// Makes `weight` and `bias` with padded channels: `logical` and `stored` are inputs and outputs.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn padded(
        scope: &mut Scope<'_>,
        logical: [usize; 2],
        stored: [usize; 2],
        weight_init: Init,
        bias_init: Init,
    ) -> Result<Self> {
        let weight = scope.padded("weight", &logical, &stored, weight_init)?;
        let bias = scope.padded("bias", &logical[1..], &stored[1..], bias_init)?;
        Ok(Linear { weight, bias: Some(bias), relu: false })
    }

    /// Adds a ReLU after the layer, fused.
    pub fn relu(self) -> Self {
        Linear { relu: true, ..self }
    }

    /// x `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// When the features of x are not `inputs`.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.map(|bias| pass.get(bias));
        x.linear(&pass.get(self.weight), bias.as_ref(), self.relu)
    }

    /// x `[.., outputs]` times the transposed weight, without bias: `[.., inputs]`. A layer with tied weights uses it.
    ///
    /// # Errors
    /// When the features of x are not `outputs`.
    pub fn transposed(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        x.matmul(Matmul::TRANSPOSE_RIGHT, &pass.get(self.weight))
    }

    /// Columns `start..start + count` of the output of [`forward`](Self::forward), for x `[.., inputs]`.
    ///
    /// # Errors
    /// When the features of x are not `inputs`, or there are no such columns.
    pub fn columns(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        start: usize,
        count: usize,
    ) -> Result<Tensor> {
        let weight = pass.get(self.weight).slice(1, start, count)?;
        let bias = self.bias.map(|bias| pass.get(bias).slice(0, start, count)).transpose()?;
        x.linear(&weight, bias.as_ref(), self.relu)
    }
}
