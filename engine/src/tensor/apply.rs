//! Runs ops on tensors and records them on the tape.

use super::Tensor;
use super::again::Kept;
use crate::dtype::with_float;
use crate::profile::{self, Part};
use crate::tape::{Record, Slot, Step, Tape};
use crate::{DType, Device, Error, Result};
use kernels::gpu::{self, Pointer};
use kernels::op::{Backward, Buffer, Compiled, Forward, Gradient, Plan};
use kernels::{Float, Shape};

/// The results of an op.
#[derive(Debug)]
pub struct Applied {
    /// The output.
    pub output: Tensor,
    /// The saved buffers, e.g. batch statistics.
    pub saved: Vec<Tensor>,
}

impl Tensor {
    /// Runs an op. The output is on the tape of the inputs, if any of them is on one.
    ///
    /// # Errors
    /// When the op does not accept the shapes, or the inputs differ in type or are on different tapes.
    pub fn apply<O: Compiled>(op: O, inputs: &[&Tensor], indices: &[&Tensor]) -> Result<Applied> {
        let dtype = inputs.first().map_or(DType::F32, |x| x.dtype);
        for x in inputs {
            x.expect_dtype(O::NAME, dtype)?;
        }
        for index in indices {
            index.expect_dtype(O::NAME, DType::U32)?;
        }
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        let index_shapes: Vec<Shape> = indices.iter().map(|x| x.shape).collect();
        let plan = op.plan(&shapes, &index_shapes)?;
        let scope = profile::Scope::current();
        let open = profile::open(scope, O::NAME, Part::Forward);
        open.work(|| {
            let cost = op.cost(&shapes, &index_shapes);
            (cost.forward_flops, cost.forward_bytes)
        });
        let device = common_device(inputs.iter().chain(indices))?;
        let bring = |tensors: &[&Tensor]| -> Result<Vec<Tensor>> {
            tensors.iter().map(|x| Ok(x.on(&device)?.detached())).collect()
        };
        let (there, index_there) = (bring(inputs)?, bring(indices)?);
        let make = |buffer: &Buffer| {
            Tensor::uninitialised_on(buffer.shape, DType::of(buffer.numbers, dtype), &device)
        };
        let mut output = make(&plan.output)?;
        let mut saved: Vec<Tensor> = plan.saved.iter().map(make).collect::<Result<_>>()?;
        match &device {
            Device::Gpu(gpu) => op.forward_gpu(
                gpu,
                gpu::Forward {
                    shapes: &shapes,
                    inputs: &there.iter().map(Tensor::pointer).collect::<Vec<_>>(),
                    index_shapes: &index_shapes,
                    indices: &index_there.iter().map(Tensor::pointer).collect::<Vec<_>>(),
                    output: output.pointer(),
                    saved: &saved.iter().map(Tensor::pointer).collect::<Vec<_>>(),
                },
            )?,
            Device::Cpu => {
                let (indices, floats): (Vec<&mut Tensor>, Vec<&mut Tensor>) =
                    saved.iter_mut().partition(|s| s.dtype == DType::U32);
                with_float!(
                    dtype,
                    T => <T as Float>::forward(&op, Forward {
                        shapes: &shapes,
                        inputs: &there.iter().map(|x| x.cast::<T>()).collect::<Vec<_>>(),
                        index_shapes: &index_shapes,
                        indices: &index_there.iter().map(|x| x.cast::<u32>()).collect::<Vec<_>>(),
                        output: output.cast_mut::<T>(),
                        saved: &mut floats.into_iter().map(|s| s.cast_mut::<T>()).collect::<Vec<_>>(),
                        saved_indices: &mut indices.into_iter().map(|s| s.cast_mut::<u32>()).collect::<Vec<_>>(),
                    }),
                    return Err(Error::DType { what: O::NAME.into(), got: dtype, expected: DType::F32 })
                )
            }
        }
        let output = match Tape::of(inputs)? {
            None => output,
            Some(tape) => {
                let keep = op.keep();
                let kept = there
                    .into_iter()
                    .enumerate()
                    .map(|(i, x)| keep.input(i).then(|| x.kept()))
                    .collect();
                let recorded = Recorded {
                    op,
                    plan,
                    dtype,
                    shapes,
                    index_shapes,
                    inputs: kept,
                    indices: index_there,
                    output: keep.output.then(|| output.clone()),
                    saved: saved.clone(),
                    scope,
                };
                tape.record(inputs, output, Step::Op(Box::new(recorded)))?
            }
        };
        Ok(Applied { output, saved })
    }
}

/// The device on which an op runs: the GPU of some of its inputs, otherwise the CPU.
fn common_device<'a>(tensors: impl Iterator<Item = &'a &'a Tensor>) -> Result<Device> {
    let mut gpus = tensors.filter_map(|x| x.gpu());
    let Some(first) = gpus.next() else { return Ok(Device::Cpu) };
    match gpus.find(|gpu| !gpu.is(first)) {
        None => Ok(Device::Gpu(first.clone())),
        Some(other) => Err(Error::Place { device: Device::Gpu(other.clone()) }),
    }
}

/// An op on the tape and the buffers that its backward pass reads.
struct Recorded<O> {
    op: O,
    plan: Plan,
    /// The type of the inputs.
    dtype: DType,
    shapes: Vec<Shape>,
    index_shapes: Vec<Shape>,
    inputs: Vec<Option<Kept>>,
    indices: Vec<Tensor>,
    output: Option<Tensor>,
    saved: Vec<Tensor>,
    /// Its place in the model.
    scope: profile::Scope,
}

