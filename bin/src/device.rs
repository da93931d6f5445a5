//! The device of a command: `--device`.

use crate::failure::Result;
use crate::progress::Progress;
use engine::{Device, Simulation};
use kernels::gpu;
use std::fmt;
use std::str::FromStr;

/// The value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The first GPU if it works, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this index.
    Cuda(usize),
    /// A simulated GPU.
    Sim {
        /// Whether races and reads of uninitialised memory are checked; bounds always are.
        checked: bool,
    },
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            "sim" => Ok(Choice::Sim { checked: true }),
            "sim:fast" => Ok(Choice::Sim { checked: false }),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Choice::Cuda)
                .ok_or_else(|| "use auto, cpu, cuda, cuda:NUMBER, sim or sim:fast".to_owned()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Cpu => f.write_str("cpu"),
            Choice::Cuda(number) => write!(f, "cuda:{number}"),
            Choice::Sim { checked: true } => f.write_str("sim"),
            Choice::Sim { checked: false } => f.write_str("sim:fast"),
        }
    }
}

impl Choice {
    /// Opens the device. [`Choice::Auto`] uses the CPU if the GPU does not work, and prints the reason.
    ///
    /// # Errors
    /// Exit code 69 when the chosen GPU does not exist or does not work.
    pub fn open(self, progress: &Progress) -> Result<Device> {
        let device = match self {
            Choice::Cpu => Device::Cpu,
            Choice::Cuda(number) => Device::cuda(number)?,
            Choice::Sim { checked } => {
                Device::simulated(if checked { Simulation::CHECKED } else { Simulation::FAST })
            }
            Choice::Auto => match Device::cuda(0) {
                Ok(device) => device,
                Err(error) => {
                    progress.line(format_args!("on the CPU: {error}"));
                    Device::Cpu
                }
            },
        };
        let Some(gpu) = device.gpu() else { return Ok(device) };
        if !gpu.description().simulated {
            progress.line(format_args!("on {device}"));
        }
        let task = progress.task("load kernels", gpu::programs().len() as u64);
        gpu.prepare(&|loaded| task.tick(loaded as u64, ""))?;
        drop(task);
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "sim", "sim:fast"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        assert!("gpu".parse::<Choice>().is_err() && "cuda:x".parse::<Choice>().is_err());
    }
}
