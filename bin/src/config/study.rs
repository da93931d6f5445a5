//! A study: one configuration on several data sets, under several conditions, with every seed and fold.
//!
//! A study file is a configuration, as for `mpuc train --config`, with a table `study`.

use super::explain::{explain, refused};
use super::nearest::among;
use super::resolve::{FileLayer, Layers, Overlay, Resolved};
use super::table::{Builder, join};
use crate::failure::{Failure, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The studies that come with the program, with their texts.
const STUDIES: &[(&str, &str)] = &[
    ("h5", include_str!("../../studies/h5.toml")),
    ("hard", include_str!("../../studies/hard.toml")),
    ("vavl", include_str!("../../studies/vavl.toml")),
    ("world", include_str!("../../studies/world.toml")),
];

/// The table `study` of a study file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StudyConfig {
    title: String,
    units: Option<Units>,
    conditions: Vec<Condition>,
    plot: Option<String>,
}

/// Independent data sets. Figures are paired by them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// The setting whose values make the data sets, e.g. `data.world.seed` or `data.path`.
    pub key: String,
    /// Its values.
    pub values: Vec<Value>,
}

/// Settings under which every arm is run on every unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Condition {
    /// Its name, also of its folder.
    pub name: String,
    /// Its name in tables; default: the name.
    pub title: Option<String>,
    /// Settings that differ from those of the study.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub settings: Table,
}

/// A study with all its cells, complete and checked.
#[derive(Debug, Clone)]
pub struct Study {
    /// Its name: that of the file, or of a built-in study.
    pub name: String,
    /// Its title in reports.
    pub title: String,
    /// What its figures are paired by; without units, the folds.
    pub units: Option<Units>,
    /// At least one.
    pub conditions: Vec<Condition>,
    /// The key of a number that changes over the conditions: scores are plotted against it.
    pub plot: Option<String>,
    /// Ordered by seed, then unit, fold and condition, so that what is finished first is comparable.
    pub cells: Vec<Cell>,
}

/// One run of a study.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The number of its condition.
    pub condition: usize,
    /// The number of its unit; 0 in a study without units.
    pub unit: usize,
    /// Its seed.
    pub seed: u64,
    /// Its fold, from 1.
    pub fold: usize,
    /// Its folder, below that of the study.
    pub folder: PathBuf,
    /// Its configuration.
    pub resolved: Resolved,
}

impl Condition {
    /// Its name in tables.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}

impl Units {
    /// A value as a name of a folder: letters, digits, dots and dashes.
    pub fn label(&self, unit: usize) -> String {
        let text = match &self.values[unit] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
        text.chars().map(plain).collect::<String>().trim_matches(['-', '.']).to_owned()
    }
}

impl Study {
    /// The names of the studies that come with the program.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        STUDIES.iter().map(|(name, _)| *name)
    }

    /// Reads a study file, or takes the built-in study of this name, and lays `set` (`key=value`) over every cell.
    ///
    /// # Errors
    /// When there is no such study, a setting is wrong in a cell, or the study has no cells.
    pub fn read(name: &Path, set: &[String]) -> Result<Self> {
        let known: Vec<&str> = Study::built_in().collect();
        let built_in = STUDIES.iter().find(|(known, _)| Path::new(known) == name);
        let file = match built_in.filter(|_| !name.is_file()) {
            Some((known, text)) => FileLayer::parse(Path::new(known), text)?,
            None => FileLayer::read(name).map_err(|failure| match failure.kind() {
                Kind::MissingData => {
                    failure.hint(among(&name.to_string_lossy(), &known) + "; or name a study file")
                }
                _ => failure,
            })?,
        };
        Study::of(file, set)
    }

    fn of(mut file: FileLayer, set: &[String]) -> Result<Self> {
        let Some(table) = file.table.remove("study") else {
            let what = format!("{}: has no table `study`", file.path.display());
            return Err(Failure::config(what).hint(
                "add [study], with `conditions` or `units` if there are any; `mpuc train --config` runs a configuration",
            ));
        };
        let mut builder = Builder::default();
        let inside = Table::from_iter([("study".to_owned(), table)]);
        builder.lay(inside.clone(), &|key| file.source(key));
        let read = serde_path_to_error::deserialize::<_, Outer>(Value::Table(inside));
        let StudyConfig { title, units, mut conditions, plot } =
            read.map_err(|error| explain(&builder, &error, Vec::new))?.study;
        let refuse = |key: &str, why: &str| refused(&builder.sources, key, why);
        if let Some(units) = &units {
            if units.values.is_empty() {
                return Err(refuse("study.units.values", "is empty; name at least one value"));
            }
            let labels: BTreeSet<String> =
                (0..units.values.len()).map(|n| units.label(n)).collect();
            if labels.len() < units.values.len() || labels.contains("") {
                let why = "has values whose names as folders are equal or empty";
                return Err(refuse("study.units.values", why));
            }
            if ["seeds", "only_fold", "arms"].contains(&units.key.as_str()) {
                let why = format!("is `{}`, which is no data; units are data sets", units.key);
                return Err(refuse("study.units.key", &why));
            }
        }
        let mut names = BTreeSet::new();
        for condition in &conditions {
            let name = &condition.name;
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                let why = format!("has the name `{name}`; use letters, digits, `_` and `-`");
                return Err(refuse("study.conditions", &why));
            }
            if !names.insert(name.clone()) {
                let why = format!("has the name `{name}` twice; each needs its own");
                return Err(refuse("study.conditions", &why));
            }
        }
        if conditions.is_empty() {
            conditions.push(Condition { name: "all".into(), ..Condition::default() });
        }
        let cells = cells(&file, set, units.as_ref(), &conditions)?;
        if let Some(key) = &plot {
            let numbers = cells.iter().map(|cell| cell.resolved.number(key));
            if !numbers.collect::<Result<Vec<_>>>()?.iter().any(Option::is_some) {
                let why = format!("is `{key}`, which is no number under any condition");
                return Err(refuse("study.plot", &why));
            }
        }
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.chars().map(|c| if c.is_whitespace() { '-' } else { c }).collect();
        let title = if title.is_empty() { stem.into_owned() } else { title };
        Ok(Study { name, title, units, conditions, plot, cells })
    }
}

