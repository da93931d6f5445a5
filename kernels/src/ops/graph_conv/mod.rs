//! Graph convolution: aggregation by one or more adjacency matrices, a linear map, optionally ReLU.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y(v) = act( Σ_k Σ_w A_k(v, w) (x(w) W_k + b_k) ) over the V nodes of each row.
///
/// K = 1 is relu((A x) Θ) of Yu et al., IJCAI 2018; K = 3 are the spatial partitions of Yan et al., AAAI 2018. As
/// there, the bias is added before the aggregation.
///
/// Inputs, in order:
/// - features x `[..., V, C_in]`, with any leading axes,
/// - weight `[K, C_in, C_out]`,
/// - bias `[K, C_out]`, only if `bias`,
/// - the adjacency `[K, V, V]` (row = target), or if sparse the weights `[E]` of its edges.
///
/// Index inputs, only if sparse: `targets` v, `sources` w and `partitions` k of the edges, each `[E]`. Sort the edges
/// by (partition, target) for speed. The weights of duplicate edges are summed. An edge with an index out of range is
/// ignored and its gradient is 0. A sparse adjacency has gradients at its edges only, a dense one everywhere.
///
/// Output: `[..., V, C_out]`. Nothing is saved: the backward pass aggregates gradients and does not repeat the
/// forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphConv {
    /// The format of the adjacency.
    pub adjacency: Adjacency,
    /// Whether the bias is given.
    pub bias: bool,
    /// Whether ReLU is applied at the end; its gradient at 0 is 0.
    pub relu: bool,
}

/// The format of an adjacency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjacency {
    /// A V x V matrix for each partition.
    Dense,
    /// A list of edges.
    Sparse,
}

