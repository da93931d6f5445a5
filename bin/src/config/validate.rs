//! Settings of the right type that still cannot work together, found before hours of training.

use super::explain::source_of;
use super::{Protocol, Resolved, Source, ValidationPart};
use crate::failure::{Failure, Result};
use data::corpora::{FORMATS, OwnSplit, ravdess};
use models::backbones::BackboneSettings;
use models::systems::Denominator;
use models::training::TrainingSettings;

/// Checks a configuration.
///
/// # Errors
/// The first setting that cannot work, with its key and where it was written.
pub(super) fn check(resolved: &Resolved) -> Result<()> {
    let config = &resolved.config;
    let refuse = |key: &str, why: String| {
        let source = source_of(&resolved.sources, key).unwrap_or(&Source::Default);
        Err(Failure::config(format!("`{key}` {why} ({source})")))
    };
    let data = &config.data;
    if config.seeds.is_empty() {
        return refuse("seeds", "is empty; name at least one, e.g. [0]".into());
    }
    if config.steps == Some(0) {
        return refuse("steps", "is 0; give 1 or more, or take it away with `steps=`".into());
    }
    if config.modality.len() < 2 {
        return refuse(
            "modality",
            "has fewer than two entries; the contrastive loss needs two to compare".into(),
        );
    }
    if data.folds < 2 {
        return refuse("data.folds", format!("is {}; at least 2 are needed", data.folds));
    }
    if data.run_folds == 0 || data.run_folds > data.folds {
        return refuse(
            "data.run_folds",
            format!("is {}; it must lie between 1 and data.folds = {}", data.run_folds, data.folds),
        );
    }
    if data.vocal.is_some() && data.format != ravdess::FORMAT {
        return refuse("data.vocal", "is for data.format = \"ravdess\"; take it away".into());
    }
    if data.protocol == Protocol::ByGroupPairs && data.folds != 3 {
        return refuse(
            "data.folds",
            format!("is {}; the protocol by_group_pairs has exactly 3", data.folds),
        );
    }
    if data.protocol == Protocol::Standard && data.format.own_split() == OwnSplit::None {
        let with_split = FORMATS.iter().filter(|format| format.own_split() != OwnSplit::None);
        let names: Vec<String> = with_split.map(|format| format!("{:?}", format.name())).collect();
        return refuse(
            "data.protocol",
            format!("is \"standard\", which only data.format = {} has", names.join(" or ")),
        );
    }
    if matches!(data.protocol, Protocol::ByGroup | Protocol::Standard)
        && data.validation == ValidationPart::NextFold
        && data.folds < 3
    {
        return refuse(
            "data.folds",
            "is 2; with data.validation = \"next_fold\" at least 3 are needed".into(),
        );
    }
    if data.positive_weights.iter().flatten().any(|w| !(*w > 0.0 && w.is_finite())) {
        return refuse("data.positive_weights", "must be above 0".into());
    }
    for (name, modality) in &config.modality {
        let key = |last: &str| format!("modality.{name}.{last}");
        if modality.window == 0 {
            return refuse(&key("window"), "is 0".into());
        }
        if modality.evaluation_window == 0 {
            return refuse(&key("evaluation_window"), "is 0".into());
        }
        let shorter = modality.window.min(modality.evaluation_window);
        if modality.pick.is_some_and(|pick| pick == 0 || pick > shorter) {
            return refuse(
                &key("pick"),
                format!("must lie between 1 and the shorter window, {shorter}"),
            );
        }
        if modality.weights.is_some() && !matches!(modality.backbone, BackboneSettings::R2plus1d(_))
        {
            return refuse(
                &key("weights"),
                "is only for backbones of kind \"r2plus1d\"; take it away with `weights=`".into(),
            );
        }
        if !(0.0..1.0).contains(&modality.dropout) {
            return refuse(
                &key("dropout"),
                format!("is {}; it must be at least 0 and less than 1", modality.dropout),
            );
        }
        let offsets = modality.augmentation;
        if !(offsets.level >= 0.0 && offsets.offset >= 0.0) {
            return refuse(&key("augmentation"), "has a negative deviation".into());
        }
    }
    let authors = config.loss.denominator == Denominator::Authors;
    if authors != (config.sampling.views == 2) || !(1..=2).contains(&config.sampling.views) {
        let wanted = if authors {
            "2 with loss.denominator = \"authors\""
        } else {
            "1 with this loss.denominator"
        };
        return refuse(
            "sampling.views",
            format!("is {}; it must be {wanted}", config.sampling.views),
        );
    }
    if !(config.loss.temperature > 0.0 && config.loss.temperature.is_finite()) {
        return refuse(
            "loss.temperature",
            format!("is {}; it must be above 0", config.loss.temperature),
        );
    }
    for (key, width) in [
        ("projection.hidden", config.projection.hidden),
        ("projection.output", config.projection.output),
    ] {
        if width == 0 {
            return refuse(key, "is 0".into());
        }
    }
    let patient = |key: &str, patience: Option<u64>| {
        match (patience, data.validation) {
        (Some(_), ValidationPart::None) => {
            refuse(key, "needs a validation part; set data.validation = \"next_fold\", or take the patience away".into())
        }
        _ => Ok(()),
    }
    };
    let training = |prefix: &str, training: &TrainingSettings| {
        let key = |last: &str| format!("{prefix}.{last}");
        if training.batch < 2 {
            return refuse(
                &key("batch"),
                format!("is {}; the contrastive loss needs at least 2", training.batch),
            );
        }
        positive(&refuse, &key("learning_rate"), training.learning_rate)?;
        patient(&key("patience"), training.patience)
    };
    training("training", &config.training)?;
    training("supervised.training", &config.supervised.training)?;
    if config.probe.batch == 0 {
        return refuse("probe.batch", "is 0".into());
    }
    positive(&refuse, "probe.learning_rate", config.probe.learning_rate)?;
    patient("probe.patience", config.probe.patience)?;
    for (key, dropout) in [
        ("probe.dropout", config.probe.dropout),
        ("supervised.head.dropout", config.supervised.head.dropout),
    ] {
        if !(0.0..1.0).contains(&dropout) {
            return refuse(key, format!("is {dropout}; it must be at least 0 and less than 1"));
        }
    }
    if config.retrieval.candidates == 0 || config.retrieval.draws == 0 {
        return refuse("retrieval", "needs at least one candidate and one draw".into());
    }
    Ok(())
}

fn positive(refuse: &dyn Fn(&str, String) -> Result<()>, key: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    refuse(key, format!("is {value}; it must be above 0"))
}
