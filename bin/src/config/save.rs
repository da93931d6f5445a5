//! Writing a configuration with the source of each value.

use super::table::{Source, join};
use super::{Arm, Config, Resolved};
use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A configuration as a table, with defaults; absent optional values stay absent.
pub(super) fn to_table(config: &Config) -> Result<Table> {
    Table::try_from(config).map_err(|error| {
        Failure::config(format!("the configuration cannot be written as TOML: {error}"))
            .hint("numbers must be less than 2^63")
    })
}

impl Resolved {
    /// The configuration as TOML, each value with a comment that names its source.
    ///
    /// # Errors
    /// When a number does not fit into TOML.
    pub fn to_text(&self) -> Result<String> {
        let mut text = format!(
            "# The whole configuration of a run of mpuc {}, preset {}.\n# It can be given to `mpuc train --config`.\n",
            env!("CARGO_PKG_VERSION"),
            self.preset
        );
        let comment =
            |key: &str| Some(self.sources.get(key).unwrap_or(&Source::Default).to_string());
        write(&to_table(&self.config)?, "", &mut text, &comment);
        Ok(text)
    }

    /// Writes [`to_text`](Self::to_text) to a file, whole or not at all.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        engine::checkpoint::write_whole(path, self.to_text()?.as_bytes())?;
        Ok(())
    }

    /// The number at a key; `None` if there is no number.
    ///
    /// # Errors
    /// As [`to_text`](Self::to_text).
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let table = Value::Table(to_table(&self.config)?);
        let value = key.split('.').try_fold(&table, |value, part| value.get(part));
        Ok(value.and_then(|v| v.as_float().or_else(|| v.as_integer().map(|n| n as f64))))
    }

    /// A hash of all settings that the figures of a run depend on: 10 hexadecimal digits.
    ///
    /// # Errors
    /// As [`to_text`](Self::to_text).
    pub fn hash(&self) -> Result<String> {
        let mut text = format!("{:?} {:?}\n", self.config.seeds, self.config.arms);
        text += &format!("{}\n", self.config.data.run_folds);
        if let Some(fold) = self.config.only_fold {
            text += &format!("{fold}\n");
        }
        write(&self.essence()?, "", &mut text, &|_| None);
        Ok(blake3::hash(text.as_bytes()).to_hex()[..10].to_owned())
    }

    /// The table without settings that cannot change a figure: choice of arms, seeds and folds, titles, and the cache
    /// folder.
    fn essence(&self) -> Result<Table> {
        let mut table = to_table(&self.config)?;
        for key in ["version", "seeds", "arms", "baseline", "only_fold"] {
            table.remove(key);
        }
        if let Some(data) = table.get_mut("data").and_then(Value::as_table_mut) {
            data.remove("cache");
            data.remove("run_folds");
        }
        // A system that no arm trains changes no figure.
        if let Some(Value::Table(systems)) = table.get_mut("system") {
            let trained = self.arms.iter().filter_map(|arm| arm.system());
            let trained: Vec<&str> = trained.map(|settings| settings.name()).collect();
            systems.retain(|name, _| trained.contains(&name));
        }
        let arms = table.get_mut("arm").and_then(Value::as_table_mut);
        for (_, arm) in arms.into_iter().flatten() {
            arm.as_table_mut().and_then(|arm| arm.remove("title"));
        }
        Ok(table)
    }

    /// As [`essence`](Self::essence), without the paths of files: their content decides, wherever they are.
    fn without_paths(&self) -> Result<Table> {
        let mut located = self.clone();
        located.config.paths().for_each(|path| *path = PathBuf::new());
        located.essence()
    }

    /// A hash of all settings that the figures of one arm depend on, without the data: 16 hexadecimal digits.
    ///
    /// # Errors
    /// As [`to_text`](Self::to_text).
    pub fn hash_of(&self, arm: &Arm) -> Result<String> {
        let mut table = self.without_paths()?;
        table.remove("arm");
        table.remove("system");
        let mut text = serde_json::to_string(arm).map_err(crate::output::no_json)?;
        text.push('\n');
        write(&table, "", &mut text, &|_| None);
        Ok(blake3::hash(text.as_bytes()).to_hex()[..16].to_owned())
    }

    /// Whether the training of an arm's networks reads labels: by its loss, its sampler or its teacher.
    pub fn reads_labels(&self, arm: &Arm) -> bool {
        let loss = arm.system().is_some_and(|system| system.needs().labels);
        loss || arm.teacher.is_some() || self.config.sampling.sampler.uses_labels()
    }

    /// A hash of all settings that the training of an arm's networks reads, without the data: 32 hexadecimal digits. Those of
    /// evaluation are left out, and `data.labelled` if training reads no labels.
    ///
    /// # Errors
    /// As [`to_text`](Self::to_text).
    pub fn hash_of_training(&self, arm: &Arm) -> Result<String> {
        let mut table = self.without_paths()?;
        for key in ["arm", "system", "training", "probe", "retrieval", "missing"] {
            table.remove(key);
        }
        if let (Some(Value::Table(data)), false) = (table.get_mut("data"), self.reads_labels(arm)) {
            data.remove("labelled");
        }
        let mut own = serde_json::to_value(arm).map_err(crate::output::no_json)?;
        if let Some(own) = own.as_object_mut() {
            own.retain(|key, _| !["evaluation", "probe"].contains(&key.as_str()));
        }
        let mut text = format!("{own}\n");
        write(&table, "", &mut text, &|_| None);
        if let Some(name) = &arm.teacher
            && let Some(teacher) = self.arms.iter().find(|arm| arm.name == *name)
        {
            text += &self.hash_of_training(teacher)?;
        }
        Ok(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned())
    }

    /// The first key whose value differs from another configuration's, with both values. An arm or a system that only one
    /// of them has is no difference.
    ///
    /// # Errors
    /// As [`to_text`](Self::to_text).
    pub fn difference(&self, other: &Resolved) -> Result<Option<Difference>> {
        let (mut here, mut there) = (self.without_paths()?, other.without_paths()?);
        for key in ["arm", "system"] {
            let names = |table: &Table| -> Vec<String> {
                let inside = table.get(key).and_then(Value::as_table);
                inside.map(|inside| inside.keys().cloned().collect()).unwrap_or_default()
            };
            let (own, others) = (names(&here), names(&there));
            for table in [&mut here, &mut there] {
                if let Some(Value::Table(inside)) = table.get_mut(key) {
                    let both =
                        |name: &str| [&own, &others].map(|all| all.iter().any(|n| n == name));
                    inside.retain(|name, _| both(name) == [true, true]);
                }
            }
        }
        Ok(first_difference(&here, &there, ""))
    }
}

