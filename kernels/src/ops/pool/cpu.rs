use super::Pool;
use crate::cpu::{parallel, simd};
use crate::op::Gradient;
use crate::{Float, Shape};

/// The windows of a call: extents of input and output, kernel, stride and padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    input: [usize; 3],
    output: [usize; 3],
    features: usize,
}

impl Window {
    /// The windows of an op for an x that `plan` accepted.
    pub(super) fn new(op: &Pool, x: Shape) -> Self {
        let (kernel, stride, padding) = (op.kernel, op.stride, op.padding);
        let input = [x[1], x[2], x[3]];
        let output = std::array::from_fn(|axis| op.windows(axis, input[axis]));
        Window { kernel, stride, padding, input, output, features: x[4] }
    }

    fn taps(self) -> usize {
        self.kernel.iter().product()
    }

    /// Calls the body with each input pixel of an output pixel's window.
    #[inline(always)]
    fn inputs_of(self, pixel: usize, mut body: impl FnMut(usize)) {
        let (sample, [d, h, w]) = split(pixel, self.output);
        let at = |axis: usize, output: usize, tap: usize| {
            let place = (output * self.stride[axis] + tap).wrapping_sub(self.padding[axis]);
            (place < self.input[axis]).then_some(place)
        };
        for kd in 0..self.kernel[0] {
            let Some(d) = at(0, d, kd) else { continue };
            for kh in 0..self.kernel[1] {
                let Some(h) = at(1, h, kh) else { continue };
                for kw in 0..self.kernel[2] {
                    let Some(w) = at(2, w, kw) else { continue };
                    body(join(sample, [d, h, w], self.input));
                }
            }
        }
    }

    /// Calls the body with each output pixel whose window contains an input pixel.
    #[inline(always)]
    fn outputs_of(self, pixel: usize, mut body: impl FnMut(usize)) {
        let (sample, [d, h, w]) = split(pixel, self.input);
        let at = |axis: usize, input: usize, tap: usize| {
            let start = (input + self.padding[axis]).checked_sub(tap)?;
            let place = start / self.stride[axis];
            (start % self.stride[axis] == 0 && place < self.output[axis]).then_some(place)
        };
        for kd in 0..self.kernel[0] {
            let Some(d) = at(0, d, kd) else { continue };
            for kh in 0..self.kernel[1] {
                let Some(h) = at(1, h, kh) else { continue };
                for kw in 0..self.kernel[2] {
                    let Some(w) = at(2, w, kw) else { continue };
                    body(join(sample, [d, h, w], self.output));
                }
            }
        }
    }

    /// The maximum of each window, and its index in D·H·W of its sample.
    pub(super) fn max<T: Float>(self, x: &[T], output: &mut [T], places: &mut [u32]) {
        let width = self.features;
        let [inputs, outputs] = [self.input, self.output].map(|e| e.iter().product::<usize>());
        let places = parallel::Shared::new(places);
        parallel::rows(output, width, (self.taps() + 2) * width, |first, output| {
            // SAFETY: the same range as the task's part of the output.
            let places = unsafe { places.part(first * width, output.len()) };
            simd::vectorised(
                #[inline(always)]
                || {
                    let rows = output.chunks_exact_mut(width).zip(places.chunks_exact_mut(width));
                    for (pixel, (output, places)) in (first..).zip(rows) {
                        let start = pixel / outputs * inputs;
                        let mut fresh = true;
                        self.inputs_of(pixel, |source| {
                            let x = &x[source * width..][..width];
                            let place = (source - start) as u32;
                            if fresh {
                                fresh = false;
                                output.copy_from_slice(x);
                                return places.fill(place);
                            }
                            for ((y, p), &x) in output.iter_mut().zip(places.iter_mut()).zip(x) {
                                // A NaN replaces a number; a number never replaces a NaN.
                                #[allow(clippy::eq_op, reason = "a NaN is not equal to itself")]
                                let larger = x > *y || x != x;
                                *y = if larger { x } else { *y };
                                *p = if larger { place } else { *p };
                            }
                        });
                    }
                },
            );
        });
    }

    pub(super) fn average<T: Float>(self, x: &[T], output: &mut [T]) {
        let width = self.features;
        let share = T::from_f64(1.0 / self.taps() as f64);
        parallel::rows(output, width, (self.taps() + 1) * width, |first, output| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (pixel, output) in (first..).zip(output.chunks_exact_mut(width)) {
                        output.fill(T::ZERO);
                        self.inputs_of(pixel, |source| {
                            for (y, &x) in output.iter_mut().zip(&x[source * width..]) {
                                *y += x;
                            }
                        });
                        output.iter_mut().for_each(|y| *y *= share);
                    }
                },
            );
        });
    }

    pub(super) fn grad_max<T: Float>(self, places: &[u32], dy: &[T], gradient: &mut Gradient<T>) {
        let inputs: usize = self.input.iter().product();
        self.gather(gradient, |gradient, pixel, target| {
            let range = target * self.features..(target + 1) * self.features;
            let place = (pixel % inputs) as u32;
            for ((g, &p), &dy) in gradient.iter_mut().zip(&places[range.clone()]).zip(&dy[range]) {
                *g += if p == place { dy } else { T::ZERO };
            }
        });
    }

    pub(super) fn grad_average<T: Float>(self, dy: &[T], gradient: &mut Gradient<T>) {
        let share = T::from_f64(1.0 / self.taps() as f64);
        self.gather(gradient, |gradient, _, target| {
            for (g, &dy) in gradient.iter_mut().zip(&dy[target * self.features..]) {
                *g += dy * share;
            }
        });
    }

    /// Sums for each input pixel over the windows that contain it, so that tasks write disjoint pixels. `add` gets the
    /// pixel's numbers, the pixel and the output pixel of the window.
    fn gather<T: Float>(
        self,
        gradient: &mut Gradient<T>,
        add: impl Fn(&mut [T], usize, usize) + Sync,
    ) {
        let (width, keep) = (self.features, gradient.add);
        parallel::rows(gradient.data, width, (self.taps() + 1) * width, |first, gradient| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (pixel, gradient) in (first..).zip(gradient.chunks_exact_mut(width)) {
                        if !keep {
                            gradient.fill(T::ZERO);
                        }
                        self.outputs_of(pixel, |target| add(gradient, pixel, target));
                    }
                },
            );
        });
    }
}

/// The sample and the coordinates of a pixel.
#[inline(always)]
fn split(pixel: usize, [d, h, w]: [usize; 3]) -> (usize, [usize; 3]) {
    (pixel / w / h / d, [pixel / w / h % d, pixel / w % h, pixel % w])
}

#[inline(always)]
fn join(sample: usize, [d, h, w]: [usize; 3], extents: [usize; 3]) -> usize {
    ((sample * extents[0] + d) * extents[1] + h) * extents[2] + w
}
