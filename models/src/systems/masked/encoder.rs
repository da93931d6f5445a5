//! The Transformer over the steps of several modalities.

use super::sequences::Sequences;
use super::{Masked, MaskedSettings};
use crate::systems::{Definition, EncoderSettings, Input};
use engine::nn::{Dropout, LayerNorm, Linear, TransformerEncoderLayer, positional_encoding};
use engine::{Constants, Error, Init, ParameterId, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Which steps attend to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskedAttention {
    /// All steps of all modalities to each other (MEmoBERT).
    Joint,
    /// The steps of one modality, the anchor, to those of all others, in every layer; then, in one layer more, the steps of
    /// the others to the anchor's states (after Khare et al., who give no sizes).
    Cross,
}

/// The steps' embeddings and the layers.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    modalities: Vec<Embedder>,
    layers: Vec<TransformerEncoderLayer>,
    /// With cross attention: the anchor, and the layer of the other modalities.
    cross: Option<(usize, TransformerEncoderLayer)>,
    dropout: Dropout,
    width: usize,
    /// Keyed by the number of steps.
    positions: Constants<usize>,
}

/// From the steps of a modality to the layers' width.
#[derive(Debug, Clone)]
struct Embedder {
    input: Linear,
    norm: LayerNorm,
    segment: ParameterId,
}

impl Encoder {
    /// Makes `{modality}.input.*`, `{modality}.norm.*`, `{modality}.segment`, `transformer.layers.{i}.*` and with cross
    /// attention `transformer.others.*`.
    pub(super) fn new(
        settings: &MaskedSettings,
        encoders: &[EncoderSettings],
        scope: &mut Scope<'_>,
    ) -> Result<Self> {
        let MaskedSettings { layers, width, heads, hidden, dropout, .. } = *settings;
        let embedder = |encoder: &EncoderSettings| {
            let mut inside = scope.sub(&encoder.name);
            let features = encoder.input[1..].iter().product();
            Ok(Embedder {
                input: Linear::new(inside.sub("input"), features, width)?,
                norm: LayerNorm::new(inside.sub("norm"), width)?,
                segment: inside.parameter("segment", &[width], Init::Normal(0.02))?,
            })
        };
        let modalities = encoders.iter().map(embedder).collect::<Result<_>>()?;
        let mut inside = scope.sub("transformer");
        let mut layer = |name: String| {
            TransformerEncoderLayer::new(inside.sub(name), width, heads, hidden, dropout)
        };
        let layers = (0..layers).map(|i| layer(format!("layers.{i}"))).collect::<Result<_>>()?;
        let cross = match settings.attention {
            MaskedAttention::Joint => None,
            MaskedAttention::Cross => Some((anchor(settings, encoders)?, layer("others".into())?)),
        };
        let dropout = Dropout { probability: dropout };
        Ok(Encoder { modalities, layers, cross, dropout, width, positions: Constants::default() })
    }

    /// Features of a step.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The first map of a modality.
    pub(super) fn map(&self, modality: usize) -> &Linear {
        &self.modalities[modality].input
    }

    /// The embedded steps `[R, T, width]` of a modality; `None` if no row has it. `masks`: 1 for steps that stay and 0 for
    /// masked ones `[R, T, 1]`, and the vector that takes their place.
    pub(super) fn embed(
        &self,
        pass: &Pass<'_>,
        modality: usize,
        input: &Input,
        masks: Option<(&Tensor, ParameterId)>,
    ) -> Result<Option<Tensor>> {
        let shape = input.data.shape();
        if shape[0] == 0 {
            return Ok(None);
        }
        let Embedder { input: map, norm, segment } = &self.modalities[modality];
        let steps = [shape[0], shape[1], shape[2..].iter().product()];
        let mut x = input.data.on(pass.device())?.reshape(&steps)?;
        if let Some((keep, mask)) = masks {
            let masked = keep.affine(-1.0, 1.0)?.multiply(&pass.get(mask))?;
            x = x.multiply(keep)?.add(&masked)?;
        }
        let x = norm.forward(pass, &map.forward(pass, &x)?)?;
        let (t, width) = (shape[1], self.width);
        let positions = pass.constant(&self.positions, t, || {
            Tensor::from_slice(&positional_encoding(t, width), &[t, width])?.to(pass.dtype())
        })?;
        let x = x.add(&positions.add(&pass.get(*segment))?)?;
        self.dropout.forward(pass, &x).map(Some)
    }

    /// Self-attention layers on the steps `[N, T, width]` of one sequence.
    pub(super) fn layers(
        &self,
        pass: &Pass<'_>,
        mut x: Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        for layer in &self.layers {
            x = layer.forward(pass, &x, lengths)?;
        }
        Ok(x)
    }

