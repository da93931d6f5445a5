//! The attributes of a synthetic world's performances, in `attributes.csv` beside its files: arousal, valence and dominance
//! from -1 to 1, 0 at a neutral affect.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::corpus::{Attributes, Corpus, Label};
use crate::{Error, Result};

use super::tables::AFFECT;

/// The file of attributes.
pub(super) const FILE: &str = "attributes.csv";
/// The number of attributes: the first of [`AFFECT`].
const COUNT: usize = 3;
/// The lowest and the highest rating.
const SCALE: [f64; 2] = [-1.0, 1.0];

/// Header of the file.
pub(super) fn header() -> String {
    format!("id,{}\n", AFFECT[..COUNT].join(","))
}

/// A performance's line of the file. `id` is that of its sample.
pub(super) fn line(id: &str, affect: &[f64; AFFECT.len()]) -> String {
    let [low, high] = SCALE;
    let rating = |x: &f64| format!(",{:.5}", x.clamp(low, high));
    let ratings: String = affect[..COUNT].iter().map(rating).collect();
    format!("{id}{ratings}\n")
}

/// Replaces the labels of a corpus that was read from the synthetic world at `root` by attributes.
///
/// # Errors
/// Bad settings when `root` is no synthetic world with attributes; bad data for a damaged file, a rating outside -1 to 1, or a
/// sample without a row.
pub fn label(root: &Path, corpus: &mut Corpus) -> Result<()> {
    let path = root.join(FILE);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::config(format!(
            "{}: there are no attributes; if this is a synthetic world of an earlier version, remove {} and make it again; a manifest has columns `attribute:NAME`",
            path.display(),
            root.display()
        )),
        _ => Error::reading(&path, error),
    })?;
    let rows = parse(&bytes).map_err(|what| Error::bad(&path, what))?;
    for sample in &mut corpus.samples {
        let ratings = rows.get(sample.id.as_str()).ok_or_else(|| {
            Error::bad(&path, format!("has no row for {}; make the world again", sample.id))
        })?;
        sample.label = Attributes::new(ratings).map(Label::Values);
    }
    corpus.classes = AFFECT[..COUNT].iter().map(|name| (*name).to_owned()).collect();
    Ok(())
}

/// The ratings by id.
fn parse(bytes: &[u8]) -> std::result::Result<BTreeMap<&str, [f32; COUNT]>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8; make the world again")?;
    let rest = text.strip_prefix(&header());
    let rest = rest.ok_or_else(|| format!("does not begin with {:?}", header().trim_end()))?;
    let mut rows = BTreeMap::new();
    for (number, line) in rest.lines().enumerate() {
        let mut cells = line.split(',');
        let id = cells.next().unwrap_or_default();
        let ratings: Vec<f32> = cells.filter_map(|cell| cell.parse().ok()).collect();
        let ratings: [f32; COUNT] = ratings
            .try_into()
            .map_err(|_| format!("line {} has no {COUNT} numbers", number + 2))?;
        let [low, high] = SCALE;
        let outside = ratings.iter().find(|rating| !(low..=high).contains(&f64::from(**rating)));
        if let Some(outside) = outside {
            return Err(format!("line {} has {outside}, outside {low} to {high}", number + 2));
        }
        rows.insert(id, ratings);
    }
    Ok(rows)
}
