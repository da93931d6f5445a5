//! Voice to face: one modality's network learns to move the landmarks of a still face (after Shukla et al., ICASSP 2020,
//! who animate pictures).

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts, Refusal};
use super::{Input, System};
use engine::nn::Linear;
use engine::{Constants, Error, Pass, Result, Scope, Tensor};
use kernels::ops::Matmul;
use serde::{Deserialize, Serialize};

/// The settings of [`VoiceToFace`]; the sizes are this project's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VoiceToFaceSettings {
    /// The modality whose network is trained. Its backbone must have a sequence of features: `tcn`, `strided_conv` or
    /// `conformer`.
    pub source: String,
    /// The modality that is predicted. Its windows must last as long as the source's.
    pub target: String,
    /// Features between the source's and the displacements.
    pub hidden: usize,
}

impl Default for VoiceToFaceSettings {
    fn default() -> Self {
        VoiceToFaceSettings { source: "voice".into(), target: "landmarks".into(), hidden: 256 }
    }
}

/// A backbone of the source, and two layers that predict the target's displacement from its first frame, at every frame,
/// from the source's features at that time and the first frame. The loss is the mean absolute error over valid frames.
///
/// The source's steps are spread evenly over the window and interpolated linearly to the target's frames. Windows start at
/// one time. Only the source has features for a probe: the target has no network.
///
/// The parts of the loss are those of two rivals on the same batch: no motion, and the batch's mean motion at each frame.
#[derive(Debug, Clone)]
pub struct VoiceToFace {
    /// The numbers of the two modalities.
    source: usize,
    target: usize,
    /// That of the source.
    encoders: Encoders,
    /// From the source's features, and from the first frame.
    inputs: [Linear; 2],
    output: Linear,
    /// Keyed by the numbers of frames and steps.
    interpolations: Constants<[usize; 2]>,
}

impl Definition for VoiceToFace {
    const NAME: &'static str = "voice_to_face";
    type Settings = VoiceToFaceSettings;

    fn check(settings: &VoiceToFaceSettings) -> std::result::Result<(), Refusal> {
        if settings.source == settings.target {
            let why = format!("is `{}`, as the source; name two modalities", settings.target);
            return Err(Refusal::new("target", why));
        }
        if settings.hidden == 0 {
            return Err(Refusal::new("hidden", "is 0; it must be at least 1"));
        }
        Ok(())
    }

    fn needs(_: &VoiceToFaceSettings) -> Needs {
        Needs { unpaired: true, aligned: true, modalities: 2..=usize::MAX, ..Needs::default() }
    }

    /// Makes `{source}.*`, `decoder.source.*`, `decoder.first.*` and `decoder.output.*`.
    fn new(settings: &VoiceToFaceSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let source = find(parts.encoders, "source", &settings.source)?;
        let target = find(parts.encoders, "target", &settings.target)?;
        let own = &parts.encoders[source];
        if !own.backbone.has_steps() {
            return Err(refuse(format!(
                "the backbone of `{}` pools time, expected tcn, strided_conv or conformer; set modality.{0}.backbone",
                own.name
            )));
        }
        let encoders = Encoders::new(std::slice::from_ref(own), &mut scope)?;
        let points = parts.encoders[target].input[1..].iter().product();
        let mut decoder = scope.sub("decoder");
        let hidden = settings.hidden;
        Ok(VoiceToFace {
            source,
            target,
            inputs: [
                Linear::new(decoder.sub("source"), encoders.step_widths()[0], hidden)?,
                Linear::new(decoder.sub("first"), points, hidden)?,
            ],
            output: Linear::new(decoder.sub("output"), hidden, points)?,
            encoders,
            interpolations: Constants::default(),
        })
    }
}

