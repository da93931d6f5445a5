//! The cases of `mpuc bench ops` except convolutions, at the sizes of the paper's networks, features last.

use super::case::{Case, Ready};
use super::on_gpu;
use super::one_op::{self, Flops, Pass, case, passes};
use crate::failure::Result;
use engine::optim::{Optimizer, Rule};
use engine::{DType, Device, Init, Parameters, Tensor};
use kernels::cpu::probe;
use kernels::op::{self, Input, Values};
use kernels::ops::graph_conv::{Adjacency, GraphConv};
use kernels::ops::pool::{Pool, PoolKind};
use kernels::ops::reduce::ReduceKind;
use kernels::ops::{
    Activation, Arithmetic, Attention, BatchNorm, DepthwiseConv, Gate, InfoNce, LayerNorm, Linear,
    Prelu, Reduce, SequencePool, Softmax,
};
use models::backbones::{FaceGraph, Partition};
use std::hint::black_box;
use std::time::Duration;

const BOTH: [Pass; 2] = [Pass::Forward, Pass::Backward];
/// Elements of a memory case: 256 MiB.
const NUMBERS: usize = 64 << 20;
/// The time for which a case of several ops is repeated.
const BUDGET: Duration = Duration::from_secs(1);

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    let groups = [products(), memory(), sequences(), graphs(), attention(), norms(), small()];
    let mut cases: Vec<Case> = groups.into_iter().flatten().collect();
    cases.push(Case::new("sgd/fused-60M", BUDGET, sgd));
    cases.extend(contrastive());
    cases
}

const LINEAR: Linear = Linear { bias: false, relu: false };

/// Matrix products: a linear layer without bias.
fn products() -> Vec<Case> {
    let product = |name: String, rows, inputs, outputs| {
        let op = op::Case::new(LINEAR, &[&[rows, inputs], &[inputs, outputs]]);
        case(name, op, Pass::Forward, None)
    };
    let squares = [256, 512, 1024, 2048].map(|n| product(format!("sgemm/{n}"), n, n, n));
    let mut cases = Vec::from(squares);
    cases.push(product("sgemm/32x512x1024".into(), 32, 512, 1024));
    cases.push(product("sgemm/960x300x2048".into(), 960, 300, 2048));
    cases
}

/// Memory bandwidth: copy, addition, sum.
fn memory() -> Vec<Case> {
    let bytes = 4.0 * NUMBERS as f64;
    let copy = Case::new("memory/copy-256MiB", BUDGET, move |device| {
        if let Some(gpu) = device.gpu() {
            let gpu = gpu.clone();
            let from = on_gpu::filled(&gpu, [NUMBERS].into(), Values::Normal, "copied")?;
            let to = gpu.allocate(4 * NUMBERS)?;
            let run =
                move || Ok(gpu.driver().copy(to.pointer().0, from.pointer().0, 4 * NUMBERS)?);
            return Ok(Ready::new(run).work(0.0, 2.0 * bytes));
        }
        let (from, mut to) = (vec![1.0f32; NUMBERS], vec![0.0f32; NUMBERS]);
        let run = move || {
            probe::copy(&from, &mut to);
            Ok(())
        };
        Ok(Ready::new(run).work(0.0, 2.0 * bytes))
    });
    let sum = Case::new("memory/sum-256MiB", BUDGET, move |device| {
        if device.gpu().is_some() {
            let sum = op::Case::new(Reduce::new(ReduceKind::Sum, &[0]), &[&[NUMBERS]]);
            return one_op::ready(&sum, Pass::Forward, None, device);
        }
        let from = vec![1.0f32; NUMBERS];
        let run = move || {
            black_box(probe::sum(&from));
            Ok(())
        };
        Ok(Ready::new(run).work(NUMBERS as f64, bytes))
    });
    let add = op::Case::new(Arithmetic::Add, &[&[NUMBERS], &[NUMBERS]]);
    vec![copy, case("memory/add-256MiB".into(), add, Pass::Forward, None), sum]
}

