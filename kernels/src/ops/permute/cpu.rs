use crate::cpu::{parallel, simd};
use crate::{Float, MAX_RANK};

/// Side of a square that is transposed at once: two squares of f64 fit in L1.
const TILE: usize = 32;

/// One axis of the output: its extent and its strides in input and output.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Axis {
    pub(super) extent: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The axes of the output, with axes that are adjacent in the input too merged and axes of size 1 dropped.
pub(super) fn collapse(shape: &[usize], axes: &[usize]) -> ([Axis; MAX_RANK], usize) {
    let (mut result, mut rank) = ([Axis::default(); MAX_RANK], 0);
    for &axis in axes {
        let (extent, from) = (shape[axis], shape[axis + 1..].iter().product());
        if extent == 1 {
            continue;
        }
        if rank > 0 && result[rank - 1].from == extent * from {
            result[rank - 1] = Axis { extent: result[rank - 1].extent * extent, from, to: 0 };
            continue;
        }
        result[rank] = Axis { extent, from, to: 0 };
        rank += 1;
    }
    let mut step = 1;
    for axis in result[..rank].iter_mut().rev() {
        axis.to = step;
        step *= axis.extent;
    }
    (result, rank)
}

/// The offsets in input and output of an index into these axes.
fn offsets(mut index: usize, axes: &[Axis]) -> (usize, usize) {
    let (mut from, mut to) = (0, 0);
    for axis in axes.iter().rev() {
        let place = index % axis.extent;
        index /= axis.extent;
        from += place * axis.from;
        to += place * axis.to;
    }
    (from, to)
}

/// Writes or adds x, of this shape, with its axes in this order.
pub(crate) fn permute<T: Float>(
    shape: &[usize],
    axes: &[usize],
    x: &[T],
    output: &mut [T],
    add: bool,
) {
    let (axes, rank) = collapse(shape, axes);
    let axes = &axes[..rank];
    match axes.iter().position(|axis| axis.from == 1) {
        Some(inner) if inner + 1 < rank => transpose(axes, inner, x, output, add),
        _ => runs(axes, x, output, add),
    }
}

/// Copies rows, when the last axis stays the last.
fn runs<T: Float>(axes: &[Axis], x: &[T], output: &mut [T], add: bool) {
    let (outer, width) = match axes {
        // The order is the same: one contiguous copy.
        [] | [_] => (&axes[..0], 1),
        [outer @ .., last] => (outer, last.extent),
    };
    parallel::rows(output, width, 2 * width, |first, output| {
        if outer.is_empty() {
            return put(output, &x[first * width..], add);
        }
        simd::vectorised(
            #[inline(always)]
            || {
                for (row, output) in (first..).zip(output.chunks_exact_mut(width)) {
                    put(output, &x[offsets(row, outer).0..], add);
                }
            },
        );
    });
}

#[inline(always)]
fn put<T: Float>(target: &mut [T], source: &[T], add: bool) {
    let source = &source[..target.len()];
    if add {
        for (y, &x) in target.iter_mut().zip(source) {
            *y += x;
        }
    } else {
        target.copy_from_slice(source);
    }
}

/// Transposes axis `inner` of the output, which is contiguous in the input, with the last axis, in squares.
fn transpose<T: Float>(axes: &[Axis], inner: usize, x: &[T], output: &mut [T], add: bool) {
    let (side, last) = (axes[inner], axes[axes.len() - 1]);
    let (mut outer, mut rank) = ([Axis::default(); MAX_RANK], 0);
    for (i, &axis) in axes[..axes.len() - 1].iter().enumerate() {
        if i != inner {
            outer[rank] = axis;
            rank += 1;
        }
    }
    let outer = &outer[..rank];
    let strips = side.extent.div_ceil(TILE);
    let items = strips * outer.iter().map(|axis| axis.extent).product::<usize>();
    let items_a_task = parallel::rows_a_task(2 * TILE.min(side.extent) * last.extent);
    let output = parallel::Shared::new(output);
    parallel::tasks(items.div_ceil(items_a_task), |task| {
        for item in task * items_a_task..items.min((task + 1) * items_a_task) {
            let (from, to) = offsets(item / strips, outer);
            let start = item % strips * TILE;
            let end = side.extent.min(start + TILE);
            for column in (0..last.extent).step_by(TILE) {
                let length = TILE.min(last.extent - column);
                for row in start..end {
                    // SAFETY: rows of the output do not overlap, and each belongs to one item of one task.
                    let target = unsafe { output.part(to + row * side.to + column, length) };
                    let source = &x[from + row + column * last.from..];
                    for (y, &x) in target.iter_mut().zip(source.iter().step_by(last.from)) {
                        *y = if add { *y + x } else { x };
                    }
                }
            }
        }
    });
}
