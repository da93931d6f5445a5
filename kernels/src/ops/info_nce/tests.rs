use super::*;
use crate::check;
use crate::op::Gradient;
use crate::philox::Philox;

const ANY: &[Denominator] = &[
    Denominator::ExcludePositive,
    Denominator::IncludePositive,
    Denominator::Authors { half: true },
    Denominator::Authors { half: false },
];

struct Outcome {
    loss: f64,
    pairs: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

/// Loss, losses of pairs and gradients, in the precision of `T`.
fn run<T: Float>(
    op: InfoNce,
    embeddings: &[Vec<f64>],
    features: usize,
    present: Option<&[u32]>,
) -> Outcome {
    let (m, rows) = (embeddings.len(), embeddings[0].len() / features);
    let shapes = vec![Shape::from([rows, features]); m];
    let index_shapes: Vec<Shape> = present.iter().map(|p| Shape::from([m, p.len() / m])).collect();
    let indices: Vec<&[u32]> = present.into_iter().collect();
    let op = InfoNce { masked: present.is_some(), ..op };
    let plan = op.plan(&shapes, &index_shapes).unwrap();
    let owned: Vec<Vec<T>> =
        embeddings.iter().map(|z| z.iter().map(|&x| T::from_f64(x)).collect()).collect();
    let inputs: Vec<&[T]> = owned.iter().map(|z| &z[..]).collect();
    let nan = T::from_f64(f64::NAN);
    let mut output = [nan];
    let mut saved: Vec<Vec<T>> = plan.saved.iter().map(|s| vec![nan; s.shape.count()]).collect();
    op.forward(Forward {
        shapes: &shapes,
        inputs: &inputs,
        index_shapes: &index_shapes,
        indices: &indices,
        output: &mut output,
        saved: &mut saved.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>(),
        saved_indices: &mut [],
    });
    let mut gradients = vec![vec![nan; rows * features]; m];
    op.backward(Backward {
        shapes: &shapes,
        inputs: &inputs,
        index_shapes: &index_shapes,
        indices: &indices,
        output: &[],
        saved: &saved.iter().map(|s| &s[..]).collect::<Vec<_>>(),
        saved_indices: &[],
        grad_output: &[T::ONE],
        gradients: gradients
            .iter_mut()
            .map(|data| Some(Gradient { data: &mut data[..], add: false }))
            .collect(),
    });
    let wide = |x: &[T]| x.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
    Outcome {
        loss: output[0].to_f64(),
        pairs: wide(&saved[2]),
        gradients: gradients.iter().map(|g| wide(g)).collect(),
    }
}

fn op(temperature: f64, denominator: Denominator) -> InfoNce {
    InfoNce { denominator, ..InfoNce::new(temperature) }
}

fn close(got: f64, expected: f64, tolerance: f64) {
    assert!(
        (got - expected).abs() <= tolerance * expected.abs().max(1e-3),
        "{got} against {expected}"
    );
}

fn random(modalities: usize, rows: usize, features: usize, seed: u64) -> Vec<Vec<f64>> {
    let stream = Philox::new(seed, "info_nce");
    (0..modalities as u64)
        .map(|m| (0..rows * features).map(|i| stream.at(m).normal(i as u64)).collect())
        .collect()
}

/// Unit vectors along the axes, once for each view.
fn axes(count: usize, views: usize) -> Vec<f64> {
    let row = |i: usize| (0..count).map(move |j| f64::from(i % count == j));
    (0..count * views).flat_map(row).collect()
}

#[test]
fn closed_forms() {
    let exclude = op(0.07, Denominator::ExcludePositive);
    let authors = op(0.07, Denominator::Authors { half: true });
    let aligned = vec![axes(32, 1); 3];
    let equal = vec![vec![0.3; 32 * 4]; 3];
    close(run::<f64>(exclude, &aligned, 32, None).loss, -10.851727081, 1e-10);
    close(run::<f32>(exclude, &aligned, 32, None).loss, -10.851727081, 1e-6);
    close(run::<f64>(exclude, &equal, 4, None).loss, 31f64.ln(), 1e-12);
    close(run::<f32>(exclude, &equal, 4, None).loss, 31f64.ln(), 1e-6);
    let (aligned, equal) = (vec![axes(32, 2); 2], vec![vec![-0.7; 64 * 3]; 2]);
    close(run::<f64>(authors, &aligned, 32, None).loss, 1.937075e-5, 1e-6);
    close(run::<f64>(authors, &equal, 3, None).loss, 2.071567363, 1e-9);
    let whole = op(0.07, Denominator::Authors { half: false });
    close(run::<f64>(whole, &equal, 3, None).loss, 63f64.ln(), 1e-12);
    // CLIP's rows: all equal gives ln N.
    let include = op(0.07, Denominator::IncludePositive);
    close(run::<f64>(include, &[vec![1.0; 40], vec![2.0; 40]], 4, None).loss, 10f64.ln(), 1e-12);
}

#[test]
fn two_samples() {
    // With N = 2 the log-sum is one logit: L_i = s_ij - s_ii.
    let z = [vec![1.0, 0.0, 0.6, 0.8], vec![0.8, 0.6, 0.0, 1.0]];
    let outcome = run::<f64>(InfoNce::new(1.0), &z, 2, None);
    close(outcome.pairs[1], ((0.0 - 0.8) + (0.96 - 0.8)) / 2.0, 1e-12);
}

#[test]
fn toy_vector() {
    let z = [vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0], vec![0.8, 0.6, 1.0, 0.0, -0.6, 0.8]];
    for (temperature, forth, back) in
        [(0.07, 1.7143689931, 0.1924188837), (0.5, 0.4172312755, 0.2540906761)]
    {
        let mean = run::<f64>(InfoNce::new(temperature), &z, 2, None);
        close(mean.pairs[1], forth, 1e-9);
        close(mean.pairs[2], back, 1e-9);
        close(mean.loss, (forth + back) / 2.0, 1e-9);
        assert_eq!([mean.pairs[0], mean.pairs[3]], [0.0; 2]);
        let sum = InfoNce { reduction: Reduction::Sum, ..InfoNce::new(temperature) };
        close(run::<f64>(sum, &z, 2, None).loss, 3.0 * mean.loss, 1e-12);
    }
}

