use super::*;
use crate::check;

/// Output in the precision of `T`, from f64 numbers.
fn run<T: Float>(
    op: Attention,
    shapes: &[Shape; 3],
    inputs: [&[f64]; 3],
    lengths: Option<&[u32]>,
) -> Vec<f64> {
    let index_shapes: Vec<Shape> = lengths.iter().map(|l| Shape::from([l.len()])).collect();
    let indices: Vec<&[u32]> = lengths.into_iter().collect();
    let plan = op.plan(shapes, &index_shapes).unwrap();
    let owned = inputs.map(|x| x.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>());
    let mut output = vec![T::from_f64(f64::NAN); plan.output.shape.count()];
    let mut saved = vec![T::ZERO; plan.saved[0].shape.count()];
    op.forward(Forward {
        shapes,
        inputs: &owned.each_ref().map(|x| &x[..]),
        index_shapes: &index_shapes,
        indices: &indices,
        output: &mut output,
        saved: &mut [&mut saved],
        saved_indices: &mut [],
    });
    output.iter().map(|y| y.to_f64()).collect()
}

fn numbers(count: usize, part: u64) -> Vec<f64> {
    (0..count).map(|i| Philox::new(5, "attention").at(part).normal(i as u64)).collect()
}

/// The definition, without optimisation.
fn brute_force(
    op: Attention,
    shapes: &[Shape; 3],
    [q, k, v]: [&[f64]; 3],
    lengths: Option<&[u32]>,
) -> Vec<f64> {
    let [n, tq, features] = [shapes[0][0], shapes[0][1], shapes[0][2]];
    let tk = shapes[1][1];
    let head = features / op.heads;
    let mut output = vec![0.0; q.len()];
    for clip in 0..n {
        let length = lengths.map_or(tk, |l| tk.min(l[clip] as usize));
        for h in 0..op.heads {
            for i in 0..tq {
                let at = |t: usize, count: usize| (clip * count + t) * features + h * head;
                let logit = |j: usize| {
                    let dot: f64 = (0..head).map(|e| q[at(i, tq) + e] * k[at(j, tk) + e]).sum();
                    dot * op.scale(head)
                };
                let sum: f64 = (0..length).map(|j| logit(j).exp()).sum();
                for j in 0..length {
                    let row = (clip * op.heads + h) * tq + i;
                    let word = op.stream.word((row * tk.next_multiple_of(4) + j) as u64);
                    let dropped = f64::from(word) < (op.dropout * 4_294_967_296.0).floor();
                    let factor = if dropped { 0.0 } else { 1.0 / (1.0 - op.dropout) };
                    let weight = logit(j).exp() / sum * factor;
                    (0..head).for_each(|e| output[at(i, tq) + e] += weight * v[at(j, tk) + e]);
                }
            }
        }
    }
    output
}

#[test]
fn brute_force_agrees() {
    let stream = Philox::new(9, "dropout");
    for (n, tq, tk, heads, head) in [
        (2, 5, 9, 3, 4),
        (1, 33, 40, 2, 60),
        (1, 3, 600, 1, 32),
        (1, 70, 70, 1, 128),
        (3, 1, 1, 2, 7),
    ] {
        for (dropout, masked) in [(0.0, false), (0.3, true)] {
            let op = Attention { dropout, stream, masked, ..Attention::new(heads) };
            let shapes = [
                Shape::from([n, tq, heads * head]),
                Shape::from([n, tk, heads * head]),
                Shape::from([n, tk, heads * head]),
            ];
            let [q, k, v] = [0, 1, 2].map(|i| numbers(shapes[i].count(), i as u64));
            let lengths: Vec<u32> = (0..n as u32).map(|i| tk as u32 * i / 2 + 2).collect();
            let lengths = masked.then_some(&lengths[..]);
            let expected = brute_force(op, &shapes, [&q, &k, &v], lengths);
            for (y, e) in run::<f64>(op, &shapes, [&q, &k, &v], lengths).iter().zip(&expected) {
                assert!((y - e).abs() < 1e-12, "{y} against {e}");
            }
            for (y, e) in run::<f32>(op, &shapes, [&q, &k, &v], lengths).iter().zip(&expected) {
                assert!((y - e).abs() < 2e-6, "{y} against {e}");
            }
        }
    }
}

#[test]
fn one_key_is_a_copy_and_large_logits_are_finite() {
    let shape = Shape::from([2, 3, 4]);
    let one = Shape::from([2, 1, 4]);
    let (q, k, v) = (numbers(24, 0), numbers(8, 1), numbers(8, 2));
    let y = run::<f64>(Attention::new(2), &[shape, one, one], [&q, &k, &v], None);
    for (i, y) in y.iter().enumerate() {
        assert!((y - v[i / 12 * 4 + i % 4]).abs() < 1e-15);
    }
    let loud = Attention { scale: Some(1e6), ..Attention::new(1) };
    let y = run::<f32>(loud, &[shape; 3], [&q, &numbers(24, 1), &numbers(24, 2)], None);
    assert!(y.iter().all(|y| y.is_finite()));
}

#[test]
fn dropout_keeps_the_mean() {
    let (q, k) = (Shape::from([1, 400, 4]), Shape::from([1, 50, 4]));
    let op = Attention { dropout: 0.25, ..Attention::new(1) };
    let (x, ones) = (numbers(1600, 0), vec![1.0; 200]);
    let y = run::<f64>(op, &[q, k, k], [&x, &numbers(200, 1), &ones], None);
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}

#[test]
fn checks() {
    let report = check::check::<Attention>(40, 2);
    assert!(report.passed(), "{report:#?}");
}
