use super::*;
use crate::backbones::{BackboneSettings, StgcnSettings, StridedConvNetSettings};
use crate::train::{Trainer, TrainingSettings, validate};
use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Parameters, Philox};

fn encoders() -> [EncoderSettings; 2] {
    let backbone = BackboneSettings::StridedConv(StridedConvNetSettings {
        width: 32,
        layers: 1,
        masked: false,
    });
    let strided = EncoderSettings::strided;
    [strided("landmarks", &[12, 2, 2]), EncoderSettings { backbone, ..strided("voice", &[24, 3]) }]
}

/// A voice of one tone whose amplitude, of either sign, is that of the points' motion.
fn batch(samples: usize, seed: u64) -> Result<Batch> {
    let random = Philox::new(seed, "samples");
    let fill = |shape: [usize; 3], value: &dyn Fn(Philox, f64, usize) -> f64| {
        let row = |sample| {
            let random = random.at(sample);
            (0..shape[1] * shape[2]).map(move |i| {
                let at = (i / shape[2]) as f64 / shape[1] as f64;
                value(random, random.normal(0) * (6.0 * at).sin(), i % shape[2]) as f32
            })
        };
        let values: Vec<f32> = (0..samples as u64).flat_map(row).collect();
        Tensor::from_slice(&values, &shape)
    };
    let face = fill([samples, 12, 4], &|random, motion, point| {
        random.normal(1 + point as u64) + motion * (point as f64 - 1.0)
    })?;
    let voice = fill([samples, 24, 3], &|_, motion, band| motion * (band as f64 + 0.5))?;
    Ok(Batch::new(vec![face.reshape(&[samples, 12, 2, 2])?, voice]))
}

#[test]
fn a_voice_moves_a_face_better_than_its_rivals() -> Result<()> {
    const STEPS: u64 = 150;
    let mut parameters = Parameters::new(DType::F32, 1);
    let parts = encoders();
    let parts = Parts::new(&parts, None);
    let system = VoiceToFace::new(&VoiceToFaceSettings::default(), parts, parameters.scope())?;
    let training = TrainingSettings {
        epochs: 1,
        optimizer: Rule::adam(0.0),
        learning_rate: 2e-3,
        schedule: Schedule::Constant,
        ..TrainingSettings::default()
    };
    let mut trainer = Trainer::new(&training, &system, parameters, 0, STEPS)?;
    for step in 0..STEPS {
        trainer.step(&system, &batch(32, step)?)?;
    }
    let held_out = batch(256, 1 << 40)?;
    let pass = Pass::evaluate(trainer.parameters());
    let rivals = system.loss(&pass, &held_out, 0)?.parts.unwrap().values.to_vec()?;
    let held_out = vec![Ok::<_, Error>(held_out)];
    let error = validate(&system, trainer.parameters(), held_out)?.unwrap();
    println!(
        "error {error:.3}, of no motion {:.3}, of the mean motion {:.3}",
        rivals[0], rivals[1]
    );
    assert!(rivals.iter().all(|rival| error < 0.4 * rival), "{error}, rivals {rivals:?}");
    Ok(())
}

#[test]
fn interpolation_keeps_constants_and_lines() {
    for (frames, steps) in [(5, 5), (12, 5), (5, 12), (3, 1)] {
        let matrix = interpolation(frames, steps);
        let rows = matrix.chunks(steps);
        assert!(rows.clone().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        let line =
            |row: &[f64]| row.iter().enumerate().map(|(i, v)| v * (i as f64 + 0.5)).sum::<f64>();
        for (frame, found) in rows.map(line).enumerate() {
            let at: f64 = (frame as f64 + 0.5) * steps as f64 / frames as f64;
            let expected = at.clamp(0.5, steps as f64 - 0.5);
            assert!((found - expected).abs() < 1e-12, "{frames} of {steps}: {found}, {expected}");
        }
    }
}

#[test]
fn modalities_and_backbones_that_cannot_be_are_refused() {
    let refused = |settings: VoiceToFaceSettings, encoders: &[EncoderSettings]| {
        let mut parameters = Parameters::new(DType::F32, 1);
        let made = VoiceToFace::new(&settings, Parts::new(encoders, None), parameters.scope());
        made.unwrap_err().to_string()
    };
    let settings = VoiceToFaceSettings::default();
    let touch = VoiceToFaceSettings { source: "touch".into(), ..settings.clone() };
    let message = refused(touch, &encoders());
    assert!(message.contains("`touch` is no modality") && message.contains("landmarks, voice"));
    let pooled = EncoderSettings {
        backbone: BackboneSettings::Stgcn(StgcnSettings::default()),
        ..EncoderSettings::strided("voice", &[24, 51, 2])
    };
    let message = refused(settings.clone(), &[pooled, encoders()[0].clone()]);
    assert!(message.contains("the backbone of `voice` pools time"), "{message}");
    let alone = VoiceToFaceSettings { target: settings.source.clone(), ..settings };
    assert_eq!(VoiceToFace::check(&alone).unwrap_err().key, "target");
}

#[test]
fn a_batch_with_fewer_than_two_whole_samples_is_skipped() -> Result<()> {
    let mut parameters = Parameters::new(DType::F32, 1);
    let parts = encoders();
    let parts = Parts::new(&parts, None);
    let system = VoiceToFace::new(&VoiceToFaceSettings::default(), parts, parameters.scope())?;
    let mut batch = batch(3, 1)?;
    assert!(!system.skips(&batch, 0));
    batch.modalities[0] = Input::missing(&[12, 2, 2], 3)?;
    assert!(system.skips(&batch, 0));
    // A voice without a face has features.
    let joint = system.outputs(&Pass::evaluate(&parameters), &batch)?.joint.unwrap();
    assert_eq!(joint.shape()[..], [3, 64]);
    Ok(())
}
