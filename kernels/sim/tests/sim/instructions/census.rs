//! Checks that every instruction form of a kernel has a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ptx_sim::Module;

use super::GROUPS;
use super::suite::Suite;

/// The instruction forms that the tests cover.
fn covered() -> BTreeSet<String> {
    let mut suite = Suite { listing: true, ..Suite::default() };
    for group in GROUPS {
        group(&mut suite);
    }
    suite.covered
}

/// The forms in use, each with a file that uses it: in this crate's kernels and in the engine's.
fn used() -> BTreeMap<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeMap::new();
    for folder in [here.join("tests/ptx"), here.join("../ptx")] {
        for entry in std::fs::read_dir(&folder).expect("a folder of PTX") {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "ptx") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let module =
                Module::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let unsupported: Vec<_> = module.unsupported().collect();
            assert!(unsupported.is_empty(), "{}: {unsupported:?}", path.display());
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            used.extend(module.forms().into_iter().map(|form| (form, name.clone())));
        }
    }
    used
}

#[test]
fn every_form_in_use_has_a_test() {
    let (covered, used) = (covered(), used());
    let missing: Vec<String> = used
        .iter()
        .filter(|(form, _)| !covered.contains(*form))
        .map(|(form, file)| format!("{form} ({file})"))
        .collect();
    println!("{} forms in use, {} with a test", used.len(), covered.len());
    assert!(missing.is_empty(), "forms in use without a test: {}", missing.join(", "));
    assert!(used.len() > 100, "only {} forms in use; are the PTX files there?", used.len());
}

#[test]
fn a_form_without_a_test_is_missed() {
    let covered = covered();
    assert!(covered.contains("fma.rn.f32"));
    assert!(!covered.contains("fma.rn.f31"));
}
