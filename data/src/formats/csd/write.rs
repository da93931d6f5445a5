//! Writing of computational sequences, for the synthetic world and tests.

use std::io::Write;
use std::path::Path;

use hdf5_writer::{DatasetBuilder, Hdf5Builder, WriteOptions};

use crate::formats::write_aside;
use crate::{Array, Error, Result};

/// Features of one id.
#[derive(Clone, Debug)]
pub enum Features {
    /// `[n, d]`
    Numbers(Array<f32>),
    /// One word per row.
    Words(Vec<String>),
}

/// The features and intervals of one id.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The video's id, or `video[k]`.
    pub id: String,
    /// The features.
    pub features: Features,
    /// Start and end of each row, in seconds.
    pub intervals: Vec<[f64; 2]>,
}

/// Writes a `.csd` file; the same entries give the same bytes.
///
/// # Errors
/// Bad settings when the numbers of rows and intervals differ, or an id is a duplicate or invalid; input/output errors.
pub fn write(path: &Path, root: &str, dimensions: &[String], entries: &[Entry]) -> Result<()> {
    let refuse = |e: hdf5_writer::Error| {
        Error::config(format!("{}: {e}; give each id rows and as many intervals", path.display()))
    };
    let encode = || -> hdf5_writer::Result<Vec<u8>> {
        let mut file = Hdf5Builder::new();
        let names = serde_json::Value::from(dimensions.to_vec()).to_string();
        let metadata =
            [("root name", serde_json::Value::from(root).to_string()), ("dimension names", names)];
        for (key, value) in metadata {
            let place = format!("{root}/metadata/{key}");
            file = file.dataset(DatasetBuilder::vlen_string_data(place, [1], &[value])?);
        }
        for Entry { id, features, intervals } in entries {
            let rows = intervals.len() as u64;
            let place = format!("{root}/data/{id}/features");
            file = file.dataset(match features {
                Features::Numbers(array) => {
                    let width = array.shape().last().copied().unwrap_or(1) as u64;
                    DatasetBuilder::typed_data(place, [rows, width], array.data())?
                }
                Features::Words(words) => {
                    DatasetBuilder::fixed_string_data(place, [rows, 1], words)?
                }
            });
            let times: Vec<f64> = intervals.iter().flatten().copied().collect();
            let place = format!("{root}/data/{id}/intervals");
            file = file.dataset(DatasetBuilder::typed_data(place, [rows, 2], &times)?);
        }
        file.into_plan()?.encode(WriteOptions::default())
    };
    let bytes = encode().map_err(refuse)?;
    write_aside(path, |file| file.write_all(&bytes))
}
