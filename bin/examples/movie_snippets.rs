//! Whether a snippet of a film review is kind or not (the sign of its mean rating, by Hutto and Gilbert 2014): the text
//! encoder of MPUC, small, on GloVe vectors, trained with labels. Every fifth snippet is held out.
//!
//! `cargo run --release -p mpuc --example movie_snippets -- glove.6B.50d.txt movieReviewSnippets_GroundTruth.txt`

use data::formats::glove::Glove;
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
        groups: None,
        samples: n,
        views: 1,
    })
}

fn test_accuracy(
    system: &LateFusion,
    parameters: &Parameters,
    part: &[Snippet],
    width: usize,
) -> engine::Result<f64> {
    let batches = part.chunks(ROWS).map(|rows| batch(&rows.iter().collect::<Vec<_>>(), width));
    let logits = evaluate(system, parameters, batches)?.logits;
    let predicted = Task::OneOf(2).decide_rows(&logits);
    let truth = part.iter().map(|snippet| usize::from(snippet.kind)).collect();
    Ok(score(&predicted, &Targets::Classes(truth)))
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
    let head = ClassifierSettings { hidden: 0, dropout: 0.0 };
    let parts = Parts::new(&encoders, Some(&Task::OneOf(2)));
    let settings = LateFusionSettings { head, ..LateFusionSettings::default() };
    let system = LateFusion::new(&settings, parts, parameters.scope())?;
    let settings = TrainingSettings {
        epochs: 8,
        batch: 32,
        optimizer: Rule::adam(1e-4),
        learning_rate: 1e-3,
        schedule: Schedule::Cosine { warm_up: 100 },
        patience: None,
    };
    let steps = train.len() / settings.batch;
    let mut trainer = Trainer::new(&settings, &system, parameters, 0, steps as u64)?;
    let epochs = Epochs(|epoch| {
        let order = Philox::new(0, "order").at(epoch).permutation(train.len());
        let batches = order.chunks_exact(settings.batch).map(|rows| {
            let chosen: Vec<&Snippet> = rows.iter().map(|&i| &train[i]).collect();
            batch(&chosen, width)
        });
        batches.collect::<Vec<_>>()
    });
    fit(&mut trainer, &system, &epochs)?;
    for record in trainer.history() {
        println!("epoch {}: loss {:.4}", record.epoch + 1, record.loss);
    }
    let parameters = trainer.into_parameters();
    println!("test: accuracy {:.4}", test_accuracy(&system, &parameters, &test, width)?);
    Ok(())
}
