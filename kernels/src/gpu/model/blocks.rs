//! The blocks of a grid that are run for all others.
//!
//! Along each axis the first block, the last one and those between them differ by what they do: the last one may be
//! partly empty. So a grid has up to 27 classes of blocks. Each is sampled by itself.

/// The blocks that have the same place along each axis: first, last, or between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// The first block.
    start: [u32; 3],
    /// Blocks along each axis.
    extent: [u32; 3],
}

impl Class {
    /// The number of blocks.
    pub fn size(&self) -> u64 {
        self.extent.iter().map(|&n| u64::from(n)).product()
    }

    /// The index in a grid of the block that is drawn at this position, from 0 to the size of the class; each block is
    /// drawn once. Neighbouring positions give distant blocks.
    pub fn draw(&self, position: u64, grid: [u32; 3]) -> u32 {
        let size = self.size();
        // By the golden ratio; the next number that has no common divisor makes it a permutation.
        let golden = (size as f64 * 0.618_033_988_749_894_9) as u64;
        let step = (golden.max(1)..).find(|&step| greatest_divisor(step, size) == 1).unwrap_or(1);
        let at =
            (u128::from(step) * u128::from(position) + u128::from(size / 3)) % u128::from(size);
        let at = at as u64;
        let [x, y, _] = self.extent.map(u64::from);
        let place = [at % x, at / x % y, at / x / y];
        let [x, y, z] = [0, 1, 2].map(|axis| self.start[axis] + place[axis] as u32);
        x + grid[0] * (y + grid[1] * z)
    }
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The classes of a grid.
pub(super) fn classes(grid: [u32; 3]) -> Vec<Class> {
    let parts = grid.map(|blocks| match blocks {
        1 => vec![(0, 1)],
        2 => vec![(0, 1), (1, 1)],
        _ => vec![(0, 1), (1, blocks - 2), (blocks - 1, 1)],
    });
    let mut classes = Vec::new();
    for &(z, deep) in &parts[2] {
        for &(y, high) in &parts[1] {
            let class =
                |&(x, wide): &(u32, u32)| Class { start: [x, y, z], extent: [wide, high, deep] };
            classes.extend(parts[0].iter().map(class));
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_in_one_class_and_drawn_once() {
        for grid in [[1, 1, 1], [2, 1, 1], [7, 1, 1], [3, 5, 1], [10, 12, 4], [30, 2, 3], [1, 1, 9]]
        {
            let mut drawn: Vec<u32> = classes(grid)
                .iter()
                .flat_map(|class| (0..class.size()).map(|at| class.draw(at, grid)))
                .collect();
            drawn.sort_unstable();
            assert!(drawn.iter().copied().eq(0..grid.iter().product()), "{grid:?}");
        }
    }

    #[test]
    fn draws_are_spread() {
        let class = &classes([1000, 1, 1])[1];
        let mut drawn: Vec<u32> = (0..10).map(|at| class.draw(at, [1000, 1, 1])).collect();
        drawn.sort_unstable();
        let gaps: Vec<u32> = drawn.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (50..200).contains(gap)), "{drawn:?}");
    }
}
