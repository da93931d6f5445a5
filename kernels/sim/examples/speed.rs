//! Prints how fast the simulator runs a matrix product, in thread-instructions a second.
//!
//! `cargo run --release -p ptx-sim --example speed [size]`

use std::time::Instant;

use ptx_sim::{Error, Launch, Memory, Mode, Module, Settings, run};

fn main() -> Result<(), Error> {
    let size = std::env::args().nth(1).and_then(|size| size.parse().ok()).unwrap_or(192usize);
    let module = Module::parse(include_str!("../tests/ptx/sgemm.ptx"))?;
    let kernel = module.kernels().next().ok_or(Error::Launch("the module is empty".into()))?;
    for (name, mode) in [("checked", Mode::Checked), ("values", Mode::Values)] {
        let mut memory = Memory::new();
        let mut parameters = Vec::new();
        for label in ["a", "b", "c"] {
            let address = memory.allocate(size * size * 4, label);
            memory.fill(address, 0, size * size * 4)?;
            parameters.extend(address.to_le_bytes());
        }
        for _ in 0..3 {
            parameters.extend((size as u32).to_le_bytes());
        }
        parameters.resize(kernel.parameter_bytes(), 0);
        let blocks = size.div_ceil(64) as u32;
        let launch = Launch {
            grid: [blocks, blocks, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
            parameters: &parameters,
        };
        let settings = Settings { mode, ..Settings::default() };
        let mut best = 0.0f64;
        for _ in 0..3 {
            let start = Instant::now();
            let report = run(kernel, &launch, &mut memory, &settings)?;
            let seconds = start.elapsed().as_secs_f64();
            best = best.max(report.counters.total.thread_instructions as f64 / seconds);
            assert!(report.findings.is_empty(), "{:?}", report.findings);
        }
        println!("sgemm {size}x{size}x{size} {name}: {:.0} M thread-instructions/s", best / 1e6);
    }
    Ok(())
}
