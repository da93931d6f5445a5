//! The cases of `mpuc bench model`: the networks with random inputs.

use super::case::{Case, Ready};
use crate::failure::Result;
use engine::optim::{Optimizer, Reading, Rule};
use engine::schedule::Schedule;
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
    Vavl, VavlSettings,
};
use models::targets::Task;
use models::train::{Trainer, TrainingSettings};
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
    /// VAVL on 150 steps of 1,024 features of the voice and 150 of 1,408 of the face: three passes, an Adam for each module.
    Vavl,
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
            Subject::Vavl => "vavl",
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
    let others = [Subject::Conformer, Subject::Cae, Subject::Vavl];
    for subject in sequences.into_iter().chain(others) {
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

/// A training step of MPUC with four modalities.
pub(super) fn step(batch: usize, frames: usize, device: &Device) -> Result<Ready> {
    ready(Subject::Mpuc { frames }, Phase::Step, batch, device)
}

fn of_subject(subject: Subject, batches: &[usize], ending: &str) -> Vec<Case> {
    let phases = match subject {
        Subject::Mpuc { .. } | Subject::Cae | Subject::Vavl => &[Phase::Step][..],
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
    let whole = match subject {
        Subject::Mpuc { frames } => Some(mpuc(batch, frames, device)?),
        Subject::Cae => Some(autoencoder(batch, device)?),
        Subject::Vavl => Some(vavl(batch, device)?),
        _ => None,
    };
    // Trainable parameters, with heads.
    let (ready, parameters) = match whole {
        Some(mut whole) => {
            let parameters = whole.trainer.parameters().count();
            (Ready::new(move || whole.step()), parameters)
        }
        None => {
            let mut network = Network::new(subject, batch, device)?;
            let parameters = network.parameters.count();
            (Ready::new(move || network.run(phase)), parameters)
        }
    };
    let ready = ready.detail("batch", batch).detail("parameters", parameters);
    Ok(match subject {
        Subject::Face { frames } | Subject::Mpuc { frames } => ready.detail("frames", frames),
        _ => ready,
    })
}

/// A network with head, loss and optimiser, trained against fixed embeddings, as in the comparison with PyTorch: no
/// dropout, SGD with momentum 0.9, weight decay 1e-3 and learning rate 1e-3, a 512-1024-512 head.
struct Network {
    backbone: Backbone,
    projection: Projection,
    input: Tensor,
    target: Tensor,
    parameters: Parameters,
    optimizer: Optimizer,
    reading: Option<Reading>,
    steps: u64,
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
        Subject::Voice | Subject::Cae | Subject::Vavl | Subject::Mpuc { .. } => {
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
        let (settings, sample) = settings(subject);
        let mut scope = parameters.scope();
        let backbone = Backbone::new(&settings, scope.sub("backbone"), &sample)?;
        let head = ProjectionSettings::default();
        let target = random(&[batch, head.output], "target")?;
        let projection = Projection::new(&head, scope.sub("head"), backbone.features())?;
        let input = inputs(&sample, batch, "input")?;
        parameters.move_to(device)?;
        let optimizer = Optimizer::new(Rule::sgd(0.9, 1e-3), &parameters)?;
        Ok(Network {
            backbone,
            projection,
            input,
            target,
            parameters,
            optimizer,
            reading: None,
            steps: 0,
        })
    }

    /// Runs once.
    fn run(&mut self, phase: Phase) -> Result<()> {
        if phase == Phase::Forward {
            let pass = Pass::calibrate(&self.parameters);
            self.backbone.forward(&pass, &self.input, None)?;
            return Ok(());
        }
        let pass = Pass::train(&self.parameters, Philox::new(0, "bench").at(self.steps));
        self.steps += 1;
        let features = self.backbone.forward(&pass, &self.input, None)?;
        let embedding = self.projection.forward(&pass, &features)?;
        let op = InfoNce {
            temperature: 0.07,
            denominator: Denominator::ExcludePositive,
            reduction: Reduction::Mean,
            masked: false,
        };
        let loss = Tensor::apply(op, &[&embedding, &self.target], &[])?.output;
        let outcome = pass.backward(&loss)?;
        if phase == Phase::Step {
            let reading = self.optimizer.step(&mut self.parameters, outcome, 1e-3)?;
            // As in training: a step's figures are waited for once the next one is on its way.
            self.reading.replace(reading).map(Reading::wait).transpose()?;
        }
        Ok(())
    }
}

/// A system in training, without dropout.
struct Whole {
    system: Box<dyn System>,
    batch: Batch,
    trainer: Trainer,
}

impl Whole {
    fn new(
        system: impl System + 'static,
        batch: Batch,
        mut parameters: Parameters,
        (optimizer, learning_rate): (Rule, f64),
        device: &Device,
    ) -> Result<Self> {
        parameters.move_to(device)?;
        let settings = TrainingSettings {
            epochs: 1,
            optimizer,
            learning_rate,
            schedule: Schedule::Constant,
            ..TrainingSettings::default()
        };
        // More steps than any measurement has.
        let trainer = Trainer::new(&settings, &system, parameters, 0, 1 << 40)?;
        Ok(Whole { system: Box::new(system), batch, trainer })
    }

    fn step(&mut self) -> Result<()> {
        self.trainer.step(&*self.system, &self.batch)?;
        Ok(())
    }
}

/// MPUC with face, landmarks, voice and text, by the optimiser of the single networks.
fn mpuc(samples: usize, frames: usize, device: &Device) -> Result<Whole> {
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
        let (name, input) = (name.to_owned(), sample.clone());
        modalities.push(inputs(&sample, samples, &name)?);
        encoders.push(EncoderSettings { name, backbone, dropout: 0.0, input });
    }
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, None);
    let system = Mpuc::new(&MpucSettings::default(), parts, parameters.scope())?;
    Whole::new(system, Batch::new(modalities), parameters, (Rule::sgd(0.9, 1e-3), 1e-3), device)
}

