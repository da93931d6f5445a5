//! The launches of [`GraphConv`].

use super::{Adjacency, GraphConv};
use crate::gpu::{Backward, Block, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::op::Case;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "graph_conv",
    &[
        Part::PRELUDE,
        Part::PRODUCT,
        Part { file: "graph_conv.cu", text: include_str!("graph_conv.cu") },
    ],
    include_str!("../../../ptx/graph_conv.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    adjacency: Pointer,
    targets: Pointer,
    sources: Pointer,
    edge_partitions: Pointer,
    output: Pointer,
    grad_output: Pointer,
    spans: Pointer,
    neighbours: Pointer,
    values: Pointer,
    degrees: Pointer,
    before: Pointer,
    summed: Pointer,
    by_bias: Pointer,
    to: Pointer,
    rows: i64,
    edges: i64,
    a_slice: i64,
    nodes: u32,
    partitions: u32,
    inward: u32,
    outward: u32,
    transposed: u32,
    relu: u32,
    add: u32,
    unused: u32,
}

/// The side of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;
/// Elements that one block sums over: in products, and in other sums.
const SLICE: usize = 512;
const LONG_SLICE: usize = 4096;
/// The most blocks of a product: each slice needs its own partial result.
const BLOCKS: usize = 1024;

/// The sizes of a call.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    nodes: usize,
    partitions: usize,
    inward: usize,
    outward: usize,
    /// Elements of the adjacency input.
    edges: usize,
}

impl Sizes {
    fn new(shapes: &[Shape]) -> Self {
        let (x, weight) = (shapes[0], shapes[1]);
        let nodes = x[x.len() - 2];
        Sizes {
            rows: x.rows() / nodes,
            nodes,
            partitions: weight[0],
            inward: weight[1],
            outward: weight[2],
            edges: shapes[shapes.len() - 1].count(),
        }
    }

    /// The arguments with the parameters and the graph.
    fn arguments(&self, op: &GraphConv, inputs: &[Pointer], indices: &[Pointer]) -> Arguments {
        let index = |position: usize| indices.get(position).copied().unwrap_or_default();
        Arguments {
            x: inputs[0],
            weight: inputs[1],
            bias: if op.bias { inputs[2] } else { Pointer::NULL },
            adjacency: inputs[inputs.len() - 1],
            targets: index(0),
            sources: index(1),
            edge_partitions: index(2),
            output: Pointer::NULL,
            grad_output: Pointer::NULL,
            spans: Pointer::NULL,
            neighbours: Pointer::NULL,
            values: Pointer::NULL,
            degrees: Pointer::NULL,
            before: Pointer::NULL,
            summed: Pointer::NULL,
            by_bias: Pointer::NULL,
            to: Pointer::NULL,
            rows: self.rows as i64,
            edges: self.edges as i64,
            a_slice: 0,
            nodes: self.nodes as u32,
            partitions: self.partitions as u32,
            inward: self.inward as u32,
            outward: self.outward as u32,
            transposed: 0,
            relu: op.relu.into(),
            add: 0,
            unused: 0,
        }
    }

    /// The number of neighbour lists: partitions times nodes.
    fn lists(&self) -> usize {
        self.partitions * self.nodes
    }
}

/// The neighbour lists of each partition and node, on the device.
struct Lists {
    spans: Block,
    neighbours: Block,
    values: Block,
    degrees: Block,
}

impl Lists {
    /// Lists by target, or by source.
    fn new(device: &Device, sizes: Sizes, arguments: &Arguments, transposed: bool) -> Result<Self> {
        let lists = Lists {
            spans: device.allocate(16 * sizes.lists())?,
            neighbours: device.scratch(sizes.edges)?,
            values: device.scratch(sizes.edges)?,
            degrees: device.scratch(sizes.lists())?,
        };
        let arguments = Arguments { transposed: transposed.into(), ..lists.given(arguments) };
        let grid = Grid::blocks(sizes.lists().div_ceil(8));
        device.launch(&PROGRAM, "graph_conv_lists", grid, &arguments)?;
        Ok(lists)
    }

    /// The arguments with these lists.
    fn given(&self, arguments: &Arguments) -> Arguments {
        Arguments {
            spans: self.spans.pointer(),
            neighbours: self.neighbours.pointer(),
            values: self.values.pointer(),
            degrees: self.degrees.pointer(),
            ..*arguments
        }
    }
}

/// The grid of a product's tiles, and the slices of its depth, which give enough blocks.
fn split(rows: usize, columns: usize, depth: usize) -> (Grid, Slices) {
    let [x, y] = [rows, columns].map(|n| n.div_ceil(TILE));
    let most = BLOCKS.div_ceil((x * y).max(1));
    let slices = Slices::of(depth, SLICE.max(depth.div_ceil(most)));
    let mut grid = Grid::tiles(x, y);
    grid.blocks[2] = slices.count;
    (grid, slices)
}

