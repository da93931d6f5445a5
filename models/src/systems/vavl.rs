//! VAVL: versatile audio-visual learning (Goncalves et al. 2024), for any modalities. Each modality has an encoder, a head
//! and a reconstruction; shared layers serve all; a fusion head joins the modalities where all are present.

use super::{Batch, Definition, EncoderSettings, Encoders, Input, Loss, Needs, Outputs};
use super::{Parts, Phase, Refusal, System};
use crate::backbones::{Conformer, ConformerSettings};
use crate::targets::Task;
use engine::nn::{Dropout, LayerNorm, Linear};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`Vavl`]; the defaults are the authors'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VavlSettings {
    /// The layers that all modalities share.
    pub shared: SharedSettings,
    /// The features of the two hidden layers of heads and reconstructions.
    pub hidden: [usize; 2],
    /// Dropout probability after the first hidden layer of heads and reconstructions.
    pub dropout: f64,
    /// The weight of the reconstruction's loss; the authors have 2 for classes and 1 for attributes.
    pub reconstruction: f64,
}

impl Default for VavlSettings {
    fn default() -> Self {
        VavlSettings {
            shared: SharedSettings::default(),
            hidden: [512, 256],
            dropout: 0.2,
            reconstruction: 2.0,
        }
    }
}

/// The layers that all modalities share: a Conformer with a residual connection around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedSettings {
    /// Features of a step, and of a modality's representation.
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

impl Default for SharedSettings {
    fn default() -> Self {
        let ConformerSettings { width, heads, hidden, kernel, dropout, .. } =
            ConformerSettings::default();
        SharedSettings { width, heads, blocks: 2, hidden, kernel, dropout }
    }
}

impl SharedSettings {
    fn conformer(&self) -> ConformerSettings {
        let SharedSettings { width, heads, blocks, hidden, kernel, dropout } = *self;
        ConformerSettings { reduce: None, width, heads, blocks, hidden, kernel, dropout }
    }
}

/// Encoders, shared layers, and for each modality a head and a reconstruction.
///
/// A step updates one modality after the other (its encoder, the shared layers, its head and reconstruction, on the samples
/// that have it), then the fusion head on the samples that have all, with everything else frozen. Each module has an
/// optimiser of its own; that of the shared layers steps once for each modality.
#[derive(Debug, Clone)]
pub struct Vavl {
    encoders: Encoders,
    names: Vec<String>,
    /// From a backbone's width to that of the shared layers, where they differ.
    maps: Vec<Option<Linear>>,
    shared: Conformer,
    norm: LayerNorm,
    heads: Vec<Layers>,
    reconstructions: Vec<Layers>,
    /// Absent with one modality.
    fusion: Option<Layers>,
    task: Task,
    reconstruction: f64,
}

impl Definition for Vavl {
    const NAME: &'static str = "vavl";
    type Settings = VavlSettings;

    fn check(settings: &VavlSettings) -> std::result::Result<(), Refusal> {
        let VavlSettings { shared, hidden, dropout, reconstruction } = settings;
        let zero = [("shared.width", shared.width), ("shared.heads", shared.heads)]
            .into_iter()
            .chain([("shared.hidden", shared.hidden), ("shared.kernel", shared.kernel)])
            .chain(hidden.map(|features| ("hidden", features)))
            .find(|(_, value)| *value == 0);
        if let Some((key, _)) = zero {
            return Err(Refusal::new(key, "is 0; it must be at least 1"));
        }
        if shared.width % shared.heads != 0 {
            let why = format!("is {}; it must divide the width, {}", shared.heads, shared.width);
            return Err(Refusal::new("shared.heads", why));
        }
        if shared.kernel % 2 == 0 {
            return Err(Refusal::new(
                "shared.kernel",
                format!("is {}; it must be odd", shared.kernel),
            ));
        }
        Refusal::dropout("shared.dropout", shared.dropout)?;
        Refusal::dropout("dropout", *dropout)?;
        if *reconstruction < 0.0 || !reconstruction.is_finite() {
            let why = format!("is {reconstruction}; it must be at least 0");
            return Err(Refusal::new("reconstruction", why));
        }
        Ok(())
    }

    fn needs(_: &VavlSettings) -> Needs {
        Needs { labels: true, head: true, unpaired: true, ..Needs::default() }
    }