/// The definition, without optimisation.
fn brute_force(op: InfoNce, z: &[Vec<f64>], features: usize, present: Option<&[u32]>) -> f64 {
    let (modalities, rows) = (z.len(), z[0].len() / features);
    let samples = rows / op.views();
    let unit = |m: usize, i: usize| {
        let x = &z[m][i * features..(i + 1) * features];
        let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter().map(move |x| x / length)
    };
    let (mut total, mut pairs) = (0.0, 0);
    for m in 0..modalities {
        for n in (0..modalities).filter(|&n| n != m) {
            let has =
                |m: usize, i: usize| present.is_none_or(|p| p[m * samples + i % samples] != 0);
            let both: Vec<usize> = (0..rows).filter(|&i| has(m, i) && has(n, i)).collect();
            if both.len() < 2 * op.views() {
                continue;
            }
            pairs += 1;
            let mut loss = 0.0;
            for &i in &both {
                let s = |j: usize| {
                    unit(m, i).zip(unit(n, j)).map(|(a, b)| a * b).sum::<f64>() / op.temperature
                };
                let (positive, in_sum): (usize, fn(usize, usize) -> bool) = match op.denominator {
                    Denominator::ExcludePositive => (i, |i, j| i != j),
                    Denominator::IncludePositive => (i, |_, _| true),
                    Denominator::Authors { .. } => ((i + samples) % rows, |i, j| i != j),
                };
                let sum: f64 = both.iter().filter(|&&j| in_sum(i, j)).map(|&j| s(j).exp()).sum();
                loss += sum.ln() - s(positive);
            }
            if op.denominator == (Denominator::Authors { half: true }) {
                loss *= 0.5;
            }
            total += if op.reduction == Reduction::Mean { loss / both.len() as f64 } else { loss };
        }
    }
    total / f64::from(pairs.max(1))
}

#[test]
fn brute_force_agrees() {
    let mut seed = 0;
    for &denominator in ANY {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            for (modalities, samples, features) in [(2, 2, 3), (3, 7, 5), (4, 33, 17), (2, 70, 40)]
            {
                for masked in [false, true] {
                    seed += 1;
                    let op = InfoNce { reduction, ..op(0.2, denominator) };
                    let z = random(modalities, samples * op.views(), features, seed);
                    let bits = Philox::new(seed, "present");
                    let present: Vec<u32> = (0..modalities * samples)
                        .map(|i| u32::from(bits.uniform(i as u64) < 0.7))
                        .collect();
                    let present = masked.then_some(&present[..]);
                    let expected = brute_force(op, &z, features, present);
                    close(run::<f64>(op, &z, features, present).loss, expected, 1e-11);
                    close(run::<f32>(op, &z, features, present).loss, expected, 1e-5);
                }
            }
        }
    }
}

