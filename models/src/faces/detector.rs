//! The MTCNN face detector (Zhang et al. 2016): candidates from an image pyramid, refined twice.

use super::boxes::{FaceBox, Overlap, suppress};
use super::networks::{Stage, onet, pnet, rnet};
use super::picture::{Region, Sums};
use engine::{Device, Parameters, Pass, Result, Scope, Tensor};

/// Window and stride of the proposal network, in pixels of a pyramid level.
const WINDOW: usize = 12;
const STEP: usize = 2;
/// Sides of the windows of the refinement network and of the output network.
const REFINED: usize = 24;
const OUTPUT: usize = 48;
/// Elements of the output for one window.
const VERDICT: usize = 16;
/// Windows in a batch: 20 MB for the widest layer.
const BATCH: usize = 256;
/// The most windows of a pyramid level, and of all levels, that are refined: the best ones. A crowd needs a few
/// hundred; the limit bounds the time for textures with many false candidates.
const MOST: usize = 2048;

/// Settings of [`Detector`]; the defaults are those of the paper's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectorSettings {
    /// The smallest face to detect, in pixels.
    pub smallest: f32,
    /// The scale between neighbouring pyramid levels, below 1.
    pub factor: f64,
    /// The least probability of a face for each of the three networks.
    pub thresholds: [f32; 3],
}

impl Default for DetectorSettings {
    fn default() -> Self {
        DetectorSettings { smallest: 20.0, factor: 0.709, thresholds: [0.6, 0.7, 0.7] }
    }
}

/// A detected face. Coordinates are MTCNN's: pixels from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// The box and the probability of a face.
    pub at: FaceBox,
    /// Left eye, right eye, nose, left and right corner of the mouth, as seen in the image: x, y.
    pub points: [[f32; 2]; 5],
}

/// The three networks of MTCNN. Their parameters are named `pnet.*`, `rnet.*` and `onet.*`.
#[derive(Debug, Clone)]
pub struct Detector {
    pnet: Stage,
    rnet: Stage,
    onet: Stage,
    settings: DetectorSettings,
}

impl Detector {
    /// The name prefixes of the networks' parameters.
    pub const NETWORKS: [&'static str; 3] = ["pnet", "rnet", "onet"];

    /// Makes the networks with random parameters.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(mut scope: Scope<'_>, settings: DetectorSettings) -> Result<Self> {
        let [p, r, o] = Detector::NETWORKS;
        let (pnet, rnet) = (pnet(scope.sub(p))?, rnet(scope.sub(r))?);
        Ok(Detector { pnet, rnet, onet: onet(scope.sub(o))?, settings })
    }

    /// Detects the faces of an image, the most probable first.
    ///
    /// # Errors
    /// When the device fails.
    pub fn detect(&self, parameters: &Parameters, picture: &Sums) -> Result<Vec<Face>> {
        let pass = Pass::evaluate(parameters);
        let proposed = self.propose(&pass, picture)?;
        let squares: Vec<FaceBox> = proposed.iter().map(FaceBox::squared).collect();
        let refined = self.refine(&pass, picture, &squares)?;
        let squares: Vec<FaceBox> = refined.iter().map(FaceBox::squared).collect();
        self.judge(parameters, picture, &squares)
    }

    /// The faces that the output network detects in these windows, after non-maximum suppression, the most probable
    /// first.
    fn judge(
        &self,
        parameters: &Parameters,
        picture: &Sums,
        windows: &[FaceBox],
    ) -> Result<Vec<Face>> {
        let faces = self.judge_each(parameters, picture, windows)?;
        let boxes: Vec<FaceBox> = faces.iter().map(|face| face.at).collect();
        let kept = suppress(&boxes, 0.7, Overlap::Smaller);
        Ok(kept.into_iter().map(|number| faces[number]).collect())
    }

    /// The faces that the output network detects in these windows, without non-maximum suppression.
    ///
    /// # Errors
    /// When the device fails.
    pub fn judge_each(
        &self,
        parameters: &Parameters,
        picture: &Sums,
        windows: &[FaceBox],
    ) -> Result<Vec<Face>> {
        let pass = Pass::evaluate(parameters);
        let verdicts = look(&pass, &self.onet, picture, windows, OUTPUT)?;
        let face = |(window, verdict): &(FaceBox, [f32; VERDICT])| {
            let score = passing(verdict, self.settings.thresholds[2])?;
            let [left, top, ..] = window.sides;
            let (width, height) = (window.width() + 1.0, window.height() + 1.0);
            let points = std::array::from_fn(|n| {
                [width * verdict[6 + n] + left - 1.0, height * verdict[11 + n] + top - 1.0]
            });
            let at = FaceBox { score, ..*window }.corrected(offsets(verdict), 1.0);
            at.is_sound().then_some(Face { at, points })
        };
        Ok(verdicts.iter().filter_map(face).collect())
    }