    /// The final states `[R, T, width]` of each modality's embedded steps, all modalities together.
    pub(super) fn together(
        &self,
        pass: &Pass<'_>,
        sequences: &Sequences,
        steps: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let all: Vec<usize> = (0..steps.len()).collect();
        match &self.cross {
            Some((anchor, layer)) => self.across(pass, sequences, steps, *anchor, layer),
            None => {
                let rows = sequences.rows();
                let Some((x, lengths)) = self.joined(pass, sequences, steps, &rows, &all)? else {
                    return Ok(vec![None; steps.len()]);
                };
                let x = self.layers(pass, x, Some(&lengths))?;
                let x = x.reshape(&[x.count() / self.width, self.width])?;
                let part = |(modality, steps): (usize, &Option<Tensor>)| {
                    let Some(_) = steps else { return Ok(None) };
                    x.embedding(&sequences.part(modality, pass.device())?).map(Some)
                };
                steps.iter().enumerate().map(part).collect()
            }
        }
    }

    /// [`together`](Self::together) with cross attention.
    fn across(
        &self,
        pass: &Pass<'_>,
        sequences: &Sequences,
        steps: &[Option<Tensor>],
        anchor: usize,
        layer: &TransformerEncoderLayer,
    ) -> Result<Vec<Option<Tensor>>> {
        let others: Vec<usize> = (0..steps.len()).filter(|&m| m != anchor).collect();
        let mut states = vec![None; steps.len()];
        if let Some(own) = &steps[anchor] {
            let rows = sequences.rows_with(anchor);
            let (keys, lengths) = self.keys(pass, sequences, steps, &rows, &others)?;
            let mut x = own.clone();
            for layer in &self.layers {
                x = layer.forward_cross(pass, &x, &keys, Some(&lengths))?;
            }
            states[anchor] = Some(x);
        }
        for &modality in &others {
            let Some(own) = &steps[modality] else { continue };
            let rows = sequences.rows_with(modality);
            let (keys, lengths) = self.keys(pass, sequences, &states, &rows, &[anchor])?;
            states[modality] = Some(layer.forward_cross(pass, own, &keys, Some(&lengths))?);
        }
        Ok(states)
    }

    /// The steps of these modalities for these rows as keys; one step that no row uses if no row of the batch has one.
    fn keys(
        &self,
        pass: &Pass<'_>,
        sequences: &Sequences,
        steps: &[Option<Tensor>],
        rows: &[usize],
        modalities: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        if let Some(joined) = self.joined(pass, sequences, steps, rows, modalities)? {
            return Ok(joined);
        }
        let zeros = |shape: &[usize], dtype| Tensor::zeros_on(shape, dtype, pass.device());
        let lengths = zeros(&[rows.len()], engine::DType::U32)?;
        Ok((zeros(&[rows.len(), 1, self.width], pass.dtype())?, lengths))
    }

    /// The steps `[rows, T, width]` of these modalities for these rows of the batch, valid ones first, and the number of
    /// valid ones `[rows]`; `None` if no row of the batch has one of them.
    fn joined(
        &self,
        pass: &Pass<'_>,
        sequences: &Sequences,
        steps: &[Option<Tensor>],
        rows: &[usize],
        modalities: &[usize],
    ) -> Result<Option<(Tensor, Tensor)>> {
        let there = modalities.iter().filter_map(|&m| steps[m].as_ref());
        let flat = |x: &Tensor| x.reshape(&[x.count() / self.width, self.width]);
        let there: Vec<Tensor> = there.map(flat).collect::<Result<_>>()?;
        if there.is_empty() {
            return Ok(None);
        }
        let table = Tensor::concat(&there.iter().collect::<Vec<_>>(), 0)?;
        let (numbers, lengths) = sequences.join(rows, modalities, pass.device())?;
        Ok(Some((table.embedding(&numbers)?, lengths)))
    }
}

/// The number of the anchor.
fn anchor(settings: &MaskedSettings, encoders: &[EncoderSettings]) -> Result<usize> {
    let find = |name: &str| encoders.iter().position(|encoder| encoder.name == name);
    let Some(name) = &settings.anchor else { return Ok(find("text").unwrap_or(0)) };
    find(name).ok_or_else(|| {
        let names: Vec<&str> = encoders.iter().map(|encoder| encoder.name.as_str()).collect();
        Error::Model {
            model: Masked::NAME.into(),
            what: format!(
                "the anchor `{name}` is no modality, expected one of {}; set system.masked.anchor",
                names.join(", ")
            ),
        }
    })
}
