//! Backbone for any sequence: a Conformer (Gulati et al. 2020), as VAVL's encoders (Goncalves et al. 2024).

use super::refuse;
use engine::nn::{ConformerBlock, ConformerSizes, Dropout, Linear, StepMask};
use engine::{Init, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`Conformer`]; the defaults are those of VAVL's encoders, without the first map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConformerSettings {
    /// Features to which a linear map without bias reduces the input first; VAVL has 50. `None`: no such map.
    pub reduce: Option<usize>,
    /// Features of a step.
    pub width: usize,
    /// Attention heads; the width must be a multiple of this.
    pub heads: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Features between the two linear maps of a feed-forward module.
    pub hidden: usize,
    /// Taps of the depthwise convolution, an odd number.
    pub kernel: usize,
    /// Dropout probability.
    pub dropout: f64,
}

impl Default for ConformerSettings {
    fn default() -> Self {
        ConformerSettings {
            reduce: None,
            width: 512,
            heads: 8,
            blocks: 3,
            hidden: 2048,
            kernel: 31,
            dropout: 0.1,
        }
    }
}

/// A linear map to the width, then Conformer blocks; pooled by the mean over time.
#[derive(Debug, Clone)]
pub struct Conformer {
    reduce: Option<Linear>,
    input: Linear,
    blocks: Vec<ConformerBlock>,
    dropout: Dropout,
    width: usize,
}

impl Conformer {
    /// A network for samples `[T, ..]`; all axes but time are features. Makes `reduce.weight` if set, `input.*` and
    /// `blocks.{i}.*`.
    ///
    /// # Errors
    /// When `input` has no features, the kernel is even, or the heads do not divide the width.
    pub fn new(
        settings: &ConformerSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        let ConformerSettings { reduce, width, heads, blocks, hidden, kernel, dropout } = *settings;
        if input.len() < 2 {
            return Err(refuse("conformer", input, "[steps, features..]"));
        }
        let refused = |what: String| engine::Error::Model { model: "conformer".into(), what };
        if kernel % 2 == 0 {
            return Err(refused(format!("`kernel` is {kernel}; it must be odd")));
        }
        if width % heads != 0 {
            return Err(refused(format!("`heads` is {heads}; it must divide the width, {width}")));
        }
        let features: usize = input[1..].iter().product();
        let map = |reduced: usize, scope: &mut Scope<'_>| {
            let init = Init::fan_in(features);
            let shape = [features, reduced];
            Linear::with_init(&mut scope.sub("reduce"), "weight", None, shape, init, init)
        };
        let sizes = ConformerSizes { width, heads, hidden, kernel, dropout };
        Ok(Conformer {
            reduce: reduce.map(|reduced| map(reduced, &mut scope)).transpose()?,
            input: Linear::new(scope.sub("input"), reduce.unwrap_or(features), width)?,
            blocks: (0..blocks)
                .map(|i| ConformerBlock::new(scope.sub(format!("blocks.{i}")), sizes))
                .collect::<Result<_>>()?,
            dropout: Dropout { probability: dropout },
            width,
        })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.width
    }

    /// x `[N, T, ..]` to `[N, T, width]`. Steps after the first `lengths` `[N]` are padding: they change no other step.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn steps(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let shape = x.shape();
        let mask = StepMask::new(pass, lengths, shape[1])?;
        let mut x = x.reshape(&[shape[0], shape[1], shape[2..].iter().product()])?;
        if let Some(reduce) = &self.reduce {
            x = reduce.forward(pass, &x)?;
        }
        x = self.dropout.forward(pass, &self.input.forward(pass, &x)?)?;
        for block in &self.blocks {
            x = block.forward(pass, &x, mask.as_ref())?;
        }
        Ok(x)
    }

    /// x `[N, T, ..]` to `[N, width]`: the mean of [`steps`](Self::steps) over the valid ones.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let steps = self.steps(pass, x, lengths)?;
        let lengths = lengths.map(|lengths| lengths.on(pass.device())).transpose()?;
        steps.mean_over_steps(lengths.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{DType, Device, Parameters};

    #[test]
    fn vavls_encoders_have_their_parameters() -> Result<()> {
        for (features, count) in [(1024, 19_046_912), (1408, 19_066_112)] {
            let mut parameters = Parameters::planned(DType::F32, &Device::Cpu);
            let settings = ConformerSettings { reduce: Some(50), ..Default::default() };
            Conformer::new(&settings, parameters.scope(), &[150, features])?;
            let trainable = parameters.trainable().map(|id| parameters.logical(id).count());
            assert_eq!(trainable.sum::<usize>(), count);
        }
        Ok(())
    }

    #[test]
    fn an_even_kernel_is_refused() {
        let mut parameters = Parameters::planned(DType::F32, &Device::Cpu);
        let settings = ConformerSettings { kernel: 4, ..Default::default() };
        let refused = Conformer::new(&settings, parameters.scope(), &[9, 3]).unwrap_err();
        assert!(refused.to_string().contains("`kernel` is 4"), "{refused}");
    }
}