/// The file, so that messages name keys in full.
#[derive(Deserialize)]
struct Outer {
    study: StudyConfig,
}

/// The cells: every condition on every unit, with every seed and fold.
fn cells(
    file: &FileLayer,
    set: &[String],
    units: Option<&Units>,
    conditions: &[Condition],
) -> Result<Vec<Cell>> {
    let layers = Layers { set, ..Layers::default() };
    let mut cells = Vec::new();
    for (number, condition) in conditions.iter().enumerate() {
        let settings = Overlay {
            table: condition.settings.clone(),
            at: join(&join("study.conditions", &number.to_string()), "settings"),
        };
        for unit in 0..units.map_or(1, |units| units.values.len()) {
            let mut over = vec![settings.clone()];
            if let Some(units) = units {
                let mut value = units.values[unit].clone();
                for part in units.key.rsplit('.') {
                    value = Value::Table(Table::from_iter([(part.to_owned(), value)]));
                }
                let Value::Table(table) = value else { continue };
                over.push(Overlay { table, at: "study.units".into() });
            }
            let whole = Resolved::of(&layers, Some(file), &over)
                .map_err(|failure| failure.context(format_args!("condition {}", condition.name)))?;
            let (seeds, folds) = (whole.config.seeds.clone(), whole.config.data.run_folds);
            for &seed in &seeds {
                for fold in 1..=folds {
                    let mut resolved = whole.clone();
                    resolved.config.seeds = vec![seed];
                    resolved.config.only_fold = Some(fold);
                    let name = format!("seed{seed}-fold{fold}");
                    let unit_name = units.map_or(PathBuf::new(), |units| units.label(unit).into());
                    let folder =
                        Path::new("cells").join(&condition.name).join(unit_name).join(name);
                    cells.push(Cell { condition: number, unit, seed, fold, folder, resolved });
                }
            }
        }
    }
    cells.sort_by_key(|cell| (cell.seed, cell.fold, cell.unit, cell.condition));
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(text: &str) -> Result<Study> {
        Study::of(FileLayer::parse(Path::new("mine.toml"), text)?, &[])
    }

    #[test]
    fn every_condition_meets_every_unit_seed_and_fold() -> Result<()> {
        let study = study(
            "base = \"world\"\nseeds = [3, 4]\n[data]\nrun_folds = 2\n[study]\ntitle = \"Mine\"\n\
             units = { key = \"data.world.seed\", values = [7, 8, 9] }\n\
             [[study.conditions]]\nname = \"all\"\n\
             [[study.conditions]]\nname = \"short\"\n[study.conditions.settings.training]\nepochs = 2\n",
        )?;
        assert_eq!((study.name.as_str(), study.title.as_str()), ("mine", "Mine"));
        assert_eq!(study.cells.len(), 2 * 3 * 2 * 2);
        let last = study.cells.last().unwrap();
        assert_eq!(last.folder, Path::new("cells/short/9/seed4-fold2"));
        let config = &last.resolved.config;
        assert_eq!((config.training.epochs, config.only_fold), (2, Some(2)));
        assert_eq!(config.data.world.as_ref().map(|world| world.seed), Some(9));
        let text = last.resolved.to_text()?;
        assert!(text.contains("epochs = 2"), "{text}");
        assert!(
            text.lines().any(|l| l.starts_with("epochs = 2") && l.contains("mine.toml:13")),
            "{text}"
        );
        // What is finished first is comparable: all conditions and units of the first seed and fold.
        assert!(study.cells[..6].iter().all(|cell| cell.seed == 3 && cell.fold == 1));
        Ok(())
    }

    #[test]
    fn built_in_studies_can_run() -> Result<()> {
        for name in Study::built_in() {
            let study = Study::read(Path::new(name), &[])?;
            assert!(study.name == name && !study.cells.is_empty(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn wrong_studies_are_refused_by_key() {
        for (text, wanted) in [
            ("base = \"world\"\n", "has no table `study`"),
            ("[study]\nunit = 3\n", "unit"),
            ("[study]\nunits = { key = \"data.world.seed\", values = [] }\n", "study.units.values"),
            ("[study]\nunits = { key = \"seeds\", values = [1] }\n", "study.units.key"),
            ("[study]\nunits = { key = \"data.world.sed\", values = [1] }\n", "data.world.sed"),
            ("[[study.conditions]]\nname = \"a b\"\n", "a b"),
            ("[[study.conditions]]\nname = \"a\"\n[[study.conditions]]\nname = \"a\"\n", "twice"),
            ("arms = [\"no_such\"]\n[study]\n", "no_such"),
            ("arms = []\n[study]\n", "arms"),
            ("[study]\nplot = \"data.protocol\"\n", "study.plot"),
            ("[[study.conditions]]\nname = \"a\"\nsettings = { trainin.epochs = 3 }\n", "trainin"),
        ] {
            let failure = study(text).map(|study| study.cells.len()).unwrap_err();
            assert_eq!(failure.kind(), Kind::Config, "{text}: {failure}");
            assert!(failure.to_string().contains(wanted), "{text}: {failure}");
        }
    }
}