/// The temporal convolutional network's layers.
fn sequences() -> Vec<Case> {
    let mut cases = Vec::new();
    for (channels, dilation) in [(128, 1), (128, 4), (128, 16), (512, 1)] {
        let op = DepthwiseConv { bias: false, ..DepthwiseConv::same(3, dilation) };
        let of = op::Case::new(op, &[&[32, 128, channels], &[3, channels]]);
        cases.extend(passes(&format!("conv1d-depthwise/{channels}-d{dilation}"), &of, &BOTH, None));
    }
    let pointwise = op::Case::new(LINEAR, &[&[32, 128, 64], &[64, 128]]);
    cases.extend(passes("conv1d-pointwise/64-128", &pointwise, &BOTH, None));
    cases
}

/// The two landmark networks' graph convolutions, each with its linear map. FLOPs are those along the edges.
fn graphs() -> Vec<Case> {
    let layer = |name: &str, graph: FaceGraph, x: &[usize], outputs: usize, learned: bool| {
        let edges = |list: &Tensor| list.as_slice::<u32>().map(<[u32]>::to_vec);
        let parameters = Parameters::new(DType::F32, 0);
        let Ok(structure) = graph
            .structure(&engine::Pass::evaluate(&parameters))
            .and_then(|lists| lists.iter().map(edges).collect::<engine::Result<Vec<_>>>())
        else {
            return Vec::new();
        };
        let weight = [graph.partitions, x[x.len() - 1], outputs];
        let count = structure[0].len();
        let op = GraphConv { adjacency: Adjacency::Sparse, bias: false, relu: !learned };
        let values = Input { differentiable: learned, ..Input::uniform(&[count], 0.0, 1.0) };
        let mut of = op::Case::new(op, &[x, &weight, &[count]]).input(2, values);
        for list in structure {
            of = of.index(&[count], list);
        }
        passes(name, &of, &BOTH, None)
    };
    let yu = FaceGraph::symmetric(51, 2.0);
    let yan = FaceGraph::partitioned(68, Partition::Spatial);
    let mut cases = layer("graph/yu-51-c64-c16", yu, &[32, 28, 51, 64], 16, false);
    cases.extend(layer("graph/yan-3x68-c64-c64", yan, &[32, 30, 68, 64], 64, true));
    cases
}

fn attention() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, heads, length, head) in
        [(32, 5, 30, 60), (32, 5, 128, 60), (4, 5, 512, 60), (8, 8, 256, 64)]
    {
        let shape: &[usize] = &[n, length, heads * head];
        let of = op::Case::new(Attention::new(heads), &[shape; 3]);
        // Two products in the forward pass; four in the backward pass, and one to recompute the weights.
        let forward = 4.0 * (n * heads * length * length * head) as f64;
        let flops = Flops { forward, backward: 2.5 * forward };
        let name = format!("attention/n{n}-h{heads}-l{length}-d{head}");
        cases.extend(passes(&name, &of, &BOTH, Some(flops)));
    }
    cases
}

/// Norms, alone and fused with ReLU and residual, and ReLU.
fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, x) in [("144x16x56x56", [2, 16, 56, 56, 144]), ("576x4x14x14", [2, 4, 14, 14, 576])]
    {
        let channels = [x[4]];
        let norm = op::Case::new(BatchNorm::TRAIN, &[&x, &channels, &channels]);
        cases.extend(passes(&format!("batchnorm3d/{size}"), &norm, &BOTH, None));
        let op = BatchNorm { relu: true, ..BatchNorm::TRAIN };
        let relu = op::Case::new(op, &[&x, &channels, &channels]);
        cases.extend(passes(&format!("batchnorm3d-relu/{size}"), &relu, &BOTH, None));
        let relu = op::Case::new(Activation::Relu, &[&x]);
        cases.extend(passes(&format!("relu/{size}"), &relu, &BOTH, None));
    }
    let (x, channels) = ([2, 16, 56, 56, 64], [64]);
    let op = BatchNorm { relu: true, residual: true, ..BatchNorm::TRAIN };
    let block = op::Case::new(op, &[&x, &channels, &channels, &x]);
    cases.extend(passes("batchnorm3d-residual-relu/64x16x56x56", &block, &BOTH, None));
    let layer = LayerNorm { axes: 1, epsilon: 1e-5 };
    let layer = op::Case::new(layer, &[&[32, 30, 300], &[300], &[300]]);
    cases.extend(passes("layernorm/960x300", &layer, &BOTH, None));
    let global = LayerNorm { axes: 2, epsilon: 1e-8 };
    let global = op::Case::new(global, &[&[32, 128, 128], &[128], &[128]]);
    cases.extend(passes("globalnorm/32x128x128", &global, &BOTH, None));
    cases
}