/// CAE-LR with GloVe, COVAREP and FACET, by the optimiser of the single networks.
fn autoencoder(samples: usize, device: &Device) -> Result<Whole> {
    let widths = [("text", 300), ("voice", 74), ("faces", 35)];
    let encoders = widths.map(|(name, width)| EncoderSettings::strided(name, &[20, width]));
    let modalities = widths.map(|(name, width)| inputs(&[20, width], samples, name));
    let modalities = modalities.into_iter().collect::<Result<_>>()?;
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, None);
    let system = CaeLr::new(&CaeLrSettings::default(), parts, parameters.scope())?;
    Whole::new(system, Batch::new(modalities), parameters, (Rule::sgd(0.9, 1e-3), 1e-3), device)
}

/// VAVL in its published size, with six classes.
fn vavl(samples: usize, device: &Device) -> Result<Whole> {
    const CLASSES: usize = 6;
    let (backbone, _) = settings(Subject::Conformer);
    let widths = [("voice", 1024), ("faces", 1408)];
    let encoder = |(name, width): (&str, usize)| EncoderSettings {
        name: name.into(),
        backbone: backbone.clone(),
        dropout: 0.0,
        input: vec![150, width],
    };
    let encoders = widths.map(encoder);
    let modalities = widths.map(|(name, width)| inputs(&[150, width], samples, name));
    let labels: Vec<u32> = (0..samples).map(|sample| (sample % CLASSES) as u32).collect();
    let batch = Batch {
        labels: Some(Tensor::from_slice(&labels, &[samples])?),
        ..Batch::new(modalities.into_iter().collect::<Result<_>>()?)
    };
    let mut settings = VavlSettings { dropout: 0.0, ..VavlSettings::default() };
    settings.shared.dropout = 0.0;
    let task = Task::OneOf(CLASSES);
    let mut parameters = Parameters::new(DType::F32, 0);
    let system = Vavl::new(&settings, Parts::new(&encoders, Some(&task)), parameters.scope())?;
    let rule = Rule::Adam { betas: [0.95, 0.999], epsilon: 1e-8, weight_decay: 5e-7 };
    Whole::new(system, batch, parameters, (rule, 5e-5), device)
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
