//! The launches of [`InfoNce`].

use super::{Denominator, InfoNce, Reduction};
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "info_nce",
    &[
        Part::PRELUDE,
        Part::PRODUCT,
        Part { file: "info_nce.cu", text: include_str!("info_nce.cu") },
    ],
    include_str!("../../../ptx/info_nce.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    present: Pointer,
    grad_output: Pointer,
    unit: Pointer,
    inverse: Pointer,
    counts: Pointer,
    log_sums: Pointer,
    row_losses: Pointer,
    losses: Pointer,
    grad_unit: Pointer,
    to: Pointer,
    rows: i64,
    samples: i64,
    features: i64,
    modalities: u32,
    modality: u32,
    kind: u32,
    views: u32,
    mean: u32,
    add: u32,
    inverse_temperature: f32,
    halved: f32,
}

/// The side of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;

/// The arguments without buffers.
fn arguments(op: &InfoNce, shapes: &[Shape], indices: &[Pointer]) -> Arguments {
    let (rows, features) = (shapes[0][0], shapes[0][1]);
    // The values of `Kind` in the kernels.
    let kind = match op.denominator {
        Denominator::ExcludePositive => 0,
        Denominator::IncludePositive => 1,
        Denominator::Authors { .. } => 2,
    };
    let half = op.denominator == (Denominator::Authors { half: true });
    Arguments {
        x: Pointer::NULL,
        present: if op.masked { indices[0] } else { Pointer::NULL },
        grad_output: Pointer::NULL,
        unit: Pointer::NULL,
        inverse: Pointer::NULL,
        counts: Pointer::NULL,
        log_sums: Pointer::NULL,
        row_losses: Pointer::NULL,
        losses: Pointer::NULL,
        grad_unit: Pointer::NULL,
        to: Pointer::NULL,
        rows: rows as i64,
        samples: (rows / op.views()) as i64,
        features: features as i64,
        modalities: shapes.len() as u32,
        modality: 0,
        kind,
        views: op.views() as u32,
        mean: (op.reduction == Reduction::Mean).into(),
        add: 0,
        inverse_temperature: (1.0 / op.temperature) as f32,
        halved: if half { 0.5 } else { 1.0 },
    }
}

/// Normalises the embeddings of all modalities, and counts the rows of their pairs.
fn prepare(device: &Device, arguments: &Arguments, inputs: &[Pointer]) -> Result<()> {
    for (modality, &x) in inputs.iter().enumerate() {
        let grid = Grid::blocks((arguments.rows as usize).div_ceil(8));
        let arguments = Arguments { x, modality: modality as u32, ..*arguments };
        device.launch(&PROGRAM, "info_nce_normalise", grid, &arguments)?;
    }
    let grid = Grid::blocks(inputs.len() * inputs.len());
    Ok(device.launch(&PROGRAM, "info_nce_count", grid, arguments)?)
}

impl GpuOp for InfoNce {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let modalities = call.shapes.len();
        let (rows, features) = (call.shapes[0][0], call.shapes[0][1]);
        let pairs = modalities * (modalities - 1);
        let unit = device.scratch(modalities * rows * features)?;
        let counts = device.scratch(modalities * modalities)?;
        let row_losses = device.scratch(pairs * rows)?;
        let arguments = Arguments {
            unit: unit.pointer(),
            inverse: call.saved[0],
            counts: counts.pointer(),
            log_sums: call.saved[1],
            row_losses: row_losses.pointer(),
            losses: call.saved[2],
            to: call.output,
            ..arguments(self, call.shapes, call.indices)
        };
        prepare(device, &arguments, call.inputs)?;
        let grid = Grid::tiles(rows.div_ceil(TILE), pairs);
        device.launch(&PROGRAM, "info_nce_rows", grid, &arguments)?;
        let grid = Grid::blocks(modalities * modalities);
        device.launch(&PROGRAM, "info_nce_losses", grid, &arguments)?;
        let grid = Grid { threads: [32, 1, 1], ..Grid::blocks(1) };
        Ok(device.launch(&PROGRAM, "info_nce_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        if call.gradients.iter().all(Option::is_none) {
            return Ok(());
        }
        let modalities = call.shapes.len();
        let (rows, features) = (call.shapes[0][0], call.shapes[0][1]);
        let unit = device.scratch(modalities * rows * features)?;
        let counts = device.scratch(modalities * modalities)?;
        let grad_unit = device.scratch(rows * features)?;
        let arguments = Arguments {
            grad_output: call.grad_output,
            unit: unit.pointer(),
            counts: counts.pointer(),
            log_sums: call.saved[1],
            grad_unit: grad_unit.pointer(),
            ..arguments(self, call.shapes, call.indices)
        };
        prepare(device, &arguments, call.inputs)?;
        for (modality, gradient) in call.gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let arguments = Arguments {
                inverse: call.saved[0],
                to: gradient.data,
                modality: modality as u32,
                add: gradient.add.into(),
                ..arguments
            };
            let grid = Grid::tiles(rows.div_ceil(TILE), features.div_ceil(TILE));
            device.launch(&PROGRAM, "info_nce_grad_unit", grid, &arguments)?;
            let grid = Grid::blocks(rows.div_ceil(8));
            device.launch(&PROGRAM, "info_nce_grad_input", grid, &arguments)?;
        }
        Ok(())
    }
}
