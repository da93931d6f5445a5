//! The options with which a command takes a configuration.

use crate::config::{Layers, Resolved, path_value};
use crate::failure::Result;
use clap::Args;
use std::path::PathBuf;
use toml::Value;

/// A preset, a file over it, and single settings over both.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The preset to start from.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// A TOML file whose settings replace those of the preset.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data, a folder or a manifest; sets data.path.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// A single setting, e.g. training.epochs=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The configuration. `more` are other flags: each with the key that it sets and its value.
    ///
    /// # Errors
    /// See [`Resolved::new`].
    pub fn resolve(&self, more: Vec<(&'static str, &'static str, Value)>) -> Result<Resolved> {
        let data = self.data.as_ref().map(|path| path_value("--data", path)).transpose()?;
        let data = data.map(|path| ("--data", "data.path", path));
        Resolved::new(&Layers {
            preset: self.preset.as_deref(),
            file: self.config.as_deref(),
            set: &self.set,
            flags: data.into_iter().chain(more).collect(),
        })
    }
}
