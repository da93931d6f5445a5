//! An op written outside the kernels crate, on the CPU only: Swish, x / (1 + e^-x) (Ramachandran et al. 2017). Its
//! gradient is checked against central differences, then the tape differentiates it like any other op.
//!
//! `cargo run --release -p mpuc-engine --example new_op`

use engine::optim::{Optimizer, Rule};
use engine::{DType, Init, Parameters, Pass, Philox, Tensor};
use kernels::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use kernels::proptest::strategy::{BoxedStrategy, Strategy};
use kernels::{Float, Op, Result, Shape};

/// x / (1 + e^-x) of every number.
#[derive(Debug, Clone)]
struct Swish;

// The explicit word: on a GPU the op gives an error.
kernels::cpu_only!(Swish);

fn sigmoid<T: Float>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

impl Op for Swish {
    const NAME: &'static str = "swish";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        Ok(Plan::new(inputs[0]))
    }

    fn keep(&self) -> Keep {
        Keep::inputs(&[0])
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        for (y, &x) in call.output.iter_mut().zip(call.inputs[0]) {
            *y = x * sigmoid(x);
        }
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let Some(mut gradient) = call.gradients[0].take() else { return };
        for (i, (&x, &dy)) in call.inputs[0].iter().zip(call.grad_output).enumerate() {
            let s = sigmoid(x);
            gradient.put(i, dy * (s + x * s * (T::ONE - s)));
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        Cost::elementwise(inputs, inputs[0], 8.0)
    }

    fn cases() -> Vec<Case<Self>> {
        vec![Case::new(Swish, &[&[2, 3, 4]])]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..5, 1usize..9).prop_map(|(n, c)| Case::new(Swish, &[&[n, c]])).boxed()
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let report = kernels::check::check::<Swish>(100, 0);
    println!("{} cases, worst error of a gradient {:e}", report.cases, report.worst_relative_error);
    if !report.passed() {
        return Err(report.findings.join("\n").into());
    }

    let mut parameters = Parameters::new(DType::F32, 0);
    let weight = parameters.scope().parameter("weight", &[4, 2], Init::Normal(0.5))?;
    let pass = Pass::train(&parameters, Philox::new(0, "step"));
    let x = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25], &[1, 4])?;
    let product = x.linear(&pass.get(weight), None, false)?;
    let y = Tensor::apply(Swish, &[&product], &[])?.output;
    let outcome = pass.backward(&y.mse(&Tensor::zeros(&[1, 2], DType::F32))?)?;
    let mut optimizer = Optimizer::new(Rule::sgd(0.9, 0.0), &parameters)?;
    let figures = optimizer.step(&mut parameters, outcome, 0.1)?.wait()?;
    println!("loss {:.4}, norm of its gradient {:.4}", figures.loss, figures.gradient_norm);
    Ok(())
}
