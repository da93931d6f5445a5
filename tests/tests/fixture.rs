//! Reading what PyTorch computed (tests/fixtures/README.md), and making the numbers it computed from.

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The folder of all fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The names of the parity files that start so, without their ending, sorted.
pub fn names(prefix: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder().join("parity")).unwrap();
    let stem = |file: std::io::Result<std::fs::DirEntry>| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".safetensors").map(str::to_owned)
    };
    let mut names: Vec<String> =
        files.filter_map(stem).filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    assert!(!names.is_empty(), "no {prefix}*.safetensors in {:?}", folder().join("parity"));
    names
}

/// One file of expected tensors.
pub struct Fixture {
    /// What the file's metadata says: settings, shapes, parameters.
    pub description: Value,
    tensors: HashMap<String, Vec<f64>>,
}

impl Fixture {
    /// Reads a file by its name without ending.
    pub fn read(name: &str) -> Self {
        let bytes =
            std::fs::read(folder().join("parity").join(format!("{name}.safetensors"))).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let text = &metadata.metadata().as_ref().unwrap()["fixture"];
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))),
                Dtype::F64 => numbers(view.data(), f64::from_le_bytes),
                other => panic!("{name} is {other:?}; fixtures hold f32 and f64"),
            };
            (name, values)
        });
        Fixture { description: serde_json::from_str(text).unwrap(), tensors: tensors.collect() }
    }

    /// A tensor that stands in the file whole, or one of the two parts of another.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// The largest magnitude of any tensor whose name contains `part`.
    pub fn largest(&self, part: &str) -> f64 {
        let matching = self
            .tensors
            .iter()
            .filter(|(name, _)| name.contains(part) && !name.ends_with("#summary"));
        matching.flat_map(|(_, values)| values).fold(0.0, |largest, value| value.abs().max(largest))
    }

    /// The largest magnitude of any one-number tensor whose name starts so; 0 if there is none.
    pub fn largest_single(&self, start: &str) -> f64 {
        let matching = self
            .tensors
            .iter()
            .filter(|(name, values)| name.starts_with(start) && values.len() == 1);
        matching.fold(0.0, |largest, (_, values)| values[0].abs().max(largest))
    }

    /// How many tensors there are: those in parts count once.
    pub fn count(&self) -> usize {
        self.tensors.keys().filter(|name| !name.ends_with("#summary")).count()
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(N).map(|chunk| number(chunk.try_into().unwrap())).collect()
}

/// `count` numbers in [-1, 1) that follow from the name: tests/fixtures/make/numbers.py makes the same.
pub fn uniform(name: &str, count: usize) -> impl Iterator<Item = f32> + use<> {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let key = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    (1..=count as u64).map(move |position| {
        let mut z = position.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 40) as i64 - (1 << 23)) as f32 / (1 << 23) as f32
    })
}

/// The numbers of a tensor that a fixture describes with `scale`, `offset` and perhaps `kind`.
pub fn values(name: &str, shape: &[usize], described: &Value) -> Vec<f32> {
    let drawn = uniform(name, shape.iter().product());
    if described["kind"] == "bits" {
        return drawn.map(|u| if u >= 0.0 { 1.0 } else { 0.0 }).collect();
    }
    let setting = |name: &str, default: f64| described[name].as_f64().unwrap_or(default) as f32;
    let (scale, offset) = (setting("scale", 1.0), setting("offset", 0.0));
    drawn.map(|u| offset + scale * u).collect()
}

/// A list of whole numbers, such as a shape.
pub fn list(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// Its text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

#[test]
fn every_file_has_a_test() {
    let known = |name: &String| {
        ["op_", "loss_", "model_", "system_", "faces_"].iter().any(|kind| name.starts_with(kind))
    };
    let unknown: Vec<String> = names("").into_iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "no test reads {unknown:?}");
}

#[test]
fn the_formula_is_the_same_in_both_languages() {
    let here: Vec<f32> = uniform("a name", 3).collect();
    assert_eq!(here, KNOWN);
}

/// What make/numbers.py gives for `uniform("a name", 3)`.
const KNOWN: [f32; 3] = [-0.210_811_26, 0.145_023_58, -0.428_581_36];
