//! Depthwise convolution on the CPU. Sums over the taps stay in registers: [`TILE`] steps by a few vectors of
//! features where every tap is inside the sequence, one step near its ends.

use super::DepthwiseConv;
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::{self, Isa, Vector};
use crate::cpu::{reduce, scratch};
use crate::op::{Backward, Forward, Gradient};

/// Output steps that share one load of the weights.
const TILE: usize = 4;
/// Output steps over which the weight's gradient is summed in the working precision; with the inputs of 64 features
/// they fit in L1.
const SEGMENT: usize = 64;
/// The most slices of steps in the sum of the weight's gradient.
const SLICES: usize = 16;

/// A convolution of sequences of `steps` steps.
#[derive(Clone, Copy)]
struct Taps {
    steps: usize,
    features: usize,
    kernel: usize,
    stride: usize,
    /// Negative where the first tap of the first output is inside the sequence.
    padding: isize,
    dilation: usize,
}

impl Taps {
    /// The taps of an output step that are inside the sequence.
    #[inline(always)]
    fn inside(&self, step: usize) -> std::ops::Range<usize> {
        let origin = (step * self.stride) as isize - self.padding;
        let dilation = self.dilation as isize;
        let kernel = self.kernel as isize;
        let first = if origin < 0 { (-origin + dilation - 1) / dilation } else { 0 };
        let left = self.steps as isize - origin;
        let end = if left > 0 { (left + dilation - 1) / dilation } else { 0 };
        let end = end.min(kernel);
        first.min(end) as usize..end as usize
    }

    /// The input step of a tap that is inside.
    #[inline(always)]
    fn input(&self, step: usize, tap: usize) -> usize {
        ((step * self.stride + tap * self.dilation) as isize - self.padding) as usize
    }

    /// Computes `STEPS` output steps of `LANES` features over the given taps.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "three arrays and a place in them")]
    fn tile<T: Float, const STEPS: usize, const LANES: usize>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        step: usize,
        feature: usize,
        taps: std::ops::Range<usize>,
        output: &mut [T],
        add: bool,
    ) {
        let mut start = [T::ZERO; LANES];
        if let Some(bias) = bias {
            start.copy_from_slice(&bias[feature..feature + LANES]);
        }
        let mut sums = [start; STEPS];
        for tap in taps {
            let w = &weight[tap * self.features + feature..][..LANES];
            for (s, sums) in sums.iter_mut().enumerate() {
                let x = &x[self.input(step + s, tap) * self.features + feature..][..LANES];
                for ((sum, &x), &w) in sums.iter_mut().zip(x).zip(w) {
                    *sum += x * w;
                }
            }
        }
        for (s, sums) in sums.iter().enumerate() {
            let output = &mut output[s * self.features + feature..][..LANES];
            for (y, &sum) in output.iter_mut().zip(sums) {
                let old = if add { *y } else { T::ZERO };
                *y = old + sum;
            }
        }
    }

    /// Computes `STEPS` output steps of two vectors of features, with the sums in registers.
    ///
    /// # Safety
    /// The processor has the instruction set; two vectors of features are left; all taps of all steps are inside.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "three arrays and a place in them")]
    #[allow(clippy::needless_range_loop, reason = "iterators over registers are not unrolled")]
    unsafe fn vectors<T: Float, I: Isa, const STEPS: usize>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        step: usize,
        feature: usize,
        taps: std::ops::Range<usize>,
        output: &mut [T],
        add: bool,
    ) {
        let lanes = T::On::<I>::LANES;
        // SAFETY: every slice of two vectors is bounds-checked, and the caller ensures the instruction set.
        unsafe {
            let pair = |from: &[T]| {
                let from = from[..2 * lanes].as_ptr();
                [T::On::<I>::load(from), T::On::<I>::load(from.add(lanes))]
            };
            let zero = [T::On::<I>::splat(T::ZERO); 2];
            let mut sums = [bias.map_or(zero, |bias| pair(&bias[feature..])); STEPS];
            for tap in taps {
                let w = pair(&weight[tap * self.features + feature..]);
                let first = self.input(step, tap);
                for s in 0..STEPS {
                    let x = pair(&x[(first + s * self.stride) * self.features + feature..]);
                    sums[s][0] = x[0].mul_add(w[0], sums[s][0]);
                    sums[s][1] = x[1].mul_add(w[1], sums[s][1]);
                }
            }
            for s in 0..STEPS {
                let to = output[s * self.features + feature..][..2 * lanes].as_mut_ptr();
                for (v, &sum) in sums[s].iter().enumerate() {
                    let to = to.add(v * lanes);
                    let sum = if add { T::On::<I>::load(to).add(sum) } else { sum };
                    sum.store(to);
                }
            }
        }
    }

    /// Computes `STEPS` output steps from `step` on, all features.
    ///
    /// # Safety
    /// The processor has the instruction set, and all taps of all steps are inside.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "three arrays and a place in them")]
    unsafe fn features<T: Float, I: Isa, const STEPS: usize>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        step: usize,
        taps: std::ops::Range<usize>,
        output: &mut [T],
        add: bool,
    ) {
        let mut c = 0;
        let pair = 2 * T::On::<I>::LANES;
        while c + pair <= self.features {
            // SAFETY: by the contract above, and two vectors are left.
            unsafe {
                self.vectors::<T, I, STEPS>(x, weight, bias, step, c, taps.clone(), output, add);
            }
            c += pair;
        }
        while c + 8 <= self.features {
            self.tile::<T, STEPS, 8>(x, weight, bias, step, c, taps.clone(), output, add);
            c += 8;
        }
        while c < self.features {
            self.tile::<T, STEPS, 1>(x, weight, bias, step, c, taps.clone(), output, add);
            c += 1;
        }
    }
}