impl System for VoiceToFace {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let input = &batch.modalities[self.source];
        let alone = Batch { modalities: vec![input.clone()], ..batch.clone() };
        let features = self.encoders.forward(pass, &alone)?.remove(0);
        Ok(Outputs { joint: Some(input.fill(&features)?), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let (source, target) = (&batch.modalities[self.source], &batch.modalities[self.target]);
        let face = Face::new(pass, source, target, batch.rows())?;
        let (steps, _) = self.encoders.steps(pass, source, 0)?;
        let heard = self.inputs[0].forward(pass, &steps)?;
        let sizes = [face.motion.shape()[1], heard.shape()[1]];
        let interpolation = pass.constant(&self.interpolations, sizes, || {
            let [frames, steps] = sizes;
            Tensor::from_slice(&interpolation(frames, steps), &[frames, steps])?.to(pass.dtype())
        })?;
        let heard = interpolation.matmul(Matmul::PLAIN, &heard)?;
        let hidden = heard.add(&self.inputs[1].forward(pass, &face.first)?)?.relu()?;
        let predicted = self.output.forward(pass, &hidden)?;
        let error = |motion: &Tensor| {
            face.motion.subtract(motion)?.abs()?.multiply(&face.weights)?.sum(&[0, 1, 2])
        };
        let total = error(&predicted)?;
        let mean = face.motion.multiply(&face.shares)?.sum_keeping(&[0])?;
        let still = Tensor::zeros_on(&[1, 1, 1], pass.dtype(), pass.device())?;
        let rivals = [(error(&still)?, "no motion".into()), (error(&mean)?, "mean motion".into())];
        Loss::with_parts(total, &rivals)
    }

    fn skips(&self, batch: &Batch, _phase: usize) -> bool {
        let both = |&row: &usize| {
            [self.source, self.target].iter().all(|&modality| batch.modalities[modality].has(row))
        };
        (0..batch.rows()).filter(both).count() < 2
    }
}

/// The target of each row of the source.
struct Face {
    /// The first frame `[R, 1, C]`; any row's where the target is missing.
    first: Tensor,
    /// The displacement from the first frame `[R, T, C]`.
    motion: Tensor,
    /// `[R, T, 1]`: 1 / (numbers that count) for valid frames of rows with the target, else 0.
    weights: Tensor,
    /// `[R, T, 1]`: 1 / (valid rows of the frame) for the same, else 0.
    shares: Tensor,
}

impl Face {
    fn new(pass: &Pass<'_>, source: &Input, target: &Input, rows: usize) -> Result<Self> {
        let shape = target.data.shape();
        let (held, frames, points) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
        let lengths = target.lengths.as_ref().map(Tensor::to_vec).transpose()?;
        let mut next = 0;
        // The target's row for each row of the source.
        let mut numbers = Vec::new();
        for row in 0..rows {
            let number = target.has(row).then_some(next);
            next += usize::from(target.has(row));
            if source.has(row) {
                numbers.push(number);
            }
        }
        let valid = |number: &Option<usize>| match (number, &lengths) {
            (None, _) => 0,
            (Some(_), None) => frames,
            (Some(row), Some(lengths)) => (lengths[*row] as usize).min(frames),
        };
        let valid: Vec<usize> = numbers.iter().map(valid).collect();
        let count = valid.iter().sum::<usize>() * points;
        let spread = |value: &dyn Fn(usize) -> usize| {
            let row = |&length: &usize| {
                (0..frames).map(move |t| if t < length { 1.0 / value(t) as f64 } else { 0.0 })
            };
            let values: Vec<f64> = valid.iter().flat_map(row).collect();
            let spread = Tensor::from_slice(&values, &[valid.len(), frames, 1])?;
            spread.to(pass.dtype())?.on(pass.device())
        };
        let mut face = target.data.on(pass.device())?;
        if source.rows.is_some() || target.rows.is_some() {
            let numbers: Vec<u32> = numbers.iter().map(|n| n.unwrap_or(0) as u32).collect();
            let numbers = Tensor::from_slice(&numbers, &[numbers.len()])?;
            face = face.reshape(&[held, frames * points])?.embedding(&numbers)?;
        }
        let face = face.reshape(&[valid.len(), frames, points])?;
        let first = face.slice(1, 0, 1)?;
        Ok(Face {
            motion: face.subtract(&first)?,
            first,
            weights: spread(&|_| count)?,
            shares: spread(&|t| valid.iter().filter(|&&length| t < length).count())?,
        })
    }
}

/// The matrix `[frames, steps]`, row-major, that interpolates a sequence linearly. Frames and steps are the middles of
/// equal parts of one time; before the first and after the last middle of a step the sequence is constant.
fn interpolation(frames: usize, steps: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; frames * steps];
    for (frame, row) in matrix.chunks_mut(steps).enumerate() {
        let at = (frame as f64 + 0.5) * steps as f64 / frames as f64 - 0.5;
        let at = at.clamp(0.0, (steps - 1) as f64);
        let (before, share) = (at.floor() as usize, at.fract());
        row[before] += 1.0 - share;
        row[(before + 1).min(steps - 1)] += share;
    }
    matrix
}

/// The number of a modality by its name.
fn find(encoders: &[EncoderSettings], key: &str, name: &str) -> Result<usize> {
    encoders.iter().position(|encoder| encoder.name == name).ok_or_else(|| {
        let names: Vec<&str> = encoders.iter().map(|encoder| encoder.name.as_str()).collect();
        refuse(format!(
            "the {key} `{name}` is no modality, expected one of {}; set system.{}.{key}, or the arm's modalities",
            names.join(", "),
            VoiceToFace::NAME
        ))
    })
}

fn refuse(what: String) -> Error {
    Error::Model { model: VoiceToFace::NAME.into(), what }
}

#[cfg(test)]
mod tests;
