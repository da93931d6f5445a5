//! The arguments of `walk.cuh` and the launches of its folds.

use super::{Grid, Slices};
use crate::MAX_RANK;
use crate::walk::{Group, OPERANDS, Walk};
use bytemuck::NoUninit;

/// The most loops over the terms of one element. They alternate with loops over the target, so half of the axes.
const REDUCED: usize = MAX_RANK / 2;

/// A [`Walk`] as kernels read it: `Walk` in `walk.cuh`. The run is the fastest loop of its group (kept or reduced).
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
pub struct Loops {
    kept_extents: [i64; MAX_RANK],
    kept_strides: [[i64; MAX_RANK]; OPERANDS],
    reduced_extents: [i64; REDUCED],
    reduced_strides: [[i64; REDUCED]; OPERANDS],
    targets: i64,
    terms: i64,
    kept: u32,
    reduced: u32,
}

impl From<&Walk> for Loops {
    fn from(walk: &Walk) -> Self {
        // Fastest first.
        let loops = |outer: &[Group], run: bool| -> Vec<Group> {
            run.then_some(walk.run).into_iter().chain(outer.iter().rev().copied()).collect()
        };
        let kept = loops(&walk.kept, walk.run_is_kept);
        let reduced = loops(&walk.reduced, !walk.run_is_kept);
        let count = |groups: &[Group]| groups.iter().map(|group| group.extent as i64).product();
        Loops {
            kept_extents: extents(&kept),
            kept_strides: strides(&kept),
            reduced_extents: extents(&reduced),
            reduced_strides: strides(&reduced),
            targets: count(&kept),
            terms: count(&reduced),
            kept: kept.len() as u32,
            reduced: reduced.len() as u32,
        }
    }
}

fn extents<const N: usize>(groups: &[Group]) -> [i64; N] {
    std::array::from_fn(|i| groups.get(i).map_or(1, |group| group.extent as i64))
}

fn strides<const N: usize>(groups: &[Group]) -> [[i64; N]; OPERANDS] {
    let stride =
        |k: usize, i: usize| groups.get(i).map_or(0, |group: &Group| group.strides[k] as i64);
    std::array::from_fn(|k| std::array::from_fn(|i| stride(k, i)))
}

/// The split of a walk's folds among blocks: a function of the shape.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// Whether to launch a `fold_columns` kernel; otherwise a `fold_rows` kernel.
    pub columns: bool,
    /// The launch of the kernel.
    pub grid: Grid,
    /// The slices of the terms. More than one need a second kernel that joins them.
    pub slices: Slices,
}

impl Split {
    /// Elements of the target that fill a GPU without slices.
    const MANY: usize = 1 << 14;

    /// Splits a walk. With `whole`, all terms of an element are in one slice.
    pub fn of(walk: &Walk, whole: bool) -> Split {
        let loops = Loops::from(walk);
        let (targets, terms) = (loops.targets as usize, loops.terms as usize);
        let slice = if walk.run_is_kept { 512 } else { 4096 };
        let whole = whole || targets >= Self::MANY;
        let slices = Slices::of(terms, if whole { terms } else { slice });
        let grid = if walk.run_is_kept {
            Grid::blocks(targets.div_ceil(32))
        } else {
            Grid::teams(targets, slices.length as usize)
        };
        let [x, _, z] = grid.blocks;
        let grid = Grid { blocks: [x, slices.count, z], ..grid };
        Split { columns: walk.run_is_kept, grid, slices }
    }
}
