//! Finds the samples of a corpus and the settings of its modalities.

use crate::config::{Config, ModalityConfig};
use crate::failure::{Failure, Kind, Result};
use data::corpora::{Found, Options, Wanted};
use data::corpus::Corpus;
use std::path::Path;

/// The samples of the corpus at `root`, and for each of its modalities the name and the settings of its entry in the
/// configuration.
///
/// # Errors
/// When a file or a setting is wrong, or there are fewer than two modalities.
pub fn find(config: &Config, root: &Path) -> Result<(Corpus, Vec<(String, ModalityConfig)>)> {
    let wanted: Vec<Wanted> = config
        .modality
        .iter()
        .map(|(name, modality)| Wanted { name: name.clone(), feature: modality.feature.clone() })
        .collect();
    let options = Options {
        vocal: config.data.vocal.unwrap_or_default(),
        align: config.data.align.unwrap_or_default(),
        on_error: config.data.on_error,
    };
    // Before the format's checks of modalities: it cannot be recognised from what is not there.
    if !root.exists() {
        let message = format!("{}: does not exist", root.display());
        return Err(Failure::new(Kind::MissingData, message)
            .hint("correct data.path or --data: the folder of the corpus, or a manifest"));
    }
    let Found { mut corpus, wanted } = config.data.format.find(root, &wanted, &options)?;
    if wanted.len() < 2 {
        let message = format!(
            "{}: has {} modalities, and at least 2 are needed",
            root.display(),
            wanted.len()
        );
        return Err(
            Failure::config(message).hint("add a [modality.NAME] whose feature the data has")
        );
    }
    corpus.leave_out_absent_classes();
    let entries: Vec<(&String, &ModalityConfig)> = config.modality.iter().collect();
    let entry = |index: usize| (entries[index].0.clone(), entries[index].1.clone());
    Ok((corpus, wanted.into_iter().map(entry).collect()))
}
