//! Speed of the convolutions of R(2+1)D-18, layer by layer, against the speed of the multipliers.
//!
//!     cargo run --release -p kernels --example conv_layers -- [batch] [frames] [layer]
//!
//! `RAYON_NUM_THREADS` sets the threads; `layer` keeps the layers whose line contains it. `CPU_TIME=1` counts
//! the time that the threads really ran, for a machine that others use too (Linux, one thread).

use kernels::cpu::simd::{self, Isa, Vector, Work};
use kernels::op::{Backward, Forward, Gradient};
use kernels::ops::Conv3d;
use kernels::philox::Philox;
use kernels::{Op, Shape};
use rayon::prelude::*;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Instant;

/// A layer: input channels, output channels, kernel, stride, and how often the clip is halved before it.
struct Layer {
    name: &'static str,
    channels: [usize; 2],
    kernel: [usize; 3],
    stride: [usize; 3],
    /// Halvings of time and of space before the layer.
    halved: [u32; 2],
}

const SPATIAL: [usize; 3] = [1, 3, 3];
const TEMPORAL: [usize; 3] = [3, 1, 1];

const LAYERS: [Layer; 19] = [
    layer("stem", [3, 48], [1, 7, 7], [1, 2, 2], [0, 0]),
    layer("stem", [48, 64], TEMPORAL, [1, 1, 1], [0, 1]),
    layer("layer1", [64, 144], SPATIAL, [1, 1, 1], [0, 1]),
    layer("layer1", [144, 64], TEMPORAL, [1, 1, 1], [0, 1]),
    layer("layer2", [64, 240], SPATIAL, [1, 2, 2], [0, 1]),
    layer("layer2", [240, 128], TEMPORAL, [2, 1, 1], [0, 2]),
    layer("layer2", [64, 128], [1, 1, 1], [2, 2, 2], [0, 1]),
    layer("layer2", [128, 288], SPATIAL, [1, 1, 1], [1, 2]),
    layer("layer2", [288, 128], TEMPORAL, [1, 1, 1], [1, 2]),
    layer("layer3", [128, 464], SPATIAL, [1, 2, 2], [1, 2]),
    layer("layer3", [464, 256], TEMPORAL, [2, 1, 1], [1, 3]),
    layer("layer3", [128, 256], [1, 1, 1], [2, 2, 2], [1, 2]),
    layer("layer3", [256, 576], SPATIAL, [1, 1, 1], [2, 3]),
    layer("layer3", [576, 256], TEMPORAL, [1, 1, 1], [2, 3]),
    layer("layer4", [256, 928], SPATIAL, [1, 2, 2], [2, 3]),
    layer("layer4", [928, 512], TEMPORAL, [2, 1, 1], [2, 4]),
    layer("layer4", [256, 512], [1, 1, 1], [2, 2, 2], [2, 3]),
    layer("layer4", [512, 1152], SPATIAL, [1, 1, 1], [3, 4]),
    layer("layer4", [1152, 512], TEMPORAL, [1, 1, 1], [3, 4]),
];

const fn layer(
    name: &'static str,
    channels: [usize; 2],
    kernel: [usize; 3],
    stride: [usize; 3],
    halved: [u32; 2],
) -> Layer {
    Layer { name, channels, kernel, stride, halved }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| {
        arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(default)
    };
    let (batch, frames) = (number(0, 8), number(1, 10));
    let wanted = arguments.get(2).cloned().unwrap_or_default();
    println!(
        "{} threads; GFLOP/s, and in brackets the fraction of the probe",
        rayon::current_num_threads()
    );
    println!(
        "{:44} {:>6}  {:>14} {:>14} {:>14}",
        "layer", "probe", "forward", "grad_input", "grad_weight"
    );
    let mut seconds = [0.0; 3];
    for layer in &LAYERS {
        let padding = layer.kernel.map(|k| k / 2);
        let op = Conv3d::new(layer.stride, padding);
        let halve = |extent: usize, times: u32| (0..times).fold(extent, |e, _| e.div_ceil(2));
        let side = halve(112, layer.halved[1]);
        let [cin, cout] = layer.channels;
        let x = Shape::from([batch, halve(frames, layer.halved[0]), side, side, cin]);
        let [kd, kh, kw] = layer.kernel;
        let weight = Shape::from([kd, kh, kw, cin, cout]);
        let line = format!("{} {kd}x{kh}x{kw}/{:?} {cin}->{cout}", layer.name, layer.stride);
        if !line.contains(&wanted) {
            continue;
        }
        let flops = op.cost(&[x, weight], &[]).forward_flops;
        let probe = probe();
        let took = time(&op, [x, weight]);
        let columns = took.map(|s| format!("{:7.1} ({:.2})", flops / s / 1e9, flops / s / probe));
        println!(
            "{line:44} {:6.0}  {:>14} {:>14} {:>14}",
            probe / 1e9,
            columns[0],
            columns[1],
            columns[2]
        );
        for (total, s) in seconds.iter_mut().zip(took) {
            *total += s;
        }
    }
    println!(
        "all once: {:.0} ms, {:.0} ms, {:.0} ms",
        seconds[0] * 1e3,
        seconds[1] * 1e3,
        seconds[2] * 1e3
    );
}

