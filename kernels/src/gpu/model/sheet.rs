//! Figures of GPUs from NVIDIA's data sheets, white papers and programming guide.

use ptx_sim::Unit;

/// The figures of a GPU that the model uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// The name by which it is chosen.
    pub name: &'static str,
    /// Its name in full.
    pub title: &'static str,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Boost clock, Hz: the f32 peak of the data sheet divided by multiprocessors and lanes.
    pub clock: f64,
    /// f32 lanes of a multiprocessor.
    pub float_lanes: f64,
    /// f64 lanes of a multiprocessor.
    pub double_lanes: f64,
    /// Operations of a multiprocessor's tensor cores in a cycle, TF32, dense.
    pub tensor_flops: f64,
    /// Bytes a second of the memory.
    pub memory: f64,
    /// Bytes a cycle of the second cache. A100's white paper gives 5,120; for its successors none is published: the
    /// same, and twice that for B200, which is made of two dies.
    pub cache: f64,
    /// Bytes of shared memory of a multiprocessor.
    pub shared: usize,
}

const A100: Gpu = Gpu {
    name: "a100",
    title: "A100 SXM 80 GB",
    capability: (8, 0),
    multiprocessors: 108,
    clock: 1.41e9,
    float_lanes: 64.0,
    double_lanes: 32.0,
    tensor_flops: 1024.0,
    memory: 2.039e12,
    cache: 5120.0,
    shared: 164 << 10,
};

const H100: Gpu = Gpu {
    name: "h100",
    title: "H100 SXM",
    capability: (9, 0),
    multiprocessors: 132,
    clock: 1.98e9,
    float_lanes: 128.0,
    double_lanes: 64.0,
    tensor_flops: 1892.0,
    memory: 3.35e12,
    shared: 228 << 10,
    ..A100
};

const H200: Gpu = Gpu { name: "h200", title: "H200 SXM", memory: 4.8e12, ..H100 };

const B200: Gpu = Gpu {
    name: "b200",
    title: "B200 SXM",
    capability: (10, 0),
    multiprocessors: 148,
    tensor_flops: 3750.0,
    memory: 8.0e12,
    cache: 10_240.0,
    ..H100
};

impl Gpu {
    /// All GPUs.
    pub const ALL: [Gpu; 4] = [A100, H100, H200, B200];

    /// The most threads of a multiprocessor.
    pub(super) const THREADS: u32 = 2048;
    /// The most blocks of a multiprocessor.
    pub(super) const BLOCKS: u32 = 32;
    /// Registers of a multiprocessor, which warps get in groups of 256.
    pub(super) const REGISTERS: u32 = 65_536;
    /// Shared memory that each block needs besides its own, bytes.
    pub(super) const RESERVED: usize = 1024;
    /// Warp instructions that a multiprocessor's schedulers issue in a cycle.
    pub(super) const ISSUE: f64 = 4.0;
    /// Bytes that a multiprocessor exchanges with the second cache in a cycle.
    pub(super) const PORT: f64 = 64.0;

    /// The GPU of this name, in any case.
    pub fn named(name: &str) -> Option<Gpu> {
        Gpu::ALL.into_iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
    }

    /// The GPU that a driver calls by this name, such as `NVIDIA H200`.
    pub fn of_device(name: &str) -> Option<Gpu> {
        let words: Vec<String> = name.split([' ', '-']).map(str::to_lowercase).collect();
        Gpu::ALL.into_iter().find(|gpu| words.iter().any(|word| word == gpu.name))
    }

    /// A GPU of this compute capability, whose multiprocessors have the same limits.
    pub fn of_capability(capability: (u32, u32)) -> Option<Gpu> {
        Gpu::ALL.into_iter().find(|gpu| gpu.capability == capability)
    }

    /// The architecture that kernels are compiled for, as in the budget.
    pub fn target(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }

    /// f32 operations a second.
    pub fn peak(&self) -> f64 {
        2.0 * self.float_lanes * f64::from(self.multiprocessors) * self.clock
    }

    /// Warp instructions of a unit that a multiprocessor executes in a cycle. None where other figures bound it.
    pub(super) fn rate(&self, unit: Unit) -> Option<f64> {
        match unit {
            Unit::Float => Some(self.float_lanes / 32.0),
            Unit::Double => Some(self.double_lanes / 32.0),
            Unit::Integer | Unit::Multiply => Some(2.0),
            Unit::Special => Some(0.5),
            Unit::Memory | Unit::Control => Some(1.0),
            Unit::Tensor => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_the_data_sheets() {
        // f32 and TF32 in TFLOP/s.
        for (name, float, tensor) in [
            ("a100", 19.5, 156.0),
            ("H100", 67.0, 494.0),
            ("h200", 67.0, 494.0),
            ("b200", 75.0, 1100.0),
        ] {
            let gpu = Gpu::named(name).unwrap();
            let tensor_peak = gpu.tensor_flops * f64::from(gpu.multiprocessors) * gpu.clock;
            assert!((gpu.peak() / 1e12 / float - 1.0).abs() < 0.01, "{name}: {}", gpu.peak());
            assert!((tensor_peak / 1e12 / tensor - 1.0).abs() < 0.01, "{name}: {tensor_peak}");
        }
        assert_eq!(Gpu::named("v100"), None);
        assert_eq!(Gpu::of_device("NVIDIA A100-SXM4-80GB").map(|gpu| gpu.name), Some("a100"));
        assert_eq!(Gpu::of_device("NVIDIA GeForce RTX 4090"), None);
    }
}
