use super::super::{Adjacency, GraphConv};
use super::{BACKWARD_NODES, Edges, Place, Sizes};
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small;
use crate::cpu::{scratch, simd};
use crate::op::Backward;

/// The most slices of rows that parameter gradients are summed in.
const SLICES: usize = 16;

/// Lengths of the parameter gradients that a slice sums up; 0 for what nobody needs.
struct Sums {
    /// `[C_in][K][padded C_out]`.
    weight: usize,
    /// Sum of grad_output over rows, `[V][padded C_out]`.
    nodes: usize,
    /// `[K][V][padded V]`, or one number an edge.
    adjacency: usize,
}

pub(in super::super) fn backward<T: Float>(op: &GraphConv, mut call: Backward<'_, T>) {
    let sizes = Sizes::new(call.shapes, BACKWARD_NODES);
    let Sizes { rows, nodes, partitions, inward, outward, padded_in, padded_out, .. } = sizes;
    let (x, weight) = (call.inputs[0], call.inputs[1]);
    let last = call.inputs.len() - 1;
    let edges = Edges::new(op, call.inputs[last], call.indices);
    let (output, grad_output) = (call.output, call.grad_output);
    let mut grad_x = call.gradients[0].take();
    let mut grad_weight = call.gradients[1].take();
    let mut grad_bias = if op.bias { call.gradients[2].take() } else { None };
    let mut grad_edges = call.gradients[last].take();
    let dense = op.adjacency == Adjacency::Dense;

    let padded_nodes = small::padded(nodes);
    let width = partitions * padded_out;
    let edge_numbers =
        if dense { partitions * nodes * padded_nodes } else { call.inputs[last].len() };
    let sums = Sums {
        weight: if grad_weight.is_some() { inward * width } else { 0 },
        nodes: if op.bias && (grad_bias.is_some() || grad_edges.is_some()) {
            nodes * padded_out
        } else {
            0
        },
        adjacency: if grad_edges.is_some() { edge_numbers } else { 0 },
    };
    let a_slice = sums.weight + sums.nodes + sums.adjacency;
    let (blocks, slices) = (sizes.blocks(), sizes.blocks().min(SLICES));
    let x_slot = grad_x.as_mut().map(|g| (Shared::new(g.data), g.add));

    // The weights turned round: for grad_x `[K padded C_out][padded C_in]`, for x's gradient before the aggregation
    // `[C_out][K padded C_in]`.
    let (below, beside) = (width * padded_in, outward * partitions * padded_in);
    scratch::with::<T, _>(below + beside, |turned| {
        let (below, beside) = turned.split_at_mut(below);
        below.fill(T::ZERO);
        beside.fill(T::ZERO);
        for (row, from) in weight.chunks_exact(outward).enumerate() {
            let (k, c) = (row / inward, row % inward);
            for (o, &w) in from.iter().enumerate() {
                below[(k * padded_out + o) * padded_in + c] = w;
                beside[(o * partitions + k) * padded_in + c] = w;
            }
        }
        let (below, beside) = (&*below, &*beside);
        scratch::with::<f64, _>(slices * a_slice, |partial| {
            let shared = Shared::new(partial);
            parallel::tasks(slices, |slice| {
                // SAFETY: each slice has its own sums.
                let partial = unsafe { shared.part(slice * a_slice, a_slice) };
                partial.fill(0.0);
                for task in slice * blocks / slices..(slice + 1) * blocks / slices {
                    let first = task * sizes.block;
                    let count = (rows - first).min(sizes.block);
                    let all = count * nodes;
                    let span = first * nodes * outward..(first + count) * nodes * outward;
                    let kept = if op.relu { &output[span.clone()] } else { &[][..] };
                    let x = &x[first * nodes * inward..][..all * inward];
                    let numbers = Block { sizes, edges, below, beside, count, x, dense };
                    let out = x_slot.as_ref().map(|(shared, add)| {
                        // SAFETY: each block has its own rows.
                        (unsafe { shared.part(first * nodes * inward, all * inward) }, *add)
                    });
                    numbers.backward(&grad_output[span], kept, out, &sums, partial);
                }
            });
            let total = |at: usize| -> T {
                T::from_f64((0..slices).map(|slice| partial[slice * a_slice + at]).sum())
            };
            if let Some(gradient) = &mut grad_weight {
                for k in 0..partitions {
                    for c in 0..inward {
                        for o in 0..outward {
                            let value = total(c * width + k * padded_out + o);
                            gradient.put((k * inward + c) * outward + o, value);
                        }
                    }
                }
            }
            let node = |v: usize, o: usize| total(sums.weight + v * padded_out + o);
            if let Some(gradient) = &mut grad_bias {
                scratch::with::<T, _>(partitions * nodes, |degrees| {
                    edges.degrees(sizes, degrees);
                    for k in 0..partitions {
                        for o in 0..outward {
                            let sum = (0..nodes).map(|v| degrees[k * nodes + v] * node(v, o)).sum();
                            gradient.put(k * outward + o, sum);
                        }
                    }
                });
            }
            if let Some(gradient) = &mut grad_edges {
                // What reaches A_k(v, w) by way of the bias: the same for every w.
                let by_bias = |k: usize, v: usize| -> T {
                    if !op.bias {
                        return T::ZERO;
                    }
                    let bias = &call.inputs[2][k * outward..(k + 1) * outward];
                    bias.iter().enumerate().map(|(o, &b)| b * node(v, o)).sum()
                };
                let start = sums.weight + sums.nodes;
                match edges {
                    Edges::Dense(_) => {
                        for kv in 0..partitions * nodes {
                            let constant = by_bias(kv / nodes, kv % nodes);
                            for w in 0..nodes {
                                let value = total(start + kv * padded_nodes + w);
                                gradient.put(kv * nodes + w, value + constant);
                            }
                        }
                    }
                    Edges::Sparse { targets, sources, partitions, .. } => {
                        gradient.clear();
                        Edges::<T>::each((targets, sources, partitions), sizes, |edge, v, _, k| {
                            gradient.put(edge, total(start + edge) + by_bias(k, v));
                        });
                    }
                }
            }
        });
    });
}

