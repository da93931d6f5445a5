//! How many parameters the full-size networks have: as many as the originals.

use engine::{DType, Parameters, Scope};
use models::backbones::*;
use models::heads::{Prediction, Projection, ProjectionSettings};

/// Features of every backbone.
const FEATURES: usize = 512;

fn count<T>(make: impl FnOnce(Scope<'_>) -> engine::Result<T>) -> usize {
    let mut parameters = Parameters::new(DType::F32, 1);
    make(parameters.scope()).unwrap();
    parameters.count()
}

#[test]
fn text_transformer() {
    assert_eq!(
        count(|scope| TextTransformer::new(&TextTransformerSettings::default(), scope, &[30, 300])),
        9_715_400
    );
}

#[test]
fn r2plus1d_18() {
    let sizes = R2Plus1dSettings::default();
    let clip = [8, 112, 112, 3];
    assert_eq!(count(|scope| R2Plus1d::new(&sizes, scope, &clip)), 31_562_781);
    let kinetics = R2Plus1dSettings { features: 400, ..sizes };
    assert_eq!(count(|scope| R2Plus1d::new(&kinetics, scope, &clip)), 31_505_325);
}

#[test]
fn stgcn() {
    for (frames, expected) in [(90, 16_088_332), (30, 14_122_252)] {
        assert_eq!(
            count(|scope| Stgcn::new(&StgcnSettings::default(), scope, &[frames, 51, 2])),
            expected
        );
    }
}

#[test]
fn tcn() {
    for (bands, expected) in [(128, 217_813), (80, 214_645)] {
        let sizes = TemporalConvNetSettings::default();
        assert_eq!(count(|scope| TemporalConvNet::new(&sizes, scope, &[90, bands])), expected);
    }
}

#[test]
fn projection() {
    assert_eq!(
        count(|scope| Projection::new(&ProjectionSettings::default(), scope, FEATURES)),
        1_050_112
    );
}

#[test]
fn prediction() {
    for (modalities, classes, expected) in [(2, 8, 528_904), (3, 8, 791_048), (4, 6, 1_052_166)] {
        let features = modalities * FEATURES;
        assert_eq!(count(|scope| Prediction::new(scope, features, 512, classes, 0.0)), expected);
    }
}
