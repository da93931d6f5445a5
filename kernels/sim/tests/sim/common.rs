//! Helpers of the tests: launches kernels on arrays of numbers.

use ptx_sim::{Kind, Launch, Memory, Module, Report, Settings};

/// A memory with the kernel's arguments in it.
#[derive(Default)]
pub struct Bench {
    pub memory: Memory,
    pub settings: Settings,
    pub dynamic_shared: u32,
    pub parameters: Vec<u8>,
}

/// A number of 4 or 8 bytes.
pub trait Number: Copy {
    fn bytes(self) -> Vec<u8>;
    fn parsed(bytes: &[u8]) -> Self;
    const SIZE: usize;
}

macro_rules! number {
    ($($t:ty),+) => {$(
        impl Number for $t {
            const SIZE: usize = size_of::<$t>();
            fn bytes(self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn parsed(bytes: &[u8]) -> Self { <$t>::from_le_bytes(bytes.try_into().unwrap()) }
        }
    )+};
}
number!(f32, f64, i32, u32, u64, i64, u16);

impl Bench {
    /// An input array; gives its address.
    pub fn array<T: Number>(&mut self, label: &str, values: &[T]) -> u64 {
        let address = self.memory.allocate(values.len() * T::SIZE, label);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.bytes()).collect();
        self.memory.write(address, &bytes).unwrap();
        address
    }

    /// An uninitialised array of `count` numbers; gives its address.
    pub fn room<T: Number>(&mut self, label: &str, count: usize) -> u64 {
        self.memory.allocate(count * T::SIZE, label)
    }

    /// The numbers at an address.
    pub fn read<T: Number>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * T::SIZE];
        self.memory.read(address, &mut bytes).unwrap();
        bytes.chunks(T::SIZE).map(T::parsed).collect()
    }

    /// Starts a new parameter block.
    pub fn parameters(&mut self) -> &mut Bench {
        self.parameters.clear();
        self
    }

    /// Adds a field to the kernel's struct, at the next multiple of its size.
    pub fn field<T: Number>(&mut self, value: T) -> &mut Bench {
        self.parameters.resize(self.parameters.len().next_multiple_of(T::SIZE), 0);
        self.parameters.extend(value.bytes());
        self
    }

    /// Runs a kernel of a module.
    pub fn run(&mut self, text: &str, name: &str, grid: [u32; 3], block: [u32; 3]) -> Report {
        self.try_run(text, name, grid, block).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a kernel of a module, which may not end.
    pub fn try_run(
        &mut self,
        text: &str,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
    ) -> Result<Report, ptx_sim::Error> {
        let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let kernel = module.kernel(name).unwrap_or_else(|error| panic!("{error}"));
        self.parameters.resize(kernel.parameter_bytes(), 0);
        let launch = Launch {
            grid,
            block,
            dynamic_shared: self.dynamic_shared,
            parameters: &self.parameters,
        };
        ptx_sim::run(kernel, &launch, &mut self.memory, &self.settings)
    }

    /// Runs a kernel that must have no findings.
    pub fn clean(&mut self, text: &str, name: &str, grid: [u32; 3], block: [u32; 3]) -> Report {
        let report = self.run(text, name, grid, block);
        assert!(report.findings.is_empty(), "{name}: {}", listed(&report));
        report
    }
}

/// The findings of a report, one a line.
pub fn listed(report: &Report) -> String {
    report.findings.iter().map(|finding| format!("\n  {finding}")).collect()
}

/// Asserts that a report has exactly findings of these kinds.
pub fn assert_kinds(report: &Report, kinds: &[Kind]) {
    let found: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(found, kinds, "{}", listed(report));
}

/// Pseudo-random numbers in -1..1.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that two vectors agree within a tolerance relative to the larger of 1 and the value.
pub fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "element {index}: got {got}, expected {expected}");
    }
}
