//! `mpuc weights`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `mpuc weights ...`.
#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// List the tensors of a file, or compare them with a network.
    Inspect(InspectArgs),
    /// Write the tensors of a file as safetensors.
    Convert(ConvertArgs),
}

/// `mpuc weights inspect`.
#[derive(Debug, Args)]
#[command(
    long_about = "List names, types and shapes of the tensors of a file that torch.save (both formats) or safetensors \
        wrote. With --network compare them with the parameters of that network. No code in the file is executed: the \
        reader accepts tensors only and rejects everything else. Exit code 65 when the file cannot be read, or is of \
        another network.",
    after_help = "\
Examples:
  mpuc weights inspect r2plus1d_18-91a641e6.pth
  mpuc weights inspect r2plus1d_18-91a641e6.pth --network r2plus1d
  mpuc weights inspect model.safetensors --json | jq '.tensors[].name'"
)]
pub struct InspectArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Compare it with this network, with the settings of the preset `paper`.
    #[arg(long, value_name = "NAME")]
    pub network: Option<Network>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A network whose weights can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// torchvision's R(2+1)D-18.
    R2plus1d,
}

/// `mpuc weights convert`.
#[derive(Debug, Args)]
#[command(
    long_about = "Write the tensors of a file that torch.save wrote as safetensors, with their names, types and shapes. \
        Everything else in the file, such as an optimiser's settings, is dropped.",
    after_help = "\
Examples:
  mpuc weights convert r2plus1d_18-91a641e6.pth r2plus1d_18.safetensors"
)]
pub struct ConvertArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file to write; it must not exist.
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}
