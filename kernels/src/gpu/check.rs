//! Checks of an op's kernels on a device: values and gradients against the CPU in f64, uninitialised elements,
//! accumulation into gradients, single gradients, bits of two runs.

use super::{Backward, Block, Device, Forward, Gradient, Pointer};
use crate::check::{Call, Reference, Report, inputs, over_cases};
use crate::op::{Case, Compiled, Numbers};
use crate::philox::Philox;
use bytemuck::Pod;
use std::cell::RefCell;

/// The check fails if the relative error against f64 is this large or larger.
pub const TOLERANCE: f64 = 1e-4;

/// Checks an op's kernels on [`Op::cases`](crate::Op::cases), on [`GpuOp::large`](super::GpuOp::large), and on `ragged`
/// random cases, a function of the seed.
pub fn check<O: Compiled>(device: &Device, ragged: u32, seed: u64) -> Report {
    let worst = RefCell::new((0.0, String::new()));
    let given = [O::cases(), O::large()].concat();
    let mut report = over_cases::<O>(TOLERANCE, given, ragged, seed, |case| {
        let trial = Trial::new(device, case, seed)?;
        let (error, place) = trial.run()?;
        let mut worst = worst.borrow_mut();
        if error > worst.0 {
            *worst = (error, format!("{place} of {:?}", case.op));
        }
        Ok(())
    });
    (report.worst_relative_error, report.worst) = worst.into_inner();
    report
}

/// One case on a device, and its reference from the CPU.
struct Trial<'a, O: Compiled> {
    device: &'a Device,
    case: &'a Case<O>,
    call: Call<'a, O, f64>,
    reference: Reference,
    inputs: Vec<Block>,
    indices: Vec<Block>,
}

