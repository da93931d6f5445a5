use super::*;
use crate::check;
use crate::philox::Philox;

fn numbers(count: usize, part: u64) -> Vec<f64> {
    (0..count).map(|i| Philox::new(6, "graph_conv").at(part).normal(i as u64)).collect()
}

fn run<T: Float>(
    op: GraphConv,
    shapes: &[Shape],
    inputs: &[Vec<f64>],
    indices: &[Vec<u32>],
) -> Vec<f64> {
    let index_shapes: Vec<Shape> = indices.iter().map(|i| Shape::from([i.len()])).collect();
    let plan = op.plan(shapes, &index_shapes).unwrap();
    let owned: Vec<Vec<T>> =
        inputs.iter().map(|x| x.iter().map(|&x| T::from_f64(x)).collect()).collect();
    let mut output = vec![T::from_f64(f64::NAN); plan.output.shape.count()];
    op.forward(Forward {
        shapes,
        inputs: &owned.iter().map(|x| &x[..]).collect::<Vec<_>>(),
        index_shapes: &index_shapes,
        indices: &indices.iter().map(|i| &i[..]).collect::<Vec<_>>(),
        output: &mut output,
        saved: &mut [],
        saved_indices: &mut [],
    });
    output.iter().map(|y| y.to_f64()).collect()
}

/// The definition, without optimisation.
fn brute_force(shapes: &[Shape], inputs: &[Vec<f64>], relu: bool) -> Vec<f64> {
    let [partitions, inward, outward] = [shapes[1][0], shapes[1][1], shapes[1][2]];
    let (x, weight, bias, adjacency) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3]);
    let nodes = shapes[3][1];
    let mut output = Vec::new();
    for x in x.chunks_exact(nodes * inward) {
        for v in 0..nodes {
            for o in 0..outward {
                let mut y = 0.0;
                for k in 0..partitions {
                    for w in 0..nodes {
                        let linear: f64 = (0..inward)
                            .map(|c| x[w * inward + c] * weight[(k * inward + c) * outward + o])
                            .sum();
                        y += adjacency[(k * nodes + v) * nodes + w]
                            * (linear + bias[k * outward + o]);
                    }
                }
                output.push(if relu { y.max(0.0) } else { y });
            }
        }
    }
    output
}

#[test]
fn dense_and_sparse_are_the_definition() {
    for (rows, nodes, partitions, inward, outward) in
        [(7, 5, 3, 3, 16), (9, 51, 1, 64, 16), (3, 8, 2, 16, 40), (40, 10, 1, 5, 5)]
    {
        for relu in [false, true] {
            let shapes: [Shape; 4] = [
                [rows, nodes, inward].into(),
                [partitions, inward, outward].into(),
                [partitions, outward].into(),
                [partitions, nodes, nodes].into(),
            ];
            let mut inputs: Vec<Vec<f64>> =
                (0..4).map(|i| numbers(shapes[i].count(), i as u64)).collect();
            // One element of three is an edge.
            inputs[3]
                .iter_mut()
                .enumerate()
                .for_each(|(i, a)| *a *= f64::from(u8::from(i % 3 == 0)));
            let expected = brute_force(&shapes, &inputs, relu);
            let dense = GraphConv { adjacency: Adjacency::Dense, bias: true, relu };
            let check = |got: Vec<f64>, tolerance: f64| {
                for (y, e) in got.iter().zip(&expected) {
                    assert!((y - e).abs() < tolerance, "{y} against {e}");
                }
            };
            check(run::<f64>(dense, &shapes, &inputs, &[]), 1e-11);
            check(run::<f32>(dense, &shapes, &inputs, &[]), 1e-3);
            let support: Vec<usize> = (0..inputs[3].len()).step_by(3).collect();
            let index =
                |of: &dyn Fn(usize) -> usize| support.iter().map(|&i| of(i) as u32).collect();
            let indices = [
                index(&|i| i / nodes % nodes),
                index(&|i| i % nodes),
                index(&|i| i / nodes / nodes),
            ];
            let mut sparse_shapes = shapes;
            sparse_shapes[3] = [support.len()].into();
            inputs[3] = support.iter().map(|&i| inputs[3][i]).collect();
            let sparse = GraphConv { adjacency: Adjacency::Sparse, ..dense };
            check(run::<f64>(sparse, &sparse_shapes, &inputs, &indices), 1e-11);
        }
    }
}

#[test]
fn one_node_is_a_linear_layer() {
    let op = GraphConv { adjacency: Adjacency::Dense, bias: true, relu: false };
    let shapes: [Shape; 4] = [[2, 1, 2].into(), [1, 2, 1].into(), [1, 1].into(), [1, 1, 1].into()];
    let inputs = [vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 1.0], vec![0.5], vec![2.0]];
    assert_eq!(run::<f32>(op, &shapes, &inputs, &[]), [25.0, 69.0]);
}

#[test]
fn errors_say_what_to_do() {
    let op = GraphConv { adjacency: Adjacency::Dense, bias: false, relu: true };
    let plan = |a: &[usize], w: &[usize], e: &[usize]| {
        op.plan(&[Shape::new(a), Shape::new(w), Shape::new(e)], &[]).unwrap_err().to_string()
    };
    assert!(plan(&[2, 5, 3], &[1, 4, 8], &[1, 5, 5]).contains("make it [K, C_in, C_out]"));
    assert!(plan(&[2, 5, 3], &[1, 3, 8], &[1, 4, 4]).contains("make it [K, V, V]"));
}

#[test]
fn checks() {
    let report = check::check::<GraphConv>(40, 2);
    assert!(report.passed(), "{report:#?}");
}
