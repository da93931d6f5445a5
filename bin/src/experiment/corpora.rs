//! Finding the samples of a data set, and which settings each of its modalities has.

use crate::config::{Config, Format, ModalityConfig};
use crate::failure::{Failure, Result};
use data::corpora::manifest::{self, Kind as ColumnKind};
use data::corpora::{Modality, crema_d, mosei, ravdess};
use data::corpus::Corpus;
use data::features::{Extractor, SequenceSettings};
use std::path::Path;

/// The samples, and the settings of each of their modalities.
///
/// # Errors
/// Whatever is wrong with the files or the settings.
pub fn find(config: &Config, root: &Path) -> Result<(Corpus, Vec<ModalityConfig>)> {
    let (mut corpus, modalities) = match config.data.format {
        Format::Ravdess | Format::CremaD => find_performances(config, root),
        Format::Manifest => find_manifest(config, root),
        Format::Mosei => find_mosei(config, root),
    }?;
    corpus.leave_out_absent_classes();
    Ok((corpus, modalities))
}

fn find_mosei(config: &Config, root: &Path) -> Result<(Corpus, Vec<ModalityConfig>)> {
    let wanted = |(name, modality): (&String, &ModalityConfig)| {
        let root = match &modality.feature {
            Extractor::Landmarks(_) => "OpenFace_2".to_owned(),
            Extractor::Words(_) => "words".to_owned(),
            Extractor::Sequence(SequenceSettings { root: Some(root), .. }) => root.clone(),
            Extractor::Sequence(_) => {
                let message = format!("`modality.{name}.feature.root` is missing");
                return Err(Failure::config(message)
                    .hint("name the computational sequence, e.g. root = \"COVAREP\""));
            }
            _ => {
                let message = format!("`modality.{name}`: CMU-MOSEI's files have no recordings");
                return Err(Failure::config(message)
                    .hint("use features of kind sequence, landmarks or words"));
            }
        };
        Ok(mosei::Wanted { name: name.clone(), root })
    };
    let wanted: Vec<mosei::Wanted> = config.modality.iter().map(wanted).collect::<Result<_>>()?;
    let align = config.data.align.unwrap_or_default();
    let corpus = mosei::find(root, &wanted, align, config.data.on_error)?;
    Ok((corpus, config.modality.values().cloned().collect()))
}

/// Recordings of actors, found by file names.
fn find_performances(config: &Config, root: &Path) -> Result<(Corpus, Vec<ModalityConfig>)> {
    let kind = |(name, modality): (&String, &ModalityConfig)| match modality.feature {
        Extractor::Voice(_) => Ok(Modality::Voice),
        Extractor::Landmarks(_) => Ok(Modality::Landmarks),
        Extractor::Clip(_) => Ok(Modality::Clip),
        _ => Err(Failure::config(format!(
            "`modality.{name}`: RAVDESS and CREMA-D have voice, landmarks and clips only"
        ))),
    };
    let modalities = config.modality.iter().map(kind).collect::<Result<Vec<_>>>()?;
    let mut corpus = match config.data.format {
        Format::CremaD => crema_d::find(root, &modalities)?,
        _ => {
            let vocal = config.data.vocal.unwrap_or_default();
            ravdess::find(root, &ravdess::Options { modalities, vocal })?
        }
    };
    corpus.modalities = config.modality.keys().cloned().collect();
    Ok((corpus, config.modality.values().cloned().collect()))
}

/// Reads a manifest; a column without settings of its own takes those of the entry named like its kind.
fn find_manifest(config: &Config, root: &Path) -> Result<(Corpus, Vec<ModalityConfig>)> {
    let kind_of = |feature: &Extractor| match feature {
        Extractor::Voice(_) => ColumnKind::Voice,
        Extractor::Landmarks(_) => ColumnKind::Landmarks,
        Extractor::Clip(_) => ColumnKind::Clip,
        Extractor::Words(_) => ColumnKind::Words,
        Extractor::Sequence(_) => ColumnKind::Sequence,
    };
    let kinds =
        config.modality.iter().map(|(name, m)| (name.clone(), kind_of(&m.feature))).collect();
    let manifest = manifest::read(root, &kinds)?;
    let settings = |(name, kind): (&String, &ColumnKind)| {
        let same_kind = || config.modality.values().find(|m| kind_of(&m.feature) == *kind);
        let found = config.modality.get(name).or_else(same_kind).cloned();
        found.ok_or_else(|| {
            let message = format!(
                "{}: column `{name}`: no modality of the configuration reads it",
                root.display()
            );
            Failure::config(message).hint(format!("add [modality.{name}], or leave the column out"))
        })
    };
    let modalities = manifest
        .corpus
        .modalities
        .iter()
        .zip(&manifest.kinds)
        .map(settings)
        .collect::<Result<Vec<_>>>()?;
    if modalities.len() < 2 {
        let message = format!("{}: has {} columns of modalities", root.display(), modalities.len());
        return Err(Failure::config(message).hint("the contrastive loss needs two to compare"));
    }
    Ok((manifest.corpus, modalities))
}
