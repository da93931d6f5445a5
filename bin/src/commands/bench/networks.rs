//! The cases of `mpuc bench model`: the networks with random inputs.

use super::case::{Case, Ready};
use crate::failure::Result;
use engine::optim::{Optimizer, Reading, Rule};
use engine::{DType, Device, Parameters, Pass, Philox, Tensor};
use kernels::ops::info_nce::{Denominator, InfoNce, Reduction};
use models::backbones::{
    Backbone, BackboneSettings, ConformerSettings, R2Plus1dSettings,
    SpatialTemporalGraphNetSettings, StgcnSettings, TemporalConvNetSettings,
    TextTransformerSettings,
};
use models::heads::{Projection, ProjectionSettings};
use models::systems::{
    Batch, CaeLr, CaeLrSettings, Definition, EncoderSettings, Mpuc, MpucSettings, Parts, System,
};
use std::time::Duration;

/// The time for which a case is repeated.
const BUDGET: Duration = Duration::from_secs(3);
/// Frames of a face clip by default.
const FRAMES: usize = 10;

/// A network, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// The temporal convolutions on 128 frames of 80 bands.
    Voice,
    /// Yu et al.'s graph network on 30 frames of 51 points.
    Landmarks,
    /// Yan et al.'s graph network on 30 frames of 68 points.
    LandmarksYan,
    /// The Transformer on 30 words.
    Text,
    /// VAVL's acoustic encoder on 150 steps of 1,024 features.
    Conformer,
    /// CAE-LR's autoencoder on 20 words of 409 features.
    Cae,
    /// R(2+1)D-18 on clips of frames of 112 x 112.
    Face { frames: usize },
    /// MPUC with four modalities.
    Mpuc { frames: usize },
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Voice => "voice",
            Subject::Landmarks => "landmarks",
            Subject::LandmarksYan => "landmarks-yan",
            Subject::Text => "text",
            Subject::Conformer => "conformer",
            Subject::Cae => "cae",
            Subject::Face { .. } => "face",
            Subject::Mpuc { .. } => "mpuc",
        }
    }
}

/// The part of a training step that is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The network in training mode, without a tape.
    Forward,
    /// Network, head, loss and all gradients.
    Backward,
    /// Network, head, loss, all gradients, and the optimiser's step.
    Step,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Forward => "fwd",
            Phase::Backward => "fwd+bwd",
            Phase::Step => "step",
        }
    }
}

/// All networks for each of these batch sizes; those with face clips also for each of these lengths.
pub(super) fn cases(batches: &[usize], frames: &[usize]) -> Vec<Case> {
    let mut cases = Vec::new();
    let sequences = [Subject::Voice, Subject::Landmarks, Subject::LandmarksYan, Subject::Text];
    for subject in sequences.into_iter().chain([Subject::Conformer, Subject::Cae]) {
        cases.extend(of_subject(subject, batches, ""));
    }
    let clips: [fn(usize) -> Subject; 2] =
        [|frames| Subject::Face { frames }, |frames| Subject::Mpuc { frames }];
    for clip in clips {
        if frames.is_empty() {
            cases.extend(of_subject(clip(FRAMES), batches, ""));
        }
        for &frames in frames {
            cases.extend(of_subject(clip(frames), batches, &format!("-t{frames}")));
        }
    }
    cases
}

fn of_subject(subject: Subject, batches: &[usize], ending: &str) -> Vec<Case> {
    let phases = match subject {
        Subject::Mpuc { .. } | Subject::Cae => &[Phase::Step][..],
        _ => &[Phase::Forward, Phase::Backward, Phase::Step],
    };
    let case = |batch: usize, phase: Phase| {
        let name = format!("{}/{}/b{batch}{ending}", subject.name(), phase.name());
        Case::new(name, BUDGET, move |device| ready(subject, phase, batch, device))
    };
    let all = batches.iter().flat_map(|&batch| phases.iter().map(move |&phase| (batch, phase)));
    all.map(|(batch, phase)| case(batch, phase)).collect()
}

fn ready(subject: Subject, phase: Phase, batch: usize, device: &Device) -> Result<Ready> {
    let mut network = Network::new(subject, batch, device)?;
    // Trainable parameters, with heads.
    let parameters = network.parameters.count();
    let ready = Ready::new(move || network.run(phase));
    let ready = ready.detail("batch", batch).detail("parameters", parameters);
    Ok(match subject {
        Subject::Face { frames } | Subject::Mpuc { frames } => ready.detail("frames", frames),
        _ => ready,
    })
}

