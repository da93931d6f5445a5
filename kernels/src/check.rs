//! Checks of any op on the CPU: gradients against central differences in f64, uninitialised elements,
//! accumulation into gradients, single gradients, f32 against f64.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::{Cell, RefCell};

use crate::op::{Backward, Buffer, Case, Compiled, Forward, Gradient, Numbers, Plan, Values};
use crate::philox::Philox;
use crate::{Float, Shape};

/// The largest accepted relative error of a gradient.
pub const TOLERANCE: f64 = 1e-6;

/// The result of the checks of one op.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The op's name.
    pub op: &'static str,
    /// The number of cases.
    pub cases: usize,
    /// The largest relative error of a gradient over all cases.
    pub worst_relative_error: f64,
    /// The check fails if the error is this large or larger.
    pub tolerance: f64,
    /// The case, input and element of the largest error.
    pub worst: String,
    /// Everything that is wrong, one line each, with the smallest case that shows it.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.findings.is_empty() && self.worst_relative_error < self.tolerance
    }
}

/// Checks an op on [`Op::cases`](crate::Op::cases) and on `ragged` random cases, a function of the seed.
pub fn check<O: Compiled>(ragged: u32, seed: u64) -> Report {
    let found = RefCell::new((0.0, String::new()));
    let mut report = over_cases::<O>(TOLERANCE, O::cases(), ragged, seed, |case| {
        let worst = check_case(case, seed)?;
        let mut found = found.borrow_mut();
        if worst.error > found.0 {
            let place = format!("input {} element {} of {:?}", worst.input, worst.element, case.op);
            *found = (worst.error, place);
        }
        if worst.error < TOLERANCE {
            return Ok(());
        }
        Err(format!(
            "gradient of input {} element {}: {:e} by backward, {:e} by central difference",
            worst.input, worst.element, worst.analytic, worst.numeric
        ))
    });
    (report.worst_relative_error, report.worst) = found.into_inner();
    report
}

/// Calls `try_case` with each of these cases and with `ragged` random ones; a random case that fails is shrunk.
/// The report lacks the largest error.
pub(crate) fn over_cases<O: Compiled>(
    tolerance: f64,
    given: Vec<Case<O>>,
    ragged: u32,
    seed: u64,
    try_case: impl Fn(&Case<O>) -> Result<(), String>,
) -> Report {
    let cases = Cell::new(0);
    let try_case = |case: &Case<O>| {
        cases.set(cases.get() + 1);
        try_case(case)
    };
    let mut findings = Vec::new();
    for case in given {
        if let Err(finding) = try_case(&case) {
            findings.push(format!("{finding}; case {}", describe(&case)));
        }
    }
    let config = Config {
        cases: ragged,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&O::ragged(), |case| try_case(&case).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            findings.push(format!("{}; smallest case {}", reason.message(), describe(&case)));
        }
        Err(TestError::Abort(reason)) => findings.push(reason.message().to_string()),
    }
    Report { op: O::NAME, cases: cases.get(), tolerance, findings, ..Report::default() }
}

fn describe<O: Compiled>(case: &Case<O>) -> String {
    let shapes: Vec<_> = case.inputs.iter().map(|input| input.shape).collect();
    format!("{:?} on {shapes:?}", case.op)
}

#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    error: f64,
    input: usize,
    element: usize,
    analytic: f64,
    numeric: f64,
}

/// Random numbers for the inputs of a case, a function of the seed.
pub fn inputs<O>(case: &Case<O>, seed: u64) -> Vec<Vec<f64>> {
    let draw = |(position, input): (usize, &crate::op::Input)| {
        let stream = Philox::new(seed, "check").at(position as u64);
        let number = |i: usize| match input.values {
            Values::Normal => stream.normal(i as u64),
            Values::Uniform(low, high) => low + (high - low) * stream.uniform(i as u64),
            Values::Bits => f64::from(stream.word(i as u64) & 1),
        };
        (0..input.shape.count()).map(number).collect()
    };
    case.inputs.iter().enumerate().map(draw).collect()
}

/// One call of an op with owned inputs.
pub(crate) struct Call<'a, O: Compiled, T> {
    case: &'a Case<O>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) index_shapes: Vec<Shape>,
    pub(crate) plan: Plan,
    inputs: Vec<Vec<T>>,
}

/// The results of a call in f64, the reference for other devices.
pub(crate) struct Reference {
    /// The output, then the saved buffers.
    pub(crate) made: Vec<Vec<f64>>,
    /// The gradient of the output, from which the others are computed.
    pub(crate) grad_output: Vec<f64>,
    /// The gradient of each input that has one.
    pub(crate) gradients: Vec<Option<Vec<f64>>>,
}