/// The best of a few runs of forward, grad_input and grad_weight.
fn time(op: &Conv3d, shapes: [Shape; 2]) -> [f64; 3] {
    let random = Philox::new(1, "bench");
    let numbers = |count: usize| -> Vec<f32> {
        (0..count).map(|i| random.uniform(i as u64 % 65536) as f32 - 0.5).collect()
    };
    let (x, weight) = (numbers(shapes[0].count()), numbers(shapes[1].count()));
    let Ok(plan) = op.plan(&shapes, &[]) else { return [f64::NAN; 3] };
    let mut output = vec![0.0f32; plan.output.count()];
    let grad_output = numbers(output.len());
    let mut grad_x = vec![0.0f32; x.len()];
    let mut grad_weight = vec![0.0f32; weight.len()];
    let inputs: [&[f32]; 2] = [&x, &weight];
    [
        best(|| {
            op.forward(Forward {
                shapes: &shapes,
                inputs: &inputs,
                index_shapes: &[],
                indices: &[],
                output: &mut output,
                saved: &mut [],
            });
        }),
        best(|| backward(op, &shapes, &inputs, &grad_output, [Some(&mut grad_x), None])),
        best(|| backward(op, &shapes, &inputs, &grad_output, [None, Some(&mut grad_weight)])),
    ]
}

fn backward(
    op: &Conv3d,
    shapes: &[Shape],
    inputs: &[&[f32]],
    grad_output: &[f32],
    gradients: [Option<&mut Vec<f32>>; 2],
) {
    op.backward(Backward {
        shapes,
        inputs,
        index_shapes: &[],
        indices: &[],
        output: &[],
        saved: &[],
        grad_output,
        gradients: gradients
            .map(|g| g.map(|data| Gradient { data: &mut data[..], add: false }))
            .into(),
    });
}

/// Seconds of a run: the best of three batches of runs, long enough for a coarse clock.
fn best(mut run: impl FnMut()) -> f64 {
    let mut batch = |runs: usize| {
        let start = seconds();
        (0..runs).for_each(|_| run());
        (seconds() - start) / runs as f64
    };
    let once = batch(1).max(1e-3);
    let runs = (0.1 / once).ceil() as usize;
    (0..3).map(|_| batch(runs)).fold(f64::INFINITY, f64::min)
}

/// Floating point operations a second that the multipliers of all threads can do: multiply-adds in registers.
fn probe() -> f64 {
    struct Probe;
    impl Work for Probe {
        type Output = f64;
        #[inline(always)]
        unsafe fn run<I: Isa>(self) -> f64 {
            const CHAINS: usize = 12;
            const STEPS: usize = 4_000_000;
            // SAFETY: `simd::run` found the instruction set.
            unsafe {
                let (a, b) = (I::F32::splat(black_box(0.999)), I::F32::splat(black_box(1e-3)));
                let mut sums = [I::F32::splat(black_box(1.0)); CHAINS];
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = sum.mul_add(a, b);
                    }
                }
                let mut total = sums[0];
                for sum in sums {
                    total = total.add(sum);
                }
                let mut out = [0.0f32; 16];
                total.store(out.as_mut_ptr());
                black_box(out);
                (2 * CHAINS * STEPS * I::F32::LANES) as f64
            }
        }
    }
    let threads = rayon::current_num_threads();
    let mut fastest = 0.0f64;
    for _ in 0..3 {
        let start = seconds();
        let flops: f64 =
            (0..threads).into_par_iter().with_max_len(1).map(|_| simd::run(Probe)).sum();
        fastest = fastest.max(flops / (seconds() - start));
    }
    fastest
}

/// A clock: the wall's, or the time that this process's threads have run.
fn seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    static OF_THREADS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("CPU_TIME").is_some());
    if !*OF_THREADS {
        return START.elapsed().as_secs_f64();
    }
    let ran = |task: std::fs::DirEntry| -> Option<f64> {
        let schedule = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedule.split_whitespace().next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(ran).sum::<f64>() / 1e9
}
