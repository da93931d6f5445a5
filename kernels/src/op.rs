//! The trait that every op implements, and the buffers of its forward and backward passes.
//!
//! Every method of [`Op`] is required and none has a default, so an op without a backward pass, a cost or
//! test cases does not compile. Every op in the list of [`crate::ops`] gets gradient checks and table rows from these
//! methods.

use proptest::strategy::BoxedStrategy;
use std::fmt::Debug;

use crate::{Error, Float, Result, Shape};

/// One operation of the engine: pure, on contiguous buffers, deterministic for any number of threads.
///
/// An op never allocates its results: the caller passes every buffer. It must write every element of the
/// output and of the saved buffers (checks fill them with NaN), and must write or add to each gradient as
/// [`Gradient::add`] says.
pub trait Op: Clone + Debug + Send + Sync + 'static {
    /// The operation's standard name, used in tables and errors.
    const NAME: &'static str;

    /// The shapes of the results for inputs of these shapes, or an error if the op does not accept them.
    ///
    /// `inputs` are the shapes of the floating point inputs, `indices` those of the u32 inputs.
    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan>;

    /// Which buffers the backward pass reads; the tape frees the others after the forward pass.
    fn keep(&self) -> Keep;

    /// Computes the output and the saved buffers.
    fn forward<T: Float>(&self, call: Forward<'_, T>);

    /// Computes the gradient of each input whose entry in [`Backward::gradients`] is not `None`.
    fn backward<T: Float>(&self, call: Backward<'_, T>);

    /// Floating point operations and minimal memory traffic of one forward and one backward pass.
    fn cost(&self, inputs: &[Shape], indices: &[Shape]) -> Cost;

    /// The cases of every check: the documented uses and the edge cases.
    fn cases() -> Vec<Case<Self>>;

    /// Random cases for property tests: odd sizes, axes of size 1, every setting.
    fn ragged() -> BoxedStrategy<Case<Self>>;
}

/// An op compiled for both precisions. [`crate::ops`] implements it for every op of the list, so the loops are
/// compiled once, in this crate, and not again in each crate that calls them.
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

/// The shapes and types of an op's results: the output, and small buffers that it saves for its backward pass. The
/// gradient of an input has the shape and the type of the input.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The output.
    pub output: Buffer,
    /// The saved buffers, e.g. means, reciprocal standard deviations, log-sum-exps, indices of maxima.
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
    /// Whether the backward pass reads the output.
    pub output: bool,
}

impl Keep {
    /// Neither inputs nor output.
    pub const NOTHING: Keep = Keep { inputs: 0, output: false };
    /// The output only.
    pub const OUTPUT: Keep = Keep { inputs: 0, output: true };
    /// All inputs, but not the output.
    pub const INPUTS: Keep = Keep { inputs: u64::MAX, output: false };

    /// The inputs at these positions (0 to 63), but not the output.
    pub const fn inputs(positions: &[usize]) -> Self {
        let mut inputs = 0;
        let mut i = 0;
        while i < positions.len() {
            inputs |= 1 << positions[i];
            i += 1;
        }
        Keep { inputs, output: false }
    }

    /// Adds the output.
    pub const fn and_output(self) -> Self {
        Keep { inputs: self.inputs, output: true }
    }

    /// Whether the backward pass reads the input at this position.
    pub fn input(&self, position: usize) -> bool {
        self.inputs >> position & 1 == 1
    }
}

/// The buffers of one forward pass. All are contiguous and row-major.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs.
    pub inputs: &'a [&'a [T]],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs: class indices, lengths, token ids, graph structure.
    pub indices: &'a [&'a [u32]],
    /// The output. Every element must be written; it is uninitialised before.
    pub output: &'a mut [T],
    /// The saved floating point buffers, in the order of [`Plan::saved`]. Every element must be written.
    pub saved: &'a mut [&'a mut [T]],
    /// The saved index buffers, in the order of [`Plan::saved`]. Every element must be written.
    pub saved_indices: &'a mut [&'a mut [u32]],
}

/// The buffers of one backward pass.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs; empty where [`Op::keep`] does not name them.
    pub inputs: &'a [&'a [T]],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs.
    pub indices: &'a [&'a [u32]],
    /// The output; empty where [`Op::keep`] does not name it.
    pub output: &'a [T],
    /// The saved floating point buffers of the forward pass.
    pub saved: &'a [&'a [T]],
    /// The saved indices of the forward pass.
    pub saved_indices: &'a [&'a [u32]],
    /// The gradient of the output.
    pub grad_output: &'a [T],
    /// The gradient of each input; `None` where it is not needed.
    pub gradients: Vec<Option<Gradient<'a, T>>>,
}

