use super::super::{Adjacency, GraphConv};
use super::{BACKWARD_NODES, Edges, Place, Sizes};
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small;
use crate::cpu::{scratch, simd};
use crate::op::{Backward, Gradient};

/// The most slices of rows in the sums of the parameter gradients.
const SLICES: usize = 16;

/// Lengths of the sums that a slice accumulates for the parameter gradients; 0 where not needed.
struct Sums {
    /// `[C_in][K][padded C_out]`.
    weight: usize,
    /// Sum of grad_output over rows, `[V][padded C_out]`.
    nodes: usize,
    /// `[K][V][padded V]` if dense, one element for each edge if sparse.
    adjacency: usize,
}

impl Sums {
    fn total(&self) -> usize {
        self.weight + self.nodes + self.adjacency
    }
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

    let width = partitions * padded_out;
    let adjacency = match op.adjacency {
        Adjacency::Dense => partitions * nodes * small::padded(nodes),
        Adjacency::Sparse => call.inputs[last].len(),
    };
    let needs_nodes = op.bias && (grad_bias.is_some() || grad_edges.is_some());
    let sums = Sums {
        weight: if grad_weight.is_some() { inward * width } else { 0 },
        nodes: if needs_nodes { nodes * padded_out } else { 0 },
        adjacency: if grad_edges.is_some() { adjacency } else { 0 },
    };
    let length = sums.total();
    let (blocks, slices) = (sizes.blocks(), sizes.blocks().min(SLICES));
    let x_slot = grad_x.as_mut().map(|g| (Shared::new(g.data), g.add));

    let (vertical, horizontal) = (width * padded_in, outward * partitions * padded_in);
    scratch::with::<T, _>(vertical + horizontal, |transposed| {
        let (vertical, horizontal) = transposed.split_at_mut(vertical);
        transpose_weights(sizes, weight, vertical, horizontal);
        let (vertical, horizontal) = (&*vertical, &*horizontal);
        scratch::with::<f64, _>(slices * length, |partial| {
            let shared = Shared::new(partial);
            parallel::tasks(slices, |slice| {
                // SAFETY: each slice has its own sums.
                let partial = unsafe { shared.part(slice * length, length) };
                partial.fill(0.0);
                for task in slice * blocks / slices..(slice + 1) * blocks / slices {
                    let first = task * sizes.block;
                    let count = (rows - first).min(sizes.block);
                    let all = count * nodes;
                    let span = first * nodes * outward..(first + count) * nodes * outward;
                    let kept = if op.relu { &output[span.clone()] } else { &[][..] };
                    let x = &x[first * nodes * inward..][..all * inward];
                    let block = Block { sizes, edges, vertical, horizontal, count, x };
                    let out = x_slot.as_ref().map(|(shared, add)| {
                        // SAFETY: each block has its own rows.
                        (unsafe { shared.part(first * nodes * inward, all * inward) }, *add)
                    });
                    block.backward(&grad_output[span], kept, out, &sums, partial);
                }
            });
            let totals = Totals { sizes, sums: &sums, slices, partial };
            if let Some(gradient) = &mut grad_weight {
                totals.put_weight(gradient);
            }
            if let Some(gradient) = &mut grad_bias {
                totals.put_bias(gradient, &edges);
            }
            if let Some(gradient) = &mut grad_edges {
                totals.put_adjacency(gradient, &edges, op.bias.then(|| call.inputs[2]));
            }
        });
    });
}

/// Transposes the weights W_k, padded with zeros: stacked vertically `[K padded C_out][padded C_in]`, which maps the
/// aggregated gradients to grad_x, and horizontally `[C_out][K padded C_in]`, which maps grad_output to the gradient of
/// each partition's aggregation.
fn transpose_weights<T: Float>(
    sizes: Sizes,
    weight: &[T],
    vertical: &mut [T],
    horizontal: &mut [T],
) {
    let Sizes { partitions, inward, outward, padded_in, padded_out, .. } = sizes;
    vertical.fill(T::ZERO);
    horizontal.fill(T::ZERO);
    for (row, from) in weight.chunks_exact(outward).enumerate() {
        let (k, c) = (row / inward, row % inward);
        for (o, &w) in from.iter().enumerate() {
            vertical[(k * padded_out + o) * padded_in + c] = w;
            horizontal[(o * partitions + k) * padded_in + c] = w;
        }
    }
}