/// A key with two different values; an absent value is the word `absent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The full key.
    pub key: String,
    /// The value here.
    pub here: String,
    /// The value there.
    pub there: String,
}

fn first_difference(here: &Table, there: &Table, prefix: &str) -> Option<Difference> {
    let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    keys.into_iter().find_map(|key| {
        let path = join(prefix, key);
        match (here.get(key), there.get(key)) {
            (Some(Value::Table(here)), Some(Value::Table(there))) => {
                first_difference(here, there, &path)
            }
            (here, there) if here == there => None,
            (here, there) => {
                let show =
                    |value: Option<&Value>| value.map_or("absent".to_owned(), Value::to_string);
                Some(Difference { key: path, here: show(here), there: show(there) })
            }
        }
    })
}

/// Writes values first, then tables with their headings; the comments of a table are aligned.
fn write(table: &Table, prefix: &str, text: &mut String, comment: &dyn Fn(&str) -> Option<String>) {
    let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    if !values.is_empty() {
        if !prefix.is_empty() {
            let heading: Vec<String> = prefix.split('.').map(key_text).collect();
            *text += &format!("\n[{}]\n", heading.join("."));
        }
        let lines: Vec<(String, &String)> = values
            .iter()
            .map(|(key, value)| (format!("{} = {value}", key_text(key)), *key))
            .collect();
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .filter(|&width| width < 60)
            .max()
            .unwrap_or(0);
        for (line, key) in lines {
            match comment(&join(prefix, key)) {
                Some(comment) => {
                    *text += &format!("{line:<width$}  # {}\n", comment.replace(['\n', '\r'], " "))
                }
                None => *text += &format!("{line}\n"),
            }
        }
    }
    for (key, value) in tables {
        if let Value::Table(inner) = value {
            write(inner, &join(prefix, key), text, comment);
        }
    }
}

/// A key in TOML's syntax, quoted if necessary.
fn key_text(key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

/// Reading back what [`Resolved::to_text`] wrote must give the same configuration.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, presets};

    #[test]
    fn saved_configurations_read_back_the_same() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for preset in presets::names() {
            let resolved = Resolved::new(&Layers { preset: Some(preset), ..Layers::default() })?;
            let path = folder.path().join("config.toml");
            resolved.save(&path)?;
            let back = Resolved::load(&path, preset)?;
            assert_eq!(back.config, resolved.config, "{preset}");
            assert_eq!(back.hash()?, resolved.hash()?);
            assert_eq!(back.difference(&resolved)?, None);
            let text = resolved.to_text()?;
            assert!(text.contains(&format!("# preset {preset}")), "{text}");
        }
        Ok(())
    }

    #[test]
    fn the_first_difference_is_named() -> Result<()> {
        let one = Resolved::new(&Layers { preset: Some("quick"), ..Layers::default() })?;
        let set = ["training.epochs=7".to_owned()];
        let two = Resolved::new(&Layers { preset: Some("quick"), set: &set, ..Layers::default() })?;
        let difference = one.difference(&two)?.map(|d| (d.key, d.there));
        assert_eq!(difference, Some(("training.epochs".into(), "7".into())));
        assert_ne!(one.hash()?, two.hash()?);
        let elsewhere = ["data.cache=/somewhere".to_owned()];
        let three =
            Resolved::new(&Layers { preset: Some("quick"), set: &elsewhere, ..Layers::default() })?;
        assert_eq!(one.hash()?, three.hash()?);
        let text = two.to_text()?;
        assert!(
            text.lines().any(|line| line.starts_with("epochs = 7") && line.ends_with("# --set")),
            "{text}"
        );
        Ok(())
    }

    #[test]
    fn odd_keys_are_quoted() {
        assert_eq!(key_text("voice_2-a"), "voice_2-a");
        assert_eq!(key_text("a b"), "\"a b\"");
    }

    #[test]
    fn too_large_numbers_are_refused() -> Result<()> {
        let mut resolved = Resolved::new(&Layers { preset: Some("quick"), ..Layers::default() })?;
        resolved.config.seeds = vec![u64::MAX];
        assert_eq!(
            resolved.to_text().map_err(|failure| failure.kind()),
            Err(crate::failure::Kind::Config)
        );
        Ok(())
    }
}
