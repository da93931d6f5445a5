//! Kernels on tensors of more than 2^32 elements: the blocks at the corners of each grid, on sparse memory whose words
//! differ everywhere, so that a wrong address gives a wrong number.

mod formula;
mod samples;

use kernels::gpu::{Block, Device, Pointer, Simulation, Simulator};

/// More elements than 32 bits count.
const BEYOND: u64 = 1 << 32;

/// A simulated GPU that runs the corners of grids.
struct Large {
    simulator: Simulator,
    device: Device,
}

impl Large {
    fn new() -> Self {
        let simulator = Simulator::new(Simulation::CORNERS);
        Large { device: Device::new(Box::new(simulator.clone())), simulator }
    }

    /// A tensor of `count` numbers in -1..1, different everywhere.
    fn tensor(&self, count: usize) -> Block {
        // Smaller buffers are not sparse.
        self.device.allocate((4 * count).max(1 << 20)).unwrap()
    }

    /// `count` numbers of a tensor from an index on.
    fn read<T: bytemuck::Pod>(&self, tensor: Pointer, from: usize, count: usize) -> Vec<T> {
        let mut numbers = vec![T::zeroed(); count];
        self.device.download(tensor.offset(4 * from), &mut numbers).unwrap();
        numbers
    }

    fn number(&self, tensor: &Block, at: usize) -> f64 {
        f64::from(self.read::<f32>(tensor.pointer(), at, 1)[0])
    }

    /// Index and value of every number that was written to a tensor, some of them beyond 2^32 if it is so large.
    fn written(&self, what: &str, tensor: Pointer, count: usize) -> Vec<(usize, f64)> {
        let written = self.simulator.written(tensor).unwrap();
        let last = written.last().map_or(0, |&(at, _)| at);
        assert!(last < count as u64, "{what}: element {last} of {count} was written");
        assert!(!written.is_empty(), "{what}: nothing was written");
        let far = count as u64 > BEYOND;
        assert!(!far || last > BEYOND, "{what}: element {last} was the last of {count}");
        written
            .into_iter()
            .map(|(at, bits)| (at as usize, f64::from(f32::from_bits(bits))))
            .collect()
    }

    /// Requires every written number of a tensor to be what a formula gives.
    fn check(&self, what: &str, tensor: &Block, count: usize, expected: impl Fn(usize) -> f64) {
        for (at, got) in self.written(what, tensor.pointer(), count) {
            let expected = expected(at);
            assert!(close(got, expected), "{what}: element {at} is {got}, expected {expected}");
        }
    }
}

fn close(got: f64, expected: f64) -> bool {
    // A pattern's variance may be negative.
    got.is_nan() && expected.is_nan() || (got - expected).abs() <= 2e-4 * expected.abs().max(0.1)
}
