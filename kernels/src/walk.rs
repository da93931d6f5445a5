//! Loops over the axes of a tensor for up to three operands with broadcasting: the geometry of reductions and of
//! elementwise ops.

use crate::Shape;

/// The number of operands of a walk. The first has every axis; the others may be broadcast along some.
pub const OPERANDS: usize = 3;

/// One loop: neighbouring axes along which the same operands are broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The number of steps.
    pub extent: usize,
    /// Elements from one step to the next in each operand; 0 where the operand is broadcast.
    pub strides: [usize; OPERANDS],
}

/// The loops over a shape, for one operand, the target: loops over its elements (kept), and loops over the terms that
/// are folded into one of them (reduced). The fastest loop, the run, is separate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Loops over the elements of the target, slowest first, without the run.
    pub kept: Vec<Group>,
    /// Loops over the terms of one element, slowest first, without the run.
    pub reduced: Vec<Group>,
    /// The fastest loop. Its strides are 0 or 1.
    pub run: Group,
    /// Whether the run goes over elements of the target; otherwise it goes over the terms of one element.
    pub run_is_kept: bool,
}

impl Walk {
    /// The loops over `shape` for operand `target`. Bit i of `axes[k]` is set if operand k has axis i; operand 0 must
    /// have all axes.
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

    /// A bit for each axis of a shape, without those for which `repeated` is true.
    pub fn axes(shape: Shape, repeated: impl Fn(usize) -> bool) -> u8 {
        (0..shape.len()).filter(|&axis| !repeated(axis)).fold(0, |bits, axis| bits | 1 << axis)
    }

    /// The number of steps of the kept loops, without the run.
    pub fn kept_runs(&self) -> usize {
        self.kept.iter().map(|group| group.extent).product()
    }

    /// The number of steps of the reduced loops, without the run.
    pub fn reduced_runs(&self) -> usize {
        self.reduced.iter().map(|group| group.extent).product()
    }

    /// The offset in each operand of step `step` of nested loops.
    pub fn offsets(groups: &[Group], mut step: usize) -> [usize; OPERANDS] {
        let mut offsets = [0; OPERANDS];
        for (i, group) in groups.iter().enumerate().rev() {
            // The slowest loop needs no division.
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
