//! Transposed convolutions over clips; images and sequences are clips with extents of 1.

mod cpu;
mod cuda;

use super::Conv3d;
use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y[n, i·stride − padding + k·dilation, c'] = Σ over pixels i, taps k and channels c of x[n, i, c] · w[k, c, c'],
/// plus b[c']: the gradient of [`Conv3d`] with respect to its input. PyTorch's `ConvTranspose`.
///
/// Inputs: x `[N, D, H, W, C_in]`, weight `[KD, KH, KW, C_in, C_out]`, and bias `[C_out]` if `bias`. Output:
/// `[N, D', H', W', C_out]` with D' = (D − 1)·stride − 2·padding + dilation·(KD − 1) + output_padding + 1, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTranspose3d {
    /// Distance in the output of neighbouring input pixels, along depth, height and width.
    pub stride: [usize; 3],
    /// Pixels removed from both ends of each axis of the output.
    pub padding: [usize; 3],
    /// Pixels then added at the end of each axis, below the stride. It selects one of the `stride` output sizes that a
    /// convolution maps to the size of x.
    pub output_padding: [usize; 3],
    /// Distance between neighbouring taps.
    pub dilation: [usize; 3],
    /// Whether there is a third input, the bias.
    pub bias: bool,
}

impl ConvTranspose3d {
    /// With this stride and padding, without output padding, dilation or bias.
    pub fn new(stride: [usize; 3], padding: [usize; 3]) -> Self {
        let (output_padding, dilation) = ([0; 3], [1; 3]);
        ConvTranspose3d { stride, padding, output_padding, dilation, bias: false }
    }

    /// The output's extents; `None` if one would be 0 or less.
    fn extents(&self, input: &[usize], kernel: &[usize]) -> Option<[usize; 3]> {
        let mut extents = [0; 3];
        for axis in 0..3 {
            let reach = self.dilation[axis] * kernel[axis].checked_sub(1)? + 1;
            let whole = (input[axis] - 1) * self.stride[axis] + reach + self.output_padding[axis];
            extents[axis] =
                whole.checked_sub(2 * self.padding[axis]).filter(|&extent| extent > 0)?;
        }
        Some(extents)
    }

    /// The output's shape, for inputs that `plan` accepted.
    fn output(&self, x: Shape, weight: Shape) -> Shape {
        let [d, h, w] = self.extents(&x[1..4], &weight[..3]).unwrap_or_default();
        Shape::new(&[x[0], d, h, w, weight[4]])
    }

    /// The convolution whose input gradient is this op, and the shapes of its input and weight.
    fn convolution(&self, shapes: &[Shape]) -> (Conv3d, [Shape; 2]) {
        let (x, weight) = (shapes[0], shapes[1]);
        let turned = [weight[0], weight[1], weight[2], weight[4], weight[3]].into();
        let conv = Conv3d { dilation: self.dilation, ..Conv3d::new(self.stride, self.padding) };
        (conv, [self.output(x, weight), turned])
    }
}

/// The permutation from a weight to the convolution's layout `[KD, KH, KW, C_out, C_in]`, and back.
const TURN: [usize; 5] = [0, 1, 2, 4, 3];

