//! What the compiler says a kernel needs, and the budget it must stay within.

use super::nvrtc::compile_saying;
use super::{Program, Result, Target};

/// What one kernel needs on one kind of GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    /// The kernel's name.
    pub kernel: String,
    /// What it was compiled for, e.g. `sm_90`.
    pub target: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes a thread that did not fit into registers: spilled stores and loads.
    pub spills: u32,
    /// Bytes of static shared memory a block.
    pub shared: u32,
}

/// What each kernel of a program needs on GPUs of a compute capability.
///
/// # Errors
/// When NVRTC is not there or refuses the source.
pub fn resources(program: &Program, capability: (u32, u32)) -> Result<Vec<Resources>> {
    let target = Target::Cubin(capability.0, capability.1);
    let (_, log) = compile_saying(program, target, &["--ptxas-options=-v"])?;
    let mut found = parse(&log, &target.to_string());
    found.sort();
    Ok(found)
}

/// Reads what `ptxas -v` prints: for each kernel its name, its spills and its registers, a line each.
fn parse(log: &str, target: &str) -> Vec<Resources> {
    let before = |line: &str, unit: &str| -> u32 {
        let words = line.split(unit).next().unwrap_or_default();
        words.rsplit([' ', ',']).find_map(|word| word.parse().ok()).unwrap_or(0)
    };
    let mut found: Vec<Resources> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            found.push(Resources { kernel, target: target.to_owned(), registers: 0, spills: 0, shared: 0 });
        }
        let Some(kernel) = found.last_mut() else { continue };
        if line.contains("bytes spill stores") {
            kernel.spills = before(line, " bytes spill stores") + before(line, " bytes spill loads");
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
        assert_eq!((found[1].kernel.as_str(), found[1].registers, found[1].shared), ("sum_slices", 14, 0));
    }
}
