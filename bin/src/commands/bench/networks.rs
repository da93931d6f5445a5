//! The networks of the bench with their random inputs.

use super::cases::{Phase, Subject};
use crate::failure::Result;
use engine::optim::{Optimizer, Rule};
use engine::{DType, Device, Parameters, Pass, Philox, Tensor};
use kernels::ops::info_nce::{Denominator, InfoNce, Reduction};
use models::backbones::{
    Backbone, BackboneSettings, R2Plus1dSettings, SpatialTemporalGraphNetSettings, StgcnSettings,
    TemporalConvNetSettings, TextTransformerSettings,
};
use models::heads::{Projection, ProjectionSettings};
use models::systems::{Batch, ContrastiveSettings, EncoderSettings, Input, Mpuc, System};

/// A network with what it learns from, as PyTorch's side of the comparison has it: no dropout, SGD with momentum
/// 0.9, weight decay 1e-3 and learning rate 1e-3, a 512-1024-512 head.
pub(super) struct Network {
    model: Model,
    parameters: Parameters,
    optimizer: Optimizer,
    steps: u64,
}

enum Model {
    /// One network that is to meet fixed embeddings.
    One { backbone: Box<Backbone>, projection: Box<Projection>, input: Tensor, target: Tensor },
    /// Four networks that are to meet each other.
    All { system: Box<Mpuc>, batch: Batch },
}

/// Settings and the shape of a sample.
fn settings(subject: Subject) -> (BackboneSettings, &'static [usize]) {
    match subject {
        Subject::Face => {
            let settings = R2Plus1dSettings { dropout: 0.0, ..R2Plus1dSettings::default() };
            (BackboneSettings::R2plus1d(settings), &[10, 112, 112, 3])
        }
        Subject::Text => {
            let settings =
                TextTransformerSettings { dropout: 0.0, ..TextTransformerSettings::default() };
            (BackboneSettings::TextTransformer(settings), &[30, 300])
        }
        Subject::Landmarks => {
            let settings = StgcnSettings { dropout: 0.0, ..StgcnSettings::default() };
            (BackboneSettings::Stgcn(settings), &[30, 51, 2])
        }
        Subject::LandmarksYan => {
            (BackboneSettings::StGcn(SpatialTemporalGraphNetSettings::default()), &[30, 68, 2])
        }
        Subject::Voice | Subject::Mpuc => {
            let settings =
                TemporalConvNetSettings { dropout: 0.0, ..TemporalConvNetSettings::default() };
            (BackboneSettings::Tcn(settings), &[128, 80])
        }
    }
}

/// Normal numbers.
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
    pub(super) fn new(subject: Subject, batch: usize, device: &Device) -> Result<Self> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let model = match subject {
            Subject::Mpuc => all(batch, &mut parameters)?,
            _ => {
                let (settings, sample) = settings(subject);
                let mut scope = parameters.scope();
                let backbone = Backbone::new(&settings, scope.sub("backbone"), sample)?;
                let head = ProjectionSettings::default();
                let target = random(&[batch, head.output], "target")?;
                let projection = Projection::new(&head, scope.sub("head"), backbone.features())?;
                let input = inputs(sample, batch, "input")?;
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
        Ok(Network { model, parameters, optimizer, steps: 0 })
    }

    /// How many numbers are learned, heads included.
    pub(super) fn parameters(&self) -> usize {
        self.parameters.count()
    }

    /// Runs once.
    pub(super) fn run(&mut self, phase: Phase) -> Result<()> {
        if phase == Phase::Forward {
            let pass = Pass::calibrate(&self.parameters);
            match &self.model {
                Model::One { backbone, input, .. } => drop(backbone.forward(&pass, input, None)?),
                Model::All { system, batch } => drop(system.embeddings(&pass, batch)?),
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
            Model::All { system, batch } => system.loss(&pass, batch)?.total,
        };
        let outcome = pass.backward(&loss)?;
        if phase == Phase::Step {
            // As in training: a gradient that is not finite is found before it does harm.
            outcome.gradients.norm(&self.parameters)?;
            outcome.statistics.apply(&mut self.parameters);
            self.optimizer.step(&mut self.parameters, &outcome.gradients, 1e-3)?;
        }
        Ok(())
    }
}

/// MPUC with face, landmarks, voice and text.
fn all(samples: usize, parameters: &mut Parameters) -> Result<Model> {
    let subjects = [
        ("face", Subject::Face),
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
            input: sample.to_vec(),
        });
        modalities.push(Input {
            data: inputs(sample, samples, name)?,
            lengths: None,
            rows: None,
            present: None,
        });
    }
    let loss = ContrastiveSettings::default();
    let system = Mpuc::new(&encoders, &ProjectionSettings::default(), loss, parameters)?;
    let batch = Batch { modalities, labels: None, samples, views: 1 };
    Ok(Model::All { system: Box::new(system), batch })
}