#[test]
fn more_rows_than_a_block() {
    for (denominator, temperature) in ANY.iter().flat_map(|&d| [(d, 0.07), (d, 0.01)]) {
        let op = op(temperature, denominator);
        let z = random(2, 1100, 8, 9);
        let outcome = run::<f64>(op, &z, 8, None);
        close(outcome.loss, brute_force(op, &z, 8, None), 1e-11);
        // Elements against a central difference: of rows and of columns, in the first and second block. With a
        // smaller step the difference would be below the rounding error of losses near 100.
        for (side, element) in [(0, 3), (0, 1099 * 8 + 1), (1, 5), (1, 1098 * 8)] {
            let at = |step: f64| {
                let mut z = z.clone();
                z[side][element] += step;
                run::<f64>(op, &z, 8, None).loss
            };
            let numeric = (at(3e-6) - at(-3e-6)) / 6e-6;
            let gradient = outcome.gradients[side][element];
            assert!((numeric - gradient).abs() < 1e-8, "{numeric} against {gradient}");
        }
    }
}

#[test]
fn order_of_samples_and_modalities_is_nothing() {
    for &denominator in ANY {
        let op = op(0.1, denominator);
        let (samples, features) = (11, 6);
        let z = random(3, samples * op.views(), features, 4);
        let order = Philox::new(3, "order").permutation(samples);
        let mixed: Vec<Vec<f64>> = z
            .iter()
            .map(|z| {
                (0..op.views() * samples)
                    .flat_map(|i| {
                        let from = i / samples * samples + order[i % samples];
                        z[from * features..(from + 1) * features].to_vec()
                    })
                    .collect()
            })
            .collect();
        let (plain, mixed) =
            (run::<f64>(op, &z, features, None), run::<f64>(op, &mixed, features, None));
        close(mixed.loss, plain.loss, 1e-12);
        let turned = run::<f64>(op, &[z[2].clone(), z[0].clone(), z[1].clone()], features, None);
        close(turned.loss, plain.loss, 1e-12);
        // (m, n) of the rotated call is (m-1, n-1) of the plain one.
        close(turned.pairs[1], plain.pairs[6], 1e-12);
        close(turned.pairs[5], plain.pairs[1], 1e-12);
    }
}

#[test]
fn length_of_an_embedding_is_nothing() {
    for &denominator in ANY {
        let op = op(0.1, denominator);
        let (rows, features) = (8, 5);
        let mut z = random(2, rows, features, 5);
        let plain = run::<f64>(op, &z, features, None);
        for row in 0..rows {
            let span = row * features..(row + 1) * features;
            let along: f64 =
                z[0][span.clone()].iter().zip(&plain.gradients[0][span]).map(|(z, g)| z * g).sum();
            assert!(along.abs() < 1e-14);
        }
        z[0][..features].iter_mut().for_each(|x| *x *= 37.5);
        let scaled = run::<f64>(op, &z, features, None);
        close(scaled.loss, plain.loss, 1e-13);
        close(scaled.gradients[0][2] * 37.5, plain.gradients[0][2], 1e-12);
    }
}

#[test]
fn low_temperature_and_zero_embedding_are_finite() {
    let mut z = random(2, 40, 6, 6);
    z[0][..6].fill(0.0);
    for &denominator in ANY {
        let outcome = run::<f32>(op(0.005, denominator), &z, 6, None);
        assert!(outcome.loss.is_finite());
        assert!(outcome.gradients.iter().flatten().all(|g| g.is_finite()));
        assert!(outcome.gradients[0][..6].iter().all(|&g| g == 0.0));
    }
    // Aligned at .07: the large diagonal must not absorb the other terms.
    let aligned = vec![axes(32, 1); 2];
    close(run::<f32>(InfoNce::new(0.005), &aligned, 32, None).loss, 31f64.ln() - 200.0, 1e-6);
}

#[test]
fn no_pair_left() {
    let z = random(2, 3, 4, 7);
    let outcome = run::<f32>(InfoNce::new(0.07), &z, 4, Some(&[1, 1, 0, 1, 0, 1]));
    assert_eq!(outcome.loss, 0.0);
    assert!(outcome.gradients.iter().flatten().all(|&g| g == 0.0));
}

#[test]
fn batch_of_one_is_an_error() {
    let error = InfoNce::new(0.07).plan(&[[1, 4].into(), [1, 4].into()], &[]).unwrap_err();
    assert!(error.to_string().contains("skip batches of one"), "{error}");
    let authors = op(0.07, Denominator::Authors { half: true });
    assert!(authors.plan(&[[3, 4].into(), [3, 4].into()], &[]).is_err());
}

#[test]
fn threads_do_not_change_bits() {
    // Two blocks of rows and of columns.
    let z = random(3, 1100, 24, 8);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run::<f32>(InfoNce::new(0.07), &z, 24, None))
    };
    let (one, five) = (with(1), with(5));
    assert_eq!(one.loss.to_bits(), five.loss.to_bits());
    assert_eq!(one.gradients, five.gradients);
}

#[test]
fn checks() {
    let report = check::check::<InfoNce>(30, 2);
    assert!(report.passed(), "{report:#?}");
}