    /// Makes `{modality}.*`, `shared.*`, `head.{modality}.*`, `reconstruction.{modality}.*` and `fusion.*`.
    fn new(settings: &VavlSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let VavlSettings { shared, hidden, dropout, reconstruction } = settings;
        let task = parts.task(Self::NAME)?.clone();
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let width = shared.width;
        let map = |(encoder, features): (&EncoderSettings, usize)| {
            let mut inside = scope.sub(&encoder.name);
            (features != width).then(|| Linear::new(inside.sub("map"), features, width)).transpose()
        };
        let maps =
            parts.encoders.iter().zip(encoders.step_widths()).map(map).collect::<Result<_>>()?;
        let mut common = scope.sub("shared");
        let norm = LayerNorm::new(common.sub("norm"), width)?;
        let shared = Conformer::new(&shared.conformer(), common, &[1, width])?;
        let mut layers = |group: &str, encoder: &EncoderSettings, outputs: usize| {
            let mut inside = scope.sub(group);
            Layers::new(inside.sub(&encoder.name), [width, hidden[0], hidden[1], outputs], *dropout)
        };
        let heads = parts.encoders.iter().map(|e| layers("head", e, task.outputs()));
        let heads = heads.collect::<Result<_>>()?;
        let reconstructions = parts
            .encoders
            .iter()
            .map(|e| layers("reconstruction", e, e.input[1..].iter().product()))
            .collect::<Result<_>>()?;
        let count = parts.encoders.len();
        let sizes = [count * width, hidden[0], hidden[1], task.outputs()];
        let fusion = (count > 1).then(|| Layers::new(scope.sub("fusion"), sizes, *dropout));
        Ok(Vavl {
            encoders,
            names: parts.encoders.iter().map(|encoder| encoder.name.clone()).collect(),
            maps,
            shared,
            norm,
            heads,
            reconstructions,
            fusion: fusion.transpose()?,
            task,
            reconstruction: *reconstruction,
        })
    }
}

impl System for Vavl {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let inputs = || batch.modalities.iter().enumerate();
        let features = inputs().map(|(modality, input)| self.represent(pass, input, modality));
        let features: Vec<Tensor> = features.collect::<Result<_>>()?;
        let logits = self.logits(pass, batch, &features)?;
        Ok(Outputs { features, logits: Some(logits), ..Outputs::default() })
    }

    fn phases(&self) -> Vec<Phase> {
        let of = |name: &String| {
            let modules = [format!("{name}."), "shared.".into(), format!("head.{name}.")];
            let updates = modules.into_iter().chain([format!("reconstruction.{name}.")]);
            Phase { updates: updates.collect(), training: true }
        };
        let fusion = self.fusion.iter().map(|_| Phase::of(&["fusion."]));
        self.names.iter().map(of).chain(fusion).collect()
    }

    fn skips(&self, batch: &Batch, phase: usize) -> bool {
        // Two samples: CCC compares them, and batch norm may have one step of each.
        match phase < self.names.len() {
            true => batch.rows_with(phase).len() < 2,
            false => batch.complete_rows().len() < 2,
        }
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, phase: usize) -> Result<Loss> {
        match &self.fusion {
            Some(fusion) if phase == self.names.len() => self.fusion_loss(pass, batch, fusion),
            _ => self.modality_loss(pass, batch, phase),
        }
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        // One classification for each modality and the fusion; the reconstruction comes on top.
        let losses = self.names.len() + usize::from(self.fusion.is_some());
        Some(self.task.chance_loss()? * losses as f64)
    }
}

impl Vavl {
    /// The representation `[R, width]` of a modality, for the rows that have it; one row of zeros if none has it.
    fn represent(&self, pass: &Pass<'_>, input: &Input, modality: usize) -> Result<Tensor> {
        if input.data.shape()[0] == 0 {
            return Tensor::zeros_on(&[1, self.shared.features()], pass.dtype(), pass.device());
        }
        let (mut steps, lengths) = self.encoders.steps(pass, input, modality)?;
        if let Some(map) = &self.maps[modality] {
            steps = map.forward(pass, &steps)?;
        }
        let shared = self.shared.steps(pass, &steps, lengths.as_ref())?;
        let steps = self.norm.forward(pass, &shared.add(&steps)?)?;
        let lengths = lengths.map(|lengths| lengths.on(pass.device())).transpose()?;
        steps.mean_over_steps(lengths.as_ref())
    }

    /// The loss of one modality: that of its head, and of the reconstruction of its mean input.
    fn modality_loss(&self, pass: &Pass<'_>, batch: &Batch, modality: usize) -> Result<Loss> {
        let input = &batch.modalities[modality];
        let representation = self.represent(pass, input, modality)?;
        let labels = batch.labels_of(Self::NAME, &batch.rows_with(modality))?;
        let logits = self.heads[modality].forward(pass, &representation)?;
        let task = self.task.loss(&logits, &labels)?;
        let [rows, steps] = [input.data.shape()[0], input.data.shape()[1]];
        let data = input.data.on(pass.device())?.reshape(&[
            rows,
            steps,
            input.data.count() / rows / steps,
        ])?;
        let lengths =
            input.lengths.as_ref().map(|lengths| lengths.on(pass.device())).transpose()?;
        let mean = data.mean_over_steps(lengths.as_ref())?;
        let rebuilt = self.reconstructions[modality].forward(pass, &representation)?;
        let reconstruction = rebuilt.mse(&mean)?;
        let total = task.add(&reconstruction.affine(self.reconstruction, 0.0)?)?;
        let name = &self.names[modality];
        Loss::with_parts(
            total,
            &[(task, name.clone()), (reconstruction, format!("{name} rebuilt"))],
        )
    }

