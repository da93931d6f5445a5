//! The modelled time of every kernel that was accepted last.

use super::Gpu;

/// The file: a line for each kernel, with nanoseconds on each GPU.
const FILE: &str = include_str!("../../../ptx/model.csv");
/// What a kernel's time may grow by.
const GROWTH: f64 = 1.1;

/// A kernel's modelled times in nanoseconds, in the order of [`Gpu::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The kernel's name.
    pub kernel: String,
    /// Nanoseconds of its largest launch among the test cases of the operations.
    pub nanoseconds: [f64; Gpu::ALL.len()],
}

/// The times in `kernels/ptx/model.csv`.
pub fn budget() -> Vec<Accepted> {
    let line = |line: &str| {
        let mut cells = line.split(',');
        let kernel = cells.next()?.to_owned();
        let mut nanoseconds = [0.0; Gpu::ALL.len()];
        for number in &mut nanoseconds {
            *number = cells.next()?.parse().ok()?;
        }
        Some(Accepted { kernel, nanoseconds })
    };
    FILE.lines().skip(1).filter_map(line).collect()
}

/// The text of a file with exactly these times.
pub fn budget_of(times: &[Accepted]) -> String {
    let names = Gpu::ALL.map(|gpu| gpu.name).join(",");
    let mut lines = vec![format!("kernel,{names}")];
    lines.extend(times.iter().map(|time| {
        let numbers = time.nanoseconds.map(|number| format!("{number:.0}")).join(",");
        format!("{},{numbers}", time.kernel)
    }));
    lines.join("\n") + "\n"
}

impl Accepted {
    /// The GPU on which this time exceeds that of the budget most, if it does by more than a tenth on one.
    pub fn complaint(&self, budget: &[Accepted]) -> Option<String> {
        let kernel = &self.kernel;
        let Some(allowed) = budget.iter().find(|allowed| allowed.kernel == *kernel) else {
            return Some(format!("{kernel}: not in kernels/ptx/model.csv; add it"));
        };
        let growth = |gpu: &usize| self.nanoseconds[*gpu] / allowed.nanoseconds[*gpu];
        let worst = (0..Gpu::ALL.len()).max_by(|a, b| growth(a).total_cmp(&growth(b)))?;
        (growth(&worst) > GROWTH).then(|| {
            format!(
                "{kernel} on {}: {:.0} ns modelled, {:.0} ns accepted",
                Gpu::ALL[worst].name,
                self.nanoseconds[worst],
                allowed.nanoseconds[worst]
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_takes_a_tenth_longer_is_named() {
        let time = |nanoseconds| Accepted { kernel: "k".into(), nanoseconds };
        let budget = [time([1000.0; 4])];
        assert_eq!(time([1099.0, 900.0, 1.0, 1000.0]).complaint(&budget), None);
        let slower = time([1000.0, 1200.0, 1300.0, 1000.0]).complaint(&budget);
        assert_eq!(slower.as_deref(), Some("k on h200: 1300 ns modelled, 1000 ns accepted"));
        assert!(time([1.0; 4]).complaint(&[]).is_some_and(|what| what.contains("not in")));
    }

    #[test]
    fn the_file_reads_as_it_is_written() {
        assert_eq!(budget_of(&budget()), FILE);
    }
}
