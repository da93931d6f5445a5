//! Masked cross-modal pretraining: a Transformer over the steps of all modalities fills in masked spans. One system for
//! MEmoBERT's layout (Zhao et al., ICASSP 2022) and for cross-attention from one modality (Khare et al., SLT 2021).

mod encoder;
mod sequences;
mod spans;

pub use encoder::MaskedAttention;
pub use spans::SpanSettings;

use super::{Batch, Definition, Loss, Needs, Outputs, Parts, Refusal, System};
use crate::heads::{Projection, ProjectionSettings};
use encoder::Encoder;
use engine::nn::{LayerNorm, Linear};
use engine::{Error, Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::{Activation, info_nce};
use sequences::Sequences;
use serde::{Deserialize, Serialize};

/// The settings of [`Masked`]. Layers, width and heads are this project's; MEmoBERT has 12 layers of 768 features from a
/// pretrained language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedSettings {
    /// Which steps attend to which.
    pub attention: MaskedAttention,
    /// With `attention = "cross"`: the modality whose steps attend to all others. `None`: `text` if there is one, otherwise
    /// the first.
    pub anchor: Option<String>,
    /// Transformer layers.
    pub layers: usize,
    /// Features of a step.
    pub width: usize,
    /// Attention heads; the width must be a multiple of this.
    pub heads: usize,
    /// Features between the two linear maps of a layer.
    pub hidden: usize,
    /// Dropout probability of the embedded steps and inside the layers.
    pub dropout: f64,
    /// The masked spans.
    pub spans: SpanSettings,
    /// The weight of a contrastive loss between modalities, from 0 to 1; that of the masked spans is 1 less this. With 1
    /// nothing is masked.
    pub contrast: f64,
    /// The divisor of the contrastive loss's cosine similarities.
    pub temperature: f64,
    /// The projection heads of the contrastive loss.
    pub projection: ProjectionSettings,
}

impl Default for MaskedSettings {
    fn default() -> Self {
        MaskedSettings {
            attention: MaskedAttention::Joint,
            anchor: None,
            layers: 4,
            width: 256,
            heads: 4,
            hidden: 1024,
            dropout: 0.1,
            spans: SpanSettings::default(),
            contrast: 0.0,
            temperature: 0.07,
            projection: ProjectionSettings::default(),
        }
    }
}

/// A Transformer over the steps of all modalities, which learns without labels.
///
/// A step is mapped linearly to the width and normalised; its modality's embedding and its position's sinusoids are
/// added. A masked step is a learned vector before that map. The loss is the mean over modalities of the mean squared error
/// between masked steps and their reconstruction: linear layer, GELU, layer norm and the transposed first map. Word
/// vectors are reconstructed like any other steps: a classification of masked words, as in MEmoBERT, needs the numbers of
/// words, which a batch does not have. MEmoBERT's prompt needs a pretrained language model, its face classes a labelled
/// face network: neither is built.
///
/// Features are each modality's final states, averaged over its valid steps. The contrastive loss (MPUC's equation 1)
/// compares the states that each modality has alone: joined ones hold their partner's input.
///
/// It has no backbones.
#[derive(Debug, Clone)]
pub struct Masked {
    encoder: Encoder,
    /// One for each modality; none without masks.
    regressions: Vec<Regression>,
    /// One for each modality; none without contrast.
    projections: Vec<Projection>,
    names: Vec<String>,
    spans: SpanSettings,
    contrast: f64,
    temperature: f64,
}

impl Definition for Masked {
    const NAME: &'static str = "masked";
    type Settings = MaskedSettings;

    fn check(settings: &MaskedSettings) -> std::result::Result<(), Refusal> {
        let MaskedSettings { layers, width, heads, hidden, contrast, .. } = *settings;
        let ProjectionSettings { hidden: inner, output, .. } = settings.projection;
        let sizes = [("layers", layers), ("width", width), ("heads", heads), ("hidden", hidden)];
        let heads_of_contrast = [("projection.hidden", inner), ("projection.output", output)];
        if let Some((key, _)) = sizes.iter().chain(&heads_of_contrast).find(|(_, size)| *size == 0)
        {
            return Err(Refusal::new(key, "is 0; it must be at least 1"));
        }
        if width % heads != 0 {
            let why = format!("is {width}; it must be a multiple of heads = {heads}");
            return Err(Refusal::new("width", why));
        }
        let cross = settings.attention == MaskedAttention::Cross;
        if settings.anchor.is_some() && !cross {
            let why = "is only for attention = \"cross\"; remove it";
            return Err(Refusal::new("anchor", why));
        }
        if !(0.0..=1.0).contains(&contrast) {
            let why = format!("is {contrast}; it must lie between 0 and 1");
            return Err(Refusal::new("contrast", why));
        }
        if contrast > 0.0 && cross {
            let why = "is above 0 with attention = \"cross\", where a modality alone has nothing to attend to; set attention = \"joint\" or contrast = 0";
            return Err(Refusal::new("contrast", why));
        }
        Refusal::positive("temperature", settings.temperature)?;
        Refusal::dropout("dropout", settings.dropout)?;
        settings.spans.check()
    }

