//! Our runs as rows beside the paper's.

use super::published::{EMOTIONS, Place};
use crate::config::{Config, Protocol, Stamp};
use crate::failure::{Failure, Kind, Result};
use crate::run_folder::RunFolder;
use data::corpora::ravdess::{self, Vocal};
use data::features::Extractor;
use models::metrics::Summary;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `results.json` says, as far as it is needed here. Runs of other versions and corpora lack some of it.
#[derive(Debug, Deserialize)]
struct Results {
    #[serde(default)]
    mpuc: Option<Summary>,
    #[serde(default)]
    single: BTreeMap<String, Summary>,
    #[serde(default)]
    late_fusion_supervised: Option<Summary>,
    #[serde(default)]
    weighted_accuracy: Option<Summary>,
    #[serde(default)]
    f1_weighted: Option<Summary>,
    /// Of labels that may apply together, each by itself.
    #[serde(default)]
    emotions: Vec<Emotion>,
    protocol: Stamp,
}

#[derive(Debug, Deserialize)]
struct Emotion {
    name: String,
    weighted_accuracy: Summary,
    f1_weighted: Summary,
}

/// A run, read from its folder.
pub struct Run {
    /// The folder.
    pub path: PathBuf,
    /// What its figures rest on.
    pub protocol: Stamp,
    config: Config,
    results: Results,
}

/// Figures of one system in the columns of a table.
pub type Figures = Vec<Option<Summary>>;

impl Run {
    /// Reads a run that came to its end.
    ///
    /// # Errors
    /// 66 when there is no run or it has no results yet, 65 when they cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let config = RunFolder::configuration(path)?.config;
        let file = path.join("results.json");
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                Kind::MissingData,
                format!("{}: the run has no results yet", path.display()),
            )
            .hint("let it come to its end: the same `mpuc train` command goes on with it"),
            _ => Failure::io("read", &file, &error),
        })?;
        let mut results: Results = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Kind::BadData, format!("{}: {error}", file.display())).hint(
                "make it again: the same `mpuc train` command takes seconds for a finished run",
            )
        })?;
        results.single.retain(|name, _| config.modality.contains_key(name));
        Ok(Run { path: path.into(), protocol: results.protocol.clone(), config, results })
    }

    /// Why the run has no place in a table of this kind; `None` when it has one.
    pub fn refused(&self, place: Place) -> Option<String> {
        let Some(corpus) = &self.protocol.corpus else {
            return Some(
                "does not say what it was trained on; run the same `mpuc train` again".into(),
            );
        };
        let wanted = match place {
            Place::Ravdess => "ravdess",
            Place::MoseiEmotions | Place::MoseiOverall => "mosei",
        };
        if corpus != wanted {
            return Some(format!("is of another corpus: {corpus}"));
        }
        let vocal = self.config.data.vocal.unwrap_or_default();
        let songs = self.config.data.format == ravdess::FORMAT && vocal != Vocal::Speech;
        songs.then(|| "has songs, and the paper speech alone".into())
    }

    /// Its rows in a table: systems and their figures.
    pub fn rows(&self, place: Place) -> Vec<(String, Figures)> {
        let results = &self.results;
        let names: Vec<String> =
            self.config.modality.iter().map(|(n, m)| word(n, &m.feature)).collect();
        let all = format!("MPUC: {}", names.join(", "));
        match place {
            Place::Ravdess => {
                let column = |figure: Option<Summary>| match self.protocol.protocol {
                    Protocol::ByGroup | Protocol::ByGroupPairs => vec![figure, None],
                    _ => vec![None, figure],
                };
                let single = results.single.iter().map(|(name, figure)| {
                    let name = self
                        .config
                        .modality
                        .get(name)
                        .map_or(name.clone(), |m| word(name, &m.feature));
                    (format!("MPUC's {name} alone, frozen"), Some(*figure))
                });
                let late = results.late_fusion_supervised;
                let late =
                    late.map(|figure| ("late fusion, trained with labels".into(), Some(figure)));
                let rows = single.chain(late).chain([(all, results.mpuc)]);
                rows.map(|(name, figure)| (name, column(figure))).collect()
            }
            Place::MoseiEmotions => {
                let of = |name: &&str| {
                    let found = results.emotions.iter().find(|emotion| emotion.name == **name);
                    [found.map(|e| e.weighted_accuracy), found.map(|e| e.f1_weighted)]
                };
                let mut figures: Figures = EMOTIONS.iter().flat_map(of).collect();
                figures.extend([results.weighted_accuracy, results.f1_weighted]);
                vec![(all, figures)]
            }
            Place::MoseiOverall => {
                vec![(all, vec![results.weighted_accuracy, results.f1_weighted])]
            }
        }
    }
}

/// The paper's word for a modality, or its name.
fn word(name: &str, feature: &Extractor) -> String {
    match feature {
        Extractor::Voice(_) => "audio".into(),
        Extractor::Landmarks(_) => "landmarks".into(),
        Extractor::Clip(_) => "face images".into(),
        Extractor::Words(_) => "text".into(),
        _ => name.to_owned(),
    }
}
