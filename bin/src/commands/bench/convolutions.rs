//! Cases of convolutions: those of the comparison with PyTorch, and all of R(2+1)D-18.

use super::case::Case;
use super::one_op::{Flops, Pass, passes};
use engine::nn::padded_channels;
use kernels::Op;
use kernels::op;
use kernels::ops::Conv3d;

const SPATIAL: [usize; 3] = [1, 3, 3];
const TEMPORAL: [usize; 3] = [3, 1, 1];

/// A convolution's name, input (batch, time, height, width), channels in and out, kernel and stride. The padding
/// keeps the extents at stride 1.
struct Layer<'a> {
    name: &'a str,
    input: [usize; 4],
    channels: [usize; 2],
    kernel: [usize; 3],
    stride: [usize; 3],
}

impl Layer<'_> {
    fn cases(&self, of: &[Pass]) -> Vec<Case> {
        let op = Conv3d::new(self.stride, self.kernel.map(|extent| extent / 2));
        let shapes = |[inputs, outputs]: [usize; 2]| {
            let ([n, t, h, w], [kt, kh, kw]) = (self.input, self.kernel);
            [[n, t, h, w, inputs], [kt, kh, kw, inputs, outputs]]
        };
        // The three channels of the network's input are not padded.
        let stored = |channels| if channels == 3 { 3 } else { padded_channels(channels) };
        let [x, weight] = shapes(self.channels.map(stored));
        // Padded channels do not count as work.
        let flops = op.cost(&shapes(self.channels).map(Into::into), &[]).forward_flops;
        passes(self.name, &op::Case::new(op, &[&x, &weight]), of, Some(Flops::product(flops)))
    }
}

