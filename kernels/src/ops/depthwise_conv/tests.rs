use super::*;
use crate::check;

fn run<T: Float>(op: DepthwiseConv, shapes: &[Shape], inputs: &[&[T]]) -> Vec<T> {
    let plan = op.plan(shapes, &[]).unwrap();
    let mut output = vec![T::from_f64(f64::NAN); plan.output.shape.count()];
    op.forward(Forward {
        shapes,
        inputs,
        index_shapes: &[],
        indices: &[],
        output: &mut output,
        saved: &mut [],
        saved_indices: &mut [],
    });
    output
}

#[test]
fn by_hand() {
    let x = [1.0f32, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0];
    let weight = [1.0, 0.0, 0.0, 1.0, 100.0, 0.0];
    let shapes = [Shape::from([1, 4, 2]), Shape::from([3, 2])];
    let op = DepthwiseConv { bias: false, ..DepthwiseConv::same(3, 1) };
    let y = run(op, &shapes, &[&x, &weight]);
    assert_eq!(y, [200.0, 10.0, 301.0, 20.0, 402.0, 30.0, 3.0, 40.0]);
    let dilated = DepthwiseConv { padding: 0, stride: 2, dilation: 1, bias: false };
    assert_eq!(run(dilated, &shapes, &[&x, &weight]), [301.0, 20.0]);
}

#[test]
fn every_length_and_setting_is_the_definition() {
    let stream = crate::philox::Philox::new(1, "depthwise");
    for (steps, features, kernel) in [(23, 45, 3), (9, 32, 5), (40, 8, 31), (1, 1, 1), (50, 71, 2)]
    {
        for stride in 1..4 {
            for (dilation, padding) in [(1, 0), (1, 15), (2, 30), (5, 75)] {
                let op = DepthwiseConv { stride, padding, dilation, bias: true };
                let shapes = [
                    Shape::from([2, steps, features]),
                    Shape::from([kernel, features]),
                    Shape::from([features]),
                ];
                let Ok(plan) = op.plan(&shapes, &[]) else { continue };
                let inputs: Vec<Vec<f64>> = (0..3)
                    .map(|p| {
                        let count = shapes[p].count();
                        (0..count).map(|i| stream.at(p as u64).normal(i as u64)).collect()
                    })
                    .collect();
                let y = run(op, &shapes, &inputs.iter().map(|x| &x[..]).collect::<Vec<_>>());
                let mut at = 0;
                for clip in 0..2 {
                    for t in 0..plan.output.shape[1] {
                        for c in 0..features {
                            let term = |k: usize| {
                                let from = (t * stride + k * dilation).checked_sub(padding)?;
                                let x = inputs[0].get((clip * steps + from) * features + c)?;
                                (from < steps).then(|| x * inputs[1][k * features + c])
                            };
                            let sum: f64 = (0..kernel).filter_map(term).sum();
                            assert!((y[at] - sum - inputs[2][c]).abs() < 1e-12);
                            at += 1;
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn too_short_is_an_error() {
    let op = DepthwiseConv { stride: 1, padding: 0, dilation: 4, bias: false };
    let error = op.plan(&[[1, 8, 2].into(), [3, 2].into()], &[]).unwrap_err().to_string();
    assert!(error.contains("pad more") && error.contains("9 padded steps"), "{error}");
}

#[test]
fn checks() {
    let report = check::check::<DepthwiseConv>(60, 2);
    assert!(report.passed(), "{report:#?}");
}
