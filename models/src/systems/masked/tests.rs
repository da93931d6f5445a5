use super::*;
use crate::systems::{EncoderSettings, Input};
use crate::train::{Trainer, TrainingSettings, validate};
use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Parameters, Philox};

const SHAPES: [(&str, [usize; 2]); 2] = [("voice", [16, 2]), ("landmarks", [11, 2])];

fn settings() -> MaskedSettings {
    MaskedSettings {
        layers: 2,
        width: 32,
        hidden: 64,
        dropout: 0.0,
        projection: ProjectionSettings { hidden: 16, output: 8, batch_norm: false },
        ..MaskedSettings::default()
    }
}

fn make(settings: &MaskedSettings) -> Result<(Masked, Parameters)> {
    let encoders = SHAPES.map(|(name, shape)| EncoderSettings::strided(name, &shape));
    let mut parameters = Parameters::new(DType::F32, 1);
    let system = Masked::new(settings, Parts::new(&encoders, None), parameters.scope())?;
    Ok((system, parameters))
}

/// A sample: what all its modalities share, a wave over the steps, and noise.
fn sample(modality: usize, random: Philox) -> Vec<f64> {
    let (_, [steps, features]) = SHAPES[modality];
    let noise = random.at(modality as u64);
    let value = |i: usize| {
        let (step, feature) = (i / features, i % features);
        let shared = random.normal(feature as u64);
        shared + (step as f64 + feature as f64).cos() + 0.5 * noise.normal(i as u64)
    };
    (0..steps * features).map(value).collect()
}

fn batch(samples: usize, seed: u64) -> Result<Batch> {
    let random = Philox::new(seed, "samples");
    let data = |(modality, (_, [steps, features])): (usize, (&str, [usize; 2]))| {
        let sample = |row| sample(modality, random.at(row)).into_iter().map(|v| v as f32);
        let values: Vec<f32> = (0..samples as u64).flat_map(sample).collect();
        Tensor::from_slice(&values, &[samples, steps, features])
    };
    Ok(Batch::new(SHAPES.into_iter().enumerate().map(data).collect::<Result<_>>()?))
}

/// Mean squared errors of masked steps: of the mean over all steps and samples, which is 0, and of copies of the nearest step that is not masked.
fn errors_of_rivals(spans: &SpanSettings) -> [f64; 2] {
    let (mut errors, mut count) = ([0.0; 2], 0.0);
    for (modality, (_, [steps, features])) in SHAPES.into_iter().enumerate() {
        for seed in 0..400 {
            let random = Philox::new(seed, "rivals");
            let (values, masked) = (sample(modality, random), spans.draw(steps, random));
            let open = || (0..steps).filter(|&t| !masked[t]);
            for step in (0..steps).filter(|&t| masked[t]) {
                let Some(near) = open().min_by_key(|t| t.abs_diff(step)) else { continue };
                for feature in 0..features {
                    let value = values[step * features + feature];
                    errors[0] += value.powi(2);
                    errors[1] += (value - values[near * features + feature]).powi(2);
                    count += 1.0;
                }
            }
        }
    }
    errors.map(|error| error / count)
}

#[test]
fn masked_steps_are_rebuilt_better_than_by_the_mean_or_by_copies() -> Result<()> {
    for attention in [MaskedAttention::Joint, MaskedAttention::Cross] {
        let settings = MaskedSettings { attention, ..settings() };
        let (system, parameters) = make(&settings)?;
        let training = TrainingSettings {
            epochs: 1,
            optimizer: Rule::adam(0.0),
            learning_rate: 2e-3,
            schedule: Schedule::Constant,
            ..TrainingSettings::default()
        };
        const STEPS: u64 = 200;
        let mut trainer = Trainer::new(&training, &system, parameters, 0, STEPS)?;
        for step in 0..STEPS {
            trainer.step(&system, &batch(32, step)?)?;
        }
        let held_out = batch(256, 1 << 40).map(|batch| vec![Ok::<_, Error>(batch)])?;
        let error = validate(&system, trainer.parameters(), held_out)?.unwrap();
        let [mean, copies] = errors_of_rivals(&settings.spans);
        println!(
            "{attention:?}: error {error:.3}, of the mean {mean:.3}, of the nearest step {copies:.3}"
        );
        assert!(error < 0.5 * mean && error < 0.8 * copies, "{attention:?}: {error}");
    }
    Ok(())
}

/// One modality as `batch` has it, without its second row, and with 3 padded steps in its first.
fn cut(data: &Tensor, padding: f32) -> Result<Input> {
    let [rows, steps, features] = data.extents("test")?;
    let values = data.as_slice::<f32>()?;
    let mut kept = [&values[..steps * features], &values[2 * steps * features..]].concat();
    kept[(steps - 3) * features..steps * features].fill(padding);
    let held: Vec<u32> = (0..rows as u32).map(|row| row.saturating_sub(1)).collect();
    let lengths: Vec<u32> =
        (0..rows - 1).map(|row| (steps - 3 * usize::from(row == 0)) as u32).collect();
    Ok(Input {
        data: Tensor::from_slice(&kept, &[rows - 1, steps, features])?,
        lengths: Some(Tensor::from_slice(&lengths, &[rows - 1])?),
        rows: Some(Tensor::from_slice(&held, &[rows])?),
        present: Some((0..rows).map(|row| u32::from(row != 1)).collect()),
    })
}

