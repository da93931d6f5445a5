//! Convolutions over clips; images and sequences are clips with extents of 1.

mod cpu;
mod cuda;
mod scatter;
mod winograd;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y[n, o, c'] = Σ over taps k and channels c of x[n, o·stride − padding + k·dilation, c] · w[k, c, c'] + b[c'],
/// with zeros outside of x, and then optionally ReLU. It is a cross-correlation, as in every framework.
///
/// Inputs: x `[N, D, H, W, C_in]`, weight `[KD, KH, KW, C_in, C_out]`, and if `bias` the bias `[C_out]`. Output:
/// `[N, D', H', W', C_out]` with D' = (D + 2·padding − dilation·(KD − 1) − 1) / stride + 1, rounded down; H' and W'
/// likewise. A 2-D convolution has D = KD = 1, a 1-D one also H = KH = 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv3d {
    /// Input pixels between neighbouring outputs, along depth, height and width; at least 1.
    pub stride: [usize; 3],
    /// Zeros before and after the input along each axis.
    pub padding: [usize; 3],
    /// Input pixels between neighbouring taps along each axis; at least 1.
    pub dilation: [usize; 3],
    /// Whether the third input, the bias, is given.
    pub bias: bool,
    /// Whether ReLU is applied; its gradient at 0 is 0.
    pub relu: bool,
}

impl Conv3d {
    /// A convolution with this stride and padding, without dilation, bias or ReLU.
    pub fn new(stride: [usize; 3], padding: [usize; 3]) -> Self {
        Conv3d { stride, padding, dilation: [1; 3], bias: false, relu: false }
    }

    /// The output's extent along each axis; `None` where the kernel is larger than the padded input.
    fn extents(&self, input: &[usize], kernel: &[usize]) -> Option<[usize; 3]> {
        let mut extents = [0; 3];
        for axis in 0..3 {
            let reach = self.dilation[axis] * (kernel[axis].checked_sub(1)?) + 1;
            let room = (input[axis] + 2 * self.padding[axis]).checked_sub(reach)?;
            extents[axis] = room / self.stride[axis] + 1;
        }
        Some(extents)
    }

    fn geometry(&self, shapes: &[Shape]) -> cpu::Geometry {
        let (x, weight) = (shapes[0], shapes[1]);
        let kernel = [weight[0], weight[1], weight[2]];
        let input = [x[1], x[2], x[3]];
        let output = self.extents(&input, &kernel).unwrap_or_default();
        cpu::Geometry::new(self, x[0], input, output, kernel, [weight[3], weight[4]])
    }
}