    /// The loss of the fusion head on the rows that have every modality. Nothing else learns from it.
    fn fusion_loss(&self, pass: &Pass<'_>, batch: &Batch, fusion: &Layers) -> Result<Loss> {
        let frozen = Pass::evaluate(pass.parameters());
        let complete = batch.complete_rows();
        let represent = |(modality, input): (usize, &Input)| {
            let features = self.represent(&frozen, input, modality)?;
            match &input.rows {
                None => Ok(features),
                Some(_) => {
                    let with = batch.rows_with(modality);
                    let place = |row: &usize| with.binary_search(row).map_or(0, |at| at as u32);
                    let rows: Vec<u32> = complete.iter().map(place).collect();
                    features.embedding(&Tensor::from_slice(&rows, &[rows.len()])?)
                }
            }
        };
        let features = batch.modalities.iter().enumerate().map(represent);
        let features: Vec<Tensor> = features.collect::<Result<_>>()?;
        // Rows of a modality that every sample has still hold those that lack another.
        let whole = |features: &Tensor| -> Result<Tensor> {
            if features.shape()[0] == complete.len() {
                return Ok(features.clone());
            }
            let rows: Vec<u32> = complete.iter().map(|&row| row as u32).collect();
            features.embedding(&Tensor::from_slice(&rows, &[rows.len()])?)
        };
        let features: Vec<Tensor> = features.iter().map(whole).collect::<Result<_>>()?;
        let joined = Tensor::concat(&features.iter().collect::<Vec<_>>(), 1)?;
        let logits = fusion.forward(pass, &joined)?;
        let total = self.task.loss(&logits, &batch.labels_of(Self::NAME, &complete)?)?;
        Loss::with_parts(total.clone(), &[(total, "fusion".into())])
    }

    /// `[N, outputs]`: of the fusion head where a row has every modality, else the mean of the heads of those it has.
    fn logits(&self, pass: &Pass<'_>, batch: &Batch, features: &[Tensor]) -> Result<Tensor> {
        let complete = batch.complete_rows().len() == batch.rows();
        let filled = batch.modalities.iter().zip(features).map(|(input, f)| input.fill(f));
        let filled: Vec<Tensor> = filled.collect::<Result<_>>()?;
        let fused = match &self.fusion {
            None => return self.heads[0].forward(pass, &filled[0]),
            Some(fusion) => {
                let joined = Tensor::concat(&filled.iter().collect::<Vec<_>>(), 1)?;
                fusion.forward(pass, &joined)?
            }
        };
        if complete {
            return Ok(fused);
        }
        let rows = batch.rows();
        let flags = |modality: usize| {
            let mut flags = vec![0.0; rows];
            batch.rows_with(modality).into_iter().for_each(|row| flags[row] = 1.0);
            flags
        };
        let flags: Vec<Vec<f64>> = (0..self.names.len()).map(flags).collect();
        let count = |row: usize| flags.iter().map(|flags| flags[row]).sum::<f64>();
        let column = |values: Vec<f64>| -> Result<Tensor> {
            Tensor::from_slice(&values, &[rows, 1])?.to(pass.dtype())?.on(pass.device())
        };
        let all = |row: usize| f64::from(u8::from(count(row) == self.names.len() as f64));
        let mut logits = fused.multiply(&column((0..rows).map(all).collect())?)?;
        for ((head, features), flags) in self.heads.iter().zip(&filled).zip(&flags) {
            let weight = |row: usize| flags[row] * (1.0 - all(row)) / count(row).max(1.0);
            let weights = column((0..rows).map(weight).collect())?;
            logits = logits.add(&head.forward(pass, features)?.multiply(&weights)?)?;
        }
        Ok(logits)
    }
}

/// Linear, ReLU, dropout, linear, linear.
#[derive(Debug, Clone)]
struct Layers {
    first: Linear,
    second: Linear,
    third: Linear,
    dropout: Dropout,
}

impl Layers {
    /// Makes `0.*`, `1.*` and `2.*` between layers of these sizes.
    fn new(mut scope: Scope<'_>, sizes: [usize; 4], dropout: f64) -> Result<Self> {
        Ok(Layers {
            first: Linear::new(scope.sub(0), sizes[0], sizes[1])?.relu(),
            second: Linear::new(scope.sub(1), sizes[1], sizes[2])?,
            third: Linear::new(scope.sub(2), sizes[2], sizes[3])?,
            dropout: Dropout { probability: dropout },
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let x = self.dropout.forward(pass, &self.first.forward(pass, x)?)?;
        self.third.forward(pass, &self.second.forward(pass, &x)?)
    }
}