/// A block of rows in backward.
struct Block<'a, T> {
    sizes: Sizes,
    edges: Edges<'a, T>,
    below: &'a [T],
    beside: &'a [T],
    count: usize,
    x: &'a [T],
    dense: bool,
}

impl<T: Float> Block<'_, T> {
    /// Writes the gradient of the block's features and adds to the slice's sums.
    fn backward(
        &self,
        grad_output: &[T],
        kept: &[T],
        grad_x: Option<(&mut [T], bool)>,
        sums: &Sums,
        partial: &mut [f64],
    ) {
        let Sizes { nodes, partitions, inward, outward, padded_in, padded_out, .. } = self.sizes;
        let (count, all, padded_nodes) = (self.count, self.count * nodes, small::padded(nodes));
        let width = partitions * padded_out;
        let width_in = partitions * padded_in;
        let aggregates = grad_x.is_some() || sums.weight > 0;
        let lengths = [
            all * padded_out,
            if aggregates { all * width } else { 0 },
            if grad_x.is_some() { all * padded_in } else { 0 },
            sums.weight,
            if sums.adjacency > 0 { all * width_in } else { 0 },
            if sums.adjacency > 0 && self.dense { inward * padded_nodes } else { 0 },
            sums.adjacency,
        ];
        let (weight_sums, rest) = partial.split_at_mut(sums.weight);
        let (node_sums, edge_sums) = rest.split_at_mut(sums.nodes);
        scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
            let [grad, gathered, features, weights, before, turned, adjacency] =
                lengths.map(|length| {
                    let (part, rest) = std::mem::take(&mut memory).split_at_mut(length);
                    memory = rest;
                    part
                });
            small::copy_padded(all, outward, grad_output, outward, grad, padded_out);
            simd::vectorised(
                #[inline(always)]
                || {
                    for (g, y) in grad.chunks_exact_mut(padded_out).zip(kept.chunks_exact(outward))
                    {
                        for (g, &y) in g.iter_mut().zip(y) {
                            *g = if y > T::ZERO { *g } else { T::ZERO };
                        }
                    }
                    for row in grad.chunks_exact(nodes * padded_out) {
                        for (sum, &g) in node_sums.iter_mut().zip(row) {
                            *sum += g.to_f64();
                        }
                    }
                },
            );
            if aggregates {
                let from = Place { row: padded_out, partition: 0 };
                let to = Place { row: width, partition: padded_out };
                for r in 0..count {
                    self.edges.aggregate(
                        self.sizes,
                        true,
                        padded_out,
                        &grad[r * nodes * padded_out..],
                        from,
                        &mut gathered[r * nodes * width..],
                        to,
                    );
                }
            }
            if let Some((out, add)) = grad_x {
                serial(
                    View::dense(gathered, all, width),
                    View::dense(self.below, width, padded_in),
                    features,
                    padded_in,
                    false,
                );
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (out, g) in
                            out.chunks_exact_mut(inward).zip(features.chunks_exact(padded_in))
                        {
                            for (out, &g) in out.iter_mut().zip(g) {
                                let old = if add { *out } else { T::ZERO };
                                *out = old + g;
                            }
                        }
                    },
                );
            }
            if sums.weight > 0 {
                serial(
                    View::dense(self.x, all, inward).transposed(),
                    View::dense(gathered, all, width),
                    weights,
                    width,
                    false,
                );
                flush(weights, weight_sums);
            }
            if sums.adjacency > 0 {
                serial(
                    View::new(grad, [all, outward], (padded_out, 1)),
                    View::dense(self.beside, outward, width_in),
                    before,
                    width_in,
                    false,
                );
                self.adjacency(before, turned, adjacency);
                flush(adjacency, edge_sums);
            }
        });
    }

    /// The gradient of the adjacency over the block's rows: `before` holds grad_output W_kᵀ.
    fn adjacency(&self, before: &[T], turned: &mut [T], result: &mut [T]) {
        let Sizes { nodes, partitions, inward, padded_in, .. } = self.sizes;
        let width = partitions * padded_in;
        let padded_nodes = small::padded(nodes);
        result.fill(T::ZERO);
        for (x, before) in
            self.x.chunks_exact(nodes * inward).zip(before.chunks_exact(nodes * width))
        {
            match self.edges {
                Edges::Dense(_) => {
                    turned.fill(T::ZERO);
                    for (w, x) in x.chunks_exact(inward).enumerate() {
                        for (to, &x) in turned.chunks_exact_mut(padded_nodes).zip(x) {
                            to[w] = x;
                        }
                    }
                    for k in 0..partitions {
                        serial(
                            View::new(&before[k * padded_in..], [nodes, inward], (width, 1)),
                            View::dense(turned, inward, padded_nodes),
                            &mut result[k * nodes * padded_nodes..],
                            padded_nodes,
                            true,
                        );
                    }
                }
                Edges::Sparse { targets, sources, partitions, .. } => simd::vectorised(
                    #[inline(always)]
                    || {
                        Edges::<T>::each(
                            (targets, sources, partitions),
                            self.sizes,
                            |edge, v, w, k| {
                                let g = &before[v * width + k * padded_in..][..inward];
                                let x = &x[w * inward..][..inward];
                                result[edge] += small::sum(inward, |c| g[c] * x[c]);
                            },
                        );
                    },
                ),
            }
        }
    }
}

/// Adds sums of a block to those of its slice.
fn flush<T: Float>(block: &[T], slice: &mut [f64]) {
    simd::vectorised(
        #[inline(always)]
        || {
            for (total, &sum) in slice.iter_mut().zip(block) {
                *total += sum.to_f64();
            }
        },
    );
}
