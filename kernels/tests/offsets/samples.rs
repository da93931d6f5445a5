//! Ops that compute each sample of a batch from that sample alone: large batches against the CPU, sample by sample.

use crate::{BEYOND, Large, close};
use kernels::Shape;
use kernels::gpu::{self, Block, Pointer};
use kernels::op::{self, Compiled, Numbers};
use kernels::ops::batch_norm::{BatchNorm, Statistics};
use kernels::ops::graph_conv::{Adjacency, GraphConv};
use kernels::ops::pool::{Pool, PoolKind};
use kernels::ops::{
    Activation, Affine, Arithmetic, Attention, Concat, Conv3d, ConvTranspose3d, DepthwiseConv,
    Gate, LayerNorm, Linear, Matmul, Permute, Prelu, Reduce, SequencePool, Slice, Softmax, Unary,
    reduce::ReduceKind,
};

/// A call. The inputs before `shared` have the batch as their first axis.
struct Call<O> {
    op: O,
    shapes: Vec<Shape>,
    shared: usize,
}

/// A call of an op on a batch of samples and on parameters.
fn call<O: Compiled>(
    op: O,
    batch: usize,
    samples: &[&[usize]],
    parameters: &[&[usize]],
) -> Call<O> {
    let batched = samples.iter().map(|sample| Shape::new(&[&[batch], *sample].concat()));
    let shapes = batched.chain(parameters.iter().map(|shape| Shape::new(shape))).collect();
    Call { op, shapes, shared: samples.len() }
}

/// The shape of one sample.
fn alone(shape: Shape) -> Shape {
    let mut extents = shape.to_vec();
    extents[0] = 1;
    Shape::new(&extents)
}

fn pointers(blocks: &[Block]) -> Vec<Pointer> {
    blocks.iter().map(Block::pointer).collect()
}

impl<O: Compiled> Call<O> {
    fn batch(&self) -> usize {
        self.shapes[0][0]
    }

    /// The numbers of one sample of a buffer of this shape.
    fn sample(&self, large: &Large, buffer: Pointer, shape: Shape, sample: usize) -> Vec<f64> {
        let count = shape.count() / self.batch();
        let numbers: Vec<f32> = large.read(buffer, sample * count, count);
        numbers.into_iter().map(f64::from).collect()
    }

    /// The inputs of one sample.
    fn inputs(
        &self,
        large: &Large,
        inputs: &[Block],
        sample: usize,
    ) -> (Vec<Shape>, Vec<Vec<f64>>) {
        let of = |(i, &shape): (usize, &Shape)| {
            if i < self.shared {
                (alone(shape), self.sample(large, inputs[i].pointer(), shape, sample))
            } else {
                let numbers: Vec<f32> = large.read(inputs[i].pointer(), 0, shape.count());
                (shape, numbers.into_iter().map(f64::from).collect())
            }
        };
        self.shapes.iter().enumerate().map(of).unzip()
    }

    /// Requires what was written to a buffer to be the numbers of the samples that `expected` gives.
    fn compare(
        &self,
        large: &Large,
        what: &str,
        buffer: Pointer,
        shape: Shape,
        expected: impl Fn(usize) -> Vec<f64>,
    ) {
        let what = format!("{} {what} {shape}", O::NAME);
        let count = shape.count() / self.batch();
        let mut now: Option<(usize, Vec<f64>)> = None;
        for (at, got) in large.written(&what, buffer, shape.count()) {
            let (sample, place) = (at / count, at % count);
            if now.as_ref().is_none_or(|now| now.0 != sample) {
                now = Some((sample, expected(sample)));
            }
            let expected = now.as_ref().unwrap().1[place];
            assert!(
                close(got, expected),
                "{what}: element {place} of sample {sample} is {got}, expected {expected}"
            );
        }
    }

    /// Runs the forward pass, and the backward pass for the gradients of the batched inputs.
    fn check(self, backward: bool) {
        let large = Large::new();
        let plan = self.op.plan(&self.shapes, &[]).unwrap();
        let count = |shape: &Shape| shape.count();
        let largest = self.shapes.iter().map(count).chain([plan.output.shape.count()]).max();
        assert!(largest > Some(BEYOND as usize), "{}: {:?} is not large", O::NAME, self.shapes);
        let make = |shape: &Shape| large.tensor(shape.count());
        let inputs: Vec<Block> = self.shapes.iter().map(make).collect();
        let output = large.tensor(plan.output.shape.count());
        let saved: Vec<Block> = plan.saved.iter().map(|buffer| make(&buffer.shape)).collect();
        let forward = gpu::Forward {
            shapes: &self.shapes,
            inputs: &pointers(&inputs),
            index_shapes: &[],
            indices: &[],
            output: output.pointer(),
            saved: &pointers(&saved),
        };
        self.op.forward_gpu(&large.device, forward).unwrap();
        let made = |sample| {
            let (shapes, inputs) = self.inputs(&large, &inputs, sample);
            self.forward(&shapes, &inputs)
        };
        self.compare(&large, "output", output.pointer(), plan.output.shape, |s| made(s).0);
        for (i, (buffer, block)) in plan.saved.iter().zip(&saved).enumerate() {
            if buffer.numbers == Numbers::Sum {
                self.compare(&large, "saved", block.pointer(), buffer.shape, |s| {
                    made(s).1.swap_remove(i)
                });
            }
        }
        if backward {
            self.backward(&large, &plan, &inputs, &output, &saved);
        }
    }

