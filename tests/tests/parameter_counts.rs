//! How many parameters the full-size networks have: as many as the originals.

use engine::{DType, Parameters, Scope};
use models::backbones::*;
use models::heads::{Prediction, Projection, ProjectionSettings};
use models::systems::{
    Definition, EncoderSettings, Masked, MaskedSettings, Parts, VoiceToFace, VoiceToFaceSettings,
};

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

#[test]
fn masked() {
    // A layer: attention 263,168, feed-forward 525,568, norms 1,024. A modality of C features: 258 C + 67,328, of which
    // 2 C + 66,304 are for its reconstruction.
    let shapes: [(&str, &[usize]); 3] =
        [("voice", &[128, 80]), ("landmarks", &[90, 51, 2]), ("text", &[30, 300])];
    let encoders = shapes.map(|(name, shape)| EncoderSettings::strided(name, shape));
    let parts = Parts::new(&encoders, None);
    let found = count(|scope| Masked::new(&MaskedSettings::default(), parts, scope));
    assert_eq!(found, 4 * 789_760 + 258 * (80 + 102 + 300) + 3 * 67_328);
    assert_eq!(found, 3_485_380);
}

#[test]
fn voice_to_face() {
    let voice = EncoderSettings {
        backbone: BackboneSettings::Tcn(TemporalConvNetSettings::default()),
        ..EncoderSettings::strided("voice", &[90, 80])
    };
    let encoders = [voice, EncoderSettings::strided("landmarks", &[90, 51, 2])];
    let parts = Parts::new(&encoders, None);
    let found = count(|scope| VoiceToFace::new(&VoiceToFaceSettings::default(), parts, scope));
    // The TCN, then linear maps of 512 and of 102 features to 256, and of 256 to 102.
    assert_eq!(found, 214_645 + 131_328 + 26_368 + 26_214);
}
