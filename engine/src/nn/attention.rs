use super::{Dropout, LayerNorm, Linear};
use crate::{Init, Pass, Result, Scope, Tensor};
use kernels::ops::Attention;

/// Multi-head scaled dot-product self-attention (Vaswani et al. 2017), with PyTorch's parameter names.
#[derive(Debug, Clone)]
pub struct MultiheadAttention {
    projection: Linear,
    output: Linear,
    heads: usize,
    dropout: f64,
}

impl MultiheadAttention {
    /// Makes `in_proj_weight` `[width, 3 width]`, `in_proj_bias`, `out_proj.weight` `[width, width]`,
    /// `out_proj.bias`.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(mut scope: Scope<'_>, width: usize, heads: usize, dropout: f64) -> Result<Self> {
        let zero = Init::Constant(0.0);
        let xavier = Init::xavier_uniform(width, 3 * width);
        let shape = [width, 3 * width];
        let projection = Linear::with_init(
            &mut scope,
            "in_proj_weight",
            Some("in_proj_bias"),
            shape,
            xavier,
            zero,
        )?;
        let mut inner = scope.sub("out_proj");
        let output = Linear::with_init(
            &mut inner,
            "weight",
            Some("bias"),
            [width, width],
            Init::fan_in(width),
            zero,
        )?;
        Ok(MultiheadAttention { projection, output, heads, dropout })
    }

    /// Self-attention: x `[N, T, width]` to the same shape. Only the first `lengths` `[N]` steps of each sample are
    /// keys; without `lengths` all steps are.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let projected = self.projection.forward(pass, x)?;
        let width = x.shape().features();
        let part = |number: usize| projected.slice(2, number * width, width);
        self.attend(pass, [part(0)?, part(1)?, part(2)?], lengths)
    }

    /// Attention of queries `[N, T, width]` to keys and values `[N, S, width]`. Each is projected by its own third of
    /// `in_proj_weight`. Only the first `lengths` `[N]` keys of each sample are used; without `lengths` all are.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward_cross(
        &self,
        pass: &Pass<'_>,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let width = queries.shape().features();
        let part =
            |number: usize, x: &Tensor| self.projection.columns(pass, x, number * width, width);
        self.attend(pass, [part(0, queries)?, part(1, keys)?, part(2, values)?], lengths)
    }

    fn attend(
        &self,
        pass: &Pass<'_>,
        [queries, keys, values]: [Tensor; 3],
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let dropout = if pass.training() { self.dropout } else { 0.0 };
        let op = Attention {
            heads: self.heads,
            scale: None,
            dropout,
            stream: pass.stream(),
            masked: lengths.is_some(),
        };
        let attended = queries.attention(op, &keys, &values, lengths)?;
        self.output.forward(pass, &attended)
    }
}

/// A Transformer encoder layer with post-normalisation, as in PyTorch's `TransformerEncoderLayer`.
#[derive(Debug, Clone)]
pub struct TransformerEncoderLayer {
    attention: MultiheadAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
}

impl TransformerEncoderLayer {
    /// A layer of `width` features, with `hidden` features in its feed-forward network.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        mut scope: Scope<'_>,
        width: usize,
        heads: usize,
        hidden: usize,
        dropout: f64,
    ) -> Result<Self> {
        Ok(TransformerEncoderLayer {
            attention: MultiheadAttention::new(scope.sub("self_attn"), width, heads, dropout)?,
            linear1: Linear::new(scope.sub("linear1"), width, hidden)?.relu(),
            linear2: Linear::new(scope.sub("linear2"), hidden, width)?,
            norm1: LayerNorm::new(scope.sub("norm1"), width)?,
            norm2: LayerNorm::new(scope.sub("norm2"), width)?,
            dropout: Dropout { probability: dropout },
        })
    }

    /// x `[N, T, width]` to the same shape; `lengths` as in [`MultiheadAttention::forward`].
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        self.finish(pass, x, &self.attention.forward(pass, x, lengths)?)
    }

    /// As [`forward`](Self::forward), but the attention is from x `[N, T, width]` to `keys` `[N, S, width]`, of which the
    /// first `lengths` `[N]` are used. Where a length is 0, the attention is 0 before its output layer.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward_cross(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        keys: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.finish(pass, x, &self.attention.forward_cross(pass, x, keys, keys, lengths)?)
    }

    /// The layer after its attention.
    fn finish(&self, pass: &Pass<'_>, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let attended = self.dropout.forward(pass, attended)?;
        let x = self.norm1.forward(pass, &x.add(&attended)?)?;
        let hidden = self.dropout.forward(pass, &self.linear1.forward(pass, &x)?)?;
        let fed = self.dropout.forward(pass, &self.linear2.forward(pass, &hidden)?)?;
        self.norm2.forward(pass, &x.add(&fed)?)
    }
}

/// The sinusoidal positional encoding `[steps, width]`, row-major, in f64 (Vaswani et al. 2017, section 3.5).
pub fn positional_encoding(steps: usize, width: usize) -> Vec<f64> {
    let angle = |step: usize, feature: usize| {
        let pair = (feature / 2 * 2) as f64;
        step as f64 * (-(10000.0f64.ln()) * pair / width as f64).exp()
    };
    let entry = |i: usize| {
        let (step, feature) = (i / width, i % width);
        if feature % 2 == 0 { angle(step, feature).sin() } else { angle(step, feature).cos() }
    };
    (0..steps * width).map(entry).collect()
}
