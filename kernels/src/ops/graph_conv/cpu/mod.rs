//! Graph convolution on the CPU, in blocks of whole rows (a row is the features of V nodes). The forward pass
//! aggregates before or after the linear map, whichever has fewer features. With U_k = A_kᵀ · grad_output, the
//! gradients are grad_x = Σ_k U_k W_kᵀ and grad_W_k = xᵀ U_k. Parameter gradients are summed in the working precision
//! within a block, in f64 over the blocks of a slice, and then over a fixed number of slices in order.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::{Adjacency, GraphConv};
use crate::cpu::gemm::{View, serial};
use crate::cpu::simd;
use crate::cpu::small;
use crate::{Float, Shape};

/// Target of the nodes of a block in the forward pass: its aggregated features fit in L2.
const NODES: usize = 256;
/// Target of the nodes of a block in the backward pass: enough to pay for adding parameter gradients to f64 sums.
const BACKWARD_NODES: usize = 512;

/// The sizes of a call.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    nodes: usize,
    partitions: usize,
    inward: usize,
    outward: usize,
    /// C_in and C_out, padded to whole vectors.
    padded_in: usize,
    padded_out: usize,
    /// Rows of a block.
    block: usize,
}

impl Sizes {
    fn new(shapes: &[Shape], nodes_a_block: usize) -> Self {
        let (x, weight) = (shapes[0], shapes[1]);
        let nodes = x[x.len() - 2];
        let (padded_in, padded_out) = (small::padded(weight[1]), small::padded(weight[2]));
        Sizes {
            rows: x.rows() / nodes,
            nodes,
            partitions: weight[0],
            inward: weight[1],
            outward: weight[2],
            padded_in,
            padded_out,
            block: (nodes_a_block / nodes).max(1),
        }
    }

    fn blocks(&self) -> usize {
        self.rows.div_ceil(self.block)
    }
}

/// The adjacency matrices.
#[derive(Clone, Copy)]
enum Edges<'a, T> {
    Dense(&'a [T]),
    Sparse { weights: &'a [T], targets: &'a [u32], sources: &'a [u32], partitions: &'a [u32] },
}

/// The strides of a matrix with the features of nodes, for each partition.
#[derive(Clone, Copy)]
struct Place {
    /// Stride of nodes.
    row: usize,
    /// Stride of partitions; 0 if all use the same matrix.
    partition: usize,
}

impl<'a, T: Float> Edges<'a, T> {
    fn new(op: &GraphConv, weights: &'a [T], indices: &[&'a [u32]]) -> Self {
        match op.adjacency {
            Adjacency::Dense => Edges::Dense(weights),
            Adjacency::Sparse => Edges::Sparse {
                weights,
                targets: indices[0],
                sources: indices[1],
                partitions: indices[2],
            },
        }
    }

    /// Calls the body with index, target, source and partition of each edge in range.
    #[inline(always)]
    fn each(
        (targets, sources, partitions): (&[u32], &[u32], &[u32]),
        sizes: Sizes,
        mut body: impl FnMut(usize, usize, usize, usize),
    ) {
        let edges = targets.iter().zip(sources).zip(partitions).enumerate();
        for (edge, ((&target, &source), &partition)) in edges {
            let (v, w, k) = (target as usize, source as usize, partition as usize);
            if v < sizes.nodes && w < sizes.nodes && k < sizes.partitions {
                body(edge, v, w, k);
            }
        }
    }

    /// to_k = A_k from_k, or A_kᵀ from_k if transposed, for the nodes of one row and the given columns. If the
    /// partition stride of `to` is 0, `to` is the sum over k.
    #[allow(clippy::too_many_arguments, reason = "two matrices with their strides")]
    fn aggregate(
        &self,
        sizes: Sizes,
        transposed: bool,
        columns: usize,
        from: &[T],
        from_place: Place,
        to: &mut [T],
        to_place: Place,
    ) {
        let nodes = sizes.nodes;
        match *self {
            Edges::Dense(adjacency) => {
                for k in 0..sizes.partitions {
                    let adjacency = View::dense(&adjacency[k * nodes * nodes..], nodes, nodes);
                    let from = &from[k * from_place.partition..];
                    serial(
                        if transposed { adjacency.transposed() } else { adjacency },
                        View::new(from, [nodes, columns], (from_place.row, 1)),
                        &mut to[k * to_place.partition..],
                        to_place.row,
                        k > 0 && to_place.partition == 0,
                    );
                }
            }
            Edges::Sparse { weights, targets, sources, partitions } => simd::vectorised(
                #[inline(always)]
                || {
                    let places = if to_place.partition == 0 { 1 } else { sizes.partitions };
                    for k in 0..places {
                        for v in 0..nodes {
                            to[k * to_place.partition + v * to_place.row..][..columns]
                                .fill(T::ZERO);
                        }
                    }
                    Self::each((targets, sources, partitions), sizes, |edge, v, w, k| {
                        let (v, w) = if transposed { (w, v) } else { (v, w) };
                        let from =
                            &from[k * from_place.partition + w * from_place.row..][..columns];
                        let to = &mut to[k * to_place.partition + v * to_place.row..][..columns];
                        let weight = weights[edge];
                        for (y, &x) in to.iter_mut().zip(from) {
                            *y += weight * x;
                        }
                    });
                },
            ),
        }
    }

    /// Σ_w A_k(v, w) for each partition and node.
    fn degrees(&self, sizes: Sizes, degrees: &mut [T]) {
        match *self {
            Edges::Dense(adjacency) => {
                for (degree, row) in degrees.iter_mut().zip(adjacency.chunks_exact(sizes.nodes)) {
                    *degree = small::sum(row.len(), |w| row[w]);
                }
            }
            Edges::Sparse { weights, targets, sources, partitions } => {
                degrees.fill(T::ZERO);
                Self::each((targets, sources, partitions), sizes, |edge, v, _, k| {
                    degrees[k * sizes.nodes + v] += weights[edge];
                });
            }
        }
    }
}
