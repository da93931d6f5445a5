//! Japanese vowels (Kudo et al. 1999): nine speakers told apart by a Transformer encoder on 12 LPC coefficients,
//! sequences of 7 to 29 steps with the padding masked.
//!
//! `cargo run --release -p mpuc-models --example japanese_vowels -- JapaneseVowels_TRAIN.ts JapaneseVowels_TEST.ts`

use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Parameters, Philox, Tensor};
use models::backbones::{BackboneSettings, TextTransformerSettings};
use models::evaluate::evaluate;
use models::evaluate::metrics::score;
use models::heads::ClassifierSettings;
use models::systems::{
    Batch, Definition, EncoderSettings, Input, LateFusion, LateFusionSettings, Parts,
};
use models::targets::{Targets, Task};
use models::train::{Epochs, Trainer, TrainingSettings, fit};
use std::error::Error;

const STEPS: usize = 29;
const WIDTH: usize = 12;
const CLASSES: usize = 9;

/// Steps of WIDTH numbers, and the class.
struct Sequence {
    values: Vec<f32>,
    class: usize,
}

/// Reads a `.ts` file: a line a sequence, dimensions separated by colons, the class last.
fn read(path: &str) -> Result<Vec<Sequence>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let data = text.split_once("@data").ok_or("no @data in the file")?.1;
    let sequence = |line: &str| -> Result<Sequence, Box<dyn Error>> {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let (class, dimensions) = fields.split_last().ok_or("an empty line")?;
        let dimensions: Vec<Vec<f32>> = dimensions
            .iter()
            .map(|numbers| numbers.split(',').map(str::parse).collect())
            .collect::<Result<_, _>>()?;
        let steps = dimensions[0].len();
        let values = (0..steps * WIDTH).map(|i| dimensions[i % WIDTH][i / WIDTH]).collect();
        Ok(Sequence { values, class: class.parse::<usize>()? - 1 })
    };
    data.lines().filter(|line| !line.trim().is_empty()).map(sequence).collect()
}

/// Standardises each dimension to mean 0 and standard deviation 1 over the training part.
fn standardise(train: &mut [Sequence], test: &mut [Sequence]) {
    for dimension in 0..WIDTH {
        let own = |s: &Sequence| {
            s.values.iter().skip(dimension).step_by(WIDTH).copied().collect::<Vec<_>>()
        };
        let all: Vec<f32> = train.iter().flat_map(own).collect();
        let mean = all.iter().sum::<f32>() / all.len() as f32;
        let deviation =
            (all.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / all.len() as f32).sqrt();
        for sequence in train.iter_mut().chain(test.iter_mut()) {
            sequence
                .values
                .iter_mut()
                .skip(dimension)
                .step_by(WIDTH)
                .for_each(|v| *v = (*v - mean) / deviation);
        }
    }
}

fn batch(sequences: &[&Sequence]) -> engine::Result<Batch> {
    let n = sequences.len();
    let mut values = vec![0.0f32; n * STEPS * WIDTH];
    for (row, sequence) in values.chunks_mut(STEPS * WIDTH).zip(sequences) {
        row[..sequence.values.len()].copy_from_slice(&sequence.values);
    }
    let lengths: Vec<u32> = sequences.iter().map(|s| (s.values.len() / WIDTH) as u32).collect();
    let labels: Vec<u32> = sequences.iter().map(|s| s.class as u32).collect();
    let input = Input {
        data: Tensor::from_slice(&values, &[n, STEPS, WIDTH])?,
        lengths: Some(Tensor::from_slice(&lengths, &[n])?),
        rows: None,
        present: None,
    };
    Ok(Batch {
        modalities: vec![input],
        groups: None,
        labels: Some(Tensor::from_slice(&labels, &[n])?),
        samples: n,
        views: 1,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(train), Some(test)) = (paths.next(), paths.next()) else {
        return Err("usage: japanese_vowels TRAIN.ts TEST.ts".into());
    };
    let (mut train, mut test) = (read(&train)?, read(&test)?);
    standardise(&mut train, &mut test);

    let encoder = TextTransformerSettings {
        layers: 2,
        heads: 4,
        hidden: 64,
        features: 64,
        ..TextTransformerSettings::default()
    };
    let encoders = [EncoderSettings {
        name: "speech".into(),
        backbone: BackboneSettings::TextTransformer(encoder),
        dropout: 0.1,
        input: vec![STEPS, WIDTH],
    }];
    let mut parameters = Parameters::new(DType::F32, 0);
    let head = ClassifierSettings { hidden: 0, dropout: 0.0 };
    let task = Task::OneOf(CLASSES);
    let parts = Parts::new(&encoders, Some(&task));
    let settings = LateFusionSettings { head, ..LateFusionSettings::default() };
    let system = LateFusion::new(&settings, parts, parameters.scope())?;
    let settings = TrainingSettings {
        epochs: 120,
        batch: 27,
        optimizer: Rule::adam(1e-4),
        learning_rate: 3e-3,
        schedule: Schedule::Cosine { warm_up: 50 },
        patience: None,
    };
    let steps = train.len() / settings.batch;
    let mut trainer = Trainer::new(&settings, &system, parameters, 0, steps as u64)?;
    let epochs = Epochs(|epoch| {
        let order = Philox::new(0, "order").at(epoch).permutation(train.len());
        let batches = order
            .chunks_exact(settings.batch)
            .map(|rows| batch(&rows.iter().map(|&i| &train[i]).collect::<Vec<_>>()));
        batches.collect::<Vec<_>>()
    });
    fit(&mut trainer, &system, &epochs)?;
    for record in trainer.history().iter().filter(|record| record.epoch % 20 == 19) {
        println!("epoch {}: loss {:.4}", record.epoch, record.loss);
    }

    let rows: Vec<&Sequence> = test.iter().collect();
    let parameters = trainer.into_parameters();
    let logits = evaluate(&system, &parameters, [batch(&rows)])?.logits;
    let truth = Targets::Classes(test.iter().map(|s| s.class).collect());
    let accuracy = score(&task.decide_rows(&logits), &truth);
    println!("test: accuracy {accuracy:.4} over {} sequences", test.len());
    Ok(())
}
