//! What `walk.cuh` is handed, and how its folds are launched.

use super::{Grid, Slices};
use crate::MAX_RANK;
use crate::walk::{Group, OPERANDS, Walk};
use bytemuck::NoUninit;

/// The most loops over the terms of one element: each has a loop over the target between it and the next.
const REDUCED: usize = MAX_RANK / 2;

/// A [`Walk`] as kernels read it: `Walk` in `walk.cuh`. The run is the fastest loop of its kind.
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
        // The fastest first.
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

/// How the folds of a walk are shared among blocks: by its shape alone.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// Whether the kernel is one of `fold_columns`, and not of `fold_rows`.
    pub columns: bool,
    /// The launch of it.
    pub grid: Grid,
    /// The slices of the terms; one alone needs nobody to join them.
    pub slices: Slices,
}

impl Split {
    /// Elements of the target that fill a GPU by themselves.
    const MANY: usize = 1 << 14;

    /// How a walk is split. Where `whole`, the terms of one element stay in one slice.
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
