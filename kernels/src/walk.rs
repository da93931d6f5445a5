//! Loops over the axes of a tensor that several operands step through together: the geometry of reductions and of
//! broadcasting.

use crate::Shape;

/// The operands of a walk. The first has every axis; the others may be repeated along some.
pub const OPERANDS: usize = 3;

/// Neighbouring axes that the same operands have: one loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Steps of the loop.
    pub extent: usize,
    /// Elements from one step to the next in each operand; 0 where the operand is repeated.
    pub strides: [usize; OPERANDS],
}

/// The loops over a shape, sorted for one operand, the target: those over its elements, and those over the terms that
/// are folded into one element of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Loops over the elements of the target, slowest first, without the run.
    pub kept: Vec<Group>,
    /// Loops over the terms of one element, slowest first, without the run.
    pub reduced: Vec<Group>,
    /// The fastest loop of all: strides of 0 and 1.
    pub run: Group,
    /// Whether the run goes over elements of the target, or over terms of one.
    pub run_is_kept: bool,
}

impl Walk {
    /// The loops over `shape`. Bit i of `axes[k]` says that operand k has axis i; operand 0 must have all.
    pub fn new(shape: Shape, axes: [u8; OPERANDS], target: usize) -> Walk {
        let mut groups: Vec<Group> = Vec::new();
        let mut lengths = [1; OPERANDS];
        for axis in (0..shape.len()).rev().filter(|&axis| shape[axis] > 1) {
            let has: [bool; OPERANDS] = std::array::from_fn(|k| axes[k] >> axis & 1 == 1);
            let strides = std::array::from_fn(|k| if has[k] { lengths[k] } else { 0 });
            for (length, has) in lengths.iter_mut().zip(has) {
                *length *= if has { shape[axis] } else { 1 };
            }
            match groups.last_mut() {
                Some(group) if group.strides.map(|stride| stride > 0) == has => {
                    group.extent *= shape[axis];
                }
                _ => groups.push(Group { extent: shape[axis], strides }),
            }
        }
        let one = Group { extent: 1, strides: [1; OPERANDS] };
        let run = groups.first().copied().unwrap_or(one);
        let outer = groups.into_iter().skip(1).rev();
        let (kept, reduced) = outer.partition(|group| group.strides[target] > 0);
        Walk { kept, reduced, run, run_is_kept: run.strides[target] > 0 }
    }

    /// The axes of a shape as bits, without those that `repeated` names.
    pub fn axes(shape: Shape, repeated: impl Fn(usize) -> bool) -> u8 {
        (0..shape.len()).filter(|&axis| !repeated(axis)).fold(0, |bits, axis| bits | 1 << axis)
    }

    /// How many runs go over elements of the target.
    pub fn kept_runs(&self) -> usize {
        self.kept.iter().map(|group| group.extent).product()
    }

    /// How many runs go over the terms of one element of the target.
    pub fn reduced_runs(&self) -> usize {
        self.reduced.iter().map(|group| group.extent).product()
    }

    /// Where a step of some loops starts in each operand.
    pub fn offsets(groups: &[Group], mut step: usize) -> [usize; OPERANDS] {
        let mut offsets = [0; OPERANDS];
        for (i, group) in groups.iter().enumerate().rev() {
            // The slowest loop takes what is left, without a division.
            let place = if i == 0 { step } else { step % group.extent };
            step /= if i == 0 { 1 } else { group.extent };
            for (offset, stride) in offsets.iter_mut().zip(group.strides) {
                *offset += place * stride;
            }
        }
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_sorted() {
        // x [2, 3, 1, 4, 5] summed over axes 1 and 4.
        let shape = Shape::new(&[2, 3, 1, 4, 5]);
        let full = Walk::axes(shape, |_| false);
        let kept = Walk::axes(shape, |axis| axis == 1 || axis == 4);
        let walk = Walk::new(shape, [full, kept, kept], 1);
        let group = |extent, full, kept| Group { extent, strides: [full, kept, kept] };
        assert_eq!(walk.run, group(5, 1, 0));
        assert!(!walk.run_is_kept);
        assert_eq!(walk.kept, [group(2, 60, 4), group(4, 5, 1)]);
        assert_eq!(walk.reduced, [group(3, 20, 0)]);
        assert_eq!(Walk::offsets(&walk.kept, 6), [60 + 10, 6, 6]);
        // Written along x, all but the last two groups are one loop each.
        let along = Walk::new(shape, [full, kept, kept], 0);
        assert_eq!(along.kept, [group(2, 60, 4), group(3, 20, 0), group(4, 5, 1)]);
        assert!(along.run_is_kept && along.reduced.is_empty());
    }

    #[test]
    fn a_scalar_is_one_run() {
        let walk = Walk::new(Shape::SCALAR, [0; OPERANDS], 1);
        assert_eq!((walk.kept_runs(), walk.reduced_runs(), walk.run.extent), (1, 1, 1));
        assert!(walk.run_is_kept);
    }
}