/// The value of saved indices before the forward pass; no op saves it.
const UNWRITTEN: u32 = u32::MAX;

/// The results of a forward pass.
struct Made<T> {
    output: Vec<T>,
    saved: Vec<Vec<T>>,
    saved_indices: Vec<Vec<u32>>,
}

impl<O: Compiled> Call<'_, O, f64> {
    /// Runs both passes on the CPU.
    pub(crate) fn reference(&self, grad_output: Vec<f64>) -> Reference {
        let forward = self.forward();
        let differentiable = |i: usize| self.case.inputs[i].differentiable;
        let gradients = self.backward(&forward, &grad_output, None, differentiable);
        let Made { output, saved, saved_indices } = forward;
        let (mut floats, mut indices) = (saved.into_iter(), saved_indices.into_iter());
        let wide = |indices: Vec<u32>| indices.into_iter().map(f64::from).collect();
        let saved = self.plan.saved.iter().filter_map(|buffer| match buffer.numbers {
            Numbers::Index => indices.next().map(wide),
            Numbers::Input | Numbers::Sum => floats.next(),
        });
        let made = std::iter::once(output).chain(saved).collect();
        Reference { made, grad_output, gradients }
    }
}

impl<'a, O: Compiled, T: Float> Call<'a, O, T> {
    pub(crate) fn new(case: &'a Case<O>, inputs: &[Vec<f64>]) -> Result<Self, String> {
        let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
        let index_shapes: Vec<Shape> = case.indices.iter().map(|(shape, _)| *shape).collect();
        let plan = case.op.plan(&shapes, &index_shapes).map_err(|error| error.to_string())?;
        let inputs = inputs.iter().map(|x| x.iter().map(|&v| T::from_f64(v)).collect()).collect();
        Ok(Call { case, shapes, index_shapes, plan, inputs })
    }

    fn indices(&self) -> Vec<&'a [u32]> {
        self.case.indices.iter().map(|(_, values)| &values[..]).collect()
    }

    /// Output and saved buffers. They start out as NaN, indices as [`UNWRITTEN`].
    fn forward(&self) -> Made<T> {
        let nan = T::from_f64(f64::NAN);
        let mut output = vec![nan; self.plan.output.shape.count()];
        let (indices, floats): (Vec<Buffer>, Vec<Buffer>) =
            self.plan.saved.iter().partition(|buffer| buffer.numbers == Numbers::Index);
        let mut saved: Vec<Vec<T>> =
            floats.iter().map(|buffer| vec![nan; buffer.shape.count()]).collect();
        let mut saved_indices: Vec<Vec<u32>> =
            indices.iter().map(|buffer| vec![UNWRITTEN; buffer.shape.count()]).collect();
        let inputs: Vec<&[T]> = self.inputs.iter().map(|x| &x[..]).collect();
        T::forward(
            &self.case.op,
            Forward {
                shapes: &self.shapes,
                inputs: &inputs,
                index_shapes: &self.index_shapes,
                indices: &self.indices(),
                output: &mut output,
                saved: &mut saved.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>(),
                saved_indices: &mut saved_indices
                    .iter_mut()
                    .map(|s| &mut s[..])
                    .collect::<Vec<_>>(),
            },
        );
        Made { output, saved, saved_indices }
    }

    /// Gradients of the inputs for which `wanted` is true, added to `start`; without `start` they are NaN before the
    /// call.
    fn backward(
        &self,
        forward: &Made<T>,
        grad_output: &[T],
        start: Option<f64>,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Option<Vec<T>>> {
        let keep = self.case.op.keep();
        let inputs: Vec<&[T]> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, x)| if keep.input(i) { &x[..] } else { &[] })
            .collect();
        let fill = T::from_f64(start.unwrap_or(f64::NAN));
        let mut gradients: Vec<Option<Vec<T>>> = (0..inputs.len())
            .map(|i| wanted(i).then(|| vec![fill; self.shapes[i].count()]))
            .collect();
        let slots: Vec<Option<Gradient<'_, T>>> = gradients
            .iter_mut()
            .map(|g| g.as_mut().map(|data| Gradient { data: &mut data[..], add: start.is_some() }))
            .collect();
        T::backward(
            &self.case.op,
            Backward {
                shapes: &self.shapes,
                inputs: &inputs,
                index_shapes: &self.index_shapes,
                indices: &self.indices(),
                output: if keep.output { &forward.output } else { &[] },
                saved: &forward.saved.iter().map(|s| &s[..]).collect::<Vec<_>>(),
                saved_indices: &forward.saved_indices.iter().map(|s| &s[..]).collect::<Vec<_>>(),
                grad_output,
                gradients: slots,
            },
        );
        gradients
    }
}