impl Op for ConvTranspose3d {
    const NAME: &'static str = "conv_transpose3d";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2 + usize::from(self.bias))?;
        let positive = self.stride.iter().chain(&self.dilation).all(|&s| s > 0);
        expect::setting(Self::NAME, positive, || {
            format!("stride {:?} and dilation {:?} must be 1 or more", self.stride, self.dilation)
        })?;
        let below = (0..3).all(|axis| self.output_padding[axis] < self.stride[axis]);
        expect::setting(Self::NAME, below, || {
            format!(
                "output padding {:?} must be below the stride {:?}",
                self.output_padding, self.stride
            )
        })?;
        let (x, weight) = (inputs[0], inputs[1]);
        expect::rank(Self::NAME, "x must be [N, D, H, W, C_in]; reshape it", x, 5)?;
        expect::filled(Self::NAME, "x", x)?;
        let what = format!("weight must be [KD, KH, KW, C_in, C_out] for x {x}; reshape it");
        expect::rank(Self::NAME, &what, weight, 5)?;
        expect::filled(Self::NAME, "weight", weight)?;
        let expected = [weight[0], weight[1], weight[2], x[4], weight[4]];
        expect::shape(Self::NAME, &what, weight, &expected)?;
        if self.extents(&x[1..4], &weight[..3]).is_none() {
            let what = format!(
                "padding {:?} removes the whole output of x {x} and weight {weight}; pad less",
                self.padding
            );
            return Err(Error::Setting { op: Self::NAME, what });
        }
        if self.bias {
            let what = "bias: give one number for each output channel";
            expect::shape(Self::NAME, what, inputs[2], &[weight[4]])?;
        }
        Ok(Plan::new(self.output(x, weight)))
    }

    fn keep(&self) -> Keep {
        Keep::inputs(&[0, 1])
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        cpu::backward(self, call);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let (x, weight) = (inputs[0], inputs[1]);
        let flops = 2.0 * x.rows() as f64 * weight.count() as f64;
        let read = inputs.iter().map(Shape::count).sum::<usize>() as f64;
        let written = self.output(x, weight).count() as f64;
        Cost {
            forward_flops: flops,
            backward_flops: 2.0 * flops,
            forward_bytes: 4.0 * (read + written),
            backward_bytes: 4.0 * (2.0 * read + written),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let op = ConvTranspose3d::new;
        let one = [1; 3];
        vec![
            // The layers of decoders: twice the size with a kernel of 2, of 4, and of 3 with output padding.
            make(op([1, 2, 2], [0; 3]), &[1, 2, 3, 4, 5], [1, 2, 2], 3),
            make(
                ConvTranspose3d { bias: true, ..op([1, 2, 2], [0, 1, 1]) },
                &[2, 1, 4, 3, 17],
                [1, 4, 4],
                18,
            ),
            make(
                ConvTranspose3d {
                    output_padding: [1, 1, 1],
                    bias: true,
                    ..op([2, 2, 2], [1, 1, 1])
                },
                &[1, 2, 3, 2, 6],
                [3, 3, 3],
                4,
            ),
            // Channels enough for the transforms of 3x3 taps with stride 1.
            make(op(one, [0, 1, 1]), &[1, 1, 7, 6, 48], [1, 3, 3], 32),
            // A linear layer over pixels, with and without gaps between them.
            make(ConvTranspose3d { bias: true, ..op(one, [0; 3]) }, &[2, 1, 3, 2, 5], one, 6),
            make(op([2, 3, 1], [0; 3]), &[1, 2, 2, 3, 4], one, 3),
            // A sequence with dilation, longer padding than reach, and a stride that skips pixels.
            make(
                ConvTranspose3d { dilation: [1, 1, 3], bias: true, ..op([1, 1, 2], [0, 0, 2]) },
                &[2, 1, 1, 9, 3],
                [1, 1, 3],
                20,
            ),
            make(op([3, 1, 1], [1, 0, 0]), &[1, 3, 2, 2, 2], [2, 1, 2], 3),
            // Several tiles of pixels and channels, and several slices of the input's pixels.
            make(op([1, 2, 1], [0, 1, 1]), &[1, 3, 13, 14, 66], [1, 3, 3], 9),
            // Several slices of the output's pixels.
            make(
                ConvTranspose3d { bias: true, ..op([1, 1, 2], [0; 3]) },
                &[2, 1, 1, 700, 2],
                [1, 1, 3],
                3,
            ),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let axis = || (1usize..4, 0usize..3, 0usize..3, 1usize..3, 1usize..4, 1usize..5);
        (any::<bool>(), 1usize..3, [axis(), axis(), axis()], 1usize..20, 1usize..28)
            .prop_map(|(bias, batch, axes, channels, out)| {
                let kernel = axes.map(|a| a.4);
                let dilation = axes.map(|a| a.3);
                // No more padding than leaves a pixel.
                let padding =
                    std::array::from_fn(|i| axes[i].1.min(dilation[i] * (kernel[i] - 1) / 2));
                let op = ConvTranspose3d {
                    stride: axes.map(|a| a.0),
                    padding,
                    output_padding: axes.map(|a| a.2.min(a.0 - 1)),
                    dilation,
                    bias,
                };
                let [d, h, w] = axes.map(|a| a.5);
                make(op, &[batch, d, h, w, channels], kernel, out)
            })
            .boxed()
    }
}

fn make(
    op: ConvTranspose3d,
    x: &[usize],
    [kd, kh, kw]: [usize; 3],
    out: usize,
) -> Case<ConvTranspose3d> {
    let weight = [kd, kh, kw, x[4], out];
    if op.bias { Case::new(op, &[x, &weight, &[out]]) } else { Case::new(op, &[x, &weight]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let plan = |op: ConvTranspose3d, x: &[usize], weight: &[usize]| {
            op.plan(&[Shape::new(x), Shape::new(weight)], &[])
        };
        let op = ConvTranspose3d::new([1, 1, 2], [0, 0, 1]);
        let error = |op, x, weight| plan(op, x, weight).unwrap_err().to_string();
        let channels = error(op, &[1, 1, 1, 4, 3], &[1, 1, 2, 4, 5]);
        assert!(channels.contains("[1, 1, 1, 4, 3]") && channels.contains("[1, 1, 2, 4, 5]"));
        assert!(error(op, &[1, 1, 1, 1, 3], &[1, 1, 2, 3, 5]).contains("pad less"));
        let wide = ConvTranspose3d { output_padding: [0, 0, 2], ..op };
        assert!(error(wide, &[1, 1, 1, 4, 3], &[1, 1, 3, 3, 5]).contains("below the stride"));
        let output = plan(op, &[1, 1, 1, 4, 3], &[1, 1, 3, 3, 5]).unwrap().output;
        assert_eq!(output.shape[..], [1, 1, 1, 7, 5]);
    }
}