impl Op for GraphConv {
    const NAME: &'static str = "graph_conv";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 3 + usize::from(self.bias))?;
        let (x, weight, adjacency) = (inputs[0], inputs[1], inputs[inputs.len() - 1]);
        if x.len() < 2 || x[x.len() - 2] == 0 || x.features() == 0 {
            return Err(Error::Shape {
                op: Self::NAME,
                what: "x: give nodes and features as the last two axes".into(),
                got: x,
                expected: "[..., V, C_in]".into(),
            });
        }
        let nodes = x[x.len() - 2];
        expect::rank(Self::NAME, "weight: reshape it to [K, C_in, C_out]", weight, 3)?;
        let (partitions, outputs) = (weight[0], weight[2]);
        let what = format!("weight for x {x}: make it [K, C_in, C_out]");
        expect::shape(Self::NAME, &what, weight, &[partitions, x.features(), outputs])?;
        expect::setting(Self::NAME, partitions > 0 && outputs > 0, || {
            format!("got weight {weight}; give at least 1 partition and 1 output feature")
        })?;
        if self.bias {
            let what = format!("bias for weight {weight}: make it [K, C_out]");
            expect::shape(Self::NAME, &what, inputs[2], &[partitions, outputs])?;
        }
        match self.adjacency {
            Adjacency::Dense => {
                let what = format!("adjacency for x {x} and weight {weight}: make it [K, V, V]");
                expect::shape(Self::NAME, &what, adjacency, &[partitions, nodes, nodes])?;
                expect::setting(Self::NAME, indices.is_empty(), || {
                    format!("got index inputs {indices:?}; give none with a dense adjacency")
                })?;
            }
            Adjacency::Sparse => {
                expect::rank(Self::NAME, "edge weights: reshape them to [E]", adjacency, 1)?;
                expect::setting(Self::NAME, indices == [adjacency; 3], || {
                    format!(
                        "got index inputs {indices:?} for edge weights {adjacency}; give targets, sources and \
                         partitions, one element for each edge"
                    )
                })?;
            }
        }
        Ok(Plan::new(x.with_features(outputs)))
    }

    fn keep(&self) -> Keep {
        if self.relu { Keep::INPUTS.and_output() } else { Keep::INPUTS }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        cpu::backward(self, call);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let (x, weight, adjacency) = (inputs[0], inputs[1], inputs[inputs.len() - 1]);
        let nodes = x[x.len() - 2] as f64;
        let rows = x.rows() as f64 / nodes;
        let (inward, outward) = (weight[1] as f64, weight[2] as f64);
        // Aggregation of the narrower of input and output features, and the linear map at every node.
        let aggregate = 2.0 * rows * adjacency.count() as f64 * inward.min(outward);
        let linear = 2.0 * rows * nodes * weight.count() as f64;
        let parameters: usize = inputs[1..].iter().map(Shape::count).sum();
        let (read, written) = (x.count() as f64, rows * nodes * outward);
        let relu = if self.relu { written } else { 0.0 };
        Cost {
            forward_flops: aggregate + linear + relu,
            backward_flops: 2.0 * (aggregate + linear) + relu,
            forward_bytes: 4.0 * (read + written + parameters as f64),
            backward_bytes: 4.0 * (2.0 * read + written + relu + 2.0 * parameters as f64),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let dense = GraphConv { adjacency: Adjacency::Dense, bias: false, relu: true };
        let yan = GraphConv { bias: true, relu: false, ..dense };
        let sparse = GraphConv { adjacency: Adjacency::Sparse, bias: true, relu: false };
        let edges = |case: Case<Self>, targets: &[u32], sources: &[u32], partitions: &[u32]| {
            let shape = [targets.len()];
            case.index(&shape, targets.into())
                .index(&shape, sources.into())
                .index(&shape, partitions.into())
        };
        vec![
            // Both orders of aggregation and linear map.
            Case::new(dense, &[&[2, 3, 5, 7], &[1, 7, 4], &[1, 5, 5]]),
            Case::new(yan, &[&[2, 2, 4, 3], &[3, 3, 5], &[3, 5], &[3, 4, 4]]),
            Case::new(yan, &[&[3, 4, 18], &[2, 18, 2], &[2, 2], &[2, 4, 4]]),
            Case::new(dense, &[&[1, 1], &[1, 1, 1], &[1, 1, 1]]),
            // More rows than a block.
            Case::new(yan, &[&[150, 3, 2], &[1, 2, 3], &[1, 3], &[1, 3, 3]]),
            // More nodes and features than a tile.
            Case::new(yan, &[&[8, 66, 3], &[1, 3, 66], &[1, 66], &[1, 66, 66]]),
            Case::new(dense, &[&[2, 3, 2], &[1, 2, 3], &[1, 3, 3]])
                .input(2, Input::constant(&[1, 3, 3], Values::Uniform(0.0, 1.0))),
            // A node without neighbours, a duplicate edge, one edge out of range in each index.
            edges(
                Case::new(sparse, &[&[2, 2, 4, 3], &[2, 3, 5], &[2, 5], &[9]]),
                &[0, 1, 2, 0, 0, 2, 4, 1, 0],
                &[1, 0, 2, 3, 3, 1, 0, 4, 0],
                &[0, 0, 0, 1, 1, 1, 0, 0, 2],
            ),
            edges(
                Case::new(
                    GraphConv { bias: false, relu: true, ..sparse },
                    &[&[5, 3, 6], &[1, 6, 2], &[4]],
                ),
                &[0, 0, 1, 2],
                &[0, 1, 1, 0],
                &[0; 4],
            ),
            edges(Case::new(sparse, &[&[2, 3, 2], &[1, 2, 2], &[1, 2], &[0]]), &[], &[], &[]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let sizes = (1usize..5, 1usize..7, 1usize..4, 1usize..20, 1usize..20);
        (sizes, any::<[bool; 2]>(), proptest::option::of((0usize..12, any::<u64>())))
            .prop_map(|((rows, nodes, partitions, inward, outward), [bias, relu], edges)| {
                let adjacency = if edges.is_some() { Adjacency::Sparse } else { Adjacency::Dense };
                let op = GraphConv { adjacency, bias, relu };
                let (x, weight) = ([rows, nodes, inward], [partitions, inward, outward]);
                let mut shapes: Vec<&[usize]> = vec![&x, &weight];
                let bias_shape = [partitions, outward];
                if bias {
                    shapes.push(&bias_shape);
                }
                let Some((count, seed)) = edges else {
                    shapes.push(&[]);
                    let case = Case::new(op, &shapes);
                    let last = shapes.len() - 1;
                    return case.input(last, Input::normal(&[partitions, nodes, nodes]));
                };
                let count_shape = [count];
                shapes.push(&count_shape);
                let draw = |part: u64, below: usize| -> Vec<u32> {
                    let stream = crate::philox::Philox::new(seed, "edges").at(part);
                    (0..count).map(|i| stream.below(i as u64, below) as u32).collect()
                };
                // Sources are sometimes out of range.
                Case::new(op, &shapes)
                    .index(&[count], draw(0, nodes))
                    .index(&[count], draw(1, nodes + 1))
                    .index(&[count], draw(2, partitions))
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests;
