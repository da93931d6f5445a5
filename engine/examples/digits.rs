//! Handwritten digits: a small convolutional network on scikit-learn's 8x8 images, written with the engine's
//! layers alone.
//!
//! `cargo run --release -p mpuc-engine --example digits -- digits.csv.gz`, where each line of the file is 64 pixels
//! from 0 to 16 and the digit. Every fifth image is held out.

use engine::nn::{BatchNorm, Conv, ConvSettings, Linear};
use engine::optim::{Optimizer, Rule};
use engine::schedule::Schedule;
use engine::{DType, Parameters, Pass, Philox, Result, Tensor};
use std::error::Error;
use std::io::Read;

const EPOCHS: u64 = 15;
const BATCH: usize = 32;

struct Net {
    conv1: Conv,
    norm1: BatchNorm,
    conv2: Conv,
    norm2: BatchNorm,
    output: Linear,
}

impl Net {
    fn new(parameters: &mut Parameters) -> Result<Self> {
        let mut scope = parameters.scope();
        let three = ConvSettings::new([3, 3]).padding([1, 1]);
        Ok(Net {
            conv1: Conv::new(scope.sub("conv1"), three, 1, 32, false)?,
            norm1: BatchNorm::new(scope.sub("norm1"), 32)?,
            conv2: Conv::new(scope.sub("conv2"), three.stride([2, 2]), 32, 64, false)?,
            norm2: BatchNorm::new(scope.sub("norm2"), 64)?,
            output: Linear::new(scope.sub("output"), 4 * 4 * 64, 10)?,
        })
    }

    /// Images [N, 8, 8, 1] to logits [N, 10].
    fn forward(&self, pass: &Pass<'_>, images: &Tensor) -> Result<Tensor> {
        let x = self.norm1.forward_relu(pass, &self.conv1.forward(pass, images)?)?;
        let x = self.norm2.forward_relu(pass, &self.conv2.forward(pass, &x)?)?;
        self.output.forward(pass, &x.reshape(&[x.shape()[0], 4 * 4 * 64])?)
    }
}

/// Pixels brought to [0, 1], and the digit.
type Image = (Vec<f32>, u32);

fn read(path: &str) -> std::result::Result<Vec<Image>, Box<dyn Error>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut text)?;
    let image = |line: &str| {
        let numbers: Vec<f32> =
            line.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let (digit, pixels) = numbers.split_last().ok_or("an empty line")?;
        Ok((pixels.iter().map(|p| p / 16.0).collect(), *digit as u32))
    };
    text.lines().map(image).collect()
}

fn tensors(images: &[&Image]) -> Result<(Tensor, Tensor)> {
    let pixels: Vec<f32> = images.iter().flat_map(|(pixels, _)| pixels).copied().collect();
    let digits: Vec<u32> = images.iter().map(|(_, digit)| *digit).collect();
    let n = images.len();
    Ok((Tensor::from_slice(&pixels, &[n, 8, 8, 1])?, Tensor::from_slice(&digits, &[n])?))
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: digits FILE.csv.gz")?;
    let images = read(&path)?;
    let (test, train): (Vec<_>, Vec<_>) = images.iter().enumerate().partition(|(i, _)| i % 5 == 4);
    let [test, train] =
        [test, train].map(|part| part.into_iter().map(|(_, image)| image).collect::<Vec<_>>());

    let mut parameters = Parameters::new(DType::F32, 0);
    let net = Net::new(&mut parameters)?;
    let mut optimizer = Optimizer::new(Rule::adam(1e-4), &parameters)?;
    let schedule = Schedule::Cosine { warm_up: 20 };
    let steps = EPOCHS * (train.len() / BATCH) as u64;
    for epoch in 0..EPOCHS {
        let order = Philox::new(0, "order").at(epoch).permutation(train.len());
        let mut total = 0.0;
        for rows in order.chunks_exact(BATCH) {
            let (x, digits) = tensors(&rows.iter().map(|&i| train[i]).collect::<Vec<_>>())?;
            let step = optimizer.steps();
            let pass = Pass::train(&parameters, Philox::new(0, "dropout").at(step));
            let loss = net.forward(&pass, &x)?.cross_entropy(&digits)?;
            let outcome = pass.backward(&loss)?;
            let rate = 3e-3 * schedule.factor(epoch, step, steps);
            total += optimizer.step(&mut parameters, outcome, rate)?.wait()?.loss;
        }
        println!("epoch {epoch}: loss {:.4}", total / (train.len() / BATCH) as f64);
    }

    let (x, digits) = tensors(&test)?;
    let logits = net.forward(&Pass::evaluate(&parameters), &x)?.to_vec()?;
    let right = logits
        .chunks(10)
        .zip(digits.as_slice::<u32>()?)
        .filter(|(logits, digit)| {
            (0..10).all(|c| c == **digit as usize || logits[c] < logits[**digit as usize])
        })
        .count();
    println!(
        "held out: {right} of {} right, accuracy {:.4}",
        test.len(),
        right as f64 / test.len() as f64
    );
    Ok(())
}