    /// Candidate windows from the image pyramid, after bounding-box regression.
    fn propose(&self, pass: &Pass<'_>, picture: &Sums) -> Result<Vec<FaceBox>> {
        let DetectorSettings { smallest, factor, thresholds } = self.settings;
        let [width, height] = picture.extents();
        let whole = Region { left: 0, top: 0, width, height };
        let mut scale = WINDOW as f64 / f64::from(smallest).max(WINDOW as f64 / 4.0);
        // Boxes and their regression offsets, which refer to the windows before suppression.
        let mut found: Vec<(FaceBox, [f32; 4])> = Vec::new();
        while width.min(height) as f64 * scale >= WINDOW as f64 {
            let extents = [width, height].map(|extent| (extent as f64 * scale + 1.0) as usize);
            let mut numbers = vec![0.0; extents[0] * extents[1] * 3];
            picture.resample(whole, extents[0], extents[1], &mut numbers);
            let x = Tensor::from_slice(&numbers, &[1, 1, extents[1], extents[0], 3])?;
            let verdicts = self.pnet.forward(pass, &x)?.on(&Device::Cpu)?;
            let columns = verdicts.shape()[3].max(1);
            let mut here = Vec::new();
            for (number, verdict) in verdicts.as_slice::<f32>()?.chunks_exact(6).enumerate() {
                let Some(score) = passing(verdict, thresholds[0]) else { continue };
                let side = |place: usize, more: usize| {
                    ((STEP * place + more) as f32 / scale as f32).floor()
                };
                let (x, y) = (number % columns, number / columns);
                let sides = [side(x, 1), side(y, 1), side(x, WINDOW), side(y, WINDOW)];
                here.push((FaceBox { sides, score }, offsets(verdict)));
            }
            found.extend(thinned(here, 0.5));
            scale *= factor;
        }
        let found = thinned(found, 0.7);
        let corrected = found.into_iter().map(|(window, offsets)| window.corrected(offsets, 0.0));
        Ok(corrected.filter(FaceBox::is_sound).collect())
    }

    /// The windows that the refinement network accepts, after bounding-box regression.
    fn refine(&self, pass: &Pass<'_>, picture: &Sums, windows: &[FaceBox]) -> Result<Vec<FaceBox>> {
        let verdicts = look(pass, &self.rnet, picture, windows, REFINED)?;
        let mut found = Vec::new();
        for (window, verdict) in verdicts {
            if let Some(score) = passing(&verdict, self.settings.thresholds[1]) {
                found.push((FaceBox { score, ..window }, offsets(&verdict)));
            }
        }
        let found = thinned(found, 0.7);
        let corrected = found.into_iter().map(|(window, offsets)| window.corrected(offsets, 1.0));
        Ok(corrected.filter(FaceBox::is_sound).collect())
    }
}

/// The probability of a face, if it is at least `least`.
fn passing(verdict: &[f32], least: f32) -> Option<f32> {
    verdict.get(1).copied().filter(|&score| score >= least)
}

/// The regression offsets of the box's sides.
fn offsets(verdict: &[f32]) -> [f32; 4] {
    std::array::from_fn(|n| verdict.get(2 + n).copied().unwrap_or(0.0))
}

/// The boxes after non-maximum suppression, at most [`MOST`].
fn thinned(mut found: Vec<(FaceBox, [f32; 4])>, most: f32) -> Vec<(FaceBox, [f32; 4])> {
    found.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
    found.truncate(MOST);
    let boxes: Vec<FaceBox> = found.iter().map(|(window, _)| *window).collect();
    suppress(&boxes, most, Overlap::Union).into_iter().map(|number| found[number]).collect()
}

/// A network's outputs for the windows that overlap the image, padded to [`VERDICT`] elements each.
fn look(
    pass: &Pass<'_>,
    network: &Stage,
    picture: &Sums,
    windows: &[FaceBox],
    side: usize,
) -> Result<Vec<(FaceBox, [f32; VERDICT])>> {
    let inside: Vec<(FaceBox, Region)> = windows
        .iter()
        .filter_map(|window| Some((*window, part(window, picture.extents())?)))
        .collect();
    let size = side * side * 3;
    let mut verdicts = Vec::with_capacity(inside.len());
    for batch in inside.chunks(BATCH) {
        let mut numbers = vec![0.0; batch.len() * size];
        for ((_, region), numbers) in batch.iter().zip(numbers.chunks_exact_mut(size)) {
            picture.resample(*region, side, side, numbers);
        }
        let x = Tensor::from_slice(&numbers, &[batch.len(), 1, side, side, 3])?;
        let y = network.forward(pass, &x)?.on(&Device::Cpu)?;
        let width = y.shape().features().clamp(1, VERDICT);
        for ((window, _), numbers) in batch.iter().zip(y.as_slice::<f32>()?.chunks_exact(width)) {
            let mut verdict = [0.0; VERDICT];
            verdict[..width].copy_from_slice(numbers);
            verdicts.push((*window, verdict));
        }
    }
    Ok(verdicts)
}

/// The part of a window inside the image, which is then resized to the network's input, as common implementations do;
/// the paper pads with zeros instead.
fn part(window: &FaceBox, [width, height]: [usize; 2]) -> Option<Region> {
    let [left, top, right, bottom] = window.sides.map(|side| side.trunc() as i64);
    let (left, top) = (left.max(1), top.max(1));
    let (right, bottom) = (right.min(width as i64), bottom.min(height as i64));
    // Both ends are inclusive.
    let extent = |first: i64, last: i64| usize::try_from(last - first + 1).ok().filter(|&n| n > 0);
    let (width, height) = (extent(left, right)?, extent(top, bottom)?);
    Some(Region { left: (left - 1) as usize, top: (top - 1) as usize, width, height })
}
