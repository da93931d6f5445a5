//! Optimisers against PyTorch's rules, and on the simulated GPU against the CPU.

use super::*;
use crate::{Init, Pass, Philox};

/// Three steps of each rule on one weight.
#[test]
fn pytorchs_rules() -> Result<()> {
    let run = |rule: Rule, rate: f64| -> Result<Vec<f64>> {
        let mut parameters = Parameters::new(DType::F64, 0);
        let id = parameters.scope().parameter("w", &[1], Init::Constant(1.0))?;
        let mut optimizer = Optimizer::new(rule, &parameters)?;
        let mut path = Vec::new();
        for _ in 0..3 {
            let pass = Pass::train(&parameters, Philox::new(0, "t"));
            // loss = mean((w - 3)^2), gradient 2 (w - 3)
            let loss = pass.get(id).mse(&Tensor::from_slice(&[3.0f64], &[1])?)?;
            let outcome = pass.backward(&loss)?;
            optimizer.step(&mut parameters, outcome, rate)?;
            path.push(parameters.value(id).item()?);
        }
        Ok(path)
    };
    let close = |got: Vec<f64>, expected: [f64; 3]| {
        assert!(
            got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-9),
            "{got:?} {expected:?}"
        );
    };
    // By hand: v = -3.99, then .9 v - 3.202 + .01399, then .9 v - 1.846198 + .02076901.
    close(run(Rule::sgd(0.9, 0.01), 0.1)?, [1.399, 2.076901, 2.869554799]);
    // Adam's first step is the rate itself.
    let adam = run(Rule::adam(0.0), 0.1)?;
    assert!((adam[0] - 1.1).abs() < 1e-8, "{adam:?}");
    Ok(())
}

/// Runs a few steps of a rule on parameters of several sizes; returns the parameters and the last gradient norm.
fn learn(rule: Rule, device: &Device) -> Result<Vec<f64>> {
    let mut parameters = Parameters::new(DType::F32, 3);
    for (name, size) in [("one", 1), ("some", 300), ("many", 20_011)] {
        parameters.scope().parameter(name, &[size], Init::Normal(1.0))?;
    }
    parameters.move_to(device)?;
    // The clone shares buffers until the first step, which must not change the clone.
    let before = parameters.clone();
    let ids: Vec<ParameterId> = parameters.ids().collect();
    let mut optimizer = Optimizer::new(rule, &parameters)?;
    let mut norm = 0.0;
    for _ in 0..3 {
        let pass = Pass::train(&parameters, Philox::new(0, "t"));
        let mut loss: Option<Tensor> = None;
        for &id in &ids {
            let x = pass.get(id);
            // x is both inputs, so its gradient is a sum of two.
            let part = x.multiply(&x)?.mse(&Tensor::zeros(&x.shape(), DType::F32))?;
            loss = Some(loss.map_or(Ok(part.clone()), |sum| sum.add(&part))?);
        }
        let loss = loss.ok_or(Error::Tape("no parameters"))?;
        let outcome = pass.backward(&loss)?;
        norm = optimizer.step(&mut parameters, outcome, 0.05)?.wait()?.gradient_norm;
    }
    let mut numbers = vec![norm];
    for &id in &ids {
        assert_ne!(before.value(id).to_vec()?, parameters.value(id).to_vec()?);
        numbers.extend(before.value(id).to_vec()?);
        numbers.extend(parameters.value(id).to_vec()?);
    }
    Ok(numbers)
}

#[test]
fn a_simulated_gpu_learns_as_the_cpu() -> Result<()> {
    for rule in [Rule::sgd(0.9, 0.01), Rule::adam(0.01)] {
        let cpu = learn(rule, &Device::Cpu)?;
        let sim = learn(rule, &Device::simulated(crate::Simulation::CHECKED))?;
        assert_eq!(cpu.len(), sim.len());
        for (cpu, sim) in cpu.iter().zip(&sim) {
            assert!((cpu - sim).abs() <= 1e-5 * cpu.abs().max(1.0), "{rule:?}: {cpu} {sim}");
        }
    }
    Ok(())
}

/// Runs steps on a simulated GPU with losses multiplied by `scales`, and waits for each reading after the next step;
/// returns the weight after each reading, and the readings' results.
#[allow(clippy::type_complexity, reason = "used in one test only")]
fn read_late(scales: &[f32]) -> Result<(Vec<Vec<f64>>, Vec<Result<Figures>>)> {
    let device = Device::simulated(crate::Simulation::CHECKED);
    let mut parameters = Parameters::new(DType::F32, 0);
    let id = parameters.scope().parameter("w", &[3], Init::Constant(0.1))?;
    let other = parameters.scope().parameter("v", &[2], Init::Constant(1.0))?;
    let statistic = parameters.scope().statistic("mean", &[3], &[3], 0.0)?;
    parameters.move_to(&device)?;
    let mut optimizer = Optimizer::new(Rule::sgd(0.9, 0.0), &parameters)?;
    let (mut pending, mut values, mut said) = (None, Vec::new(), Vec::new());
    for step in 0..=scales.len() {
        let next = scales.get(step).map(|&scale| {
            let pass = Pass::train(&parameters, Philox::new(0, "t"));
            let scale = Tensor::from_slice(&[scale; 3], &[3])?;
            let x = pass.get(id).multiply(&scale)?;
            pass.note_statistic(statistic, x.detached(), 0.5, 0.5);
            let zeros = |n: usize| Tensor::zeros(&[n], DType::F32);
            let loss = x.mse(&zeros(3))?.add(&pass.get(other).mse(&zeros(2))?)?;
            let outcome = pass.backward(&loss)?.watching(&x);
            optimizer.step(&mut parameters, outcome, 0.01)
        });
        if let Some(reading) = std::mem::replace(&mut pending, next.transpose()?) {
            said.push(reading.wait());
        }
        let all = [id, other, statistic].map(|id| parameters.value(id).to_vec());
        values.push(all.into_iter().collect::<Result<Vec<_>>>()?.concat());
    }
    Ok((values, said))
}

#[test]
fn what_is_not_finite_changes_nothing_and_is_named_late() -> Result<()> {
    // With w at 0.1, a scale of 1e20 gives a loss of 1e38 and a gradient of 7e38, which is beyond f32.
    for (scale, culprit) in [(1e21, "the loss"), (f32::NAN, "the loss"), (1e20, "of w")] {
        let (values, said) = read_late(&[1.0, scale, 1.0, 1.0])?;
        assert!(values[0][0] < 0.1 && values[0][3] < 1.0 && values[0][5] > 0.0, "{values:?}");
        // The second update is not finite, and the third was launched before its reading: neither changes anything.
        assert_eq!((&values[1], &values[2]), (&values[0], &values[0]), "{scale}");
        assert_ne!(values[3], values[2], "after the error, training continues");
        assert!(said[0].as_ref().is_ok_and(|figures| figures.watched == [[f64::from(0.1f32); 3]]));
        assert!(said[3].is_ok());
        for late in &said[1..3] {
            let Err(error) = late else { panic!("{scale}: {late:?}") };
            let message = error.to_string();
            assert!(message.contains(culprit) && message.contains("update 2"), "{message}");
        }
    }
    Ok(())
}
