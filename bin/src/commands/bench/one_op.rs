//! Cases of one operation: its filled buffers and its passes.

use super::case::{Case, Ready};
use super::on_gpu;
use crate::failure::Result;
use engine::{DType, Device, Philox, Tensor};
use kernels::Shape;
use kernels::op::{self, Backward, Buffer, Compiled, Forward, Gradient, Numbers, Values};
use std::time::Duration;

/// The time for which a case is repeated.
const BUDGET: Duration = Duration::from_secs(1);

/// The part of an operation that is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// `fwd`.
    Forward,
    /// `bwd`: the gradient of every differentiable input.
    Backward,
    /// `fwd+bwd`.
    Both,
    /// `grad_input`: the gradient of the first input only.
    GradInput,
    /// `grad_weight`: the gradient of the second input only.
    GradWeight,
}

impl Pass {
    pub(super) fn name(self) -> &'static str {
        match self {
            Pass::Forward => "fwd",
            Pass::Backward => "bwd",
            Pass::Both => "fwd+bwd",
            Pass::GradInput => "grad_input",
            Pass::GradWeight => "grad_weight",
        }
    }

    /// Whether it computes the gradient of the input at this position.
    pub(super) fn wants(self, position: usize) -> bool {
        match self {
            Pass::Forward => false,
            Pass::Backward | Pass::Both => true,
            Pass::GradInput => position == 0,
            Pass::GradWeight => position == 1,
        }
    }
}

/// Floating point operations by definition, of the forward pass and of all gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flops {
    pub(super) forward: f64,
    pub(super) backward: f64,
}

impl Flops {
    /// An op whose forward pass is one matrix product; its two gradients are one product each.
    pub(super) fn product(forward: f64) -> Self {
        Flops { forward, backward: 2.0 * forward }
    }
}

/// A case `name` of one pass of an operation. Without `flops`, the FLOPs are those of the op's cost; the bytes always
/// are.
pub(super) fn case<O: Compiled>(
    name: String,
    case: op::Case<O>,
    pass: Pass,
    flops: Option<Flops>,
) -> Case {
    Case::new(name, BUDGET, move |device| ready(&case, pass, flops, device))
}

/// The cases `NAME/PASS` of an operation.
pub(super) fn passes<O: Compiled>(
    name: &str,
    of: &op::Case<O>,
    passes: &[Pass],
    flops: Option<Flops>,
) -> Vec<Case> {
    passes
        .iter()
        .map(|&pass| case(format!("{name}/{}", pass.name()), of.clone(), pass, flops))
        .collect()
}

/// The passes of an operation on a device.
pub(super) trait Runs {
    /// Computes the output and what the backward pass reads.
    ///
    /// # Errors
    /// When a launch fails.
    fn forward(&mut self) -> Result<()>;

    /// Computes the gradients that the pass wants.
    ///
    /// # Errors
    /// When a launch fails.
    fn backward(&mut self) -> Result<()>;
}

/// Prepares one pass of an operation on a device.
///
/// # Errors
/// When the operation does not accept its inputs, or the device is out of memory.
pub(super) fn ready<O: Compiled>(
    case: &op::Case<O>,
    pass: Pass,
    flops: Option<Flops>,
    device: &Device,
) -> Result<Ready> {
    let mut call: Box<dyn Runs> = match device.gpu() {
        None => Box::new(Call::new(case, pass)?),
        Some(gpu) => Box::new(on_gpu::Call::new(gpu, case, pass)?),
    };
    let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
    let index_shapes: Vec<Shape> = case.indices.iter().map(|(shape, _)| *shape).collect();
    let cost = case.op.cost(&shapes, &index_shapes);
    let flops =
        flops.unwrap_or(Flops { forward: cost.forward_flops, backward: cost.backward_flops });
    let (flops, bytes) = match pass {
        Pass::Forward => (flops.forward, cost.forward_bytes),
        Pass::Backward => (flops.backward, cost.backward_bytes),
        Pass::Both => (flops.forward + flops.backward, cost.forward_bytes + cost.backward_bytes),
        // Each gradient is a product of the size of the forward pass, of the same three tensors.
        Pass::GradInput | Pass::GradWeight => (flops.forward, cost.forward_bytes),
    };
    if pass != Pass::Forward {
        call.forward()?;
    }
    let run = move || {
        if matches!(pass, Pass::Forward | Pass::Both) {
            call.forward()?;
        }
        if pass != Pass::Forward {
            call.backward()?;
        }
        Ok(())
    };
    Ok(Ready::new(run).work(flops, bytes))
}

/// An operation with all its buffers, from the engine's pool.
struct Call<O> {
    op: O,
    shapes: Vec<Shape>,
    inputs: Vec<Tensor>,
    index_shapes: Vec<Shape>,
    indices: Vec<Vec<u32>>,
    output: Tensor,
    saved: Vec<Tensor>,
    saved_indices: Vec<Vec<u32>>,
    grad_output: Option<Tensor>,
    gradients: Vec<Option<Tensor>>,
}