/// The sums of all slices, from which the parameter gradients are written.
struct Totals<'a> {
    sizes: Sizes,
    sums: &'a Sums,
    slices: usize,
    partial: &'a [f64],
}

impl Totals<'_> {
    /// The sum over the slices of element `at`.
    fn at<T: Float>(&self, at: usize) -> T {
        let length = self.sums.total();
        T::from_f64((0..self.slices).map(|slice| self.partial[slice * length + at]).sum())
    }

    /// The sum of grad_output over rows, at node `v` and feature `o`.
    fn node<T: Float>(&self, v: usize, o: usize) -> T {
        self.at(self.sums.weight + v * self.sizes.padded_out + o)
    }

    fn put_weight<T: Float>(&self, gradient: &mut Gradient<'_, T>) {
        let Sizes { partitions, inward, outward, padded_out, .. } = self.sizes;
        for k in 0..partitions {
            for c in 0..inward {
                for o in 0..outward {
                    let value = self.at((c * partitions + k) * padded_out + o);
                    gradient.put((k * inward + c) * outward + o, value);
                }
            }
        }
    }

    fn put_bias<T: Float>(&self, gradient: &mut Gradient<'_, T>, edges: &Edges<'_, T>) {
        let Sizes { nodes, partitions, outward, .. } = self.sizes;
        scratch::with::<T, _>(partitions * nodes, |degrees| {
            edges.degrees(self.sizes, degrees);
            for k in 0..partitions {
                for o in 0..outward {
                    let sum =
                        (0..nodes).map(|v| degrees[k * nodes + v] * self.node::<T>(v, o)).sum();
                    gradient.put(k * outward + o, sum);
                }
            }
        });
    }

    fn put_adjacency<T: Float>(
        &self,
        gradient: &mut Gradient<'_, T>,
        edges: &Edges<'_, T>,
        bias: Option<&[T]>,
    ) {
        let Sizes { nodes, partitions, outward, .. } = self.sizes;
        // The gradient of A_k(v, w) through the bias, which is equal for all w.
        let by_bias = |k: usize, v: usize| -> T {
            let Some(bias) = bias else { return T::ZERO };
            let bias = &bias[k * outward..(k + 1) * outward];
            bias.iter().enumerate().map(|(o, &b)| b * self.node::<T>(v, o)).sum()
        };
        let start = self.sums.weight + self.sums.nodes;
        match *edges {
            Edges::Dense(_) => {
                let padded_nodes = small::padded(nodes);
                for kv in 0..partitions * nodes {
                    let constant = by_bias(kv / nodes, kv % nodes);
                    for w in 0..nodes {
                        let value: T = self.at(start + kv * padded_nodes + w);
                        gradient.put(kv * nodes + w, value + constant);
                    }
                }
            }
            Edges::Sparse { targets, sources, partitions, .. } => {
                gradient.clear();
                Edges::<T>::each((targets, sources, partitions), self.sizes, |edge, v, _, k| {
                    gradient.put(edge, self.at::<T>(start + edge) + by_bias(k, v));
                });
            }
        }
    }
}

/// A block of rows in the backward pass.
struct Block<'a, T> {
    sizes: Sizes,
    edges: Edges<'a, T>,
    /// The weights from [`transpose_weights`].
    vertical: &'a [T],
    horizontal: &'a [T],
    /// Rows of the block.
    count: usize,
    x: &'a [T],
}

