//! Our R(2+1)D-18 has torchvision's parameter names and shapes, so that its weights can be loaded by name.

use crate::fixture::folder;
use engine::{DType, Parameters};
use models::backbones::{R2Plus1d, R2Plus1dSettings};
use std::collections::BTreeMap;

#[test]
fn names_and_shapes_are_torchvisions() {
    let text = std::fs::read_to_string(folder().join("parity/r2plus1d_18_names.json")).unwrap();
    let theirs: BTreeMap<String, Vec<usize>> = serde_json::from_str(&text).unwrap();
    let mut parameters = Parameters::new(DType::F32, 0);
    let kinetics = R2Plus1dSettings { features: 400, ..R2Plus1dSettings::default() };
    R2Plus1d::new(&kinetics, parameters.scope(), &[16, 112, 112, 3]).unwrap();
    // From features last to features first: [D, H, W, I, O] to [O, I, D, H, W], [I, O] to [O, I].
    let first = |shape: &[usize]| match *shape {
        [d, h, w, i, o] => vec![o, i, d, h, w],
        [i, o] => vec![o, i],
        _ => shape.to_vec(),
    };
    let ours: BTreeMap<String, Vec<usize>> = parameters
        .ids()
        .map(|id| (parameters.name(id).to_owned(), first(&parameters.logical(id))))
        .collect();
    assert_eq!(ours, theirs);
}
