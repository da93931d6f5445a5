//! The training step of R(2+1)D-18 in Burn on its own CPU backend (flex): the same network, loss and optimiser as
//! `mpuc bench model --only face/step`, reported in the same form.
//!
//! usage: burn-beside [BATCH [REPEATS]]

use burn::module::Module;
use burn::nn::conv::{Conv3d, Conv3dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig3d};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use std::time::Instant;

/// A convolution and its batch norm.
#[derive(Module, Debug)]
struct Convolution {
    conv: Conv3d,
    norm: BatchNorm,
}

impl Convolution {
    fn new(channels: [usize; 2], kernel: [usize; 3], stride: [usize; 3], device: &Device) -> Self {
        let [d, h, w] = kernel.map(|extent| extent / 2);
        let conv = Conv3dConfig::new(channels, kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig3d::Explicit(d, h, w))
            .with_bias(false)
            .init(device);
        Convolution { conv, norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// A convolution over space, then one over time.
#[derive(Module, Debug)]
struct Split {
    space: Convolution,
    time: Convolution,
}

impl Split {
    fn new(channels: [usize; 3], kernel: usize, strides: [usize; 2], device: &Device) -> Self {
        let [inputs, middle, outputs] = channels;
        let [space, time] = strides;
        Split {
            space: Convolution::new(
                [inputs, middle],
                [1, kernel, kernel],
                [1, space, space],
                device,
            ),
            time: Convolution::new([middle, outputs], [3, 1, 1], [time, 1, 1], device),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.time.forward(relu(self.space.forward(x)))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Split,
    second: Split,
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        let middle = inputs * outputs * 27 / (inputs * 9 + 3 * outputs);
        let projected = stride != 1 || inputs != outputs;
        Block {
            first: Split::new([inputs, middle, outputs], 3, [stride; 2], device),
            second: Split::new([outputs, middle, outputs], 3, [1; 2], device),
            shortcut: projected
                .then(|| Convolution::new([inputs, outputs], [1; 3], [stride; 3], device)),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        let shortcut = match &self.shortcut {
            Some(convolution) => convolution.forward(x),
            None => x,
        };
        relu(y + shortcut)
    }
}

/// R(2+1)D-18 and MPUC's head: 512-1024-512.
#[derive(Module, Debug)]
struct Network {
    stem: Split,
    blocks: Vec<Block>,
    features: Linear,
    hidden: Linear,
    embedding: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut channels = 64;
        for (outputs, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
            blocks.push(Block::new(channels, outputs, stride, device));
            blocks.push(Block::new(outputs, outputs, 1, device));
            channels = outputs;
        }
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Network {
            stem: Split::new([3, 45, 64], 7, [2, 1], device),
            blocks,
            features: linear(512, 512),
            hidden: linear(512, 1024),
            embedding: linear(1024, 512),
        }
    }

    fn forward(&self, clip: Tensor<5>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(clip));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let [n, c, ..] = x.dims();
        let pooled: Tensor<3> = x.reshape([n as i32, c as i32, -1]).mean_dim(2);
        let features = self.features.forward(pooled.reshape([n, c]));
        self.embedding.forward(relu(self.hidden.forward(features)))
    }
}

/// MPUC's loss between two modalities, in both directions; the positive stands in no denominator.
fn loss(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    let unit = |x: Tensor<2>| x.clone() / x.powi_scalar(2).sum_dim(1).sqrt();
    let n = x.dims()[0];
    let diagonal = Tensor::<2>::eye(n, &x.device());
    let logits = unit(x).matmul(unit(y).transpose()) / 0.07;
    let positive = (logits.clone() * diagonal.clone()).sum_dim(1);
    let negatives = logits - diagonal * 1e9;
    let log_sum = |x: Tensor<2>| {
        let largest = x.clone().detach().max_dim(1);
        (x - largest.clone()).exp().sum_dim(1).log() + largest
    };
    let rows = log_sum(negatives.clone()) - positive.clone();
    let columns = log_sum(negatives.transpose()) - positive;
    (rows.mean() + columns.mean()) / 2
}

/// Linux's VmHWM in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| {
        text.parse::<usize>().unwrap_or_else(|_| panic!("{text}: give BATCH and REPEATS"))
    });
    let (batch, repeats) = (arguments.next().unwrap_or(2), arguments.next().unwrap_or(3).max(1));
    let device = Device::flex().autodiff();
    let mut network = Network::new(&device);
    let mut optimizer = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(1e-3)))
        .init();
    let normal = Distribution::Normal(0.0, 1.0);
    let clip = Tensor::<5>::random([batch, 3, 10, 112, 112], normal, &device);
    let target = Tensor::<2>::random([batch, 512], normal, &device);
    let mut times = Vec::new();
    for number in 0..=repeats {
        let start = Instant::now();
        let gradients = loss(network.forward(clip.clone()), target.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &network);
        network = optimizer.step(1e-3, network.clone(), gradients);
        // The first is to warm up.
        if number > 0 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{{\"device\":\"Burn 0.22 flex\",\"results\":[{{\"case\":\"face/step/b{batch}\",\"median_s\":{},\"min_s\":{},\
         \"reps\":{repeats},\"peak_bytes\":{}}}]}}",
        times[times.len() / 2],
        times[0],
        peak_bytes(),
    );
}
