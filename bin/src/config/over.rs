//! An arm's own settings, laid over those that all arms have.

use super::arms::ArmConfig;
use super::explain::{refused, source_of};
use super::nearest::among;
use super::resolve::deserialize;
use super::table::{Builder, Source};
use super::{Config, ModalityConfig, Standardise};
use crate::failure::{Failure, Kind, Result};
use data::loader::Padding;
use models::backbones::BackboneSettings;
use models::sampler::Augmentation;
use models::systems::{self, Refusal, SystemSettings};
use serde::Serialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// What an arm may have in place of a modality's settings. The feature and the steps that are picked from a window are those
/// of all arms, which share the decoded features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ArmModality {
    /// Steps of a training window.
    pub window: usize,
    /// Steps of an evaluation window.
    pub evaluation_window: usize,
    /// How samples shorter than a window are padded.
    pub padding: Padding,
    /// How values are standardised.
    pub standardise: Standardise,
    /// Random offsets in training.
    pub augmentation: Augmentation,
    /// Dropout probability of its features in training.
    pub dropout: f64,
}

/// The keys of [`ArmModality`].
const KEYS: [&str; 6] =
    ["window", "evaluation_window", "padding", "standardise", "augmentation", "dropout"];

impl ArmModality {
    fn of(all: &ModalityConfig) -> Self {
        let ModalityConfig { window, evaluation_window, padding, .. } = *all;
        let ModalityConfig { standardise, augmentation, dropout, .. } = *all;
        ArmModality { window, evaluation_window, padding, standardise, augmentation, dropout }
    }

    /// A modality's settings with these in their place.
    pub fn over(&self, all: &ModalityConfig) -> ModalityConfig {
        let ArmModality { window, evaluation_window, padding, .. } = *self;
        let ArmModality { standardise, augmentation, dropout, .. } = *self;
        ModalityConfig {
            window,
            evaluation_window,
            padding,
            standardise,
            augmentation,
            dropout,
            ..all.clone()
        }
    }
}

/// The settings of `[arm.NAME.modality]`, by modality; one that changes nothing is left out.
pub(super) fn modalities(
    builder: &Builder,
    config: &Config,
    arm: &str,
    written: &ArmConfig,
) -> Result<BTreeMap<String, ArmModality>> {
    let key = format!("arm.{arm}.modality");
    if let (Some(source), false) = (&written.features, written.modality.is_empty()) {
        let why = "is for an arm that trains a system; features are of the windows of their arm";
        let failure = refused(&builder.sources, &key, why);
        return Err(failure.hint(format!("set arm.{source}.modality, or remove it")));
    }
    let mut all = BTreeMap::new();
    for (modality, own) in &written.modality {
        let Some(base) = config.modality.get(modality) else {
            return Err(unknown(builder, config, &key, modality));
        };
        let at = format!("{key}.{modality}");
        let refuse =
            |last: &str, why: &str| refused(&builder.sources, &format!("{at}.{last}"), why);
        let laid = over(builder, &format!("modality.{modality}"), own, &at)?.0;
        if let Some(other) = own.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let hint = match other.as_str() {
                "backbone" => format!("an arm's own backbone is arm.{arm}.backbones.{modality}"),
                _ => format!("set modality.{modality}.{other}, which all arms have"),
            };
            return Err(refuse(other, "cannot differ from the other arms'").hint(hint));
        }
        let Some(laid) = laid.modality.get(modality) else { continue };
        if let Err(Refusal { key: wrong, why }) = laid.check() {
            if builder.get(&format!("{at}.{wrong}")).is_some() {
                return Err(refuse(wrong, &why));
            }
            if wrong == "pick" {
                let why = format!("has windows with which `modality.{modality}.pick` {why}");
                return Err(refused(&builder.sources, &at, &why));
            }
        }
        if ArmModality::of(laid) != ArmModality::of(base) {
            all.insert(modality.clone(), ArmModality::of(laid));
        }
    }
    Ok(all)
}

/// The backbones of `[arm.NAME.backbones]`, by modality.
pub(super) fn backbones(
    builder: &Builder,
    config: &Config,
    arm: &str,
    written: &ArmConfig,
) -> Result<BTreeMap<String, BackboneSettings>> {
    let key = format!("arm.{arm}.backbones");
    let mut backbones = BTreeMap::new();
    for (modality, own) in &written.backbones {
        if !config.modality.contains_key(modality) {
            return Err(unknown(builder, config, &key, modality));
        }
        let base = format!("modality.{modality}.backbone");
        let laid = over(builder, &base, own, &format!("{key}.{modality}"))?.0;
        backbones
            .extend(laid.modality.get(modality).map(|m| (modality.clone(), m.backbone.clone())));
    }
    Ok(backbones)
}

/// The failure of an arm's key that names a modality which the configuration does not have.
fn unknown(builder: &Builder, config: &Config, key: &str, modality: &str) -> Failure {
    let why = format!("names `{modality}`, and there is no [modality.{modality}]");
    let known: Vec<&str> = config.modality.keys().map(String::as_str).collect();
    refused(&builder.sources, key, &why).hint(among(modality, &known))
}

/// The settings of an arm's system: those of `[system.NAME]` with the arm's own laid over them.
pub(super) fn system(
    builder: &Builder,
    system: &str,
    written: &ArmConfig,
    arm: &str,
) -> Result<SystemSettings> {
    let (base, at) = (format!("system.{system}"), format!("arm.{arm}.settings"));
    if !systems::NAMES.contains(&system) {
        let why = format!("is `{system}`, and there is no such system");
        let failure = refused(&builder.sources, &format!("arm.{arm}.system"), &why);
        return Err(failure.hint(among(system, systems::NAMES)));
    }
    let (_, laid) = over(builder, &base, &written.settings, &at)?;
    let merged = laid.get(&base).cloned().unwrap_or_else(|| Table::new().into());
    let settings = SystemSettings::read(system, merged);
    let settings = settings.and_then(std::result::Result::ok).ok_or_else(|| {
        Failure::new(Kind::Bug, format!("the settings of {system} cannot be read back"))
    })?;
    settings.check().map_err(|Refusal { key, why }| {
        let own = builder.get(&format!("{at}.{key}")).is_some();
        let prefix = if own { &at } else { &base };
        refused(&builder.sources, &format!("{prefix}.{key}"), &why)
    })?;
    Ok(settings)
}

/// The configuration with an arm's own settings `own`, of the key `at`, laid over the table at `base`.
pub(super) fn over(
    builder: &Builder,
    base: &str,
    own: &Table,
    at: &str,
) -> Result<(Config, Builder)> {
    let mut laid = builder.clone();
    let mut layer = Value::Table(own.clone());
    for part in base.rsplit('.') {
        layer = Value::Table(Table::from_iter([(part.to_owned(), layer)]));
    }
    if let Value::Table(layer) = layer {
        let source = |key: &str| {
            let own = format!("{at}{}", key.strip_prefix(base).unwrap_or_default());
            source_of(&builder.sources, &own).cloned().unwrap_or(Source::Default)
        };
        laid.lay(layer, &source);
    }
    let config = deserialize(&laid).map_err(|failure| {
        // The wrong setting is in the arm, so the message names the arm's key.
        let text = failure.to_string().replace(&format!("`{base}."), &format!("`{at}."));
        let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        let failure = Failure::config(message);
        if hint.is_empty() { failure } else { failure.hint(hint) }
    })?;
    Ok((config, laid))
}