fn check_case<O: Compiled>(case: &Case<O>, seed: u64) -> Result<Worst, String> {
    let values = inputs(case, seed);
    let mut call = Call::<O, f64>::new(case, &values)?;
    let forward = call.forward();
    finite("output", &forward.output)?;
    for saved in &forward.saved {
        finite("saved buffer", saved)?;
    }
    for saved in &forward.saved_indices {
        if let Some(at) = saved.iter().position(|&index| index == UNWRITTEN) {
            return Err(format!(
                "saved indices: element {at} was not written; write every element"
            ));
        }
    }
    single_precision(case, &values, &forward.output)?;

    let random = Philox::new(seed, "grad_output");
    let grad_output: Vec<f64> =
        (0..forward.output.len()).map(|i| random.normal(i as u64)).collect();
    let differentiable = |i: usize| case.inputs[i].differentiable;
    let gradients = call.backward(&forward, &grad_output, None, differentiable);
    for (i, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        finite(&format!("gradient of input {i}"), gradient)?;
        let alone = call.backward(&forward, &grad_output, None, |j| j == i);
        same(
            &format!("gradient of input {i} alone and with the others"),
            alone[i].as_deref(),
            gradient,
            0.0,
        )?;
        let start = 0.75;
        let added = call.backward(&forward, &grad_output, Some(start), |j| j == i);
        let expected: Vec<f64> = gradient.iter().map(|g| g + start).collect();
        same(
            &format!("gradient of input {i} added and written"),
            added[i].as_deref(),
            &expected,
            1e-12,
        )?;
    }

    let mut worst = Worst::default();
    for (i, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        let scale = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for element in sample(gradient.len(), seed) {
            let error = |numeric: f64| {
                let analytic = gradient[element];
                let size = analytic.abs().max(numeric.abs()).max(0.01 * scale).max(1e-3);
                (analytic - numeric).abs() / size
            };
            let here = call.inputs[i][element];
            // A kink (ReLU, max pooling) inside the step makes the difference wrong; a smaller step avoids it.
            let mut best = f64::INFINITY;
            let mut numeric = f64::NAN;
            for step in [1e-5, 1e-6, 1e-7, 1e-4] {
                let mut output_at = |x: f64| {
                    call.inputs[i][element] = x;
                    call.forward().output
                };
                let (up, down) = (output_at(here + step), output_at(here - step));
                let difference: f64 = up
                    .iter()
                    .zip(&down)
                    .zip(&grad_output)
                    .map(|((u, d), r)| (u - d) * r)
                    .sum::<f64>();
                let candidate = difference / ((here + step) - (here - step));
                if error(candidate) < best {
                    best = error(candidate);
                    numeric = candidate;
                }
                if best < TOLERANCE / 100.0 {
                    break;
                }
            }
            call.inputs[i][element] = here;
            if best > worst.error || best.is_nan() {
                worst =
                    Worst { error: best, input: i, element, analytic: gradient[element], numeric };
            }
        }
    }
    Ok(worst)
}

/// The elements to check: all if at most 100, otherwise 100 random ones.
fn sample(count: usize, seed: u64) -> Vec<usize> {
    let mut elements = Philox::new(seed, "elements").permutation(count);
    elements.truncate(100);
    elements
}

fn finite(what: &str, values: &[f64]) -> Result<(), String> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{what}: element {at} is {}, expected a finite number; write every element",
            values[at]
        )),
    }
}

fn same(what: &str, got: Option<&[f64]>, expected: &[f64], tolerance: f64) -> Result<(), String> {
    let got = got.unwrap_or(&[]);
    let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let differs =
        |(a, b): (&f64, &f64)| (a - b).abs() > tolerance * scale || a.is_nan() != b.is_nan();
    match got.iter().zip(expected).position(differs) {
        None if got.len() == expected.len() => Ok(()),
        None => Err(format!("{what}: got {} elements, expected {}", got.len(), expected.len())),
        Some(at) => {
            Err(format!("{what}: element {at}: got {}, expected {}", got[at], expected[at]))
        }
    }
}

/// Compares the output in f32 with the one in f64, up to rounding.
fn single_precision<O: Compiled>(
    case: &Case<O>,
    values: &[Vec<f64>],
    expected: &[f64],
) -> Result<(), String> {
    let rounded: Vec<Vec<f64>> =
        values.iter().map(|x| x.iter().map(|&v| f64::from(v as f32)).collect()).collect();
    let output = Call::<O, f32>::new(case, &rounded)?.forward().output;
    let wide: Vec<f64> = output.iter().map(|&y| f64::from(y)).collect();
    finite("output in f32", &wide)?;
    same("output in f32 and in f64", Some(&wide), expected, 1e-4)
}
