//! Runs of this program as rows of the paper's tables.

use super::earlier;
use crate::config::{Arm, Config, Pairing, Protocol, Stamp};
use crate::experiment::{ArmReport, Report};
use crate::failure::{Failure, Kind, Result};
use crate::published::{EMOTIONS, Place, word};
use crate::run_folder::RunFolder;
use data::corpora::ravdess::{self, Vocal};
use data::plain::of_serde;
use models::evaluate::metrics::Summary;
use std::path::{Path, PathBuf};

/// A run, read from its folder.
pub struct Run {
    /// The folder.
    pub path: PathBuf,
    /// Its protocol.
    pub protocol: Stamp,
    config: Config,
    arms: Vec<Arm>,
    results: Report,
}

/// Figures of one system in the columns of a table.
pub type Figures = Vec<Option<Summary>>;

impl Run {
    /// Reads a finished run.
    ///
    /// # Errors
    /// 66 when there is no run or it is not finished, 65 when its results cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let resolved = RunFolder::configuration(path)?;
        let file = path.join("results.json");
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                Kind::MissingData,
                format!("{}: the run has no results yet", path.display()),
            )
            .hint("finish it: the same `mpuc train` command continues it"),
            _ => Failure::io("read", &file, &error),
        })?;
        let results: Report = earlier::read(&bytes).map_err(|error| {
            Failure::new(Kind::BadData, format!("{}: {}", file.display(), of_serde(error))).hint(
                "make it again: the same `mpuc train` command takes seconds for a finished run",
            )
        })?;
        let (config, arms) = (resolved.config, resolved.arms);
        Ok(Run { path: path.into(), protocol: results.protocol.clone(), config, arms, results })
    }

    /// Why the run does not belong in a table of this kind; `None` if it does.
    pub fn refused(&self, place: Place) -> Option<String> {
        let Some(corpus) = &self.protocol.corpus else {
            return Some(
                "does not record its corpus; run the same `mpuc train` command again".into(),
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
        songs.then(|| "has songs, and the paper has only speech".into())
    }

    /// Its rows in a table: arms that train a system or probe its features, and their figures.
    pub fn rows(&self, place: Place) -> Vec<(String, Figures)> {
        let rows = self.results.arms.iter().filter_map(|(name, report)| {
            let title = self.title(name, report, place)?;
            Some((title, self.figures(report, place)))
        });
        rows.collect()
    }

    /// The name of an arm's row; `None` for controls, which the paper does not have, and in the tables of emotions for arms
    /// without figures of emotions.
    fn title(&self, name: &str, report: &ArmReport, place: Place) -> Option<String> {
        let word_of = |modality: &str| {
            let settings = self.config.modality.get(modality)?;
            Some(word(modality, &settings.feature))
        };
        let all: Vec<String> =
            self.config.modality.iter().map(|(name, m)| word(name, &m.feature)).collect();
        if let Some((arm, modality)) = name.split_once('.') {
            let features = self.arm(arm)?.system().is_none();
            let word = word_of(modality)?;
            let title = match features {
                true => format!("{}'s {word} alone, frozen", report.title.split(',').next()?),
                false => format!("{}: {word}", report.title.split(',').next()?),
            };
            return (place == Place::Ravdess).then_some(title);
        }
        let arm = self.arm(name)?;
        let trained = arm.system().is_some() && arm.training.epochs > 0;
        if !trained || arm.pairing == Pairing::Shuffled {
            return None;
        }
        (place == Place::Ravdess || !report.emotions.is_empty())
            .then(|| format!("{}: {}", report.title, all.join(", ")))
    }

    fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    fn figures(&self, report: &ArmReport, place: Place) -> Figures {
        let overall = [report.weighted_accuracy, report.f1_weighted];
        match place {
            Place::Ravdess => match self.protocol.protocol {
                Protocol::ByGroup | Protocol::ByGroupPairs => vec![report.score, None],
                _ => vec![None, report.score],
            },
            Place::MoseiEmotions => {
                let of = |name: &&str| {
                    let found = report.emotions.iter().find(|emotion| emotion.name == **name);
                    [found.map(|e| e.weighted_accuracy), found.map(|e| e.f1_weighted)]
                };
                EMOTIONS.iter().flat_map(of).chain(overall).collect()
            }
            Place::MoseiOverall => overall.to_vec(),
        }
    }
}