    fn needs(settings: &MaskedSettings) -> Needs {
        let pairs = settings.contrast > 0.0;
        let least = if pairs || settings.attention == MaskedAttention::Cross { 2 } else { 1 };
        Needs {
            pairs,
            aligned: settings.contrast < 1.0,
            modalities: least..=usize::MAX,
            ..Needs::default()
        }
    }

    /// Makes `{modality}.*`, `transformer.*`, with masks `{modality}.regression.*` and with contrast `projection.{modality}.*`.
    fn new(settings: &MaskedSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let MaskedSettings { width, spans, contrast, temperature, .. } = *settings;
        let encoder = Encoder::new(settings, parts.encoders, &mut scope)?;
        let (mut regressions, mut projections) = (Vec::new(), Vec::new());
        for modality in parts.encoders {
            if contrast < 1.0 {
                let features = modality.input[1..].iter().product();
                let mut inside = scope.sub(&modality.name);
                regressions.push(Regression::new(inside.sub("regression"), features, width)?);
            }
            if contrast > 0.0 {
                let mut heads = scope.sub("projection");
                let head = heads.sub(&modality.name);
                projections.push(Projection::new(&settings.projection, head, width)?);
            }
        }
        let names = parts.encoders.iter().map(|encoder| encoder.name.clone()).collect();
        Ok(Masked { encoder, regressions, projections, names, spans, contrast, temperature })
    }
}

