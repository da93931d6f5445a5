//! The kernels of a step on a GPU: their launches, resources and time.

use crate::output;
use engine::Device;
use kernels::gpu::model::{Gpu, occupancy};
use kernels::gpu::{self, Counts, Kernel, Trace};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A kernel in one step.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(super) struct KernelRow {
    pub(super) kernel: &'static str,
    pub(super) launches: u64,
    /// Seconds on the GPU.
    pub(super) device_s: f64,
    /// Blocks and threads of the longest launch.
    pub(super) blocks: [u32; 3],
    pub(super) threads: [u32; 3],
    /// Bytes of dynamic shared memory of the longest launch.
    pub(super) dynamic_shared: u32,
    /// Registers of a thread, and bytes of static shared memory of a block, compiled for this GPU; none where the budget
    /// does not have its architecture.
    pub(super) registers: Option<u32>,
    pub(super) static_shared: Option<u32>,
    /// Warps of a multiprocessor over the most that it can have.
    pub(super) occupancy: Option<f64>,
}

/// What a step asks of a driver besides launches.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub(super) struct Asked {
    pub(super) launches: u64,
    pub(super) uploads: u64,
    pub(super) uploaded_bytes: u64,
    pub(super) downloads: u64,
    pub(super) downloaded_bytes: u64,
    /// Copies and fills inside the device.
    pub(super) copies: u64,
    /// Waits of the host without later work in the queue.
    pub(super) waits: u64,
    /// Memory allocations of the driver.
    pub(super) allocations: u64,
}

impl Asked {
    pub(super) fn of(counts: &Counts) -> Self {
        Asked {
            launches: counts.launches(),
            uploads: counts.uploads,
            uploaded_bytes: counts.uploaded,
            downloads: counts.downloads,
            downloaded_bytes: counts.downloaded,
            copies: counts.copies,
            waits: counts.waits,
            allocations: counts.fresh,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "a step asks the GPU for {} launches, {} uploads ({:.2} MiB), {} downloads ({:.2} MiB), {} copies and fills, {} allocations; the host waits {} times",
            self.launches,
            self.uploads,
            mib(self.uploaded_bytes),
            self.downloads,
            mib(self.downloaded_bytes),
            self.copies,
            self.allocations,
            self.waits
        )
    }
}

/// The kernels of a step, those of the most time first.
pub(super) fn rows(trace: &Trace, device: &Device) -> Vec<KernelRow> {
    let mut kernels: BTreeMap<&'static str, Vec<&Kernel>> = BTreeMap::new();
    trace.launches.iter().for_each(|launch| kernels.entry(launch.name).or_default().push(launch));
    let capability = device.gpu().map(|gpu| gpu.description().capability);
    let sheet = capability.and_then(Gpu::of_capability);
    let budget = gpu::budget();
    let row = |(kernel, launches): (&'static str, Vec<&Kernel>)| {
        let longest = launches.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
        let found = sheet.and_then(|sheet| {
            let target = sheet.target();
            let resources = budget.iter().find(|of| of.kernel == kernel && of.target == target)?;
            Some((resources, occupancy(&longest.grid, &sheet, resources)))
        });
        Some(KernelRow {
            kernel,
            launches: launches.len() as u64,
            device_s: launches.iter().map(|launch| launch.seconds).sum(),
            blocks: longest.grid.blocks,
            threads: longest.grid.threads,
            dynamic_shared: longest.grid.shared,
            registers: found.map(|(resources, _)| resources.registers),
            static_shared: found.map(|(resources, _)| resources.shared),
            occupancy: found.map(|(_, occupancy)| occupancy),
        })
    };
    let mut rows: Vec<KernelRow> = kernels.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| b.device_s.total_cmp(&a.device_s).then(b.launches.cmp(&a.launches)));
    rows
}

/// A table of the first kernels.
pub(super) fn table(rows: &[KernelRow], most: usize) -> String {
    let extent = |[x, y, z]: [u32; 3]| match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("{x} x {y}"),
        _ => format!("{x} x {y} x {z}"),
    };
    let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    let cells = |row: &KernelRow| {
        vec![
            row.kernel.to_owned(),
            row.launches.to_string(),
            format!("{:.3}", 1e3 * row.device_s),
            extent(row.blocks),
            extent(row.threads),
            number(row.registers),
            number(row.static_shared.map(|bytes| bytes + row.dynamic_shared)),
            row.occupancy.map_or("-".into(), |occupancy| format!("{:.0} %", 100.0 * occupancy)),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().take(most).map(cells).collect();
    let header = [
        "kernel",
        "launches",
        "ms on the GPU",
        "blocks",
        "threads",
        "registers",
        "shared",
        "occupancy",
    ];
    output::table(&header, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Simulation;
    use kernels::gpu::Grid;
    use std::time::Duration;

    #[test]
    fn a_row_has_the_longest_launch_and_the_sum_of_all() {
        let launch = |name, blocks, seconds| Kernel {
            name,
            grid: Grid::blocks(blocks),
            called: Duration::ZERO,
            seconds,
        };
        let launches = vec![
            launch("linear_forward", 7, 1e-3),
            launch("linear_forward", 90, 4e-3),
            launch("sgd", 1, 2e-3),
            launch("unknown", 2, 1e-3),
        ];
        let trace = Trace { launches, ..Trace::default() };
        let rows = rows(&trace, &Device::simulated(Simulation::FAST));
        assert_eq!(
            rows.iter().map(|row| row.kernel).collect::<Vec<_>>(),
            ["linear_forward", "sgd", "unknown"]
        );
        let linear = &rows[0];
        assert!((linear.device_s - 5e-3).abs() < 1e-12);
        assert_eq!((linear.launches, linear.blocks, linear.threads), (2, [90, 1, 1], [256, 1, 1]));
        // 40 registers: 6 blocks of 8 warps, of 64.
        assert_eq!((linear.registers, linear.occupancy), (Some(40), Some(0.75)));
        assert_eq!((rows[2].registers, rows[2].occupancy), (None, None));
        let table = table(&rows, 2);
        assert!(table.contains("linear_forward") && !table.contains("unknown"), "{table}");
    }
}
