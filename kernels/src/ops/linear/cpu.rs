use crate::Float;
use crate::cpu::gemm::{Target, View, product, product_transposed};
use crate::cpu::{parallel, reduce, scratch, simd};
use crate::op::Gradient;

/// The gradients of a layer with weights.
pub(crate) struct Gradients<'a, T> {
    pub(crate) input: Option<Gradient<'a, T>>,
    pub(crate) weight: Option<Gradient<'a, T>>,
    pub(crate) bias: Option<Gradient<'a, T>>,
}

pub(crate) fn forward<T: Float>(
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    relu: bool,
    [rows, features, out]: [usize; 3],
    output: &mut [T],
) {
    let target = Target::new(output, false).activated(bias, relu);
    product(
        &View::dense(x, rows, features),
        &View::dense(weight, features, out),
        &target,
        &|row| row * out,
    );
}

pub(crate) fn backward<T: Float>(
    x: &[T],
    weight: &[T],
    output: Option<&[T]>,
    grad_output: &[T],
    [rows, features, out]: [usize; 3],
    gradients: Gradients<'_, T>,
) {
    before_relu(output, grad_output, |grad_output| {
        if let Some(gradient) = gradients.input {
            let target = Target::new(gradient.data, gradient.add);
            let (dy, weight) =
                (View::dense(grad_output, rows, out), View::dense(weight, features, out));
            if rows < 64 && features > rows {
                // Few rows: the weights are the left side, so they are read once and not packed.
                product(&weight, &dy.transposed(), &target.column_stride(features), &|row| row);
            } else {
                product(&dy, &weight.transposed(), &target, &|row| row * features);
            }
        }
        if let Some(gradient) = gradients.weight {
            let x = View::dense(x, rows, features);
            product_transposed(&x, grad_output, out, &|row| row * out, gradient.data, gradient.add);
        }
        if let Some(gradient) = gradients.bias {
            grad_bias(grad_output, out, gradient);
        }
    });
}

/// Calls the body with the gradient before ReLU, given the output; with `grad_output` if there is no ReLU.
pub(crate) fn before_relu<T: Float>(
    output: Option<&[T]>,
    grad_output: &[T],
    body: impl FnOnce(&[T]),
) {
    let Some(output) = output else { return body(grad_output) };
    scratch::with::<T, _>(grad_output.len(), |masked| {
        parallel::rows(masked, 1, 3, |start, masked| {
            let (output, grad_output) = (&output[start..], &grad_output[start..]);
            simd::vectorised(
                #[inline(always)]
                || {
                    for ((m, &y), &dy) in masked.iter_mut().zip(output).zip(grad_output) {
                        *m = if y > T::ZERO { dy } else { T::ZERO };
                    }
                },
            );
        });
        body(masked);
    });
}

/// The gradient of a bias: sums of columns.
pub(crate) fn grad_bias<T: Float>(grad_output: &[T], out: usize, gradient: Gradient<'_, T>) {
    let rows = grad_output.len() / out.max(1);
    reduce::columns(
        rows,
        out,
        out,
        gradient.data,
        gradient.add,
        #[inline(always)]
        |row, sums| {
            for (sum, &dy) in sums.iter_mut().zip(&grad_output[row * out..]) {
                *sum += dy;
            }
        },
    );
}
