//! Text backbone: a Transformer encoder on word vectors, averaged over the words.

use super::refuse;
use engine::nn::{Dropout, Linear, TransformerEncoderLayer, positional_encoding};
use engine::{Constants, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`TextTransformer`]; the defaults are the paper's, and where it gives none, those of its authors'
/// code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextTransformerSettings {
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads; the width of the word vectors must be a multiple of this.
    pub heads: usize,
    /// Features between the two linear maps of a layer.
    pub hidden: usize,
    /// Dropout where PyTorch's encoder layer has it, after the positional encoding, and after the mean.
    pub dropout: f64,
    /// Features of the output.
    pub features: usize,
    /// Whether the positional encoding is indexed by the sample's position in the batch, not by the word's position
    /// in the text, as in the authors' code. Use it only to compare with that code.
    pub position_by_batch: bool,
}

impl Default for TextTransformerSettings {
    fn default() -> Self {
        TextTransformerSettings {
            layers: 6,
            heads: 5,
            hidden: 2048,
            dropout: 0.1,
            features: 512,
            position_by_batch: false,
        }
    }
}

/// The encoder of Vaswani et al. 2017 on the sum of word vectors and positional encoding, then a linear layer.
#[derive(Debug, Clone)]
pub struct TextTransformer {
    layers: Vec<TransformerEncoderLayer>,
    output: Linear,
    dropout: Dropout,
    features: usize,
    position_by_batch: bool,
    /// Keyed by the numbers of samples and words.
    encodings: Constants<[usize; 2]>,
}

impl TextTransformer {
    /// A network for samples `[T, width]`. Makes `layers.{i}.*` and `text_linear.*`.
    ///
    /// # Errors
    /// When `input` is not `[T, width]`, or the heads do not divide the width.
    pub fn new(
        settings: &TextTransformerSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        let &[_, width] = input else {
            return Err(refuse("text-transformer", input, "[words, width]"));
        };
        let layer = |number: usize, scope: &mut Scope<'_>| {
            let TextTransformerSettings { heads, hidden, dropout, .. } = *settings;
            TransformerEncoderLayer::new(scope.sub(number), width, heads, hidden, dropout)
        };
        let mut inner = scope.sub("layers");
        let layers = (0..settings.layers).map(|i| layer(i, &mut inner)).collect::<Result<_>>()?;
        Ok(TextTransformer {
            layers,
            output: Linear::new(scope.sub("text_linear"), width, settings.features)?,
            dropout: Dropout { probability: settings.dropout },
            features: settings.features,
            position_by_batch: settings.position_by_batch,
            encodings: Constants::default(),
        })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Word vectors `[N, T, width]` to `[N, features]`. Steps after the first `lengths` `[N]` are ignored as padding.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(
        &self,
        pass: &Pass<'_>,
        words: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let encoding = self.encoding(pass, words.extents("text-transformer")?)?;
        let mut x = self.dropout.forward(pass, &words.add(&encoding)?)?;
        for layer in &self.layers {
            x = layer.forward(pass, &x, lengths)?;
        }
        let mean = self.dropout.forward(pass, &x.mean_over_steps(lengths)?)?;
        self.output.forward(pass, &mean)
    }

    /// The positional encoding of words `[N, T, width]`: `[T, width]`, or `[N, 1, width]` with `position_by_batch`.
    fn encoding(&self, pass: &Pass<'_>, [n, t, width]: [usize; 3]) -> Result<Tensor> {
        if !self.position_by_batch {
            return pass.constant(&self.encodings, [1, t], || {
                Tensor::from_slice(&positional_encoding(t, width), &[t, width])?.to(pass.dtype())
            });
        }
        pass.constant(&self.encodings, [n, 1], || {
            let by_sample = positional_encoding(n, width);
            Tensor::from_slice(&by_sample, &[n, 1, width])?.to(pass.dtype())
        })
    }
}