/// A network with head, loss and optimiser, as in the comparison with PyTorch: no dropout, SGD with momentum 0.9,
/// weight decay 1e-3 and learning rate 1e-3, a 512-1024-512 head.
struct Network {
    model: Model,
    parameters: Parameters,
    optimizer: Optimizer,
    reading: Option<Reading>,
    steps: u64,
}

enum Model {
    /// One network, trained against fixed embeddings.
    One { backbone: Box<Backbone>, projection: Box<Projection>, input: Tensor, target: Tensor },
    /// A system.
    Whole { system: Box<dyn System>, batch: Batch },
}

/// Settings of a network and the shape of a sample.
fn settings(subject: Subject) -> (BackboneSettings, Vec<usize>) {
    match subject {
        Subject::Face { frames } => {
            let settings = R2Plus1dSettings { dropout: 0.0, ..R2Plus1dSettings::default() };
            (BackboneSettings::R2plus1d(settings), vec![frames, 112, 112, 3])
        }
        Subject::Text => {
            let settings =
                TextTransformerSettings { dropout: 0.0, ..TextTransformerSettings::default() };
            (BackboneSettings::TextTransformer(settings), vec![30, 300])
        }
        Subject::Landmarks => {
            let settings = StgcnSettings { dropout: 0.0, ..StgcnSettings::default() };
            (BackboneSettings::Stgcn(settings), vec![30, 51, 2])
        }
        Subject::LandmarksYan => {
            (BackboneSettings::StGcn(SpatialTemporalGraphNetSettings::default()), vec![30, 68, 2])
        }
        Subject::Conformer => {
            let settings = ConformerSettings {
                reduce: Some(50),
                dropout: 0.0,
                ..ConformerSettings::default()
            };
            (BackboneSettings::Conformer(settings), vec![150, 1024])
        }
        Subject::Voice | Subject::Cae | Subject::Mpuc { .. } => {
            let settings =
                TemporalConvNetSettings { dropout: 0.0, ..TemporalConvNetSettings::default() };
            (BackboneSettings::Tcn(settings), vec![128, 80])
        }
    }
}

/// Random normal numbers.
fn random(shape: &[usize], name: &str) -> Result<Tensor> {
    let stream = Philox::new(0, name);
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>() as u64).map(|i| stream.normal(i) as f32).collect();
    Ok(Tensor::from_slice(&values, shape)?)
}

fn inputs(sample: &[usize], batch: usize, name: &str) -> Result<Tensor> {
    random(&[&[batch], sample].concat(), name)
}

impl Network {
    fn new(subject: Subject, batch: usize, device: &Device) -> Result<Self> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let model = match subject {
            Subject::Mpuc { frames } => all(batch, frames, &mut parameters)?,
            Subject::Cae => autoencoder(batch, &mut parameters)?,
            _ => {
                let (settings, sample) = settings(subject);
                let mut scope = parameters.scope();
                let backbone = Backbone::new(&settings, scope.sub("backbone"), &sample)?;
                let head = ProjectionSettings::default();
                let target = random(&[batch, head.output], "target")?;
                let projection = Projection::new(&head, scope.sub("head"), backbone.features())?;
                let input = inputs(&sample, batch, "input")?;
                Model::One {
                    backbone: Box::new(backbone),
                    projection: Box::new(projection),
                    input,
                    target,
                }
            }
        };
        parameters.move_to(device)?;
        let optimizer = Optimizer::new(Rule::sgd(0.9, 1e-3), &parameters)?;
        Ok(Network { model, parameters, optimizer, reading: None, steps: 0 })
    }

    /// Runs once.
    fn run(&mut self, phase: Phase) -> Result<()> {
        if phase == Phase::Forward {
            let pass = Pass::calibrate(&self.parameters);
            match &self.model {
                Model::One { backbone, input, .. } => drop(backbone.forward(&pass, input, None)?),
                Model::Whole { system, batch } => drop(system.outputs(&pass, batch)?),
            }
            return Ok(());
        }
        let pass = Pass::train(&self.parameters, Philox::new(0, "bench").at(self.steps));
        self.steps += 1;
        let loss = match &self.model {
            Model::One { backbone, projection, input, target } => {
                let embedding =
                    projection.forward(&pass, &backbone.forward(&pass, input, None)?)?;
                let op = InfoNce {
                    temperature: 0.07,
                    denominator: Denominator::ExcludePositive,
                    reduction: Reduction::Mean,
                    masked: false,
                };
                Tensor::apply(op, &[&embedding, target], &[])?.output
            }
            Model::Whole { system, batch } => system.loss(&pass, batch, 0)?.total,
        };
        let outcome = pass.backward(&loss)?;
        if phase == Phase::Step {
            let reading = self.optimizer.step(&mut self.parameters, outcome, 1e-3)?;
            // As in training: a step's figures are waited for once the next one is on its way.
            self.reading.replace(reading).map(Reading::wait).transpose()?;
        }
        Ok(())
    }
}