/// Small ops of the networks.
fn small() -> Vec<Case> {
    let softmax = op::Case::new(Softmax, &[&[4096, 512]]);
    let prelu = op::Case::new(Prelu, &[&[32, 128, 128], &[1]]);
    let gate = op::Case::new(Gate::Additive, &[&[32, 28, 51, 192]]);
    let pool = Pool {
        kind: PoolKind::Average,
        kernel: [2, 7, 7],
        stride: [1; 3],
        padding: [0; 3],
        ceil: false,
    };
    let pool = op::Case::new(pool, &[&[8, 2, 7, 7, 512]]);
    let mean = op::Case::new(SequencePool { std: false, masked: false }, &[&[32, 128, 64]]);
    let mut cases = passes("softmax/4096x512", &softmax, &BOTH, None);
    cases.extend(passes("prelu/32x128x128", &prelu, &BOTH, None));
    cases.extend(passes("gate/32x28x51x192", &gate, &BOTH, None));
    cases.extend(passes("pool/512x2x7x7", &pool, &BOTH, None));
    cases.extend(passes("mean/32x128x64", &mean, &BOTH, None));
    cases
}

/// A step of SGD with momentum on 60 tensors of a million elements each, about as many as MPUC has.
fn sgd(device: &Device) -> Result<Ready> {
    const TENSORS: usize = 60;
    const EACH: usize = 1_000_000;
    let mut parameters = Parameters::new(DType::F32, 0);
    for i in 0..TENSORS {
        parameters.scope().parameter(&format!("w{i}"), &[1000, EACH / 1000], Init::Normal(0.1))?;
    }
    parameters.move_to(device)?;
    let mut optimizer = Optimizer::new(Rule::sgd(0.9, 1e-3), &parameters)?;
    let pass = engine::Pass::evaluate_recorded(&parameters);
    let zero = Tensor::zeros(&[1000, EACH / 1000], DType::F32);
    let mut loss = Tensor::scalar(0.0f32);
    for id in parameters.trainable() {
        loss = pass.get(id).mse(&zero)?.add(&loss)?;
    }
    let gradients = pass.backward(&loss)?.gradients;
    let run = move || Ok(optimizer.update(&mut parameters, &gradients, 1e-3)?);
    // Reads weight, momentum and gradient; writes weight and momentum.
    let count = (TENSORS * EACH) as f64;
    Ok(Ready::new(run).work(5.0 * count, 20.0 * count))
}

/// The contrastive loss of two modalities, in both directions.
fn contrastive() -> Vec<Case> {
    let mut cases = Vec::new();
    for rows in [32, 256, 1024, 4096, 16384, 65536] {
        let of = op::Case::new(InfoNce::new(0.07), &[&[rows, 512], &[rows, 512]]);
        // Counted as one direction with a stored matrix of logits: one product in the forward pass, two in the
        // backward pass.
        let flops = Flops::product(2.0 * (rows * rows * 512) as f64);
        let name = format!("infonce/n{rows}-d512");
        let all = passes(&name, &of, &[Pass::Forward, Pass::Both], Some(flops));
        // The largest takes a minute and less than a gigabyte.
        let long = |case: Case| if rows > 20_000 { case.only_if_named() } else { case };
        cases.extend(all.into_iter().map(long));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in ["sgemm/1024", "graph/yu-51-c64-c16/bwd", "infonce/n65536-d512/fwd+bwd"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }

    /// The shapes of every case fit its op.
    #[test]
    fn small_cases_run() -> Result<()> {
        let small = [
            "sgemm/256",
            "graph",
            "attention/n32-h5-l30-d60",
            "layernorm",
            "mean",
            "pool",
            "prelu",
        ];
        let small: Vec<String> = small.map(str::to_owned).into();
        for case in super::super::case::choose(cases(), &small)? {
            let mut ready = case.prepare(&engine::Device::Cpu)?;
            (ready.run)()?;
        }
        Ok(())
    }
}