type Outcome<T> = Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl<'a, O: Compiled> Trial<'a, O> {
    fn new(device: &'a Device, case: &'a Case<O>, seed: u64) -> Outcome<Self> {
        // Rounded to f32, so that the device and the reference have equal inputs.
        let values: Vec<Vec<f64>> = inputs(case, seed)
            .iter()
            .map(|x| x.iter().map(|&v| f64::from(v as f32)).collect())
            .collect();
        let call = Call::<O, f64>::new(case, &values)?;
        let random = Philox::new(seed, "grad_output");
        let grad_output = (0..call.plan.output.shape.count())
            .map(|i| f64::from(random.normal(i as u64) as f32))
            .collect();
        let reference = call.reference(grad_output);
        let upload = |x: &Vec<f64>| device.upload(&narrow(x)).map_err(text);
        let inputs = values.iter().map(upload).collect::<Outcome<_>>()?;
        let indices = case
            .indices
            .iter()
            .map(|(_, values)| device.upload(values).map_err(text))
            .collect::<Outcome<_>>()?;
        Ok(Trial { device, case, call, reference, inputs, indices })
    }

    /// A buffer filled with `start`, or an uninitialised one: NaN on a real device; the simulator tracks writes itself.
    fn fresh(&self, count: usize, start: Option<f32>) -> Outcome<Block> {
        match start {
            Some(start) => self.device.upload(&vec![start; count]),
            None if self.device.description().simulated => self.device.allocate(4 * count),
            None => self.device.upload(&vec![f32::NAN; count]),
        }
        .map_err(text)
    }

    fn read<T: Pod>(&self, what: &str, block: &Block, count: usize) -> Outcome<Vec<T>> {
        if let Some(at) = self.device.driver().unwritten(block.pointer().0, 4 * count) {
            return Err(format!("{what}: element {} was not written; write every element", at / 4));
        }
        let mut values = vec![T::zeroed(); count];
        self.device.download(block.pointer(), &mut values).map_err(text)?;
        Ok(values)
    }

    /// Requires saved indices equal to those of the CPU.
    fn same_indices(&self, what: &str, block: &Block, expected: &[f64]) -> Outcome<()> {
        let got = self.read::<u32>(what, block, expected.len())?;
        match got.iter().zip(expected).position(|(&got, &expected)| f64::from(got) != expected) {
            None => Ok(()),
            Some(at) => Err(format!(
                "{what}: element {at} is {} on the device, {} on the CPU",
                got[at], expected[at]
            )),
        }
    }

    fn run(&self) -> Outcome<(f64, String)> {
        let forward = self.forward()?;
        let again = self.forward()?;
        let mut worst = (0.0, String::new());
        let mut compare = |what: String, got: &[f32], expected: &[f64]| -> Outcome<()> {
            let (error, at) = distance(got, expected);
            if error > worst.0 {
                worst = (error, format!("{what} element {at}"));
            }
            if error < TOLERANCE {
                return Ok(());
            }
            Err(format!(
                "{what}: element {at} is {} on the device, {} on the CPU in f64",
                got[at], expected[at]
            ))
        };
        for (i, (block, expected)) in forward.iter().zip(&self.reference.made).enumerate() {
            let what = if i == 0 { "output".to_owned() } else { format!("saved buffer {}", i - 1) };
            if i > 0 && self.call.plan.saved[i - 1].numbers == Numbers::Index {
                self.same_indices(&what, block, expected)?;
                self.same_indices(&what, &again[i], expected)?;
                continue;
            }
            let got = self.read(&what, block, expected.len())?;
            if bits(&got) != bits(&self.read(&what, &again[i], expected.len())?) {
                return Err(format!("{what}: a second run gave different bits"));
            }
            compare(what, &got, expected)?;
        }
        let all = self.backward(&forward, None, |_| true)?;
        for (i, gradient) in all.iter().enumerate() {
            let (Some(gradient), Some(expected)) = (gradient, &self.reference.gradients[i]) else {
                continue;
            };
            let what = format!("gradient of input {i}");
            let got = self.read(&what, gradient, expected.len())?;
            compare(what.clone(), &got, expected)?;
            let alone = self.backward(&forward, None, |j| j == i)?;
            let alone =
                self.read(&what, alone[i].as_ref().ok_or("no gradient")?, expected.len())?;
            if bits(&alone) != bits(&got) {
                return Err(format!("{what}: computed alone, its bits differ"));
            }
            let added = self.backward(&forward, Some(0.75), |j| j == i)?;
            let added =
                self.read(&what, added[i].as_ref().ok_or("no gradient")?, expected.len())?;
            let expected: Vec<f64> = got.iter().map(|&g| f64::from(g) + 0.75).collect();
            compare(format!("{what}, added"), &added, &expected)?;
        }
        Ok(worst)
    }

    /// The output, then the saved buffers.
    fn forward(&self) -> Outcome<Vec<Block>> {
        let plan = &self.call.plan;
        let buffers = std::iter::once(&plan.output).chain(&plan.saved);
        let made = buffers
            .map(|buffer| self.fresh(buffer.shape.count(), None))
            .collect::<Outcome<Vec<Block>>>()?;
        let pointers: Vec<Pointer> = made.iter().map(Block::pointer).collect();
        let call = Forward {
            shapes: &self.call.shapes,
            inputs: &self.inputs.iter().map(Block::pointer).collect::<Vec<_>>(),
            index_shapes: &self.call.index_shapes,
            indices: &self.indices.iter().map(Block::pointer).collect::<Vec<_>>(),
            output: pointers[0],
            saved: &pointers[1..],
        };
        self.case.op.forward_gpu(self.device, call).map_err(text)?;
        Ok(made)
    }

    fn backward(
        &self,
        forward: &[Block],
        start: Option<f32>,
        wanted: impl Fn(usize) -> bool,
    ) -> Outcome<Vec<Option<Block>>> {
        let keep = self.case.op.keep();
        let inputs: Vec<Pointer> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, x)| if keep.input(i) { x.pointer() } else { Pointer::NULL })
            .collect();
        let blocks = self
            .case
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let asked = input.differentiable && wanted(i);
                asked.then(|| self.fresh(input.shape.count(), start)).transpose()
            })
            .collect::<Outcome<Vec<Option<Block>>>>()?;
        let gradients: Vec<Option<Gradient>> = blocks
            .iter()
            .map(|block| Some(Gradient { data: block.as_ref()?.pointer(), add: start.is_some() }))
            .collect();
        let grad_output = self.device.upload(&narrow(&self.reference.grad_output)).map_err(text)?;
        let saved: Vec<Pointer> = forward[1..].iter().map(Block::pointer).collect();
        let call = Backward {
            shapes: &self.call.shapes,
            inputs: &inputs,
            index_shapes: &self.call.index_shapes,
            indices: &self.indices.iter().map(Block::pointer).collect::<Vec<_>>(),
            output: if keep.output { forward[0].pointer() } else { Pointer::NULL },
            saved: &saved,
            grad_output: grad_output.pointer(),
            gradients: &gradients,
        };
        self.case.op.backward_gpu(self.device, call).map_err(text)?;
        Ok(blocks)
    }
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The largest relative error and its index. An error is relative to the largest of: the expected number, a tenth of
/// the buffer's largest number, and 0.01, since numbers below it may be sums of f32 terms that cancel.
fn distance(got: &[f32], expected: &[f64]) -> (f64, usize) {
    let scale = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
    let mut worst = (0.0, 0);
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let size = expected.abs().max(0.1 * scale).max(1e-2);
        let error = (f64::from(got) - expected).abs() / size;
        if error > worst.0 || error.is_nan() {
            worst = (if error.is_nan() { f64::INFINITY } else { error }, i);
        }
    }
    worst
}
