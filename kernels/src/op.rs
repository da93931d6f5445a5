//! What an op must say of itself.
//!
//! Every method of [`Op`] is required and none has a default, so that an op without a backward pass, a cost
//! or cases to be tried on cannot be written. The words in [`crate::ops`] then give gradient checks, benches
//! and table rows with no more typing.

use proptest::strategy::BoxedStrategy;
use std::fmt::Debug;

use crate::{Error, Float, Result, Shape};

/// One operation of the engine: pure, on contiguous buffers, deterministic for any number of threads.
///
/// An op never allocates what it returns: the caller hands it every buffer. It writes every element of its
/// output and saved buffers (checks hand it buffers full of NaN), and writes or adds to each gradient as the
/// [`Gradient`] says.
pub trait Op: Clone + Debug + Send + Sync + 'static {
    /// The field's name of the operation, as it stands in tables and errors.
    const NAME: &'static str;

    /// What comes out for inputs of these shapes, or what is wrong with them.
    ///
    /// `inputs` are the floating point inputs, `indices` the u32 ones.
    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan>;

    /// Which buffers the backward pass reads; the tape frees the others at once.
    fn keep(&self) -> Keep;

    /// Computes the output and the saved buffers.
    fn forward<T: Float>(&self, call: Forward<'_, T>);

    /// Computes the gradient of each input that somebody needs.
    fn backward<T: Float>(&self, call: Backward<'_, T>);

    /// The work of one forward pass, and the fewest bytes it can move in f32.
    fn cost(&self, inputs: &[Shape], indices: &[Shape]) -> Cost;

    /// The shapes the op is always tried on: its documented uses and its corners.
    fn cases() -> Vec<Case<Self>>;

    /// Ragged cases for property tests: odd sizes, axes of 1, every setting.
    fn ragged() -> BoxedStrategy<Case<Self>>;
}

/// An op compiled for both precisions: [`crate::ops`] implements it for every op of the list, so that the loops are
/// compiled in this crate alone and not again in each crate that calls them.
pub trait Compiled: crate::gpu::GpuOp {
    /// [`Op::forward`] in f32.
    fn forward_f32(&self, call: Forward<'_, f32>);
    /// [`Op::forward`] in f64.
    fn forward_f64(&self, call: Forward<'_, f64>);
    /// [`Op::backward`] in f32.
    fn backward_f32(&self, call: Backward<'_, f32>);
    /// [`Op::backward`] in f64.
    fn backward_f64(&self, call: Backward<'_, f64>);
}

/// What an op will make: the output, and the small buffers it saves for its backward pass. The gradient of an input
/// has the shape and the type of the input.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The output.
    pub output: Buffer,
    /// The saved buffers: means, reciprocal deviations, log-sums, places of maxima.
    pub saved: Vec<Buffer>,
}

impl Plan {
    /// An output of the inputs' type and nothing to save.
    pub fn new(output: Shape) -> Self {
        Plan { output: Buffer { shape: output, numbers: Numbers::Input }, saved: Vec::new() }
    }

    /// An output of the inputs' type, and saved buffers that hold sums.
    pub fn saving(output: Shape, saved: Vec<Shape>) -> Self {
        let sums = saved.into_iter().map(|shape| Buffer { shape, numbers: Numbers::Sum });
        Plan { saved: sums.collect(), ..Plan::new(output) }
    }

    /// The plan with one more saved buffer, of indices.
    pub fn saving_indices(mut self, shape: Shape) -> Self {
        self.saved.push(Buffer { shape, numbers: Numbers::Index });
        self
    }
}

/// A buffer that an op makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Its shape.
    pub shape: Shape,
    /// The type of its numbers.
    pub numbers: Numbers,
}

/// The type of a buffer's numbers, given that of the op's first input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// The type of the first input.
    Input,
    /// The type that sums are kept in: f64 where the first input is f64, else f32.
    Sum,
    /// u32.
    Index,
}

/// Which buffers a backward pass reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    inputs: u64,
    /// Whether it reads the output.
    pub output: bool,
}

impl Keep {
    /// Nothing at all.
    pub const NOTHING: Keep = Keep { inputs: 0, output: false };
    /// The output alone.
    pub const OUTPUT: Keep = Keep { inputs: 0, output: true };
    /// Every input.
    pub const INPUTS: Keep = Keep { inputs: u64::MAX, output: false };

    /// These inputs, by position.
    pub const fn inputs(positions: &[usize]) -> Self {
        let mut inputs = 0;
        let mut i = 0;
        while i < positions.len() {
            inputs |= 1 << positions[i];
            i += 1;
        }
        Keep { inputs, output: false }
    }

    /// The same and the output.
    pub const fn and_output(self) -> Self {
        Keep { inputs: self.inputs, output: true }
    }

    /// Whether it reads the input at this position.
    pub fn input(&self, position: usize) -> bool {
        self.inputs >> position & 1 == 1
    }
}

/// The buffers of one forward pass. All are contiguous, in the order of their shapes.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs.
    pub inputs: &'a [&'a [T]],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs: classes, lengths, token numbers, graph structure.
    pub indices: &'a [&'a [u32]],
    /// Where the output goes, every element of it.
    pub output: &'a mut [T],
    /// Where the saved floating point buffers go, in the order of [`Plan::saved`].
    pub saved: &'a mut [&'a mut [T]],
    /// Where the saved indices go, likewise.
    pub saved_indices: &'a mut [&'a mut [u32]],
}

