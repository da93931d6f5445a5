//! MTCNN (Zhang et al. 2016): candidates from a pyramid of pictures, refined twice.

use super::boxes::{FaceBox, Overlap, suppress};
use super::networks::{Stage, onet, pnet, rnet};
use super::picture::{Region, Sums};
use engine::{Device, Parameters, Pass, Result, Scope, Tensor};

/// The window of the proposal network and the step between windows, in pixels of its picture.
const WINDOW: usize = 12;
const STEP: usize = 2;
/// Sides of the refining and the output network's windows.
const REFINED: usize = 24;
const OUTPUT: usize = 48;
/// Numbers of a verdict.
const VERDICT: usize = 16;
/// Windows that a network sees at once: 20 MB of its widest layer.
const BATCH: usize = 256;
/// Most windows of one picture of the pyramid, and of all, that are looked at again: the best ones. A crowd needs some
/// hundreds; a texture that looks like faces everywhere must not take minutes.
const MOST: usize = 2048;

/// Sizes and thresholds of [`Detector`]; the defaults are those of the paper's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectorSettings {
    /// The smallest face looked for, in pixels.
    pub smallest: f32,
    /// Each picture of the pyramid is so much smaller than the one before.
    pub factor: f64,
    /// The least probability of a face after each network.
    pub thresholds: [f32; 3],
}

impl Default for DetectorSettings {
    fn default() -> Self {
        DetectorSettings { smallest: 20.0, factor: 0.709, thresholds: [0.6, 0.7, 0.7] }
    }
}

/// A face that was found. Coordinates are MTCNN's: pixels from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// The box and the probability of a face.
    pub at: FaceBox,
    /// Left eye, right eye, nose, left and right corner of the mouth as the picture has them: across and down.
    pub points: [[f32; 2]; 5],
}

/// The three networks. Their parameters stand in a [`Parameters`] below `pnet.`, `rnet.` and `onet.`.
#[derive(Debug, Clone)]
pub struct Detector {
    pnet: Stage,
    rnet: Stage,
    onet: Stage,
    settings: DetectorSettings,
}

impl Detector {
    /// The parameters' names before each network's own.
    pub const NETWORKS: [&'static str; 3] = ["pnet", "rnet", "onet"];

    /// Makes the networks, at random.
    ///
    /// # Errors
    /// When the scope has these names already.
    pub fn new(mut scope: Scope<'_>, settings: DetectorSettings) -> Result<Self> {
        let [p, r, o] = Detector::NETWORKS;
        let (pnet, rnet) = (pnet(scope.sub(p))?, rnet(scope.sub(r))?);
        Ok(Detector { pnet, rnet, onet: onet(scope.sub(o))?, settings })
    }

    /// Finds the faces of a picture, the likeliest first.
    ///
    /// # Errors
    /// When work on a GPU fails.
    pub fn detect(&self, parameters: &Parameters, picture: &Sums) -> Result<Vec<Face>> {
        let pass = Pass::evaluate(parameters);
        let proposed = self.propose(&pass, picture)?;
        let squares: Vec<FaceBox> = proposed.iter().map(FaceBox::squared).collect();
        let refined = self.refine(&pass, picture, &squares)?;
        let squares: Vec<FaceBox> = refined.iter().map(FaceBox::squared).collect();
        self.judge(parameters, picture, &squares)
    }

    /// The output network's verdict on these windows: the faces among them, the likeliest first, of several of one
    /// face the best.
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

    /// The output network's verdicts on these windows, those of a face alone.
    ///
    /// # Errors
    /// When work on a GPU fails.
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

    /// Windows of the pyramid that may show a face, corrected.
    fn propose(&self, pass: &Pass<'_>, picture: &Sums) -> Result<Vec<FaceBox>> {
        let DetectorSettings { smallest, factor, thresholds } = self.settings;
        let [width, height] = picture.extents();
        let whole = Region { left: 0, top: 0, width, height };
        let mut scale = WINDOW as f64 / f64::from(smallest).max(WINDOW as f64 / 4.0);
        // Boxes and their offsets, which are for the windows as they are before suppression.
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

    /// The windows that the refining network takes for faces, corrected.
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

/// The probability of a face, if it is enough.
fn passing(verdict: &[f32], least: f32) -> Option<f32> {
    verdict.get(1).copied().filter(|&score| score >= least)
}

/// How far the box's sides lie from the window's.
fn offsets(verdict: &[f32]) -> [f32; 4] {
    std::array::from_fn(|n| verdict.get(2 + n).copied().unwrap_or(0.0))
}

/// Without those that overlap too much with better ones, and no more than [`MOST`].
fn thinned(mut found: Vec<(FaceBox, [f32; 4])>, most: f32) -> Vec<(FaceBox, [f32; 4])> {
    found.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
    found.truncate(MOST);
    let boxes: Vec<FaceBox> = found.iter().map(|(window, _)| *window).collect();
    suppress(&boxes, most, Overlap::Union).into_iter().map(|number| found[number]).collect()
}

/// A network's verdicts on the windows that lie in the picture at least in part, padded to 16 numbers.
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

/// The pixels of a window that lie in the picture. The rest is cut off and what is left is stretched, as the networks'
/// users do; the paper would pad with zeros.
fn part(window: &FaceBox, [width, height]: [usize; 2]) -> Option<Region> {
    let [left, top, right, bottom] = window.sides.map(|side| side.trunc() as i64);
    let (left, top) = (left.max(1), top.max(1));
    let (right, bottom) = (right.min(width as i64), bottom.min(height as i64));
    // Both ends are within.
    let extent = |first: i64, last: i64| usize::try_from(last - first + 1).ok().filter(|&n| n > 0);
    let (width, height) = (extent(left, right)?, extent(top, bottom)?);
    Some(Region { left: (left - 1) as usize, top: (top - 1) as usize, width, height })
}
