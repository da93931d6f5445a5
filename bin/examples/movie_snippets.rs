//! Whether a snippet of a film review is kind or not (the sign of its mean rating, by Hutto and Gilbert 2014): the text
//! encoder of MPUC, small, on GloVe vectors, trained with labels. Every fifth snippet is held out.
//!
//! `cargo run --release -p mpuc --example movie_snippets -- glove.6B.50d.txt movieReviewSnippets_GroundTruth.txt`

use data::formats::glove::Glove;
use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Parameters, Pass, Philox, Tensor};
use models::backbones::{BackboneSettings, TextTransformerSettings};
use models::metrics::accuracy;
use models::systems::{Batch, EncoderSettings, Input, LateFusion, LateFusionSettings};
use models::targets::{Task, argmax};
use models::training::{Trainer, TrainingSettings};
use std::error::Error;
use std::path::Path;

/// Words of a snippet that are taken.
const STEPS: usize = 48;
/// Snippets of an evaluation batch.
const ROWS: usize = 256;

/// Vectors of the known words, and whether the rating is above 0.
struct Snippet {
    values: Vec<f32>,
    kind: bool,
}

/// Reads lines `number TAB rating TAB text`. Ratings of exactly 0 have no sign and are left out.
fn read(path: &str, glove: &Glove) -> Result<[Vec<Snippet>; 2], Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let mut cells = line.splitn(3, '\t').skip(1);
        let (Some(rating), Some(words)) = (cells.next(), cells.next()) else {
            return Err(format!("{path}:{}: not three cells with tabs between", number + 1).into());
        };
        let rating: f64 = rating.parse()?;
        if rating != 0.0 {
            let mut values = glove.embed(words)?.vectors.into_parts().1;
            values.truncate(STEPS * glove.dimension());
            let part = if number % 5 == 4 { &mut test } else { &mut train };
            part.push(Snippet { values, kind: rating > 0.0 });
        }
    }
    Ok([train, test])
}

/// Brings all numbers to deviation 1 and each of a vector to mean 0, over the training part.
fn standardise(width: usize, parts: &mut [Vec<Snippet>; 2]) {
    let mut sums = vec![[0.0f64; 2]; width];
    let mut count = 0.0f64;
    for word in parts[0].iter().flat_map(|snippet| snippet.values.chunks_exact(width)) {
        count += 1.0;
        for ([sum, squares], &value) in sums.iter_mut().zip(word) {
            *sum += f64::from(value);
            *squares += f64::from(value).powi(2);
        }
    }
    let variance = |[sum, squares]: &[f64; 2]| squares / count - (sum / count).powi(2);
    let deviation = (sums.iter().map(variance).sum::<f64>() / width as f64).sqrt();
    for snippet in parts.iter_mut().flatten() {
        for word in snippet.values.chunks_exact_mut(width) {
            for (value, [sum, _]) in word.iter_mut().zip(&sums) {
                *value = ((f64::from(*value) - sum / count) / deviation) as f32;
            }
        }
    }
}

fn batch(snippets: &[&Snippet], width: usize) -> engine::Result<Batch> {
    let n = snippets.len();
    // As long as the longest of them: most snippets are half as long as the longest of all.
    let longest = snippets.iter().map(|s| s.values.len()).max().unwrap_or(width);
    let mut values = vec![0.0f32; n * longest];
    for (row, snippet) in values.chunks_mut(longest).zip(snippets) {
        row[..snippet.values.len()].copy_from_slice(&snippet.values);
    }
    let lengths: Vec<u32> = snippets.iter().map(|s| (s.values.len() / width) as u32).collect();
    let labels: Vec<u32> = snippets.iter().map(|s| u32::from(s.kind)).collect();
    let input = Input {
        data: Tensor::from_slice(&values, &[n, longest / width, width])?,
        lengths: Some(Tensor::from_slice(&lengths, &[n])?),
        rows: None,
        present: None,
    };
    Ok(Batch {
        modalities: vec![input],
        labels: Some(Tensor::from_slice(&labels, &[n])?),
        samples: n,
        views: 1,
    })
}

fn judge(
    system: &LateFusion,
    parameters: &Parameters,
    part: &[Snippet],
    width: usize,
) -> engine::Result<f64> {
    let mut predicted = Vec::new();
    for rows in part.chunks(ROWS) {
        let batch = batch(&rows.iter().collect::<Vec<_>>(), width)?;
        let logits = system.logits(&Pass::evaluate(parameters), &batch)?.to_vec()?;
        predicted.extend(logits.chunks(2).map(argmax));
    }
    let truth: Vec<usize> = part.iter().map(|snippet| usize::from(snippet.kind)).collect();
    Ok(accuracy(&predicted, &truth))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(vectors), Some(snippets)) = (paths.next(), paths.next()) else {
        return Err("usage: movie_snippets GLOVE.txt SNIPPETS.txt".into());
    };
    let glove = Glove::open(Path::new(&vectors), None)?;
    let width = glove.dimension();
    let mut parts = read(&snippets, &glove)?;
    standardise(width, &mut parts);
    let [train, test] = parts;
    let kind = test.iter().filter(|snippet| snippet.kind).count() as f64 / test.len() as f64;
    println!(
        "{} words; {} snippets to learn from, {} held out; always the same answer: {:.4}",
        glove.word_count(),
        train.len(),
        test.len(),
        kind.max(1.0 - kind)
    );

    let encoder = TextTransformerSettings {
        layers: 1,
        heads: 5,
        hidden: 128,
        features: 64,
        dropout: 0.1,
        ..TextTransformerSettings::default()
    };
    let encoders = [EncoderSettings {
        name: "text".into(),
        backbone: BackboneSettings::TextTransformer(encoder),
        dropout: 0.1,
        input: vec![STEPS, width],
    }];
    let mut parameters = Parameters::new(DType::F32, 0);
    let head = LateFusionSettings { hidden: 0, dropout: 0.0 };
    let system = LateFusion::new(&encoders, &head, Task::OneOf(2), &mut parameters)?;
    let settings = TrainingSettings {
        epochs: 8,
        batch: 32,
        optimizer: Rule::adam(1e-4),
        learning_rate: 1e-3,
        schedule: Schedule::Cosine { warm_up: 100 },
        patience: None,
    };
    let steps = train.len() / settings.batch;
    let mut trainer = Trainer::new(&settings, parameters, 0, steps as u64)?;
    while !trainer.finished() {
        let order = Philox::new(0, "order").at(trainer.epoch()).permutation(train.len());
        for rows in order.chunks_exact(settings.batch) {
            let chosen: Vec<&Snippet> = rows.iter().map(|&i| &train[i]).collect();
            trainer.step(&system, &batch(&chosen, width)?)?;
        }
        let record = trainer.end_epoch(None);
        println!("epoch {}: loss {:.4}", record.epoch + 1, record.loss);
    }
    let parameters = trainer.into_parameters();
    println!("test: accuracy {:.4}", judge(&system, &parameters, &test, width)?);
    Ok(())
}
