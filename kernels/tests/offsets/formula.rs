//! Kernels whose sums run over the batch, and those that no op owns: large parameters against a formula.

use crate::{BEYOND, Large};
use kernels::Shape;
use kernels::gpu::{Backward, Forward, GpuOp, Gradient, Pointer};
use kernels::ops::{BatchNorm, Conv3d, Embedding, Linear, Permute, Reduce, reduce::ReduceKind};

fn forward<O: GpuOp>(large: &Large, op: &O, shapes: &[Shape], inputs: &[Pointer], output: Pointer) {
    let call = Forward { shapes, inputs, index_shapes: &[], indices: &[], output, saved: &[] };
    op.forward_gpu(&large.device, call).unwrap();
}

/// The gradients at these positions of an op without saved buffers and output; null inputs are not read.
fn gradients<O: GpuOp>(
    large: &Large,
    op: &O,
    shapes: &[Shape],
    inputs: &[Pointer],
    grad_output: Pointer,
    targets: &[Pointer],
) {
    let gradient =
        |&data: &Pointer| (data != Pointer::NULL).then_some(Gradient { data, add: false });
    let call = Backward {
        shapes,
        inputs,
        index_shapes: &[],
        indices: &[],
        output: Pointer::NULL,
        saved: &[],
        grad_output,
        gradients: &targets.iter().map(gradient).collect::<Vec<_>>(),
    };
    op.backward_gpu(&large.device, call).unwrap();
}

#[test]
fn a_large_weight_has_its_gradient() {
    const ROWS: usize = 3;
    const OUT: usize = 70;
    let features = BEYOND as usize / OUT + 5;
    let linear = Linear { bias: false, relu: false };
    let conv = Conv3d::new([1; 3], [0; 3]);
    for of_conv in [false, true] {
        let large = Large::new();
        let (x, grad_output) = (large.tensor(ROWS * features), large.tensor(ROWS * OUT));
        let weight = large.tensor(features * OUT);
        let inputs = [x.pointer(), Pointer::NULL];
        let targets = [Pointer::NULL, weight.pointer()];
        if of_conv {
            let shapes = [[1, 1, 1, ROWS, features].into(), [1, 1, 1, features, OUT].into()];
            gradients(&large, &conv, &shapes, &inputs, grad_output.pointer(), &targets);
        } else {
            let shapes = [[ROWS, features].into(), [features, OUT].into()];
            gradients(&large, &linear, &shapes, &inputs, grad_output.pointer(), &targets);
        }
        large.check("gradient of the weight", &weight, features * OUT, |at| {
            let (feature, out) = (at / OUT, at % OUT);
            let term = |row: usize| {
                large.number(&x, row * features + feature)
                    * large.number(&grad_output, row * OUT + out)
            };
            (0..ROWS).map(term).sum()
        });
    }
}

/// The most columns that a grid of tiles has.
const COLUMNS: usize = 65_535 * 64;
/// The depth at which a weight with this number of columns has more than 2^32 numbers.
const DEPTH: usize = 1030;

#[test]
fn a_large_weight_is_read() {
    const ROWS: usize = 3;
    let linear = Linear { bias: false, relu: false };
    let large = Large::new();
    let weight = large.tensor(COLUMNS * DEPTH);
    let (x, output) = (large.tensor(ROWS * DEPTH), large.tensor(ROWS * COLUMNS));
    let shapes = [[ROWS, DEPTH].into(), [DEPTH, COLUMNS].into()];
    forward(&large, &linear, &shapes, &[x.pointer(), weight.pointer()], output.pointer());
    large.check("output", &output, ROWS * COLUMNS, |at| {
        let (row, column) = (at / COLUMNS, at % COLUMNS);
        let term = |k: usize| {
            large.number(&x, row * DEPTH + k) * large.number(&weight, k * COLUMNS + column)
        };
        (0..DEPTH).map(term).sum()
    });
    let shapes = [[ROWS, COLUMNS].into(), [COLUMNS, DEPTH].into()];
    let inputs = [Pointer::NULL, weight.pointer()];
    let (grad_output, grad_x) = (&x, &output);
    let targets = [grad_x.pointer(), Pointer::NULL];
    gradients(&large, &linear, &shapes, &inputs, grad_output.pointer(), &targets);
    large.check("gradient of x", grad_x, ROWS * COLUMNS, |at| {
        let (row, feature) = (at / COLUMNS, at % COLUMNS);
        let term = |k: usize| {
            large.number(grad_output, row * DEPTH + k) * large.number(&weight, feature * DEPTH + k)
        };
        (0..DEPTH).map(term).sum()
    });
}

#[test]
fn a_large_bias_has_its_gradient() {
    const ROWS: usize = 3;
    let out = BEYOND as usize / ROWS + 77;
    let large = Large::new();
    let (grad_output, bias) = (large.tensor(ROWS * out), large.tensor(out));
    let linear = Linear { bias: true, relu: false };
    let shapes = [[ROWS, 1].into(), [1, out].into(), [out].into()];
    let targets = [Pointer::NULL, Pointer::NULL, bias.pointer()];
    gradients(&large, &linear, &shapes, &[Pointer::NULL; 3], grad_output.pointer(), &targets);
    large.check("gradient of the bias", &bias, out, |at| {
        (0..ROWS).map(|row| large.number(&grad_output, row * out + at)).sum()
    });
}

