//! Registers and memory that a kernel uses, and the committed budget for them.

use super::nvrtc::compile_saying;
use super::{Program, Result, Target};

/// The resources of one kernel on one GPU architecture, as the compiler reports them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    /// The kernel's name.
    pub kernel: String,
    /// The architecture, e.g. `sm_90`.
    pub target: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's register spills: stores and loads.
    pub spills: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
}

/// The budget's file: one line for each kernel and target.
const BUDGET: &str = include_str!("../../ptx/budget.csv");
/// The file's first line.
const HEADER: &str = "kernel,target,registers,spills,shared";

/// The most that each kernel may use, from `kernels/ptx/budget.csv`.
pub fn budget() -> Vec<Resources> {
    let line = |line: &str| {
        let mut cells = line.split(',');
        let (kernel, target) = (cells.next()?.to_owned(), cells.next()?.to_owned());
        let mut number = || cells.next()?.parse().ok();
        Some(Resources {
            kernel,
            target,
            registers: number()?,
            spills: number()?,
            shared: number()?,
        })
    };
    BUDGET.lines().skip(1).filter_map(line).collect()
}

/// The text of a budget file with exactly these resources.
pub fn budget_of(resources: &[Resources]) -> String {
    let mut lines = vec![HEADER.to_owned()];
    lines.extend(
        resources.iter().map(|r| {
            format!("{},{},{},{},{}", r.kernel, r.target, r.registers, r.spills, r.shared)
        }),
    );
    lines.join("\n") + "\n"
}

impl Resources {
    /// The first resource that exceeds the budget, if any.
    pub fn complaint(&self, budget: &[Resources]) -> Option<String> {
        let place = format!("{} for {}", self.kernel, self.target);
        let Some(allowed) =
            budget.iter().find(|b| b.kernel == self.kernel && b.target == self.target)
        else {
            return Some(format!("{place}: not in kernels/ptx/budget.csv; add it"));
        };
        let pairs = [
            ("registers", self.registers, allowed.registers),
            ("bytes spilled", self.spills, allowed.spills),
            ("bytes of shared memory", self.shared, allowed.shared),
        ];
        let over = pairs.into_iter().find(|(_, needed, allowed)| needed > allowed);
        over.map(|(what, needed, allowed)| format!("{place}: {needed} {what}, {allowed} allowed"))
    }
}

/// Compiles a program for a compute capability; returns the resources of each kernel.
///
/// # Errors
/// When NVRTC is missing or rejects the source.
pub fn resources(program: &Program, capability: (u32, u32)) -> Result<Vec<Resources>> {
    let target = Target::Cubin(capability.0, capability.1);
    let (_, log) = compile_saying(program, target, &["--ptxas-options=-v"])?;
    let mut found = parse(&log, &target.to_string());
    found.sort();
    Ok(found)
}

/// Parses the output of `ptxas -v`: for each kernel one line each with its name, spills and registers.
fn parse(log: &str, target: &str) -> Vec<Resources> {
    let before = |line: &str, unit: &str| -> u32 {
        let words = line.split(unit).next().unwrap_or_default();
        words.rsplit([' ', ',']).find_map(|word| word.parse().ok()).unwrap_or(0)
    };
    let mut found: Vec<Resources> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            found.push(Resources {
                kernel,
                target: target.to_owned(),
                registers: 0,
                spills: 0,
                shared: 0,
            });
        }
        let Some(kernel) = found.last_mut() else { continue };
        if line.contains("bytes spill stores") {
            kernel.spills =
                before(line, " bytes spill stores") + before(line, " bytes spill loads");
        }
        if line.contains(" registers") {
            kernel.registers = before(line, " registers");
        }
        if line.contains(" bytes smem") {
            kernel.shared = before(line, " bytes smem");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most GPUs allow more shared memory for a block after `cuFuncSetAttribute`, which the driver code does not call.
    #[test]
    fn no_kernel_spills_or_needs_more_shared_memory_than_every_gpu_gives() {
        let over: Vec<Resources> = budget()
            .into_iter()
            .filter(|needs| needs.shared > 48 << 10 || needs.spills > 0)
            .collect();
        assert!(over.is_empty(), "{over:?}");
    }

    #[test]
    fn the_compilers_words_are_understood() {
        let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'linear_forward' for 'sm_90'
ptxas info    : Function properties for linear_forward
    8 bytes stack frame, 12 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 62 registers, used 1 barriers, 9728 bytes smem, 560 bytes cmem[0]
ptxas info    : Compiling entry function 'sum_slices' for 'sm_90'
ptxas info    : Function properties for sum_slices
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers";
        let found = parse(log, "sm_90");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].registers, found[0].spills, found[0].shared), (62, 16, 9728));
        assert_eq!(
            (found[1].kernel.as_str(), found[1].registers, found[1].shared),
            ("sum_slices", 14, 0)
        );
    }
}