/// The target of one input's gradient.
#[derive(Debug)]
pub struct Gradient<'a, T> {
    /// As many elements as the input.
    pub data: &'a mut [T],
    /// Whether to add to `data`; otherwise `data` is uninitialised: overwrite it.
    pub add: bool,
}

impl<T: Float> Gradient<'_, T> {
    /// Writes or adds one element.
    #[inline(always)]
    pub fn put(&mut self, index: usize, value: T) {
        let old = if self.add { self.data[index] } else { T::ZERO };
        self.data[index] = old + value;
    }

    /// Prepares `data` for an op that only adds: fills it with 0 unless [`add`](Self::add) is set, and sets it.
    pub fn clear(&mut self) {
        if !self.add {
            self.data.fill(T::ZERO);
            self.add = true;
        }
    }
}

/// The cost of one forward and one backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Floating point operations of the forward pass; a multiply-add counts as two.
    pub forward_flops: f64,
    /// Floating point operations of the backward pass, all gradients together.
    pub backward_flops: f64,
    /// The fewest bytes that the forward pass can move in f32: each input once, the output once.
    pub forward_bytes: f64,
    /// The fewest bytes that the backward pass can move in f32.
    pub backward_bytes: f64,
}

impl Cost {
    /// The cost of an op with `flops` operations for each output element; bytes follow from the shapes.
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

/// A test case of an op: its settings, and the shape and distribution of each input.
#[derive(Debug, Clone)]
pub struct Case<O> {
    /// The op with its settings.
    pub op: O,
    /// Its floating point inputs.
    pub inputs: Vec<Input>,
    /// Its index inputs with their values.
    pub indices: Vec<(Shape, Vec<u32>)>,
}

impl<O> Case<O> {
    /// A case whose inputs are all differentiable and normally distributed.
    pub fn new(op: O, inputs: &[&[usize]]) -> Self {
        let inputs = inputs.iter().map(|s| Input::normal(s)).collect();
        Case { op, inputs, indices: Vec::new() }
    }

    /// Replaces one input.
    pub fn input(mut self, position: usize, input: Input) -> Self {
        self.inputs[position] = input;
        self
    }

    /// Adds one index input.
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
    /// The distribution of its numbers.
    pub values: Values,
    /// Whether its gradient is computed.
    pub differentiable: bool,
}

/// The distribution of the numbers of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// Normal with mean 0 and standard deviation 1.
    Normal,
    /// Uniform in [low, high).
    Uniform(f64, f64),
    /// 0 or 1 with equal probability.
    Bits,
}

impl Input {
    /// A differentiable input of normal numbers.
    pub fn normal(shape: &[usize]) -> Self {
        Input { shape: Shape::new(shape), values: Values::Normal, differentiable: true }
    }

    /// An input without gradient.
    pub fn constant(shape: &[usize], values: Values) -> Self {
        Input { shape: Shape::new(shape), values, differentiable: false }
    }

    /// A differentiable input, uniform in [low, high).
    pub fn uniform(shape: &[usize], low: f64, high: f64) -> Self {
        Input { shape: Shape::new(shape), values: Values::Uniform(low, high), differentiable: true }
    }
}

/// Validation of inputs and settings, with the same messages for every op.
pub mod expect {
    use super::*;

    /// Requires exactly `expected` inputs.
    pub fn arity(op: &'static str, inputs: &[Shape], expected: usize) -> Result<()> {
        if inputs.len() == expected {
            return Ok(());
        }
        Err(Error::Arity { op, got: inputs.len(), expected })
    }

    /// Requires an input of exactly this shape.
    pub fn shape(op: &'static str, what: &str, got: Shape, expected: &[usize]) -> Result<()> {
        if got[..] == *expected {
            return Ok(());
        }
        Err(Error::Shape { op, what: what.into(), got, expected: format!("{expected:?}") })
    }

    /// Requires an input with `expected` axes.
    pub fn rank(op: &'static str, what: &str, got: Shape, expected: usize) -> Result<()> {
        if got.len() == expected {
            return Ok(());
        }
        Err(Error::Shape { op, what: what.into(), got, expected: format!("{expected} axes") })
    }

    /// Requires at least one element on every axis.
    pub fn filled(op: &'static str, what: &str, got: Shape) -> Result<()> {
        if got.count() > 0 {
            return Ok(());
        }
        let what = format!("{what} has an axis of size 0; skip this call");
        Err(Error::Shape { op, what, got, expected: "at least 1 element on every axis".into() })
    }

    /// Requires `holds`; otherwise returns an error with the text of `what`.
    pub fn setting(op: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::Setting { op, what: what() }) }
    }
}