impl System for Masked {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let alone = match self.projections.is_empty() {
            true => Vec::new(),
            false => self.alone(pass, batch)?,
        };
        let embeddings = self.embeddings(pass, batch, &alone)?;
        let features = match self.regressions.is_empty() {
            true => alone,
            false => {
                let inputs = batch.modalities.iter().enumerate();
                let steps = inputs.map(|(m, input)| self.encoder.embed(pass, m, input, None));
                let steps = steps.collect::<Result<Vec<_>>>()?;
                let states = self.encoder.together(pass, &Sequences::new(batch)?, &steps)?;
                self.pool(pass, batch, &states)?
            }
        };
        Ok(Outputs { features, embeddings, ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let mut terms = Vec::new();
        if !self.regressions.is_empty() {
            let errors = self.errors(pass, batch)?;
            let weight = (1.0 - self.contrast) / errors.len() as f64;
            let term = |(modality, error): (usize, Tensor)| {
                (error, weight, format!("{} rebuilt", self.names[modality]))
            };
            terms.extend(errors.into_iter().map(term));
        }
        let mut embeddings = Vec::new();
        if !self.projections.is_empty() {
            embeddings = self.embeddings(pass, batch, &self.alone(pass, batch)?)?;
            let loss = self.contrast(batch, &embeddings)?;
            terms.push((loss, self.contrast, "contrast".into()));
        }
        let mut weighted = terms.iter().map(|(term, weight, _)| term.affine(*weight, 0.0));
        let Some(first) = weighted.next() else {
            let what = "got a batch without samples; leave it out".into();
            return Err(Error::Model { model: Self::NAME.into(), what });
        };
        let total = weighted.try_fold(first?, |total, term| total.add(&term?))?;
        let named: Vec<(Tensor, String)> =
            terms.into_iter().map(|(term, _, name)| (term, name)).collect();
        Ok(Loss { embeddings, ..Loss::with_parts(total, &named)? })
    }

    fn chance_loss(&self, batch: usize) -> Option<f64> {
        // Without masks the loss is MPUC's. The error of a mean depends on the data's standardisation.
        self.regressions.is_empty().then(|| ((batch - 1) as f64).ln())
    }
}

impl Masked {
    /// The mean squared error of the masked steps of each modality that is there, with the modality's number.
    fn errors(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<(usize, Tensor)>> {
        let sequences = Sequences::new(batch)?;
        let random = pass.stream();
        let (mut kept, mut steps) = (Vec::new(), Vec::new());
        for (modality, input) in batch.modalities.iter().enumerate() {
            let (valid, extent) = (sequences.valid(modality), sequences.steps(modality));
            let mut keep = vec![1.0; valid.len() * extent];
            for (row, &length) in valid.iter().enumerate() {
                let random = random.at(modality as u64).at(row as u64);
                let masked = self.spans.draw(length, random).into_iter();
                let masked = masked.enumerate().filter(|(_, masked)| *masked);
                masked.for_each(|(step, _)| keep[row * extent + step] = 0.0);
            }
            let count = keep.iter().filter(|&&keep| keep == 0.0).count();
            let keep = Tensor::from_slice(&keep, &[valid.len(), extent, 1])?;
            let keep = keep.to(pass.dtype())?.on(pass.device())?;
            let mask = self.regressions[modality].mask;
            steps.push(self.encoder.embed(pass, modality, input, Some((&keep, mask)))?);
            kept.push((keep, count));
        }
        let states = self.encoder.together(pass, &sequences, &steps)?;
        let mut errors = Vec::new();
        for (modality, ((keep, count), states)) in kept.iter().zip(&states).enumerate() {
            let Some(states) = states else { continue };
            let tied = self.encoder.map(modality);
            let rebuilt = self.regressions[modality].forward(pass, states, tied)?;
            let truth = batch.modalities[modality].data.on(pass.device())?;
            let difference = rebuilt.subtract(&truth.reshape(&rebuilt.shape())?)?;
            // 1 / (masked steps × features) at masked steps, 0 elsewhere.
            let share = 1.0 / (count * rebuilt.shape().features()).max(1) as f64;
            let weights = keep.affine(-share, share)?;
            errors.push((modality, difference.square()?.multiply(&weights)?.sum(&[0, 1, 2])?));
        }
        Ok(errors)
    }

    /// The mean states `[R, width]` of each modality without the others.
    fn alone(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<Tensor>> {
        let alone = |(modality, input)| {
            let Some(steps) = self.encoder.embed(pass, modality, input, None)? else {
                return Ok(None);
            };
            let lengths = input.lengths.as_ref().map(|l| l.on(pass.device())).transpose()?;
            self.encoder.layers(pass, steps, lengths.as_ref()).map(Some)
        };
        let states = batch.modalities.iter().enumerate().map(alone).collect::<Result<Vec<_>>>()?;
        self.pool(pass, batch, &states)
    }

    /// The mean over valid steps of the states of each modality; one row of zeros for one that no row has.
    fn pool(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        states: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let mean = |(states, input): (&Option<Tensor>, &super::Input)| {
            let Some(states) = states else {
                return Tensor::zeros_on(&[1, self.encoder.width()], pass.dtype(), pass.device());
            };
            let lengths = input.lengths.as_ref().map(|l| l.on(pass.device())).transpose()?;
            states.mean_over_steps(lengths.as_ref())
        };
        states.iter().zip(&batch.modalities).map(mean).collect()
    }

    /// The embeddings `[N, C]` of each modality; none without contrast.
    fn embeddings(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        features: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let heads = self.projections.iter().zip(features).zip(&batch.modalities);
        let embedding = |((head, features), input): ((&Projection, &Tensor), &super::Input)| {
            let embedding = head.forward(pass, features)?;
            input.rows.as_ref().map_or(Ok(embedding.clone()), |rows| embedding.embedding(rows))
        };
        heads.map(embedding).collect()
    }

    /// MPUC's loss between all ordered pairs of modalities.
    fn contrast(&self, batch: &Batch, embeddings: &[Tensor]) -> Result<Tensor> {
        let presence = batch.presence()?;
        let op = info_nce::InfoNce {
            temperature: self.temperature,
            denominator: info_nce::Denominator::ExcludePositive,
            reduction: info_nce::Reduction::Mean,
            masked: presence.is_some(),
        };
        let inputs: Vec<&Tensor> = embeddings.iter().collect();
        let indices: Vec<&Tensor> = presence.iter().collect();
        Ok(Tensor::apply(op, &inputs, &indices)?.output)
    }
}

/// The regression of a modality's masked steps, and the vector that replaces them in the input.
#[derive(Debug, Clone)]
struct Regression {
    mask: ParameterId,
    linear: Linear,
    norm: LayerNorm,
    bias: ParameterId,
}

impl Regression {
    /// Makes `mask`, `bias`, `linear.*` and `norm.*`.
    fn new(mut scope: Scope<'_>, features: usize, width: usize) -> Result<Self> {
        Ok(Regression {
            mask: scope.parameter("mask", &[features], Init::Normal(0.02))?,
            linear: Linear::new(scope.sub("linear"), width, width)?,
            norm: LayerNorm::new(scope.sub("norm"), width)?,
            bias: scope.parameter("bias", &[features], Init::Constant(0.0))?,
        })
    }

    /// States `[R, T, width]` to the input's features `[R, T, features]`. `tied` is the modality's first map.
    fn forward(&self, pass: &Pass<'_>, states: &Tensor, tied: &Linear) -> Result<Tensor> {
        let hidden = self.linear.forward(pass, states)?.activation(Activation::Gelu)?;
        let hidden = self.norm.forward(pass, &hidden)?;
        tied.transposed(pass, &hidden)?.add(&pass.get(self.bias))
    }
}

#[cfg(test)]
mod tests;
