//! MPUC on your own paired arrays, and a probe on the features: `cargo run --release -p mpuc-models --example your_pairs`
use engine::{DType, Parameters, Philox, Result, Tensor};
use models::evaluate::{Examples, Probe, ProbeSettings, Rows, evaluate, metrics::score};
use models::systems::{Batch, Definition, EncoderSettings, Mpuc, Parts};
use models::targets::{Targets, Task};
use models::train::{Epochs, Trainer, TrainingSettings, fit};

/// Replace this: what the modalities show of clip `i`, 16 steps of 4 numbers each. Here, a wave of its class in noise.
fn numbers(i: u64, modality: u64) -> impl Iterator<Item = f32> {
    let random = Philox::new(modality, "noise").at(i);
    (0..64).map(move |n| (((i % 3 + 1) * n) as f64 * 0.4).sin() as f32 + random.normal(n) as f32)
}

fn batch(clips: std::ops::Range<u64>) -> Result<Batch> {
    let modality = |m: u64| {
        let values: Vec<f32> = clips.clone().flat_map(|i| numbers(i, m)).collect();
        Tensor::from_slice(&values, &[values.len() / 64, 16, 4])
    };
    Ok(Batch::new(vec![modality(0)?, modality(1)?]))
}
fn main() -> Result<()> {
    let encoders = ["voice", "face"].map(|name| EncoderSettings::strided(name, &[16, 4]));
    let mut parameters = Parameters::new(DType::F32, 0);
    let system = Mpuc::new(&Default::default(), Parts::new(&encoders, None), parameters.scope())?;
    let settings = TrainingSettings { epochs: 10, ..TrainingSettings::default() };
    let mut trainer = Trainer::new(&settings, &system, parameters, 0, 8)?;
    fit(&mut trainer, &system, &Epochs(|_| (0..8).map(|step| batch(32 * step..32 * step + 32))))?;
    let parameters = trainer.into_parameters();
    let features = |clips: std::ops::Range<u64>| -> Result<(Rows, Targets)> {
        let outputs = evaluate(&system, &parameters, [batch(clips.clone())])?;
        let classes = clips.map(|i| i as usize % 3).collect();
        Ok((Rows::join(&outputs.features.iter().collect::<Vec<_>>()), Targets::Classes(classes)))
    };
    let (known, held_out) = (features(0..256)?, features(256..384)?);
    let train = Examples { features: &known.0, targets: &known.1 };
    let settings = ProbeSettings { epochs: 100, standardise: true, ..ProbeSettings::default() };
    let probe = Probe::train(&settings, &Task::OneOf(3), train, None, 0)?;
    println!("accuracy on held-out clips {:.3}", score(&probe.predict(&held_out.0)?, &held_out.1));
    Ok(())
}
