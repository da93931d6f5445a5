//! Checks of a configuration's values before training. Each settings struct has its own `check`; checks across structs
//! are here.

use super::explain::refused;
use super::{Resolved, limits, migrate};
use crate::failure::Result;
use models::systems::Refusal;

/// Checks a configuration; arms were checked as they were resolved.
///
/// # Errors
/// The first setting that cannot work, with its key and where it was written.
pub(super) fn check(resolved: &Resolved) -> Result<()> {
    let config = &resolved.config;
    let refuse = |key: &str, why: &str| Err(refused(&resolved.sources, key, why));
    let unfit = |prefix: String, Refusal { key, why }: Refusal| {
        refused(&resolved.sources, &format!("{prefix}.{key}"), &why)
    };
    if config.version > migrate::VERSION {
        let (found, known) = (config.version, migrate::VERSION);
        let why =
            format!("is {found}, but this program reads versions up to {known}; use a newer mpuc");
        return refuse("version", &why);
    }
    limits::check(resolved)?;
    if config.seeds.is_empty() {
        return refuse("seeds", "is empty; name at least one, e.g. [0]");
    }
    if let Some(fold) = config.only_fold.filter(|fold| !(1..=config.data.run_folds).contains(fold))
    {
        let run = config.data.run_folds;
        return refuse(
            "only_fold",
            &format!("is {fold}; it must lie between 1 and data.run_folds = {run}"),
        );
    }
    let limits = [
        ("steps", config.steps == Some(0)),
        ("limit_train", config.limit_train == Some(0)),
        ("overfit_batches", config.overfit_batches == Some(0)),
    ];
    if let Some((key, _)) = limits.iter().find(|(_, zero)| *zero) {
        return refuse(key, &format!("is 0; give 1 or more, or remove it with `{key}=`"));
    }
    if config.modality.is_empty() {
        return refuse("modality", "has no entry; name at least one modality");
    }
    config.data.check().map_err(|refusal| unfit("data".into(), refusal))?;
    for (name, modality) in &config.modality {
        modality.check().map_err(|refusal| unfit(format!("modality.{name}"), refusal))?;
    }
    config.missing.check().map_err(|refusal| unfit("missing".into(), refusal))?;
    config.retrieval.check().map_err(|refusal| unfit("retrieval".into(), refusal))
}