    /// The CPU's output, and the saved buffers that hold sums.
    fn forward(&self, shapes: &[Shape], inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let plan = self.op.plan(shapes, &[]).unwrap();
        let mut output = vec![f64::NAN; plan.output.shape.count()];
        let of =
            |numbers: Numbers| plan.saved.iter().filter(move |buffer| buffer.numbers == numbers);
        let mut sums: Vec<Vec<f64>> =
            of(Numbers::Sum).map(|buffer| vec![f64::NAN; buffer.shape.count()]).collect();
        let mut indices: Vec<Vec<u32>> =
            of(Numbers::Index).map(|buffer| vec![0; buffer.shape.count()]).collect();
        self.op.forward_f64(op::Forward {
            shapes,
            inputs: &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            index_shapes: &[],
            indices: &[],
            output: &mut output,
            saved: &mut sums.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
            saved_indices: &mut indices.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
        });
        (output, sums)
    }

    fn backward(
        &self,
        large: &Large,
        plan: &op::Plan,
        inputs: &[Block],
        output: &Block,
        saved: &[Block],
    ) {
        let keep = self.op.keep();
        let grad_output = large.tensor(plan.output.shape.count());
        let gradients: Vec<Block> =
            self.shapes[..self.shared].iter().map(|shape| large.tensor(shape.count())).collect();
        let kept: Vec<Pointer> = inputs
            .iter()
            .enumerate()
            .map(|(i, block)| if keep.input(i) { block.pointer() } else { Pointer::NULL })
            .collect();
        let asked = |i: usize| {
            gradients.get(i).map(|block| gpu::Gradient { data: block.pointer(), add: false })
        };
        let call = gpu::Backward {
            shapes: &self.shapes,
            inputs: &kept,
            index_shapes: &[],
            indices: &[],
            output: if keep.output { output.pointer() } else { Pointer::NULL },
            saved: &pointers(saved),
            grad_output: grad_output.pointer(),
            gradients: &(0..self.shapes.len()).map(asked).collect::<Vec<_>>(),
        };
        self.op.backward_gpu(&large.device, call).unwrap();
        let expected = |sample: usize| -> Vec<Vec<f64>> {
            let (shapes, inputs) = self.inputs(large, inputs, sample);
            let read = |buffer: Pointer, shape| self.sample(large, buffer, shape, sample);
            let kept: Vec<&[f64]> = inputs
                .iter()
                .enumerate()
                .map(|(i, numbers)| if keep.input(i) { &numbers[..] } else { &[] })
                .collect();
            let output = read(output.pointer(), plan.output.shape);
            let saved: Vec<Vec<f64>> = plan
                .saved
                .iter()
                .zip(saved)
                .map(|(buffer, block)| read(block.pointer(), buffer.shape))
                .collect();
            let mut gradients: Vec<Vec<f64>> =
                inputs[..self.shared].iter().map(|x| vec![f64::NAN; x.len()]).collect();
            let mut targets: Vec<Option<op::Gradient<'_, f64>>> =
                gradients.iter_mut().map(|data| Some(op::Gradient { data, add: false })).collect();
            targets.resize_with(shapes.len(), || None);
            self.op.backward_f64(op::Backward {
                shapes: &shapes,
                inputs: &kept,
                index_shapes: &[],
                indices: &[],
                output: if keep.output { &output } else { &[] },
                saved: &saved.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                saved_indices: &[],
                grad_output: &read(grad_output.pointer(), plan.output.shape),
                gradients: targets,
            });
            gradients
        };
        for (i, (gradient, &shape)) in gradients.iter().zip(&self.shapes).enumerate() {
            let what = format!("gradient {i}");
            self.compare(large, &what, gradient.pointer(), shape, |s| expected(s).swap_remove(i));
        }
    }
}

/// Samples with more than 2^32 numbers in all.
fn samples(numbers: usize) -> usize {
    (BEYOND as usize).div_ceil(numbers) + 3
}

#[test]
fn linear() {
    for relu in [false, true] {
        let batch = samples(33);
        call(Linear { bias: true, relu }, batch, &[&[33]], &[&[33, 70], &[70]]).check(true);
    }
}

#[test]
fn elementwise() {
    let batch = samples(1030);
    let x: &[usize] = &[1030];
    for kind in [Activation::Relu, Activation::Gelu] {
        call(kind, batch, &[x], &[]).check(true);
    }
    call(Unary::Square, batch, &[x], &[]).check(true);
    call(Affine { scale: 0.5, shift: 2.0 }, batch, &[x], &[]).check(true);
    call(Prelu, batch, &[x], &[x]).check(true);
    call(Arithmetic::Multiply, batch, &[x, x], &[]).check(true);
    call(Arithmetic::Multiply, batch, &[x], &[x]).check(true);
    for gate in [Gate::Glu, Gate::Additive] {
        call(gate, batch, &[&[1032]], &[]).check(true);
    }
}

