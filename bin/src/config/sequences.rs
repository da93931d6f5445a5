//! Settings for the `.npy` columns of a manifest that the configuration does not name.

use super::table::{Builder, Source};
use crate::failure::{Failure, Kind, Result};
use data::corpora::{Format, manifest};
use data::features::FeatureKind;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// The settings of such a column. Its values may be of any width; windows suit features of 25 to 100 steps a second.
const SETTINGS: &str = r#"
feature = { kind = "sequence" }
window = 64
evaluation_window = 128
padding = "repeat_last"
standardise = "each"
backbone = { kind = "strided_conv", width = 64, layers = 3 }
"#;

/// Lays an entry `modality.COLUMN` for each column of a manifest with precomputed sequences, unless an entry has its name
/// or the kind `sequence`. A manifest that cannot be read is left to the reader of the data, which says why.
pub(super) fn lay(builder: &mut Builder) -> Result<()> {
    let is = |key: &str| builder.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = Path::new(is("data.path"));
    if Format::named(is("data.format")) != Some(manifest::FORMAT) || !path.is_file() {
        return Ok(());
    }
    let modalities = builder.get("modality").and_then(Value::as_table).cloned().unwrap_or_default();
    let kind = |settings: &Value| settings.get("feature")?.get("kind")?.as_str().map(str::to_owned);
    if modalities.values().any(|settings| kind(settings).as_deref() == Some("sequence")) {
        return Ok(());
    }
    let Ok(read) = manifest::read(path, &BTreeMap::new()) else { return Ok(()) };
    for (name, kind) in read.corpus.modalities.iter().zip(read.kinds) {
        if kind != FeatureKind::Sequence || modalities.contains_key(name) {
            continue;
        }
        let settings: Table = toml::from_str(SETTINGS)
            .map_err(|error| Failure::new(Kind::Bug, format!("settings of sequences: {error}")))?;
        let entry = Table::from_iter([(name.clone(), Value::Table(settings))]);
        let table = Table::from_iter([("modality".to_owned(), Value::Table(entry))]);
        builder.lay(table, &|_| Source::Recognised);
    }
    Ok(())
}
