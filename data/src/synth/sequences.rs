//! The sequences of a segment: values like those of COVAREP, OpenFace and FACET.
//!
//! Settings make them harder ([`SegmentSettings`](super::SegmentSettings)): nuisance of their own in COVAREP and FACET, and
//! segments without rows.

use super::World;
use super::random::{Purpose, Stream};
use super::segments::{FACET_WIDTH, Shown, VOICE_WIDTH};
use super::tables::{ACTION_UNITS, UNITS};
use super::write::openface_names;

/// Rows of COVAREP per second.
const VOICE_RATE: f64 = 100.0;
/// Mean energy below which COVAREP's logarithms are not finite.
const SILENCE: f64 = 0.02;
/// Standard deviations of the noise of single values.
const VOICE_NOISE: f64 = 0.5;
const FACET_NOISE: f64 = 0.3;
const UNIT_NOISE: f64 = 0.3;
/// The files in the keys of fixed random weights.
const VOICE_FILE: u64 = 1;
const FACET_FILE: u64 = 2;
const VOICE_NUISANCE_FILE: u64 = 4;
const FACET_NUISANCE_FILE: u64 = 5;

/// Rows of a segment: start and end of each in seconds, and their values.
type Rows = (Vec<[f64; 2]>, Vec<f32>);

impl Shown {
    /// Whether this segment is one of the share without rows.
    fn is_absent(&self, world: &World, purpose: Purpose, share: f64) -> bool {
        share > 0.0 && self.stream(world, purpose).uniform() < share
    }

