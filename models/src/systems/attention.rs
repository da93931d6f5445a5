//! Attention fusion: the modalities' features attend to each other before a classifier, trained end to end with labels
//! (Franceschini et al., section IV-B).

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System};
use crate::heads::{ClassifierSettings, Prediction};
use crate::targets::Task;
use engine::nn::{Linear, MultiheadAttention};
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`Attention`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionSettings {
    /// The tokens of the attention.
    pub tokens: Tokens,
    /// Heads of the attention; must divide the width of a token.
    pub heads: usize,
    /// Features of a token with [`Tokens::Modalities`]: a linear layer for each modality maps its features to this
    /// width. `None`: the tokens are the features, which must have equal widths.
    pub width: Option<usize>,
    /// The classifier on the concatenated outputs of the attention.
    pub head: ClassifierSettings,
}

/// The tokens of the attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// Each modality is a token and attends to all of them.
    Modalities,
    /// All concatenated features are the only token, as in the authors' code. Its attention weight is 1, so the
    /// attention is a linear map of the values. Queries, keys and values each have another linear layer before it.
    Joined,
}

impl Default for AttentionSettings {
    fn default() -> Self {
        AttentionSettings {
            tokens: Tokens::Modalities,
            heads: 4,
            width: None,
            head: ClassifierSettings::default(),
        }
    }
}

/// Encoders, attention over their features, and a classifier.
#[derive(Debug, Clone)]
pub struct Attention {
    encoders: Encoders,
    maps: Maps,
    attention: MultiheadAttention,
    head: Prediction,
    task: Task,
}

/// The linear layers before the attention.
#[derive(Debug, Clone)]
enum Maps {
    /// One for each modality, or none.
    Tokens(Vec<Linear>),
    /// Those of queries, keys and values.
    Joined([Linear; 3]),
}

impl Definition for Attention {
    const NAME: &'static str = "attention";
    type Settings = AttentionSettings;

    fn check(settings: &AttentionSettings) -> std::result::Result<(), Refusal> {
        let AttentionSettings { heads, width, .. } = *settings;
        if heads == 0 {
            return Err(Refusal::new("heads", "is 0; it must be at least 1"));
        }
        if let Some(width) = width
            && (width == 0 || width % heads != 0)
        {
            let why = format!("is {width}; it must be a multiple of heads = {heads}, above 0");
            return Err(Refusal::new("width", why));
        }
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(_: &AttentionSettings) -> Needs {
        Needs { labels: true, head: true, modalities: 2..=usize::MAX, ..Needs::default() }
    }

    /// Makes `{modality}.*`, `token.{modality}.*` if `width` is set, `attention.*` and `head.*`.
    fn new(settings: &AttentionSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let task = parts.task(Self::NAME)?.clone();
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let widths = encoders.widths();
        let joined: usize = widths.iter().sum();
        let (maps, width, features) = match settings.tokens {
            Tokens::Joined => {
                let mut maps = scope.sub("attention");
                let mut map = |name: &str| Linear::new(maps.sub(name), joined, joined);
                (Maps::Joined([map("query")?, map("key")?, map("value")?]), joined, joined)
            }
            Tokens::Modalities => {
                let width = token_width(settings, &widths)?;
                let mut tokens = scope.sub("token");
                let map = |(encoder, features): (&EncoderSettings, &usize)| {
                    Linear::new(tokens.sub(&encoder.name), *features, width)
                };
                let own = settings.width.map_or(0, |_| widths.len());
                let maps = parts.encoders.iter().zip(&widths).take(own).map(map);
                (Maps::Tokens(maps.collect::<Result<_>>()?), width, width * widths.len())
            }
        };
        if width % settings.heads != 0 {
            return Err(refuse(format!(
                "a token has {width} features, expected a multiple of {} heads; set heads or width",
                settings.heads
            )));
        }
        let attention =
            MultiheadAttention::new(scope.sub("attention"), width, settings.heads, 0.0)?;
        let head = Prediction::from_settings(&settings.head, scope.sub("head"), features, &task)?;
        Ok(Attention { encoders, maps, attention, head, task })
    }
}

/// The features of a token.
fn token_width(settings: &AttentionSettings, widths: &[usize]) -> Result<usize> {
    match settings.width {
        Some(width) => Ok(width),
        None if widths.iter().all(|width| *width == widths[0]) => Ok(widths[0]),
        None => Err(refuse(format!(
            "the modalities have {widths:?} features, expected equal widths: set system.attention.width"
        ))),
    }
}

fn refuse(what: String) -> Error {
    Error::Model { model: Attention::NAME.into(), what }
}

impl System for Attention {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = self.encoders.forward(pass, batch)?;
        let filled = features.iter().zip(&batch.modalities).map(|(f, input)| input.fill(f));
        let filled: Vec<Tensor> = filled.collect::<Result<_>>()?;
        let attended = match &self.maps {
            Maps::Tokens(maps) => {
                let tokens: Vec<Tensor> = match maps.is_empty() {
                    true => filled,
                    false => {
                        let mapped = maps.iter().zip(&filled).map(|(map, f)| map.forward(pass, f));
                        mapped.collect::<Result<_>>()?
                    }
                };
                // [N, M, width]
                let rows = tokens.iter().map(|token| {
                    let [n, width] = token.extents("attention")?;
                    token.reshape(&[n, 1, width])
                });
                let rows: Vec<Tensor> = rows.collect::<Result<_>>()?;
                let tokens = Tensor::concat(&rows.iter().collect::<Vec<_>>(), 1)?;
                self.attention.forward(pass, &tokens, None)?
            }
            Maps::Joined(maps) => {
                let joined = Tensor::concat(&filled.iter().collect::<Vec<_>>(), 1)?;
                let [n, width] = joined.extents("attention")?;
                let joined = joined.reshape(&[n, 1, width])?;
                let [queries, keys, values] = maps.each_ref().map(|map| map.forward(pass, &joined));
                self.attention.forward_cross(pass, &queries?, &keys?, &values?, None)?
            }
        };
        let [n, tokens, width] = attended.extents("attention")?;
        let logits = self.head.forward(pass, &attended.reshape(&[n, tokens * width])?)?;
        Ok(Outputs { features, logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        self.task.loss_of(Self::NAME, &self.outputs(pass, batch)?, batch)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        self.task.chance_loss()
    }
}