/// Name, channels, kernel, stride, frames and side.
type Peer = (&'static str, [usize; 2], [usize; 3], [usize; 3], usize, usize);

/// Layers of R(2+1)D-18 on two clips of 16 x 112 x 112, and one with a full kernel.
const PEERS: [Peer; 13] = [
    ("stem-1x7x7-3-45", [3, 45], [1, 7, 7], [1, 2, 2], 16, 112),
    ("stem-3x1x1-45-64", [45, 64], TEMPORAL, [1; 3], 16, 56),
    ("s1-1x3x3-64-144", [64, 144], SPATIAL, [1; 3], 16, 56),
    ("s1-3x1x1-144-64", [144, 64], TEMPORAL, [1; 3], 16, 56),
    ("s2-1x3x3-64-230-down", [64, 230], SPATIAL, [1, 2, 2], 16, 56),
    ("s2-3x1x1-230-128-down", [230, 128], TEMPORAL, [2, 1, 1], 16, 28),
    ("s2-1x3x3-128-288", [128, 288], SPATIAL, [1; 3], 8, 28),
    ("s2-3x1x1-288-128", [288, 128], TEMPORAL, [1; 3], 8, 28),
    ("s3-1x3x3-256-576", [256, 576], SPATIAL, [1; 3], 4, 14),
    ("s3-3x1x1-576-256", [576, 256], TEMPORAL, [1; 3], 4, 14),
    ("s4-1x3x3-512-1152", [512, 1152], SPATIAL, [1; 3], 2, 7),
    ("s4-3x1x1-1152-512", [1152, 512], TEMPORAL, [1; 3], 2, 7),
    ("full-3x3x3-64-64", [64, 64], [3; 3], [1; 3], 8, 28),
];

/// A convolution of R(2+1)D-18: stage, channels, kernel, stride, and the number of halvings of time and space before
/// it.
type Stage = (&'static str, [usize; 2], [usize; 3], [usize; 3], [u32; 2]);

const R2PLUS1D: [Stage; 19] = [
    ("stem", [3, 45], [1, 7, 7], [1, 2, 2], [0, 0]),
    ("stem", [45, 64], TEMPORAL, [1, 1, 1], [0, 1]),
    ("layer1", [64, 144], SPATIAL, [1, 1, 1], [0, 1]),
    ("layer1", [144, 64], TEMPORAL, [1, 1, 1], [0, 1]),
    ("layer2", [64, 230], SPATIAL, [1, 2, 2], [0, 1]),
    ("layer2", [230, 128], TEMPORAL, [2, 1, 1], [0, 2]),
    ("layer2", [64, 128], [1, 1, 1], [2, 2, 2], [0, 1]),
    ("layer2", [128, 288], SPATIAL, [1, 1, 1], [1, 2]),
    ("layer2", [288, 128], TEMPORAL, [1, 1, 1], [1, 2]),
    ("layer3", [128, 460], SPATIAL, [1, 2, 2], [1, 2]),
    ("layer3", [460, 256], TEMPORAL, [2, 1, 1], [1, 3]),
    ("layer3", [128, 256], [1, 1, 1], [2, 2, 2], [1, 2]),
    ("layer3", [256, 576], SPATIAL, [1, 1, 1], [2, 3]),
    ("layer3", [576, 256], TEMPORAL, [1, 1, 1], [2, 3]),
    ("layer4", [256, 921], SPATIAL, [1, 2, 2], [2, 3]),
    ("layer4", [921, 512], TEMPORAL, [2, 1, 1], [2, 4]),
    ("layer4", [256, 512], [1, 1, 1], [2, 2, 2], [2, 3]),
    ("layer4", [512, 1152], SPATIAL, [1, 1, 1], [3, 4]),
    ("layer4", [1152, 512], TEMPORAL, [1, 1, 1], [3, 4]),
];

/// All cases; those of R(2+1)D-18 for each of these batch sizes and clip lengths.
pub(super) fn cases(batches: &[usize], frames: &[usize]) -> Vec<Case> {
    let both = [Pass::Forward, Pass::Backward];
    let mut cases = Vec::new();
    for (name, channels, kernel, stride, frames, side) in PEERS {
        let name = &format!("conv3d/{name}");
        let layer = Layer { name, input: [2, frames, side, side], channels, kernel, stride };
        cases.extend(layer.cases(&both));
    }
    // An image, and the temporal convolutions of the landmark networks, with time along the height: of Yu et al.
    // without padding, of Yan et al. with padding.
    for (name, input, channels, kernel) in [
        ("conv2d/3x3-64-64-56", [8, 1, 56, 56], [64, 64], SPATIAL),
        ("conv2d/9x1-64-64-graph", [32, 1, 30, 68], [64, 64], [1, 9, 1]),
    ] {
        cases.extend(Layer { name, input, channels, kernel, stride: [1; 3] }.cases(&both));
    }
    cases.extend(yu(&both));
    for &batch in batches {
        for &frames in frames {
            for stage in R2PLUS1D {
                cases.extend(r2plus1d(batch, frames, stage));
            }
        }
    }
    cases
}

/// Three taps of time without padding, on 28 frames of 51 points.
fn yu(of: &[Pass]) -> Vec<Case> {
    let op = Conv3d::new([1; 3], [0; 3]);
    let case = op::Case::new(op, &[&[32, 1, 28, 51, 64], &[1, 3, 1, 64, 192]]);
    passes("conv2d/1x3-64-192-graph", &case, of, None)
}

fn r2plus1d(
    batch: usize,
    frames: usize,
    (stage, channels, kernel, stride, [time, space]): Stage,
) -> Vec<Case> {
    let halve = |extent: usize, times: u32| (0..times).fold(extent, |e, _| e.div_ceil(2));
    let side = halve(112, space);
    let ([kt, kh, kw], [inputs, outputs]) = (kernel, channels);
    let layer = format!("{stage}-{kt}x{kh}x{kw}-{inputs}-{outputs}");
    let name = &format!("conv3d/r2plus1d/b{batch}-t{frames}/{layer}");
    let input = [batch, halve(frames, time), side, side];
    let of = [Pass::Forward, Pass::GradInput, Pass::GradWeight];
    Layer { name, input, channels, kernel, stride }.cases(&of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Result;

    #[test]
    fn names_are_unique_and_flops_are_those_of_the_paper() -> Result<()> {
        let cases = cases(&[1], &[10]);
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        let stem = cases
            .iter()
            .find(|case| case.name.contains("b1-t10/stem-1x7x7") && case.name.ends_with("fwd"));
        let Some(stem) = stem else { panic!("{names:?}") };
        let work = stem.prepare(&engine::Device::Cpu)?.work.unwrap_or_default();
        assert_eq!(work.flops, 2.0 * 10.0 * 56.0 * 56.0 * 49.0 * 3.0 * 45.0);
        Ok(())
    }
}