/// MPUC with face, landmarks, voice and text.
fn all(samples: usize, frames: usize, parameters: &mut Parameters) -> Result<Model> {
    let subjects = [
        ("face", Subject::Face { frames }),
        ("landmarks", Subject::Landmarks),
        ("voice", Subject::Voice),
        ("text", Subject::Text),
    ];
    let mut encoders = Vec::new();
    let mut modalities = Vec::new();
    for (name, subject) in subjects {
        let (backbone, sample) = settings(subject);
        encoders.push(EncoderSettings {
            name: name.into(),
            backbone,
            dropout: 0.0,
            input: sample.clone(),
        });
        modalities.push(inputs(&sample, samples, name)?);
    }
    let parts = Parts::new(&encoders, None);
    let system = Mpuc::new(&MpucSettings::default(), parts, parameters.scope())?;
    Ok(Model::Whole { system: Box::new(system), batch: Batch::new(modalities) })
}

/// CAE-LR with GloVe, COVAREP and FACET.
fn autoencoder(samples: usize, parameters: &mut Parameters) -> Result<Model> {
    let widths = [("text", 300), ("voice", 74), ("faces", 35)];
    let encoders = widths.map(|(name, width)| EncoderSettings::strided(name, &[20, width]));
    let modalities = widths.map(|(name, width)| inputs(&[20, width], samples, name));
    let modalities = modalities.into_iter().collect::<Result<_>>()?;
    let parts = Parts::new(&encoders, None);
    let system = CaeLr::new(&CaeLrSettings::default(), parts, parameters.scope())?;
    Ok(Model::Whole { system: Box::new(system), batch: Batch::new(modalities) })
}

#[cfg(test)]
mod tests {
    use super::super::case::choose;
    use super::super::measure::Measure;
    use super::*;
    use crate::signals::Stop;

    fn names(batches: &[usize], frames: &[usize], only: &str) -> Result<Vec<String>> {
        let chosen = choose(cases(batches, frames), &[only.to_owned()])?;
        Ok(chosen.into_iter().map(|case| case.name).collect())
    }

    #[test]
    fn sweeps_name_batch_and_frames() -> Result<()> {
        assert_eq!(names(&[8], &[], "mpuc")?, ["mpuc/step/b8"]);
        assert_eq!(names(&[4, 8], &[], "text/step")?, ["text/step/b4", "text/step/b8"]);
        assert_eq!(names(&[2], &[8, 16], "face/fwd")?, ["face/fwd/b2-t8", "face/fwd/b2-t16"]);
        assert_eq!(names(&[2], &[8, 16], "voice/fwd")?, ["voice/fwd/b2"]);
        Ok(())
    }

    /// A small case: the voice network learns, and allocates nothing after the warm-up.
    #[test]
    fn a_warm_step_allocates_nothing() -> Result<()> {
        let cases = choose(cases(&[2], &[]), &["voice/step".to_owned()])?;
        let stop = Stop::default();
        let measure = Measure {
            device: &Device::Cpu,
            repeats: Some(2),
            peak: None,
            stop: &stop,
            kernels: false,
        };
        let row = measure.case(&cases[0])?;
        assert!(row.median_s > 0.0 && row.reps == 2 && row.details["batch"] == 2, "{row:?}");
        assert!(
            row.flops.is_some_and(|flops| flops > 3.0 * 2.0 * 2.0 * 22e6 * 0.9),
            "a TCN on 128 x 80 is 22 million multiply-adds: {row:?}"
        );
        Ok(())
    }
}