impl<O: Compiled> Record for Recorded<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn scope(&self) -> profile::Scope {
        self.scope
    }

    fn work(&self) -> (f64, f64) {
        let cost = self.op.cost(&self.shapes, &self.index_shapes);
        (cost.backward_flops, cost.backward_bytes)
    }

    fn inputs(&self) -> Vec<(Shape, DType)> {
        self.shapes.iter().map(|&shape| (shape, self.dtype)).collect()
    }

    fn backward(self: Box<Self>, grad_output: Tensor, slots: &mut [Option<Slot>]) -> Result<()> {
        debug_assert_eq!(grad_output.shape, self.plan.output.shape);
        let inputs: Vec<Option<Tensor>> = self
            .inputs
            .iter()
            .map(|x| x.as_ref().map(Kept::get).transpose())
            .collect::<Result<_>>()?;
        if let Some(gpu) = grad_output.gpu() {
            let pointer = |x: &Option<Tensor>| x.as_ref().map_or(Pointer::NULL, Tensor::pointer);
            let gradient = |slot: &Option<Slot>| {
                slot.as_ref().map(|s| gpu::Gradient { data: s.gradient.pointer(), add: s.add })
            };
            self.op.backward_gpu(
                gpu,
                gpu::Backward {
                    shapes: &self.shapes,
                    inputs: &inputs.iter().map(pointer).collect::<Vec<_>>(),
                    index_shapes: &self.index_shapes,
                    indices: &self.indices.iter().map(Tensor::pointer).collect::<Vec<_>>(),
                    output: pointer(&self.output),
                    saved: &self.saved.iter().map(Tensor::pointer).collect::<Vec<_>>(),
                    grad_output: grad_output.pointer(),
                    gradients: &slots.iter().map(gradient).collect::<Vec<_>>(),
                },
            )?;
            return Ok(());
        }
        let (saved_indices, saved): (Vec<&Tensor>, Vec<&Tensor>) =
            self.saved.iter().partition(|s| s.dtype == DType::U32);
        with_float!(
            self.dtype,
            T => <T as Float>::backward(&self.op, Backward {
                shapes: &self.shapes,
                inputs: &inputs
                    .iter()
                    .map(|x| x.as_ref().map_or(&[][..], |x| x.cast::<T>()))
                    .collect::<Vec<_>>(),
                index_shapes: &self.index_shapes,
                indices: &self.indices.iter().map(|x| x.cast::<u32>()).collect::<Vec<_>>(),
                output: self.output.as_ref().map_or(&[], |y| y.cast::<T>()),
                saved: &saved.into_iter().map(|s| s.cast::<T>()).collect::<Vec<_>>(),
                saved_indices: &saved_indices.into_iter().map(|s| s.cast::<u32>()).collect::<Vec<_>>(),
                grad_output: grad_output.cast::<T>(),
                gradients: slots
                    .iter_mut()
                    .map(|slot| slot.as_mut().map(|s| Gradient { data: s.gradient.cast_mut::<T>(), add: s.add }))
                    .collect(),
            }),
            return Err(Error::DType { what: "a gradient".into(), got: grad_output.dtype, expected: DType::F32 })
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Result, Simulation, Tape, Tensor};
    use kernels::ops::MaxUnpool;
    use kernels::ops::pool::{Pool, PoolKind};

    /// Saved indices are u32 for inputs of any type, and can be an index input of another op.
    #[test]
    fn a_saved_buffer_has_the_type_that_the_plan_says() -> Result<()> {
        let sim = Device::simulated(Simulation::CHECKED);
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [1, 1, 2],
            stride: [1, 1, 2],
            padding: [0; 3],
            ceil: false,
        };
        for (dtype, device) in
            [(DType::F32, &Device::Cpu), (DType::F64, &Device::Cpu), (DType::F32, &sim)]
        {
            let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, -2.0], &[1, 1, 1, 4, 1])?;
            let tape = Tape::new();
            let x = tape.leaf(&x.to(dtype)?.on(device)?);
            let (y, indices) = x.pool_with_indices(pool)?;
            assert_eq!((y.dtype(), indices.dtype()), (dtype, DType::U32));
            assert_eq!((y.to_vec()?, indices.to_vec()?), (vec![4.0, 3.0], vec![1.0, 2.0]));
            let back = y.max_unpool(MaxUnpool { output: [1, 1, 4] }, &indices)?;
            assert_eq!(back.to_vec()?, [0.0, 4.0, 3.0, 0.0]);
            let loss = back.reshape(&[1, 4])?.mse(&Tensor::zeros(&[1, 4], dtype).on(device)?)?;
            let gradients = tape.backward(&loss)?;
            let gradient = gradients.get(&x).map_or(Ok(Vec::new()), Tensor::to_vec)?;
            assert_eq!(gradient, [0.0, 2.0, 1.5, 0.0]);
            assert_eq!(gradients.get(&x).map(Tensor::dtype), Some(dtype));
        }
        let average = Pool { kind: PoolKind::Average, ..pool };
        let refused = Tensor::zeros(&[1, 1, 1, 4, 1], DType::F32).pool_with_indices(average);
        assert!(refused.is_err_and(|error| error.to_string().contains("PoolKind::Max")));
        Ok(())
    }
}