    /// COVAREP's rows: pitch and voicing, then mixtures of the voice's properties, in time with speech.
    pub(super) fn voice(&self, world: &World) -> Rows {
        let scaled = world.scaled();
        if self.is_absent(world, Purpose::VoiceAbsent, scaled.segments.absent_voice) {
            return Rows::default();
        }
        let performance = &self.performance;
        let (traits, timeline) = (&performance.traits, &performance.timeline);
        let mut noise = self.stream(world, Purpose::Sequences);
        let mixing = mixing(world, VOICE_FILE, VOICE_WIDTH, 12);
        let mut own = self.stream(world, Purpose::VoiceNuisance);
        let size = scaled.segments.voice_nuisance;
        let offsets = nuisance(world, VOICE_NUISANCE_FILE, VOICE_WIDTH, size, &mut own);
        let rows = (scaled.seconds * VOICE_RATE) as usize;
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let at = row as f64 / VOICE_RATE;
            intervals.push([self.start + at, self.start + (row + 1) as f64 / VOICE_RATE]);
            let openness = timeline.at(&timeline.openness, at);
            let voicing = timeline.at(&timeline.voicing, at);
            let accent = timeline.at(&timeline.accent, at) * timeline.accent_strength;
            let energy = openness * (1.0 + 0.5 * traits.energy);
            let pitch = 120.0 * libm::exp2(traits.pitch + 0.3 * traits.range.max(-1.0) * accent);
            let mut state = [0.0; 12];
            let strength = scaled.segments.voice_affect;
            state[..5].copy_from_slice(&performance.voice_affect.map(|affect| strength * affect));
            state[5..10].copy_from_slice(&[
                traits.pitch,
                traits.range,
                traits.energy,
                traits.brightness,
                traits.breath,
            ]);
            state[10] = openness;
            state[11] = accent;
            let voiced = f64::from(u8::from(voicing > 0.5));
            values.push((pitch * voiced) as f32);
            values.push(voiced as f32);
            for (column, weights) in mixing.iter().enumerate().skip(2) {
                let sum: f64 = weights.iter().zip(&state).map(|(weight, x)| weight * x).sum();
                let seen = (sum + offsets[column]) * (0.3 + energy);
                let value = seen + VOICE_NOISE * scaled.channel * noise.normal();
                // The logarithm of 0, as in the real files.
                let silent = column % 24 == 5 && energy < SILENCE;
                values.push(if silent { f32::NEG_INFINITY } else { value as f32 });
            }
        }
        (intervals, values)
    }

    /// OpenFace's rows: head, points and action units; eyes, gaze and points in space stay 0.
    pub(super) fn openface(&self, world: &World) -> Rows {
        let scaled = world.scaled();
        if self.is_absent(world, Purpose::LandmarksAbsent, scaled.segments.absent_landmarks) {
            return Rows::default();
        }
        let names = openface_names();
        let find = |name: &str| names.iter().position(|known| known == name).unwrap_or(0);
        let (pose, x, y) = (find("pose_Tx"), find("x_0"), find("y_0"));
        let units = ACTION_UNITS.map(|number| find(&format!("AU{number:02}_r")));
        let fps = scaled.landmark_fps;
        let mut noise = self.stream(world, Purpose::Sequences);
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for (number, (frame, truth)) in self.tracked.iter().zip(&self.truth).enumerate() {
            let at = self.start + number as f64 / fps;
            intervals.push([at, at + 1.0 / fps]);
            let mut row = vec![0.0f32; names.len()];
            row[1] = at as f32;
            row[2] = frame.confidence;
            row[3] = f32::from(u8::from(frame.confidence >= 0.5));
            row[pose..pose + 3].copy_from_slice(&frame.position);
            row[pose + 3..pose + 6].copy_from_slice(&frame.rotation);
            for (point, place) in frame.points.iter().enumerate() {
                row[x + point] = place[0];
                row[y + point] = place[1];
            }
            for (unit, column) in units.iter().enumerate() {
                let strength = 3.0 * self.performance.units[unit] * truth.apex;
                let error = UNIT_NOISE * scaled.pose * noise.normal();
                row[*column] = (strength + error).clamp(0.0, 5.0) as f32;
            }
            values.extend(row);
        }
        (intervals, values)
    }

    /// FACET's rows: mixtures of action units and of the cues of skin and eyes.
    pub(super) fn facet(&self, world: &World) -> Rows {
        let scaled = world.scaled();
        if self.is_absent(world, Purpose::FacesAbsent, scaled.segments.absent_faces) {
            return Rows::default();
        }
        let mixing = mixing(world, FACET_FILE, FACET_WIDTH, UNITS + 3);
        let mut own = self.stream(world, Purpose::FacesNuisance);
        let size = scaled.segments.faces_nuisance;
        let offsets = nuisance(world, FACET_NUISANCE_FILE, FACET_WIDTH, size, &mut own);
        let skin = self.performance.skin;
        let fps = scaled.landmark_fps;
        let mut noise = self.stream(world, Purpose::Facet);
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for (number, truth) in self.truth.iter().enumerate() {
            // Not exactly the times of the video's other sequences, as in the real files.
            let at = self.start + (number as f64 + 0.4) / fps;
            intervals.push([at, at + 1.0 / fps]);
            let shown = self.performance.units.map(|strength| strength * truth.apex);
            let state: Vec<f64> =
                shown.into_iter().chain([skin.flush, skin.gloss, skin.gaze]).collect();
            for (weights, offset) in mixing.iter().zip(&offsets) {
                let sum: f64 = weights.iter().zip(&state).map(|(weight, x)| weight * x).sum();
                let error = FACET_NOISE * scaled.light * noise.normal();
                values.push((sum + offset + error) as f32);
            }
        }
        (intervals, values)
    }
}

/// A segment's offset of each column of a file: `size` times a fixed mixture of random numbers.
fn nuisance(world: &World, file: u64, columns: usize, size: f64, own: &mut Stream) -> Vec<f64> {
    let dimensions = world.settings().segments.nuisance_dimensions;
    if size == 0.0 {
        return vec![0.0; columns];
    }
    let drawn: Vec<f64> = (0..dimensions).map(|_| own.normal()).collect();
    let offset = |weights: Vec<f64>| -> f64 {
        size * weights.iter().zip(&drawn).map(|(weight, x)| weight * x).sum::<f64>()
    };
    mixing(world, file, columns, dimensions).into_iter().map(offset).collect()
}

/// Fixed random weights of a file's columns.
pub(super) fn mixing(world: &World, file: u64, columns: usize, inputs: usize) -> Vec<Vec<f64>> {
    let mut stream = Stream::new(world.settings().seed, Purpose::Mixing, file, 0);
    let size = 1.0 / libm::sqrt(inputs as f64 / 3.0);
    (0..columns).map(|_| (0..inputs).map(|_| size * stream.normal()).collect()).collect()
}