impl<O: Compiled> Call<O> {
    fn new(case: &op::Case<O>, pass: Pass) -> Result<Self> {
        let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
        let index_shapes: Vec<Shape> = case.indices.iter().map(|(shape, _)| *shape).collect();
        let plan = case.op.plan(&shapes, &index_shapes)?;
        let zeros = |shape: &Shape| Tensor::zeros(shape, DType::F32);
        let (indices, floats): (Vec<Buffer>, Vec<Buffer>) =
            plan.saved.iter().partition(|buffer| buffer.numbers == Numbers::Index);
        let inputs = case.inputs.iter().enumerate();
        let inputs =
            inputs.map(|(i, input)| filled(input.shape, input.values, &format!("input {i}")));
        let backward = pass != Pass::Forward;
        let grad_output =
            backward.then(|| filled(plan.output.shape, Values::Normal, "grad_output"));
        let gradients =
            case.inputs.iter().enumerate().map(|(i, input)| {
                (input.differentiable && pass.wants(i)).then(|| zeros(&input.shape))
            });
        Ok(Call {
            op: case.op.clone(),
            inputs: inputs.collect::<Result<_>>()?,
            indices: case.indices.iter().map(|(_, values)| values.clone()).collect(),
            output: zeros(&plan.output.shape),
            saved: floats.iter().map(|buffer| zeros(&buffer.shape)).collect(),
            saved_indices: indices.iter().map(|buffer| vec![0; buffer.shape.count()]).collect(),
            grad_output: grad_output.transpose()?,
            gradients: gradients.collect(),
            shapes,
            index_shapes,
        })
    }
}

impl<O: Compiled> Runs for Call<O> {
    fn forward(&mut self) -> Result<()> {
        let inputs = slices(&self.inputs)?;
        let indices: Vec<&[u32]> = self.indices.iter().map(Vec::as_slice).collect();
        let saved = self.saved.iter_mut().map(|saved| saved.as_mut_slice::<f32>());
        self.op.forward_f32(Forward {
            shapes: &self.shapes,
            inputs: &inputs,
            index_shapes: &self.index_shapes,
            indices: &indices,
            output: self.output.as_mut_slice()?,
            saved: &mut saved.collect::<engine::Result<Vec<_>>>()?,
            saved_indices: &mut self
                .saved_indices
                .iter_mut()
                .map(|s| &mut s[..])
                .collect::<Vec<_>>(),
        });
        Ok(())
    }

    fn backward(&mut self) -> Result<()> {
        let keep = self.op.keep();
        let mut inputs = slices(&self.inputs)?;
        for (position, input) in inputs.iter_mut().enumerate() {
            if !keep.input(position) {
                *input = &[];
            }
        }
        let indices: Vec<&[u32]> = self.indices.iter().map(Vec::as_slice).collect();
        let gradients = self.gradients.iter_mut().map(|gradient| {
            let data = gradient.as_mut().map(|gradient| gradient.as_mut_slice()).transpose()?;
            Ok(data.map(|data| Gradient { data, add: false }))
        });
        self.op.backward_f32(Backward {
            shapes: &self.shapes,
            inputs: &inputs,
            index_shapes: &self.index_shapes,
            indices: &indices,
            output: if keep.output { self.output.as_slice()? } else { &[] },
            saved: &slices(&self.saved)?,
            saved_indices: &self.saved_indices.iter().map(|s| &s[..]).collect::<Vec<_>>(),
            grad_output: self.grad_output.as_ref().map_or(Ok(&[][..]), Tensor::as_slice)?,
            gradients: gradients.collect::<Result<_>>()?,
        });
        Ok(())
    }
}

fn slices(tensors: &[Tensor]) -> Result<Vec<&[f32]>> {
    Ok(tensors.iter().map(Tensor::as_slice).collect::<engine::Result<_>>()?)
}

/// Random numbers for a tensor of `count`: at most 65,536, which a larger one repeats.
pub(super) fn drawn(count: usize, values: Values, name: &str) -> Vec<f32> {
    const PERIOD: usize = 1 << 16;
    let stream = Philox::new(0, name);
    let draw = |i: usize| match values {
        Values::Normal => stream.normal(i as u64) as f32,
        Values::Uniform(low, high) => (low + (high - low) * stream.uniform(i as u64)) as f32,
        Values::Bits => (stream.uniform(i as u64) < 0.5) as u8 as f32,
    };
    (0..count.min(PERIOD)).map(draw).collect()
}

/// The numbers that [`drawn`] gives, as often as they fit.
fn filled(shape: Shape, values: Values, name: &str) -> Result<Tensor> {
    let drawn = drawn(shape.count(), values, name);
    let mut tensor = Tensor::zeros(&shape, DType::F32);
    for chunk in tensor.as_mut_slice::<f32>()?.chunks_mut(drawn.len().max(1)) {
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::ops::{InfoNce, Linear};

    /// Runs a case on the CPU and on the simulated GPU.
    fn run(case: &Case) -> Result<Ready> {
        let simulated = Device::simulated(engine::Simulation::CHECKED);
        (case.prepare(&simulated)?.run)()?;
        let mut ready = case.prepare(&Device::Cpu)?;
        (ready.run)()?;
        Ok(ready)
    }

    #[test]
    fn passes_cost_what_they_should() -> Result<()> {
        let op = op::Case::new(Linear { bias: false, relu: false }, &[&[4, 8], &[8, 16]]);
        let all = [Pass::Forward, Pass::Backward, Pass::Both, Pass::GradInput, Pass::GradWeight];
        let cases = passes("linear", &op, &all, None);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names[..3], ["linear/fwd", "linear/bwd", "linear/fwd+bwd"]);
        let product = 2.0 * 4.0 * 8.0 * 16.0;
        for (case, products) in cases.iter().zip([1.0, 2.0, 3.0, 1.0, 1.0]) {
            let flops = run(case)?.work.map(|work| work.flops);
            assert_eq!(flops, Some(products * product), "{}", case.name);
        }
        let nominal = case("x".into(), op, Pass::Backward, Some(Flops::product(10.0)));
        assert_eq!(run(&nominal)?.work.map(|work| work.flops), Some(20.0));
        Ok(())
    }

    #[test]
    fn an_op_with_a_scalar_output_runs() -> Result<()> {
        let op = op::Case::new(InfoNce::new(0.07), &[&[8, 4], &[8, 4]]);
        run(&passes("infonce", &op, &[Pass::Both], None)[0]).map(drop)
    }
}