/// Rows of the output `[N, outputs, C]`, from row `first` on.
struct Rows<'a, T> {
    taps: Taps,
    x: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    outputs: usize,
    first: usize,
    rows: &'a mut [T],
    add: bool,
}

impl<T: Float> simd::Work for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Rows { taps, weight, bias, outputs, add, .. } = self;
        let clip_len = taps.steps * taps.features;
        let count = self.rows.len() / taps.features;
        let mut done = 0;
        while done < count {
            let (clip, step) = ((self.first + done) / outputs, (self.first + done) % outputs);
            let x = &self.x[clip * clip_len..][..clip_len];
            let output = &mut self.rows[done * taps.features..];
            let left = (count - done).min(outputs - step);
            let (all, inside) = (0..taps.kernel, taps.inside(step));
            // Taps advance with the steps: the first step has the most taps before the sequence, the last
            // step the most after it.
            let tile = left >= TILE && inside == all && taps.inside(step + TILE - 1) == all;
            // SAFETY: `run` was called for this instruction set, and the given taps are inside.
            unsafe {
                if tile {
                    taps.features::<T, I, TILE>(x, weight, bias, step, all, output, add);
                } else {
                    taps.features::<T, I, 1>(x, weight, bias, step, inside, output, add);
                }
            }
            done += if tile { TILE } else { 1 };
        }
    }
}

pub(super) fn forward<T: Float>(op: &DepthwiseConv, call: Forward<'_, T>) {
    let (x, weight) = (call.shapes[0], call.shapes[1]);
    let taps = Taps {
        steps: x[1],
        features: x[2],
        kernel: weight[0],
        stride: op.stride,
        padding: op.padding as isize,
        dilation: op.dilation,
    };
    let outputs = outputs(op, &taps);
    let (inputs, bias) = (call.inputs, op.bias.then(|| call.inputs[2]));
    parallel::rows(call.output, taps.features, 2 * taps.features, |first, rows| {
        let (x, weight) = (inputs[0], inputs[1]);
        simd::run(Rows { taps, x, weight, bias, outputs, first, rows, add: false });
    });
}

fn outputs(op: &DepthwiseConv, taps: &Taps) -> usize {
    (taps.steps + 2 * op.padding - taps.dilation * (taps.kernel - 1) - 1) / taps.stride + 1
}

pub(super) fn backward<T: Float>(op: &DepthwiseConv, mut call: Backward<'_, T>) {
    let (x_shape, weight_shape) = (call.shapes[0], call.shapes[1]);
    let taps = Taps {
        steps: x_shape[1],
        features: x_shape[2],
        kernel: weight_shape[0],
        stride: op.stride,
        padding: op.padding as isize,
        dilation: op.dilation,
    };
    let outputs = outputs(op, &taps);
    let clips = x_shape[0];
    let (x, weight, grad_output) = (call.inputs[0], call.inputs[1], call.grad_output);
    if let Some(gradient) = &mut call.gradients[0] {
        grad_input(&taps, weight, outputs, grad_output, gradient);
    }
    if let Some(gradient) = &mut call.gradients[1] {
        grad_weight(&taps, x, clips, outputs, grad_output, gradient);
    }
    if op.bias
        && let Some(gradient) = &mut call.gradients[2]
    {
        let features = taps.features;
        reduce::columns(
            clips * outputs,
            features,
            features,
            gradient.data,
            gradient.add,
            #[inline(always)]
            |row, sums| {
                for (sum, &dy) in sums.iter_mut().zip(&grad_output[row * features..]) {
                    *sum += dy;
                }
            },
        );
    }
}