impl GpuOp for GraphConv {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        let dense = GraphConv { adjacency: Adjacency::Dense, bias: true, relu: true };
        let sparse = GraphConv { adjacency: Adjacency::Sparse, ..dense };
        let edges = [[0, 1, 1], [1, 0, 1], [0, 0, 0]];
        let shapes: [&[usize]; 4] = [&[LONG_SLICE / 4 + 9, 2, 4], &[1, 4, 3], &[1, 3], &[3]];
        vec![
            // Slices of rows for weight, bias and adjacency.
            Case::new(dense, &[&[2 * SLICE + 5, 2, 3], &[2, 3, 2], &[2, 2], &[2, 2, 2]]),
            // Slices of rows for the weights of edges.
            edges
                .iter()
                .fold(Case::new(sparse, &shapes), |case, list| case.index(&[3], list.to_vec())),
        ]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let sizes = Sizes::new(call.shapes);
        let arguments = sizes.arguments(self, call.inputs, call.indices);
        let lists = Lists::new(device, sizes, &arguments, false)?;
        let arguments = Arguments { to: call.output, ..lists.given(&arguments) };
        let grid =
            Grid::tiles((sizes.rows * sizes.nodes).div_ceil(TILE), sizes.outward.div_ceil(TILE));
        Ok(device.launch(&PROGRAM, "graph_conv_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let sizes = Sizes::new(call.shapes);
        let Sizes { rows, nodes, partitions, inward, outward, edges } = sizes;
        let last = call.inputs.len() - 1;
        let arguments = Arguments {
            output: call.output,
            grad_output: call.grad_output,
            ..sizes.arguments(self, call.inputs, call.indices)
        };
        let grad_bias = if self.bias { call.gradients[2] } else { None };
        let (grad_weight, grad_edges) = (call.gradients[1], call.gradients[last]);

        if let Some(gradient) = call.gradients[0] {
            let lists = Lists::new(device, sizes, &arguments, true)?;
            let arguments = Arguments {
                to: gradient.data,
                add: gradient.add.into(),
                ..lists.given(&arguments)
            };
            let grid = Grid::tiles((rows * nodes).div_ceil(TILE), inward.div_ceil(TILE));
            device.launch(&PROGRAM, "graph_conv_grad_input", grid, &arguments)?;
        }
        if grad_weight.is_some() || grad_bias.is_some() {
            let lists = Lists::new(device, sizes, &arguments, false)?;
            let arguments = lists.given(&arguments);
            if let Some(gradient) = grad_weight {
                let (grid, slices) = split(partitions * inward, outward, rows * nodes);
                let count = partitions * inward * outward;
                let partial = device.partial(slices.count, count, gradient)?;
                let arguments =
                    Arguments { to: partial.pointer(), a_slice: slices.length, ..arguments };
                device.launch(&PROGRAM, "graph_conv_grad_weight", grid, &arguments)?;
                device.sum_slices(partial)?;
            }
            if let Some(gradient) = grad_bias {
                let summed = sum_rows(device, sizes, &arguments)?;
                let arguments = Arguments {
                    summed: summed.pointer(),
                    to: gradient.data,
                    add: gradient.add.into(),
                    ..arguments
                };
                let grid = Grid::elements(partitions * outward);
                device.launch(&PROGRAM, "graph_conv_grad_bias", grid, &arguments)?;
            }
        }
        if let Some(gradient) = grad_edges {
            let before = device.scratch(rows * nodes * partitions * inward)?;
            let grid =
                Grid::tiles((rows * nodes).div_ceil(TILE), (partitions * inward).div_ceil(TILE));
            let to = Arguments { to: before.pointer(), ..arguments };
            device.launch(&PROGRAM, "graph_conv_before", grid, &to)?;
            let by_bias = device.scratch(if self.bias { sizes.lists() } else { 0 })?;
            let mut arguments = Arguments { before: before.pointer(), ..arguments };
            if self.bias {
                let summed = sum_rows(device, sizes, &arguments)?;
                arguments.by_bias = by_bias.pointer();
                let arguments = Arguments { summed: summed.pointer(), ..arguments };
                let grid = Grid::blocks(sizes.lists().div_ceil(8));
                device.launch(&PROGRAM, "graph_conv_by_bias", grid, &arguments)?;
            }
            let (kernel, (grid, slices)) = match self.adjacency {
                Adjacency::Dense => {
                    ("graph_conv_grad_dense", split(partitions * nodes, nodes, rows * inward))
                }
                Adjacency::Sparse => {
                    let slices = Slices::of(rows * inward, LONG_SLICE);
                    ("graph_conv_grad_edges", (Grid::tiles(edges, slices.count as usize), slices))
                }
            };
            let partial = device.partial(slices.count, edges, gradient)?;
            let arguments =
                Arguments { to: partial.pointer(), a_slice: slices.length, ..arguments };
            device.launch(&PROGRAM, kernel, grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}

/// grad_output summed over the rows.
fn sum_rows(device: &Device, sizes: Sizes, arguments: &Arguments) -> Result<Block> {
    let columns = sizes.nodes * sizes.outward;
    let slices = Slices::of(sizes.rows, SLICE);
    let summed = device.scratch(columns)?;
    let all = crate::gpu::Gradient { data: summed.pointer(), add: false };
    let partial = device.partial(slices.count, columns, all)?;
    let grid = Grid::tiles(columns.div_ceil(32), slices.count as usize);
    let arguments = Arguments { to: partial.pointer(), a_slice: slices.length, ..*arguments };
    device.launch(&PROGRAM, "graph_conv_sum_rows", grid, &arguments)?;
    device.sum_slices(partial)?;
    Ok(summed)
}
