//! What all backbones have in common.

use super::*;
use engine::{DType, Parameters};

/// A small network of each kind that can leave padding out of its pooling, without dropout, and the shape of a step.
fn networks(masked: bool) -> Vec<(BackboneSettings, Vec<usize>)> {
    let tcn = TemporalConvNetSettings {
        channels: 4,
        hidden: 6,
        blocks: 2,
        repeats: 1,
        dropout: 0.0,
        features: 5,
        masked,
        ..Default::default()
    };
    let graph = SpatialTemporalGraphNetSettings {
        channels: vec![3, 3, 4],
        kernel: 3,
        features: 5,
        masked,
        ..Default::default()
    };
    let face = R2Plus1dSettings {
        width: 8,
        stem: 3,
        blocks: vec![1, 1, 1],
        dropout: 0.0,
        features: 5,
        masked,
    };
    vec![
        (BackboneSettings::Tcn(tcn), vec![3]),
        (BackboneSettings::StGcn(graph), vec![51, 2]),
        (BackboneSettings::R2plus1d(face), vec![8, 8, 3]),
        (BackboneSettings::StridedClip(StridedClipNetSettings { width: 8, masked }), vec![8, 8, 3]),
        (
            BackboneSettings::StridedConv(StridedConvNetSettings { width: 4, layers: 2, masked }),
            vec![3],
        ),
    ]
}

const STEPS: usize = 17;

/// Two samples: one of `STEPS` steps, one whose last step is repeated from `length` on.
fn padded(step: &[usize], length: usize) -> Result<Tensor> {
    let size: usize = step.iter().product();
    let number = |t: usize, i: usize| ((t * size + i + 1) as f64 * 0.37).sin();
    let row = |length: usize| {
        (0..STEPS).flat_map(move |t| (0..size).map(move |i| number(t.min(length - 1), i)))
    };
    let values: Vec<f64> = row(STEPS).chain(row(length)).collect();
    Tensor::from_slice(&values, &[&[2, STEPS], step].concat())
}

fn features(settings: &BackboneSettings, step: &[usize], length: usize) -> Result<Vec<f64>> {
    let mut parameters = Parameters::new(DType::F64, 3);
    let shape = [&[STEPS], step].concat();
    let net = Backbone::new(settings, parameters.scope(), &shape)?;
    let lengths = Tensor::from_slice(&[STEPS as u32, length as u32], &[2])?;
    net.forward(&Pass::evaluate(&parameters), &padded(step, length)?, Some(&lengths))?.to_vec()
}

#[test]
fn a_mask_changes_padded_samples_alone() -> Result<()> {
    for ((plain, step), (settings, _)) in networks(false).into_iter().zip(networks(true)) {
        for length in [1, 4, 9, STEPS] {
            let [plain, masked] = [&plain, &settings].map(|net| features(net, &step, length));
            let (plain, masked) = (plain?, masked?);
            let half = plain.len() / 2;
            assert_eq!(plain[..half], masked[..half], "{step:?}: a whole sample has the same bits");
            let same = plain[half..] == masked[half..];
            assert_eq!(same, length == STEPS, "{settings:?}, {length} of {STEPS} steps");
        }
    }
    Ok(())
}

/// What pooling leaves out reaches no feature but through a convolution that reads it.
#[test]
fn steps_far_beyond_the_end_change_no_feature() -> Result<()> {
    for (settings, step) in networks(true) {
        // A global norm spreads every step over all.
        if matches!(settings, BackboneSettings::Tcn(_)) {
            continue;
        }
        let length = 2;
        let mut parameters = Parameters::new(DType::F64, 3);
        let net = Backbone::new(&settings, parameters.scope(), &[&[STEPS], &step[..]].concat())?;
        let lengths = Tensor::from_slice(&[STEPS as u32, length as u32], &[2])?;
        let pass = Pass::evaluate(&parameters);
        let mut other = padded(&step, length)?;
        let before = net.forward(&pass, &other, Some(&lengths))?.to_vec()?;
        // The last step of the padding is beyond the reach of every convolution from the first steps.
        let last = other.count() - step.iter().product::<usize>();
        other.as_mut_slice::<f64>()?[last..].fill(9.0);
        let after = net.forward(&pass, &other, Some(&lengths))?.to_vec()?;
        assert_eq!(before, after, "{settings:?}");
    }
    Ok(())
}