#[test]
fn padding_and_missing_modalities_change_nothing() -> Result<()> {
    for attention in [MaskedAttention::Joint, MaskedAttention::Cross] {
        for cut_one in [0, 1] {
            let (system, parameters) = make(&MaskedSettings { attention, ..settings() })?;
            let whole = batch(4, 3)?;
            let found = |padding| -> Result<(Vec<f64>, Vec<f64>, f64)> {
                let mut batch = whole.clone();
                batch.modalities[cut_one] = cut(&whole.modalities[cut_one].data, padding)?;
                let pass = Pass::evaluate(&parameters);
                let features = system.outputs(&pass, &batch)?.features;
                let loss = system.loss(&pass, &batch, 0)?.total.item()?;
                Ok((features[0].to_vec()?, features[1].to_vec()?, loss))
            };
            assert_eq!(found(0.0)?, found(9.0)?, "{attention:?}, {cut_one}");
            // The third row lacks nothing: it has the features of the whole batch.
            let pass = Pass::evaluate(&parameters);
            let expected = system.outputs(&pass, &whole)?.features[cut_one].to_vec()?;
            let (first, second, _) = found(0.0)?;
            let found = [first, second][cut_one][32..64].to_vec();
            let far = found.iter().zip(&expected[64..96]).map(|(a, b)| (a - b).abs());
            assert!(far.fold(0.0, f64::max) < 1e-5, "{attention:?}, {cut_one}");
        }
    }
    Ok(())
}

#[test]
fn a_batch_without_a_modality_has_features_and_a_loss() -> Result<()> {
    for attention in [MaskedAttention::Joint, MaskedAttention::Cross] {
        for missing in [0, 1] {
            let (system, parameters) = make(&MaskedSettings { attention, ..settings() })?;
            let mut batch = batch(3, 3)?;
            batch.modalities[missing] = Input::missing(&SHAPES[missing].1, 3)?;
            let pass = Pass::evaluate(&parameters);
            let features = system.outputs(&pass, &batch)?.features;
            assert_eq!(features[missing].to_vec()?, [0.0; 32]);
            assert_eq!(features[1 - missing].shape()[..], [3, 32]);
            let loss = system.loss(&pass, &batch, 0)?;
            assert!(loss.total.item()? > 0.0 && loss.parts.unwrap().names.len() == 1);
        }
    }
    Ok(())
}

#[test]
fn embeddings_hold_nothing_of_their_partner() -> Result<()> {
    for contrast in [0.5, 1.0] {
        let (system, parameters) = make(&MaskedSettings { contrast, ..settings() })?;
        let (mut batch, other) = (batch(4, 3)?, batch(4, 4)?);
        let pass = Pass::evaluate(&parameters);
        let before = system.outputs(&pass, &batch)?;
        batch.modalities[1] = other.modalities[1].clone();
        let after = system.outputs(&pass, &batch)?;
        assert_eq!(before.embeddings[0].to_vec()?, after.embeddings[0].to_vec()?);
        assert_ne!(before.embeddings[1].to_vec()?, after.embeddings[1].to_vec()?);
        // With masks, features are those of joined modalities.
        let joined = before.features[0].to_vec()? != after.features[0].to_vec()?;
        assert_eq!(joined, contrast < 1.0);
        assert_eq!(system.chance_loss(32).is_some(), contrast == 1.0);
    }
    Ok(())
}

#[test]
fn masks_follow_from_the_stream() -> Result<()> {
    let (system, parameters) = make(&settings())?;
    let batch = batch(4, 3)?;
    let loss = |seed| {
        let pass = Pass::train(&parameters, Philox::new(seed, "dropout"));
        system.loss(&pass, &batch, 0)?.total.item()
    };
    assert_eq!(loss(1)?, loss(1)?);
    assert_ne!(loss(1)?, loss(2)?);
    Ok(())
}

#[test]
fn settings_that_cannot_be_are_refused() -> Result<()> {
    let refused = |settings: MaskedSettings| Masked::check(&settings).unwrap_err().key;
    assert_eq!(refused(MaskedSettings { heads: 3, ..settings() }), "width");
    assert_eq!(refused(MaskedSettings { contrast: 1.5, ..settings() }), "contrast");
    let anchor = Some("touch".to_owned());
    assert_eq!(refused(MaskedSettings { anchor: anchor.clone(), ..settings() }), "anchor");
    let cross = MaskedSettings { attention: MaskedAttention::Cross, ..settings() };
    assert_eq!(refused(MaskedSettings { contrast: 0.5, ..cross.clone() }), "contrast");
    let message = make(&MaskedSettings { anchor, ..cross }).unwrap_err().to_string();
    assert!(
        message.contains("`touch` is no modality") && message.contains("landmarks"),
        "{message}"
    );
    Ok(())
}
