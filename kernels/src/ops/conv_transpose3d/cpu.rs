use super::{ConvTranspose3d, TURN};
use crate::cpu::{parallel, scratch, simd};
use crate::op::{Backward, Forward, Gradient};
use crate::ops::linear::cpu::grad_bias;
use crate::ops::permute::cpu::permute;
use crate::{Float, Op, Shape};

pub(super) fn forward<T: Float>(op: &ConvTranspose3d, call: Forward<'_, T>) {
    if op.bias {
        fill_rows(call.inputs[2], call.output);
    }
    let (conv, shapes) = op.convolution(call.shapes);
    turned(call.shapes[1], call.inputs[1], |weight| {
        conv.backward(Backward {
            shapes: &shapes,
            inputs: &[&[], weight],
            index_shapes: &[],
            indices: &[],
            output: &[],
            saved: &[],
            saved_indices: &[],
            grad_output: call.inputs[0],
            gradients: vec![Some(Gradient { data: call.output, add: op.bias }), None],
        });
    });
}

pub(super) fn backward<T: Float>(op: &ConvTranspose3d, call: Backward<'_, T>) {
    let (conv, shapes) = op.convolution(call.shapes);
    let mut gradients = call.gradients.into_iter();
    let mut next = || gradients.next().flatten();
    if let Some(gradient) = next() {
        turned(call.shapes[1], call.inputs[1], |weight| {
            written(gradient, |output| {
                conv.forward(Forward {
                    shapes: &shapes,
                    inputs: &[call.grad_output, weight],
                    index_shapes: &[],
                    indices: &[],
                    output,
                    saved: &mut [],
                    saved_indices: &mut [],
                });
            });
        });
    }
    if let Some(gradient) = next() {
        scratch::with::<T, _>(shapes[1].count(), |weight| {
            conv.backward(Backward {
                shapes: &shapes,
                inputs: &[call.grad_output, &[]],
                index_shapes: &[],
                indices: &[],
                output: &[],
                saved: &[],
                saved_indices: &[],
                grad_output: call.inputs[0],
                gradients: vec![None, Some(Gradient { data: weight, add: false })],
            });
            permute(&shapes[1], &TURN, weight, gradient.data, gradient.add);
        });
    }
    if let Some(gradient) = next() {
        grad_bias(call.grad_output, call.shapes[1][4], gradient);
    }
}

/// Calls the body with the weight in the convolution's layout.
fn turned<T: Float>(shape: Shape, weight: &[T], body: impl FnOnce(&[T])) {
    scratch::with::<T, _>(weight.len(), |turned| {
        permute(&shape, &TURN, weight, turned, false);
        body(turned);
    });
}

/// Calls the body with a buffer to write, and writes or adds it to the gradient.
fn written<T: Float>(gradient: Gradient<'_, T>, body: impl FnOnce(&mut [T])) {
    if !gradient.add {
        return body(gradient.data);
    }
    scratch::with::<T, _>(gradient.data.len(), |made| {
        body(made);
        let made = &*made;
        parallel::rows(gradient.data, 1, 2, |first, to| {
            let made = &made[first..];
            simd::vectorised(
                #[inline(always)]
                || to.iter_mut().zip(made).for_each(|(to, &made)| *to += made),
            );
        });
    });
}

/// Copies a row to every row of the output.
fn fill_rows<T: Float>(row: &[T], output: &mut [T]) {
    parallel::rows(output, row.len(), row.len(), |_, output| {
        output.chunks_exact_mut(row.len()).for_each(|to| to.copy_from_slice(row));
    });
}