impl Op for Conv3d {
    const NAME: &'static str = "conv3d";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2 + usize::from(self.bias))?;
        let positive = self.stride.iter().chain(&self.dilation).all(|&s| s > 0);
        expect::setting(Self::NAME, positive, || {
            format!(
                "got stride {:?} and dilation {:?}; give at least 1",
                self.stride, self.dilation
            )
        })?;
        let (x, weight) = (inputs[0], inputs[1]);
        expect::rank(Self::NAME, "x: reshape it to [N, D, H, W, C_in]", x, 5)?;
        let what = format!("weight for x {x}: reshape it to [KD, KH, KW, C_in, C_out]");
        expect::rank(Self::NAME, &what, weight, 5)?;
        let expected = [weight[0], weight[1], weight[2], x[4], weight[4]];
        expect::shape(Self::NAME, &what, weight, &expected)?;
        let extents = self.extents(&x[1..4], &weight[..3]);
        let Some([d, h, w]) = extents else {
            return Err(crate::Error::Setting {
                op: Self::NAME,
                what: format!(
                    "x {x} with padding {:?} is smaller than the kernel of weight {weight} with dilation {:?}; \
                     pad more or use a smaller kernel",
                    self.padding, self.dilation
                ),
            });
        };
        if self.bias {
            let what = "bias: give one element for each output channel";
            expect::shape(Self::NAME, what, inputs[2], &[weight[4]])?;
        }
        Ok(Plan::new(Shape::new(&[x[0], d, h, w, weight[4]])))
    }

    fn keep(&self) -> Keep {
        let inputs = Keep::inputs(&[0, 1]);
        if self.relu { inputs.and_output() } else { inputs }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let bias = self.bias.then(|| call.inputs[2]);
        let geometry = self.geometry(call.shapes);
        cpu::forward(&geometry, call.inputs[0], call.inputs[1], bias, self.relu, call.output);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let output = self.relu.then_some(call.output);
        let mut gradients = call.gradients.into_iter();
        let mut next = || gradients.next().flatten();
        let gradients = cpu::Gradients { input: next(), weight: next(), bias: next() };
        let geometry = self.geometry(call.shapes);
        cpu::backward(
            &geometry,
            call.inputs[0],
            call.inputs[1],
            output,
            call.grad_output,
            gradients,
        );
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let (x, weight) = (inputs[0], inputs[1]);
        let [d, h, w] = self.extents(&x[1..4], &weight[..3]).unwrap_or_default();
        let pixels = (x[0] * d * h * w) as f64;
        let flops = 2.0 * pixels * weight.count() as f64;
        let (read, written) =
            (inputs.iter().map(Shape::count).sum::<usize>() as f64, pixels * weight[4] as f64);
        Cost {
            forward_flops: flops,
            backward_flops: 2.0 * flops,
            forward_bytes: 4.0 * (read + written),
            backward_bytes: 4.0 * (2.0 * read + written),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let conv = Conv3d::new;
        vec![
            // The layers of R(2+1)D: stem, spatial, temporal, strided and residual ones.
            make(conv([1, 2, 2], [0, 3, 3]), &[1, 2, 9, 8, 3], [1, 7, 7], 5),
            make(conv([1, 1, 1], [0, 1, 1]), &[2, 2, 4, 5, 16], [1, 3, 3], 33),
            make(conv([1, 2, 2], [0, 1, 1]), &[1, 2, 5, 6, 17], [1, 3, 3], 4),
            make(conv([1, 1, 1], [1, 0, 0]), &[2, 3, 3, 2, 18], [3, 1, 1], 7),
            make(conv([2, 1, 1], [1, 0, 0]), &[1, 5, 2, 3, 16], [3, 1, 1], 6),
            make(conv([2, 2, 2], [0, 0, 0]), &[1, 3, 4, 5, 6], [1, 1, 1], 9),
            make(
                Conv3d { bias: true, relu: true, ..conv([1; 3], [0; 3]) },
                &[2, 2, 3, 2, 5],
                [1, 1, 1],
                6,
            ),
            // An image with dilation and bias.
            make(
                Conv3d { dilation: [1, 2, 3], bias: true, ..conv([1; 3], [0, 2, 2]) },
                &[2, 1, 6, 7, 3],
                [1, 3, 2],
                4,
            ),
            // A sequence with dilation and ReLU.
            make(
                Conv3d { dilation: [1, 1, 4], bias: true, relu: true, ..conv([1; 3], [0, 0, 4]) },
                &[2, 1, 1, 11, 5],
                [1, 1, 3],
                6,
            ),
            // Padding wider than the kernel, and a stride over the whole input.
            make(conv([1, 1, 3], [1, 2, 2]), &[1, 1, 1, 1, 1], [1, 1, 1], 1),
            make(conv([3, 3, 3], [1; 3]), &[1, 4, 4, 4, 2], [2, 2, 2], 3),
            // Enough channels for Winograd's transforms: whole and partial tiles, every padding.
            make(conv([1; 3], [0, 1, 1]), &[2, 2, 7, 9, 32], [1, 3, 3], 48),
            make(
                Conv3d { bias: true, relu: true, ..conv([1; 3], [0, 0, 2]) },
                &[1, 1, 8, 6, 112],
                [1, 3, 3],
                32,
            ),
            // Several tiles of pixels, taps and channels, and several slices of pixels.
            make(
                Conv3d { bias: true, ..conv([1, 2, 1], [0, 1, 1]) },
                &[2, 3, 24, 20, 18],
                [1, 3, 3],
                66,
            ),
            // Few channels, and enough lines that the gradient is scattered in several parts.
            make(conv([1; 3], [0, 1, 2]), &[1, 1, 24, 30, 3], [1, 3, 5], 5),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let axis = || (1usize..4, 0usize..3, 1usize..4, 1usize..4, 0usize..5);
        (any::<bool>(), any::<bool>(), 1usize..3, [axis(), axis(), axis()], 1usize..28, 1usize..20)
            .prop_map(|(bias, relu, batch, axes, channels, out)| {
                let pick = |f: fn(&(usize, usize, usize, usize, usize)) -> usize| {
                    [f(&axes[0]), f(&axes[1]), f(&axes[2])]
                };
                let op = Conv3d {
                    stride: pick(|a| a.0),
                    padding: pick(|a| a.1),
                    dilation: pick(|a| a.2),
                    bias,
                    relu,
                };
                // As large as the kernel, or a little larger.
                let [d, h, w] =
                    pick(|a| (a.2 * (a.3 - 1) + 1).saturating_sub(2 * a.1).max(1) + a.4);
                make(op, &[batch, d, h, w, channels], pick(|a| a.3), out)
            })
            .boxed()
    }
}

fn make(op: Conv3d, x: &[usize], [kd, kh, kw]: [usize; 3], out: usize) -> Case<Conv3d> {
    let weight = [kd, kh, kw, x[4], out];
    if op.bias { Case::new(op, &[x, &weight, &[out]]) } else { Case::new(op, &[x, &weight]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Gradient;
    use crate::philox::Philox;

    fn numbers<T: Float>(shape: Shape, stream: &str) -> Vec<T> {
        let stream = Philox::new(5, stream);
        let number = |i| T::from_f64(f64::from(stream.normal(i as u64) as f32));
        (0..shape.count()).map(number).collect()
    }

    /// Output, gradient of x and of the weight.
    fn run<T: Float>(op: &Conv3d, shapes: &[Shape; 2]) -> [Vec<T>; 3] {
        let (x, weight) = (numbers::<T>(shapes[0], "x"), numbers::<T>(shapes[1], "weight"));
        let output_shape = op.plan(shapes, &[]).unwrap().output.shape;
        let grad_output = numbers::<T>(output_shape, "grad_output");
        let nan = T::from_f64(f64::NAN);
        let inputs: [&[T]; 2] = [&x, &weight];
        let mut output = vec![nan; output_shape.count()];
        op.forward(Forward {
            shapes,
            inputs: &inputs,
            index_shapes: &[],
            indices: &[],
            output: &mut output,
            saved: &mut [],
            saved_indices: &mut [],
        });
        let (mut grad_x, mut grad_weight) = (vec![nan; x.len()], vec![nan; weight.len()]);
        op.backward(Backward {
            shapes,
            inputs: &inputs,
            index_shapes: &[],
            indices: &[],
            output: &output,
            saved: &[],
            saved_indices: &[],
            grad_output: &grad_output,
            gradients: vec![
                Some(Gradient { data: &mut grad_x, add: false }),
                Some(Gradient { data: &mut grad_weight, add: false }),
            ],
        });
        [output, grad_x, grad_weight]
    }

    /// Layers large enough for slices, splits and many blocks.
    fn layers() -> Vec<(Conv3d, [Shape; 2])> {
        let conv = Conv3d::new;
        vec![
            (conv([1; 3], [0, 1, 1]), [[2, 3, 28, 28, 16].into(), [1, 3, 3, 16, 48].into()]),
            (conv([1; 3], [0, 1, 1]), [[2, 3, 30, 29, 32].into(), [1, 3, 3, 32, 112].into()]),
            (conv([1; 3], [0, 0, 0]), [[1, 1, 10, 11, 144].into(), [1, 3, 3, 144, 64].into()]),
            (conv([1, 2, 2], [0, 3, 3]), [[1, 2, 40, 40, 3].into(), [1, 7, 7, 3, 48].into()]),
            (conv([2, 1, 1], [1, 0, 0]), [[2, 5, 14, 14, 48].into(), [3, 1, 1, 48, 32].into()]),
            (conv([1; 3], [1, 0, 0]), [[2, 2, 7, 7, 300].into(), [3, 1, 1, 300, 320].into()]),
            (conv([2; 3], [0; 3]), [[2, 3, 14, 14, 64].into(), [1, 1, 1, 64, 80].into()]),
        ]
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        for (op, shapes) in layers() {
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run::<f32>(&op, &shapes))
            };
            let one = with(1);
            for threads in [2, 3] {
                assert!(one == with(threads), "{threads} threads differ for {op:?} on {shapes:?}");
            }
        }
    }

    #[test]
    fn forward_follows_the_definition() {
        for (op, shapes) in layers() {
            let [output, ..] = run::<f32>(&op, &shapes);
            let (x, weight) = (numbers::<f32>(shapes[0], "x"), numbers::<f32>(shapes[1], "weight"));
            let out = op.plan(&shapes, &[]).unwrap().output.shape;
            let [xs, ws] = shapes;
            // The transforms' largest error is about 1e-5 of a sum's standard deviation.
            let deviation = ((ws.count() / ws[4]) as f64).sqrt();
            let transformed = winograd::suits(&op.geometry(&shapes));
            let tolerance = if transformed { 5e-5 * deviation } else { 2e-4 };
            for element in (0..out.count()).step_by(101) {
                let c_out = element % out[4];
                let pixel = element / out[4];
                let (w, h, d) =
                    (pixel % out[3], pixel / out[3] % out[2], pixel / (out[3] * out[2]) % out[1]);
                let n = pixel / (out[3] * out[2] * out[1]);
                let mut sum = 0.0;
                for tap in 0..ws[0] * ws[1] * ws[2] {
                    let k = [tap / (ws[1] * ws[2]), tap / ws[2] % ws[1], tap % ws[2]];
                    let at: [usize; 3] = std::array::from_fn(|a| {
                        ([d, h, w][a] * op.stride[a] + k[a]).wrapping_sub(op.padding[a])
                    });
                    if (0..3).any(|a| at[a] >= xs[a + 1]) {
                        continue;
                    }
                    let pixel = ((n * xs[1] + at[0]) * xs[2] + at[1]) * xs[3] + at[2];
                    for c in 0..xs[4] {
                        sum += f64::from(x[pixel * xs[4] + c])
                            * f64::from(weight[(tap * xs[4] + c) * ws[4] + c_out]);
                    }
                }
                let got = f64::from(output[element]);
                assert!((got - sum).abs() < tolerance, "{got} against {sum} at {element}, {op:?}");
            }
        }
    }

    /// The transformed layers of R(2+1)D: f32 against f64, root mean square and largest error.
    #[test]
    fn transforms_lose_few_digits() {
        let op = Conv3d::new([1; 3], [0, 1, 1]);
        for (side, channels, out) in [(56, 64, 144), (28, 128, 288), (14, 256, 96), (7, 512, 64)] {
            let shapes = [[1, 1, side, side, channels].into(), [1, 3, 3, channels, out].into()];
            let exact = run::<f64>(&op, &shapes);
            for (got, exact) in run::<f32>(&op, &shapes).iter().zip(&exact) {
                let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|v| v * v).sum();
                let size: f64 = squares(&mut exact.iter().copied());
                let errors = || got.iter().zip(exact).map(|(&g, &e)| f64::from(g) - e);
                let error: f64 = squares(&mut errors());
                assert!(error.sqrt() < 3e-6 * size.sqrt(), "{}", (error / size).sqrt());
                let scale = (size / exact.len() as f64).sqrt();
                let worst = errors().fold(0.0, |worst, e| f64::max(worst, e.abs()));
                assert!(worst < 1e-4 * scale, "{}", worst / scale);
            }
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let op = Conv3d::new([1; 3], [0; 3]);
        let plan =
            |x: &[usize], weight: &[usize]| op.plan(&[Shape::new(x), Shape::new(weight)], &[]);
        let channels = plan(&[1, 2, 2, 2, 3], &[1, 1, 1, 4, 5]).unwrap_err().to_string();
        assert!(
            channels.contains("[1, 2, 2, 2, 3]") && channels.contains("[1, 1, 1, 4, 5]"),
            "{channels}"
        );
        assert!(
            plan(&[1, 2, 2, 2, 3], &[3, 1, 1, 3, 5]).unwrap_err().to_string().contains("pad more")
        );
        assert!(plan(&[1, 2, 2, 2, 3], &[0, 1, 1, 3, 5]).is_err());
    }
}