/// The buffers of one backward pass.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs; empty where [`Op::keep`] did not ask for them.
    pub inputs: &'a [&'a [T]],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs.
    pub indices: &'a [&'a [u32]],
    /// The output; empty where [`Op::keep`] did not ask for it.
    pub output: &'a [T],
    /// The saved floating point buffers of the forward pass.
    pub saved: &'a [&'a [T]],
    /// The saved indices of the forward pass.
    pub saved_indices: &'a [&'a [u32]],
    /// The gradient of the output.
    pub grad_output: &'a [T],
    /// Where the gradient of each input goes; `None` where nobody needs it.
    pub gradients: Vec<Option<Gradient<'a, T>>>,
}

/// Where one gradient goes.
#[derive(Debug)]
pub struct Gradient<'a, T> {
    /// As many numbers as the input has.
    pub data: &'a mut [T],
    /// Whether to add to what stands there; otherwise it holds nothing of worth.
    pub add: bool,
}

impl<T: Float> Gradient<'_, T> {
    /// Writes or adds one number.
    #[inline(always)]
    pub fn put(&mut self, index: usize, value: T) {
        let old = if self.add { self.data[index] } else { T::ZERO };
        self.data[index] = old + value;
    }

    /// Makes it ready for an op that only adds: zero unless it is to be added to anyway.
    pub fn clear(&mut self) {
        if !self.add {
            self.data.fill(T::ZERO);
            self.add = true;
        }
    }
}

/// What one forward pass costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Floating point operations; a multiply-add counts as two.
    pub forward_flops: f64,
    /// The same for all gradients together.
    pub backward_flops: f64,
    /// The fewest bytes the forward pass can move in f32: each input once, the output once.
    pub forward_bytes: f64,
    /// The same for the backward pass.
    pub backward_bytes: f64,
}

impl Cost {
    /// The cost of an op that does `flops` operations an output element, with its bytes from the shapes.
    pub fn elementwise(inputs: &[Shape], output: Shape, flops: f64) -> Self {
        let read: usize = inputs.iter().map(Shape::count).sum();
        let written = output.count();
        Cost {
            forward_flops: flops * written as f64,
            backward_flops: 2.0 * flops * written as f64,
            forward_bytes: 4.0 * (read + written) as f64,
            backward_bytes: 4.0 * (2 * read + written) as f64,
        }
    }
}

/// One call of an op to try it on: its settings and the kind of numbers each input gets.
#[derive(Debug, Clone)]
pub struct Case<O> {
    /// The op with its settings.
    pub op: O,
    /// Its floating point inputs.
    pub inputs: Vec<Input>,
    /// Its index inputs, in full: they say what the call means.
    pub indices: Vec<(Shape, Vec<u32>)>,
}

impl<O> Case<O> {
    /// A case whose inputs are all differentiable and normally distributed.
    pub fn new(op: O, inputs: &[&[usize]]) -> Self {
        let inputs = inputs.iter().map(|s| Input::normal(s)).collect();
        Case { op, inputs, indices: Vec::new() }
    }

    /// The same with one input replaced.
    pub fn input(mut self, position: usize, input: Input) -> Self {
        self.inputs[position] = input;
        self
    }

    /// The same with one more index input.
    pub fn index(mut self, shape: &[usize], values: Vec<u32>) -> Self {
        self.indices.push((Shape::new(shape), values));
        self
    }
}

/// A floating point input of a [`Case`].
#[derive(Debug, Clone)]
pub struct Input {
    /// Its shape.
    pub shape: Shape,
    /// What its numbers are like.
    pub values: Values,
    /// Whether a gradient is asked for.
    pub differentiable: bool,
}

/// What the numbers of an input are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// Normal, mean 0, deviation 1.
    Normal,
    /// Uniform between two bounds.
    Uniform(f64, f64),
    /// 0 or 1 with equal chance.
    Bits,
}

impl Input {
    /// A differentiable input of normal numbers.
    pub fn normal(shape: &[usize]) -> Self {
        Input { shape: Shape::new(shape), values: Values::Normal, differentiable: true }
    }

    /// An input of such numbers that has no gradient.
    pub fn constant(shape: &[usize], values: Values) -> Self {
        Input { shape: Shape::new(shape), values, differentiable: false }
    }

    /// A differentiable input of numbers between two bounds.
    pub fn uniform(shape: &[usize], low: f64, high: f64) -> Self {
        Input { shape: Shape::new(shape), values: Values::Uniform(low, high), differentiable: true }
    }
}

/// Errors in the words every op uses.
pub mod expect {
    use super::*;

    /// The op takes exactly so many inputs.
    pub fn arity(op: &'static str, inputs: &[Shape], expected: usize) -> Result<()> {
        if inputs.len() == expected {
            return Ok(());
        }
        Err(Error::Arity { op, got: inputs.len(), expected })
    }

    /// An input has exactly this shape.
    pub fn shape(op: &'static str, what: &str, got: Shape, expected: &[usize]) -> Result<()> {
        if got[..] == *expected {
            return Ok(());
        }
        Err(Error::Shape { op, what: what.into(), got, expected: format!("{expected:?}") })
    }

    /// An input has so many axes.
    pub fn rank(op: &'static str, what: &str, got: Shape, expected: usize) -> Result<()> {
        if got.len() == expected {
            return Ok(());
        }
        Err(Error::Shape { op, what: what.into(), got, expected: format!("{expected} axes") })
    }

    /// No axis of the input is empty.
    pub fn filled(op: &'static str, what: &str, got: Shape) -> Result<()> {
        if got.count() > 0 {
            return Ok(());
        }
        let what = format!("{what} has an empty axis: leave the call out");
        Err(Error::Shape { op, what, got, expected: "at least 1 on every axis".into() })
    }

    /// A setting is in order.
    pub fn setting(op: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::Setting { op, what: what() }) }
    }
}
