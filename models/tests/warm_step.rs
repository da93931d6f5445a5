//! On the CPU a warm training step gets no memory from the system. The only test in its process, since the pool is
//! shared.

use engine::{DType, Parameters, Tensor};
use models::backbones::*;
use models::systems::{Batch, Definition, EncoderSettings, Input, Mpuc, MpucSettings, Parts};
use models::train::{Trainer, TrainingSettings};

/// The four networks of MPUC, narrow, each with the shape of a sample.
fn encoders() -> Vec<EncoderSettings> {
    let face = R2Plus1dSettings { width: 16, stem: 16, ..R2Plus1dSettings::default() };
    let text = TextTransformerSettings { layers: 2, hidden: 256, ..Default::default() };
    let all = [
        ("faces", BackboneSettings::R2plus1d(face), vec![4, 32, 32, 3]),
        ("landmarks", BackboneSettings::Stgcn(StgcnSettings::default()), vec![20, 51, 2]),
        ("voice", BackboneSettings::Tcn(TemporalConvNetSettings::default()), vec![64, 80]),
        ("text", BackboneSettings::TextTransformer(text), vec![30, 50]),
    ];
    let encoder = |(name, backbone, input): (&str, _, _)| EncoderSettings {
        name: name.into(),
        backbone,
        dropout: 0.1,
        input,
    };
    all.into_iter().map(encoder).collect()
}

fn batch(encoders: &[EncoderSettings], samples: usize) -> engine::Result<Batch> {
    let input = |encoder: &EncoderSettings| {
        let shape = [&[samples], &encoder.input[..]].concat();
        let numbers: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
        let lengths = (encoder.name == "text").then(|| vec![20u32; samples]);
        Ok(Input {
            data: Tensor::from_slice(&numbers, &shape)?,
            lengths: lengths.map(|lengths| Tensor::from_slice(&lengths, &[samples])).transpose()?,
            rows: None,
            present: None,
        })
    };
    let modalities = encoders.iter().map(input).collect::<engine::Result<_>>()?;
    Ok(Batch { modalities, labels: None, groups: None, samples, views: 1 })
}

#[test]
fn a_warm_step_takes_no_fresh_memory() -> engine::Result<()> {
    const STEPS: u64 = 6;
    let encoders = encoders();
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, None);
    let system = Mpuc::new(&MpucSettings::default(), parts, parameters.scope())?;
    let settings = TrainingSettings {
        epochs: 1,
        batch: 4,
        optimizer: engine::optim::Rule::sgd(0.9, 1e-3),
        learning_rate: 1e-3,
        schedule: engine::schedule::Schedule::Constant,
        patience: None,
    };
    let mut trainer = Trainer::new(&settings, &system, parameters, 0, STEPS)?;
    let mut fresh = Vec::new();
    for _ in 0..STEPS {
        trainer.step(&system, &batch(&encoders, settings.batch)?)?;
        fresh.push(engine::pool::statistics().fresh);
    }
    assert!(fresh[0] > 0 && fresh[2..].iter().all(|&count| count == fresh[1]), "{fresh:?}");
    Ok(())
}