#[test]
fn broadcast_arithmetic() {
    let batch = samples(6 * 35);
    call(Arithmetic::Subtract, batch, &[&[6, 35], &[6, 1]], &[]).check(true);
}

#[test]
fn rows() {
    for width in [30, 600] {
        let batch = samples(width);
        call(Softmax, batch, &[&[width]], &[]).check(true);
        let norm = LayerNorm { axes: 1, epsilon: 1e-5 };
        call(norm, batch, &[&[width]], &[&[width], &[width]]).check(true);
    }
}

#[test]
fn layout() {
    let batch = samples(33 * 40);
    call(Permute::new(&[0, 2, 1]), batch, &[&[33, 40]], &[]).check(true);
    call(Permute::new(&[0, 2, 1, 3]), samples(5 * 7 * 33), &[&[5, 7, 33]], &[]).check(true);
    call(Slice { axis: 1, start: 2, length: 30 }, batch, &[&[33, 40]], &[]).check(true);
    call(Concat { axis: 1 }, batch, &[&[20, 40], &[13, 40]], &[]).check(true);
}

#[test]
fn pools() {
    let pool =
        |kind| Pool { kind, kernel: [2, 3, 3], stride: [1, 2, 2], padding: [0, 1, 1], ceil: false };
    let (batch, x) = (samples(2 * 5 * 6 * 7), &[2, 5, 6, 7][..]);
    // The gradient of the maxima needs their places, which only the blocks that ran have written.
    call(pool(PoolKind::Max), batch, &[x], &[]).check(false);
    call(pool(PoolKind::Average), batch, &[x], &[]).check(true);
    let mean = SequencePool { std: true, masked: false };
    call(mean, samples(9 * 33), &[&[9, 33]], &[]).check(true);
}

#[test]
fn convolutions() {
    let conv = Conv3d { bias: true, relu: true, ..Conv3d::new([1, 2, 2], [0, 1, 1]) };
    let (batch, x) = (samples(2 * 5 * 5 * 9), &[2, 5, 5, 9][..]);
    call(conv, batch, &[x], &[&[2, 3, 3, 9, 20], &[20]]).check(true);
    // More pixels than 31 bits count.
    call(Conv3d::new([1; 3], [0; 3]), samples(16), &[&[1, 4, 4, 1]], &[&[1, 1, 1, 1, 1]])
        .check(true);
    // Without a bias, which a launch of other blocks adds; two classes of pixels and two taps, all of which run.
    let up = ConvTranspose3d::new([1, 1, 2], [0; 3]);
    call(up, samples(300), &[&[1, 3, 3, 9]], &[&[1, 1, 2, 9, 20]]).check(true);
    let along = DepthwiseConv::same(3, 2);
    call(along, samples(9 * 33), &[&[9, 33]], &[&[3, 33], &[33]]).check(true);
}

#[test]
fn graphs() {
    let op = GraphConv { adjacency: Adjacency::Dense, bias: true, relu: true };
    let batch = samples(5 * 9);
    call(op, batch, &[&[5, 9]], &[&[3, 9, 20], &[3, 20], &[3, 5, 5]]).check(true);
}

#[test]
fn products() {
    // More products than a grid has blocks along z.
    let batch = 65_540;
    let side = 271;
    call(Matmul::PLAIN, batch, &[&[side, 3], &[3, side]], &[]).check(true);
    let transposed = Matmul::TRANSPOSE_RIGHT;
    call(transposed, batch, &[&[side, side], &[5, side]], &[]).check(true);
}

#[test]
fn attention() {
    // Eight rows of heads and queries a sample, as many as one block of `attention_along` has.
    let op = Attention::new(2);
    call(op, samples(4 * 24), &[&[4, 24], &[5, 24], &[5, 24]], &[]).check(true);
}

#[test]
fn norms_with_given_statistics() {
    let given = BatchNorm { statistics: Statistics::Given, relu: true, ..BatchNorm::TRAIN };
    let channels: &[usize] = &[36];
    let op = BatchNorm { epsilon: 2.0, ..given };
    // A thread has elements from every eighth of the tensor: the last eighth begins beyond 2^32.
    let batch = samples(5 * 36) / 7 * 8;
    call(op, batch, &[&[5, 36]], &[channels; 4]).check(true);
    let nodes = BatchNorm { axis: Some(1), ..op };
    let five: &[usize] = &[5];
    call(nodes, batch, &[&[5, 36]], &[five; 4]).check(true);
}

#[test]
fn reductions() {
    for (kind, axis) in [(ReduceKind::Sum, 2), (ReduceKind::Mean, 1), (ReduceKind::Max, 2)] {
        let op = Reduce::new(kind, &[axis]);
        // The gradient of the maxima needs the place of each, which only the blocks that ran have written.
        call(op, samples(6 * 40), &[&[6, 40]], &[]).check(kind != ReduceKind::Max);
    }
}