#[test]
fn a_large_table_is_read() {
    const WIDTH: usize = 40;
    let rows = BEYOND as usize / WIDTH + 9;
    let large = Large::new();
    let (table, output) = (large.tensor(rows * WIDTH), large.tensor(7 * WIDTH));
    let tokens: Vec<u32> =
        [0, rows - 1, rows / 2, 1, rows - 2, 3, rows - 3].map(|at| at as u32).into();
    let indices = large.device.upload(&tokens).unwrap();
    let shapes = [[rows, WIDTH].into()];
    let call = Forward {
        shapes: &shapes,
        inputs: &[table.pointer()],
        index_shapes: &[[7].into()],
        indices: &[indices.pointer()],
        output: output.pointer(),
        saved: &[],
    };
    Embedding.forward_gpu(&large.device, call).unwrap();
    large.check("rows of the table", &output, 7 * WIDTH, |at| {
        large.number(&table, tokens[at / WIDTH] as usize * WIDTH + at % WIDTH)
    });
}

#[test]
fn a_large_matrix_is_transposed() {
    let (rows, columns) = (65_541, 65_539);
    let large = Large::new();
    let (x, output) = (large.tensor(rows * columns), large.tensor(rows * columns));
    let shapes = [[rows, columns].into()];
    forward(&large, &Permute::new(&[1, 0]), &shapes, &[x.pointer()], output.pointer());
    large.check("transposed", &output, rows * columns, |at| {
        large.number(&x, at % rows * columns + at / rows)
    });
}

#[test]
fn sums_over_the_batch_have_many_columns() {
    const ROWS: usize = 3;
    let columns = BEYOND as usize / ROWS + 77;
    for (kind, share) in [(ReduceKind::Sum, 1.0), (ReduceKind::Mean, 1.0 / ROWS as f64)] {
        let large = Large::new();
        let (x, output) = (large.tensor(ROWS * columns), large.tensor(columns));
        let shapes = [[ROWS, columns].into()];
        forward(&large, &Reduce::new(kind, &[0]), &shapes, &[x.pointer()], output.pointer());
        large.check("sum over the rows", &output, columns, |at| {
            (0..ROWS).map(|row| large.number(&x, row * columns + at)).sum::<f64>() * share
        });
    }
}

#[test]
fn statistics_of_many_channels() {
    const ROWS: usize = 4;
    // The first, the middle and the last block of each launch meet the same channels.
    let channels = BEYOND as usize / ROWS + 64;
    let large = Large::new();
    let x = large.tensor(ROWS * channels);
    let [weight, bias, mean, variance] = [(); 4].map(|()| large.tensor(channels));
    let output = large.tensor(ROWS * channels);
    let shapes = [[ROWS, channels].into(), [channels].into(), [channels].into()];
    let call = Forward {
        shapes: &shapes,
        inputs: &[x.pointer(), weight.pointer(), bias.pointer()],
        index_shapes: &[],
        indices: &[],
        output: output.pointer(),
        saved: &[mean.pointer(), variance.pointer()],
    };
    BatchNorm::TRAIN.forward_gpu(&large.device, call).unwrap();
    let column = |at: usize| [0, 1, 2, 3].map(|row| large.number(&x, row * channels + at));
    let average = |numbers: [f64; ROWS]| numbers.iter().sum::<f64>() / ROWS as f64;
    large.check("mean", &mean, channels, |at| average(column(at)));
    large.check("variance", &variance, channels, |at| {
        let mean = average(column(at));
        average(column(at).map(|x| (x - mean) * (x - mean)))
    });
    large.check("output", &output, ROWS * channels, |at| {
        let of = |tensor| large.number(tensor, at % channels);
        (large.number(&x, at) - of(&mean)) / (of(&variance) + 1e-5).sqrt() * of(&weight) + of(&bias)
    });
}

#[test]
fn kernels_that_no_op_owns() {
    let count = BEYOND as usize + 1000;
    let large = Large::new();
    let (to, from) = (large.tensor(count), large.tensor(count));
    let before: Vec<(usize, f64)> = corners(count).map(|at| (at, large.number(&to, at))).collect();
    large.device.accumulate(to.pointer(), from.pointer(), count).unwrap();
    for (at, before) in before {
        assert_eq!(large.number(&to, at), before + large.number(&from, at), "element {at}");
    }
    large.written("accumulated", to.pointer(), count);
    let filled = large.tensor(count);
    large.device.set(filled.pointer(), count, 0.25).unwrap();
    large.check("set", &filled, count, |_| 0.25);
    let gradient = large.tensor(count);
    let target = Gradient { data: gradient.pointer(), add: false };
    let partial = large.device.partial(2, count, target).unwrap();
    let slices = partial.pointer();
    let sums: Vec<(usize, f64)> = corners(count)
        .map(|at| (at, [at, count + at].map(|at| f64::from(large.read::<f32>(slices, at, 1)[0]))))
        .map(|(at, [first, second])| (at, first + second))
        .collect();
    large.device.sum_slices(partial).unwrap();
    for (at, sum) in sums {
        assert_eq!(large.number(&gradient, at), sum, "element {at}");
    }
    large.written("summed", gradient.pointer(), count);
}

/// Elements of the first and the last block of a launch with a thread for each.
fn corners(count: usize) -> impl Iterator<Item = usize> {
    (0..256).chain(count / 256 * 256..count)
}
