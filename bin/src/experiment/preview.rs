//! What a run will do: arms, parameters, memory and steps. Settings that do not fit the data or the machine are refused
//! before anything is trained.

use super::trial::Trial;
use super::{PreparedData, Session, arms};
use crate::failure::{Context, Failure, Result};
use crate::output;
use models::train::{Estimate, TrainingSettings};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A run before it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Preview {
    /// The arms that build networks, in the order of the table.
    pub arms: Vec<ArmPreview>,
    /// Arms of the whole table.
    pub rows: usize,
    /// Seeds.
    pub seeds: usize,
    /// Folds that are run.
    pub folds: usize,
    /// Samples of the data.
    pub samples: usize,
    /// Samples of the first fold's training, validation and test part.
    pub parts: [usize; 3],
    /// The device of the networks.
    pub device: String,
    /// Threads of the CPU.
    pub threads: usize,
    /// The memory of the machine in bytes; absent where the system does not tell.
    pub memory: Option<Memory>,
}

/// An arm that builds networks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ArmPreview {
    /// Its name.
    pub arm: String,
    /// Parameters, without padding.
    pub parameters: usize,
    /// The most bytes of tensors at once.
    pub bytes: usize,
    /// Parameters of each part: the encoder of a modality, heads.
    pub networks: BTreeMap<String, usize>,
    /// The loss of networks that tell no sample from another; the first loss lies near it or above.
    pub chance_loss: Option<f64>,
    /// Samples of a batch.
    pub batch: usize,
    /// The optimiser.
    pub optimizer: String,
    /// The base learning rate.
    pub learning_rate: f64,
    /// Epochs at most.
    pub epochs: u64,
    /// Steps of all epochs.
    pub steps: u64,
}

/// The memory of a machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it, or the limit of the process's group.
    pub total: u64,
    /// What programs can still allocate.
    pub available: u64,
}

impl Preview {
    /// Measures the first trial; the others have the same shapes.
    ///
    /// # Errors
    /// 78 with the arm when a system does not accept the data or its settings, or needs more memory than there is.
    pub(super) fn new(
        session: &Session<'_>,
        prepared: &PreparedData,
        trial: &Trial<'_>,
    ) -> Result<Self> {
        let seeds = &session.resolved.config.seeds;
        let all = arms(session.resolved, prepared);
        let mut previews = Vec::new();
        for arm in all.iter().filter(|arm| arm.system().is_some() && trial.can_run(arm)) {
            let (estimate, steps) =
                trial.estimate(arm).context(format_args!("arm {}", arm.name))?;
            let parameters = estimate.parameters();
            let Estimate { networks, chance_loss, bytes } = estimate;
            let TrainingSettings { epochs, batch, optimizer, learning_rate, .. } = arm.training;
            previews.push(ArmPreview {
                arm: arm.name.clone(),
                parameters,
                networks,
                chance_loss: chance_loss.filter(|_| epochs > 0),
                batch,
                optimizer: optimizer.name().into(),
                learning_rate,
                bytes,
                epochs,
                steps,
            });
        }
        let memory = match session.device.gpu() {
            Some(gpu) => {
                let total = gpu.description().memory as u64;
                Some(Memory { total, available: total })
            }
            None => Memory::of_this_machine(),
        };
        let preview = Preview {
            arms: previews,
            rows: all.len(),
            seeds: seeds.len(),
            folds: prepared.folds(session.resolved.config.only_fold)?.len(),
            samples: prepared.len(),
            parts: prepared.splits[0].parts().map(|(_, samples)| samples.len()),
            device: session.device.to_string(),
            threads: rayon::current_num_threads(),
            memory,
        };
        preview.check(session)?;
        Ok(preview)
    }

    /// Refuses what cannot fit into memory, and warns of what may not.
    fn check(&self, session: &Session<'_>) -> Result<()> {
        let largest = self.arms.iter().max_by_key(|arm| arm.bytes);
        let (Some(largest), Some(memory)) = (largest, self.memory) else { return Ok(()) };
        let needs = format!(
            "arm {} needs about {} for {} parameters and a batch",
            largest.arm,
            bytes(largest.bytes as u64),
            largest.parameters
        );
        let hint = "lower training.batch, a window, or the width of a backbone";
        if largest.bytes as u64 > memory.total {
            let message = format!("{needs}; {} has {}", session.device, bytes(memory.total));
            return Err(Failure::config(message).hint(hint));
        }
        if largest.bytes as u64 > memory.available {
            session.progress.warn(format_args!(
                "{needs}, but only {} are free: {hint}, if the run is killed",
                bytes(memory.available)
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |arm: &ArmPreview| {
            vec![
                arm.arm.clone(),
                arm.parameters.to_string(),
                bytes(arm.bytes as u64),
                arm.batch.to_string(),
                arm.optimizer.clone(),
                arm.learning_rate.to_string(),
                arm.epochs.to_string(),
                arm.steps.to_string(),
                arm.chance_loss.map_or("-".into(), |loss| format!("{loss:.3}")),
            ]
        };
        let rows: Vec<Vec<String>> = self.arms.iter().map(row).collect();
        let header = [
            "networks of arm",
            "parameters",
            "memory",
            "batch",
            "optimizer",
            "rate",
            "epochs",
            "steps",
            "chance loss",
        ];
        writeln!(f, "{}", output::table(&header, &rows))?;
        let mut shared: Vec<(Vec<&str>, &BTreeMap<String, usize>)> = Vec::new();
        for arm in &self.arms {
            match shared.iter_mut().find(|(_, networks)| **networks == arm.networks) {
                Some((names, _)) => names.push(&arm.arm),
                None => shared.push((vec![&arm.arm], &arm.networks)),
            }
        }
        for (arms, networks) in shared {
            let each = networks.iter().map(|(name, count)| format!("{name} {count}"));
            let each: Vec<String> = each.collect();
            writeln!(f, "parameters of {}: {}", arms.join(", "), each.join(", "))?;
        }
        let Preview { seeds, folds, rows, samples, parts, device, threads, .. } = self;
        let [train, validation, test] = parts;
        let trials = seeds * folds;
        writeln!(
            f,
            "rows of the table: {rows}; trials: {trials} (seeds: {seeds}, folds: {folds}); device: {device}; threads: {threads}"
        )?;
        write!(
            f,
            "samples: {samples}; fold 1: training {train}, validation {validation}, test {test}"
        )
    }
}

impl Memory {
    /// From Linux's `/proc/meminfo`, and the limit of the process's control group (version 2).
    fn of_this_machine() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let mut memory =
            Memory { total: field(&text, "MemTotal:")?, available: field(&text, "MemAvailable:")? };
        let number = |name: &str| {
            let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
            text.trim().parse::<u64>().ok()
        };
        if let Some(limit) = number("memory.max") {
            let free = limit.saturating_sub(number("memory.current").unwrap_or(0));
            memory.total = memory.total.min(limit);
            memory.available = memory.available.min(free);
        }
        Some(memory)
    }
}

/// A field of `/proc/meminfo`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes with a decimal unit, e.g. `1.8 GB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits() {
        let cases = [
            (500, "0.5 kB"),
            (999_600, "1.0 MB"),
            (1_819_000_000, "1.8 GB"),
            (12_345_678_901, "12 GB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn a_field_of_meminfo_is_read() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1000 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(1_024_000));
        assert_eq!(field(text, "Swap:"), None);
    }
}