impl<T: Float> Block<'_, T> {
    /// Writes the gradient of the block's features and adds to the slice's sums. `kept` is the output if there is a
    /// ReLU, otherwise empty.
    fn backward(
        &self,
        grad_output: &[T],
        kept: &[T],
        grad_x: Option<(&mut [T], bool)>,
        sums: &Sums,
        partial: &mut [f64],
    ) {
        let Sizes { nodes, partitions, inward, outward, padded_in, padded_out, .. } = self.sizes;
        let (all, padded_nodes) = (self.count * nodes, small::padded(nodes));
        let width = partitions * padded_out;
        let width_in = partitions * padded_in;
        let aggregates = grad_x.is_some() || sums.weight > 0;
        let dense = matches!(self.edges, Edges::Dense(_));
        let lengths = [
            all * padded_out,
            if aggregates { all * width } else { 0 },
            if grad_x.is_some() { all * padded_in } else { 0 },
            sums.weight,
            if sums.adjacency > 0 { all * width_in } else { 0 },
            if sums.adjacency > 0 && dense { inward * padded_nodes } else { 0 },
            sums.adjacency,
        ];
        let (weight_sums, rest) = partial.split_at_mut(sums.weight);
        let (node_sums, edge_sums) = rest.split_at_mut(sums.nodes);
        scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
            let [grad, gathered, features, weights, before, transposed, adjacency] =
                lengths.map(|length| {
                    let (part, rest) = std::mem::take(&mut memory).split_at_mut(length);
                    memory = rest;
                    part
                });
            small::copy_padded(all, outward, grad_output, outward, grad, padded_out);
            self.mask(grad, kept, node_sums);
            if aggregates {
                self.aggregate(grad, gathered);
            }
            if let Some((out, add)) = grad_x {
                self.put_features(gathered, features, out, add);
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
                    View::dense(self.horizontal, outward, width_in),
                    before,
                    width_in,
                    false,
                );
                self.adjacency(before, transposed, adjacency);
                flush(adjacency, edge_sums);
            }
        });
    }

    /// Applies the gradient of ReLU, given the output `kept`, and adds the gradients to the sums of their nodes.
    fn mask(&self, grad: &mut [T], kept: &[T], node_sums: &mut [f64]) {
        let Sizes { nodes, outward, padded_out, .. } = self.sizes;
        simd::vectorised(
            #[inline(always)]
            || {
                for (g, y) in grad.chunks_exact_mut(padded_out).zip(kept.chunks_exact(outward)) {
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
    }

    /// U_k = A_kᵀ · grad_output, `[nodes][K][padded C_out]` for each row.
    fn aggregate(&self, grad: &[T], gathered: &mut [T]) {
        let Sizes { nodes, partitions, padded_out, .. } = self.sizes;
        let width = partitions * padded_out;
        let from = Place { row: padded_out, partition: 0 };
        let to = Place { row: width, partition: padded_out };
        for r in 0..self.count {
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

    /// Writes or adds grad_x = Σ_k U_k W_kᵀ to `out`.
    fn put_features(&self, gathered: &[T], features: &mut [T], out: &mut [T], add: bool) {
        let Sizes { nodes, partitions, inward, padded_in, padded_out, .. } = self.sizes;
        let (all, width) = (self.count * nodes, partitions * padded_out);
        serial(
            View::dense(gathered, all, width),
            View::dense(self.vertical, width, padded_in),
            features,
            padded_in,
            false,
        );
        simd::vectorised(
            #[inline(always)]
            || {
                for (out, g) in out.chunks_exact_mut(inward).zip(features.chunks_exact(padded_in)) {
                    for (out, &g) in out.iter_mut().zip(g) {
                        let old = if add { *out } else { T::ZERO };
                        *out = old + g;
                    }
                }
            },
        );
    }

    /// The gradient of the adjacency over the block's rows; `before` is grad_output W_kᵀ.
    fn adjacency(&self, before: &[T], transposed: &mut [T], result: &mut [T]) {
        let Sizes { nodes, partitions, inward, padded_in, .. } = self.sizes;
        let width = partitions * padded_in;
        let padded_nodes = small::padded(nodes);
        result.fill(T::ZERO);
        for (x, before) in
            self.x.chunks_exact(nodes * inward).zip(before.chunks_exact(nodes * width))
        {
            match self.edges {
                Edges::Dense(_) => {
                    transposed.fill(T::ZERO);
                    for (w, x) in x.chunks_exact(inward).enumerate() {
                        for (to, &x) in transposed.chunks_exact_mut(padded_nodes).zip(x) {
                            to[w] = x;
                        }
                    }
                    for k in 0..partitions {
                        serial(
                            View::new(&before[k * padded_in..], [nodes, inward], (width, 1)),
                            View::dense(transposed, inward, padded_nodes),
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

/// Adds the sums of a block to the sums of its slice.
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
