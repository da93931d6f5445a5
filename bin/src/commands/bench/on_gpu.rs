//! One operation on a GPU: its buffers there and its passes.

use super::one_op::{Pass, Runs, drawn};
use crate::failure::Result;
use kernels::Shape;
use kernels::gpu::{Backward, Block, Device, Forward, Gradient, Pointer};
use kernels::op::{self, Compiled, Values};

/// An operation with all its buffers.
pub(super) struct Call<O> {
    device: Device,
    op: O,
    shapes: Vec<Shape>,
    inputs: Vec<Block>,
    index_shapes: Vec<Shape>,
    indices: Vec<Block>,
    output: Block,
    saved: Vec<Block>,
    grad_output: Option<Block>,
    gradients: Vec<Option<Block>>,
}

impl<O: Compiled> Call<O> {
    pub(super) fn new(device: &Device, case: &op::Case<O>, pass: Pass) -> Result<Self> {
        let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
        let index_shapes: Vec<Shape> = case.indices.iter().map(|(shape, _)| *shape).collect();
        let plan = case.op.plan(&shapes, &index_shapes)?;
        let room = |shape: &Shape| Ok(device.allocate(4 * shape.count())?);
        let filled = |shape: Shape, values: Values, name: &str| filled(device, shape, values, name);
        let inputs = case.inputs.iter().enumerate();
        let inputs =
            inputs.map(|(i, input)| filled(input.shape, input.values, &format!("input {i}")));
        let grad_output = (pass != Pass::Forward)
            .then(|| filled(plan.output.shape, Values::Normal, "grad_output"));
        let gradients = case.inputs.iter().enumerate().map(|(i, input)| {
            (input.differentiable && pass.wants(i)).then(|| room(&input.shape)).transpose()
        });
        let indices = case.indices.iter().map(|(_, values)| Ok(device.upload(values)?));
        Ok(Call {
            device: device.clone(),
            op: case.op.clone(),
            inputs: inputs.collect::<Result<_>>()?,
            indices: indices.collect::<Result<_>>()?,
            output: room(&plan.output.shape)?,
            saved: plan.saved.iter().map(|buffer| room(&buffer.shape)).collect::<Result<_>>()?,
            grad_output: grad_output.transpose()?,
            gradients: gradients.collect::<Result<_>>()?,
            shapes,
            index_shapes,
        })
    }
}

impl<O: Compiled> Runs for Call<O> {
    fn forward(&mut self) -> Result<()> {
        let call = Forward {
            shapes: &self.shapes,
            inputs: &pointers(&self.inputs),
            index_shapes: &self.index_shapes,
            indices: &pointers(&self.indices),
            output: self.output.pointer(),
            saved: &pointers(&self.saved),
        };
        Ok(self.op.forward_gpu(&self.device, call)?)
    }

    fn backward(&mut self) -> Result<()> {
        let keep = self.op.keep();
        let mut inputs = pointers(&self.inputs);
        for (position, input) in inputs.iter_mut().enumerate() {
            if !keep.input(position) {
                *input = Pointer::NULL;
            }
        }
        let gradient = |block: &Block| Gradient { data: block.pointer(), add: false };
        let gradients = self.gradients.iter().map(|block| block.as_ref().map(gradient));
        let call = Backward {
            shapes: &self.shapes,
            inputs: &inputs,
            index_shapes: &self.index_shapes,
            indices: &pointers(&self.indices),
            output: if keep.output { self.output.pointer() } else { Pointer::NULL },
            saved: &pointers(&self.saved),
            grad_output: self.grad_output.as_ref().map_or(Pointer::NULL, Block::pointer),
            gradients: &gradients.collect::<Vec<_>>(),
        };
        Ok(self.op.backward_gpu(&self.device, call)?)
    }
}

fn pointers(blocks: &[Block]) -> Vec<Pointer> {
    blocks.iter().map(Block::pointer).collect()
}

/// The numbers that [`drawn`] gives, as often as they fit.
pub(super) fn filled(device: &Device, shape: Shape, values: Values, name: &str) -> Result<Block> {
    let numbers = drawn(shape.count(), values, name);
    let block = device.allocate(4 * shape.count())?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    if !bytes.is_empty() {
        for from in (0..4 * shape.count()).step_by(bytes.len()) {
            let length = bytes.len().min(4 * shape.count() - from);
            device.driver().upload(block.pointer().offset(from).0, &bytes[..length])?;
        }
    }
    Ok(block)
}