/// With stride 1 the convolution of grad_output with the flipped filter; otherwise each step gathers the outputs that
/// read it.
fn grad_input<T: Float>(
    taps: &Taps,
    weight: &[T],
    outputs: usize,
    grad_output: &[T],
    gradient: &mut Gradient<'_, T>,
) {
    let (features, kernel, add) = (taps.features, taps.kernel, gradient.add);
    if taps.stride == 1 {
        let turned = Taps {
            steps: outputs,
            padding: (taps.dilation * (kernel - 1)) as isize - taps.padding,
            ..*taps
        };
        scratch::with::<T, _>(weight.len(), |flipped| {
            let rows = flipped.chunks_exact_mut(features).rev().zip(weight.chunks_exact(features));
            rows.for_each(|(to, from)| to.copy_from_slice(from));
            let flipped = &*flipped;
            parallel::rows(gradient.data, features, 2 * features, |first, rows| {
                let (x, weight, bias, outputs) = (grad_output, flipped, None, taps.steps);
                simd::run(Rows { taps: turned, x, weight, bias, outputs, first, rows, add });
            });
        });
        return;
    }
    parallel::rows(gradient.data, features, 2 * features, |first, rows| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (r, dx) in rows.chunks_exact_mut(features).enumerate() {
                    let (clip, step) = ((first + r) / taps.steps, (first + r) % taps.steps);
                    if !add {
                        dx.fill(T::ZERO);
                    }
                    for (tap, w) in weight.chunks_exact(features).enumerate() {
                        let at = step as isize + taps.padding - (tap * taps.dilation) as isize;
                        let Ok(at) = usize::try_from(at) else { continue };
                        if at % taps.stride != 0 || at / taps.stride >= outputs {
                            continue;
                        }
                        let dy = &grad_output[(clip * outputs + at / taps.stride) * features..];
                        for ((dx, &dy), &w) in dx.iter_mut().zip(dy).zip(w) {
                            *dx += dy * w;
                        }
                    }
                }
            },
        );
    });
}

fn grad_weight<T: Float>(
    taps: &Taps,
    x: &[T],
    clips: usize,
    outputs: usize,
    grad_output: &[T],
    gradient: &mut Gradient<'_, T>,
) {
    let size = taps.kernel * taps.features;
    let a_clip = outputs.div_ceil(SEGMENT);
    let segments = clips * a_clip;
    let slices = segments.min(SLICES);
    scratch::with::<f64, _>(slices * size, |partial| {
        let shared = Shared::new(partial);
        parallel::tasks(slices, |slice| {
            // SAFETY: each slice has its own sums.
            let sums = unsafe { shared.part(slice * size, size) };
            sums.fill(0.0);
            simd::vectorised(
                #[inline(always)]
                || {
                    for segment in slice * segments / slices..(slice + 1) * segments / slices {
                        let (clip, first) = (segment / a_clip, segment % a_clip * SEGMENT);
                        let steps = first..outputs.min(first + SEGMENT);
                        let x = &x[clip * taps.steps * taps.features..];
                        let dy = &grad_output[clip * outputs * taps.features..];
                        let mut c = 0;
                        while c + 64 <= taps.features {
                            taps.weight::<T, 64>(x, dy, steps.clone(), c, sums);
                            c += 64;
                        }
                        while c + 8 <= taps.features {
                            taps.weight::<T, 8>(x, dy, steps.clone(), c, sums);
                            c += 8;
                        }
                        while c < taps.features {
                            taps.weight::<T, 1>(x, dy, steps.clone(), c, sums);
                            c += 1;
                        }
                    }
                },
            );
        });
        for i in 0..size {
            let sum: f64 = (0..slices).map(|slice| partial[slice * size + i]).sum();
            gradient.put(i, T::from_f64(sum));
        }
    });
}

impl Taps {
    /// Adds the contribution of some steps of one sample to the sums of `LANES` features.
    #[inline(always)]
    fn weight<T: Float, const LANES: usize>(
        &self,
        x: &[T],
        dy: &[T],
        steps: std::ops::Range<usize>,
        feature: usize,
        sums: &mut [f64],
    ) {
        for tap in 0..self.kernel {
            let mut of_tap = [T::ZERO; LANES];
            for step in steps.clone() {
                let at = (step * self.stride + tap * self.dilation) as isize - self.padding;
                // Steps outside of the sequence are few and adjacent, so the branch is well predicted.
                if at < 0 || at >= self.steps as isize {
                    continue;
                }
                let x = &x[at as usize * self.features + feature..][..LANES];
                let dy = &dy[step * self.features + feature..][..LANES];
                for ((sum, &x), &dy) in of_tap.iter_mut().zip(x).zip(dy) {
                    *sum += x * dy;
                }
            }
            let sums = &mut sums[tap * self.features + feature..][..LANES];
            for (total, sum) in sums.iter_mut().zip(of_tap) {
                *total += sum.to_f64();
            }
        }
    }
}
