//! The 68 points over time: action units, speech, blinks, head pose and tracker errors.

use super::WorldSettings;
use super::actor::Actor;
use super::clip_id::ClipId;
use super::performance::Performance;
use super::random::{Purpose, Stream};
use super::settings::CONTROL_RATE;
use super::tables::{UNITS, unit};
use super::template::{POINTS, Shape};

/// Frame of the camera, pixels, as RAVDESS's.
pub(super) const CAMERA: [f64; 2] = [1280.0, 720.0];
/// Pixels of half a face's width: a face fills about half of the frame's height.
const PIXELS_OF_UNIT: f64 = 110.0;
/// Share of the head's rotation that remains in aligned face frames.
const ALIGNED_SHARE: f64 = 0.25;
/// The tracker's error from frame to frame, face units (3 pixels).
const TRACKER_NOISE: f64 = 0.025;
/// Standard deviations of the head pose (roll, yaw, pitch) per clip, and of its steps at 30 frames per second, in radians.
const HELD_ANGLES: [f64; 3] = [0.06, 0.12, 0.10];
const ANGLE_STEPS: [f64; 3] = [0.008, 0.01, 0.01];
/// Standard deviations of the face's size and position per clip, and of the position's steps, in face units.
const SIZE_SPREAD: f64 = 0.06;
const PLACE_SPREAD: f64 = 0.10;
const PLACE_STEP: f64 = 0.006;
/// Pitch of the head's nod with a full pitch accent, radians, and rise of the brows with it.
const NOD: f64 = 0.15;
const BROW_ACCENT: f64 = 0.6;
/// Points of the upper lids, moved by blinks and action units.
const UPPER_LIDS: [usize; 4] = [37, 38, 43, 44];
/// Motion of the upper lid at a blink, in face units.
const BLINK_DROP: f64 = 0.1;
/// Blinks of a clip of 2.4 s, on average.
const BLINKS_PER_SECOND: f64 = 0.33;
/// Runs of frames in which the tracker is lost, per second, and their extra error, face units.
const LOSSES_PER_SECOND: f64 = 0.25;
const LOST_SHIFT: f64 = 0.15;
const LOST_SCATTER: f64 = 0.06;

/// One tracked frame.
#[derive(Debug, Clone)]
pub struct LandmarkFrame {
    /// Points in pixels of a 1280 x 720 frame, (x, y).
    pub points: [[f32; 2]; POINTS],
    /// The tracker's confidence in [0, 1]; below 0.5 the points are not reliable.
    pub confidence: f32,
    /// Head rotation (pitch, yaw, roll), radians.
    pub rotation: [f32; 3],
    /// Head position in front of the camera, millimetres.
    pub position: [f32; 3],
}

/// The true shape of the face in one landmark frame, from which the portrait is drawn.
pub(super) struct TrueFrame {
    /// Points in an aligned crop, face units: a share of the head's rotation is left, no drift, no tracker noise.
    pub(super) shape: Shape,
    /// Pitch, yaw, roll, radians.
    pub(super) rotation: [f64; 3],
    /// Closure of the eyes by a blink, 0 or 1.
    pub(super) blink: f64,
    /// Strength of the expression, 0.35 to 1.
    pub(super) apex: f64,
}

/// The true shape of a clip's face over time, and the tracked one.
pub(super) fn track(
    settings: &WorldSettings,
    actor: &Actor,
    moves: &[Shape; UNITS],
    performance: &Performance,
    clip: ClipId,
) -> (Vec<TrueFrame>, Vec<LandmarkFrame>) {
    let mut stream =
        Stream::new(settings.seed, Purpose::Face, clip.actor as u64, clip.code() + 10_000);
    let frames = settings.landmark_frames();
    let fps = settings.landmark_fps;
    let timeline = &performance.timeline;
    let speech_seconds = timeline.steps() as f64 / CONTROL_RATE;
    let onset = stream.between(0.02, 0.3);
    let offset = stream.between(0.75, 1.0);
    let mut blinking = vec![0.0; frames];
    let reach = (2.0 * fps / 30.0).round() as usize;
    for _ in 0..stream.poisson(BLINKS_PER_SECOND * settings.seconds) {
        let centre = stream.below(frames);
        let last = (centre + reach).min(frames - 1);
        blinking[centre.saturating_sub(reach)..=last].fill(1.0);
    }
    let mut lost = vec![false; frames];
    for _ in 0..stream.poisson(LOSSES_PER_SECOND * settings.seconds) {
        // Never the first frame: readers repeat the previous good frame.
        let first = 1 + stream.below(frames - 1);
        let count = 1 + stream.below(3);
        lost[first..(first + count).min(frames)].fill(true);
    }
    // Random walks keep their spread per second at any frame rate; the levels are for 30 frames a second.
    let walk = libm::sqrt(30.0 / fps) * settings.pose;
    let held: [f64; 3] = HELD_ANGLES.map(|level| stream.normal() * level * settings.pose);
    let [mut roll, mut yaw, mut pitch] = held;
    let scale = 1.0 + stream.normal() * SIZE_SPREAD * settings.pose;
    let mut place = stream.normals::<2>().map(|normal| normal * PLACE_SPREAD * settings.pose);
    let mut truth = Vec::with_capacity(frames);
    let mut tracked = Vec::with_capacity(frames);
    for frame in 0..frames {
        let seconds = frame as f64 / fps;
        let along = (seconds - timeline.lead) / speech_seconds;
        let rise = ((along - onset + 0.15) / 0.15).clamp(0.0, 1.0);
        let fall = ((offset + 0.2 - along) / 0.2).clamp(0.0, 1.0);
        let apex = 0.35 + 0.65 * rise * fall;
        let mouth =
            timeline.at(&timeline.openness, seconds) * (0.6 + 0.25 * performance.traits.energy);
        let accent = timeline.at(&timeline.accent, seconds)
            * timeline.accent_strength
            * settings.accent_sync;
        let mut weights = performance.units.map(|strength| strength * apex);
        weights[unit::JAW_DROP] += mouth * settings.jaw_coupling;
        weights[unit::INNER_BROW_RAISE] += accent * BROW_ACCENT;
        weights[unit::OUTER_BROW_RAISE] += accent * BROW_ACCENT;
        let mut shape = express(&actor.shape, moves, &weights);
        for lid in UPPER_LIDS {
            shape[lid][1] += blinking[frame] * BLINK_DROP;
        }
        roll += stream.normal() * ANGLE_STEPS[0] * walk;
        yaw += stream.normal() * ANGLE_STEPS[1] * walk;
        pitch += stream.normal() * ANGLE_STEPS[2] * walk;
        let rotation = [pitch + accent * NOD, yaw, roll];
        // Face frames are aligned as by preprocessing. Otherwise landmarks and frames could be matched by the head pose
        // alone, without the emotion.
        let residue = rotation.map(|angle| angle * ALIGNED_SHARE);
        let mut aligned = shape;
        rotate(&mut aligned, residue);
        rotate(&mut shape, rotation);
        for axis in &mut place {
            *axis += stream.normal() * PLACE_STEP * walk;
        }
        let mut biased = shape;
        for (point, error) in biased.iter_mut().zip(&actor.tracker_bias) {
            point[0] += error[0];
            point[1] += error[1];
        }
        tracked.push(observe(
            &biased,
            rotation,
            scale,
            place,
            lost[frame],
            settings.pose,
            &mut stream,
        ));
        truth.push(TrueFrame { shape: aligned, rotation: residue, blink: blinking[frame], apex });
    }
    (truth, tracked)
}

fn express(neutral: &Shape, moves: &[Shape; UNITS], weights: &[f64; UNITS]) -> Shape {
    let mut shape = *neutral;
    for (direction, &weight) in moves.iter().zip(weights) {
        if weight != 0.0 {
            for (point, step) in shape.iter_mut().zip(direction) {
                point[0] += weight * step[0];
                point[1] += weight * step[1];
            }
        }
    }
    shape
}

/// Rotates the points as if they lay on a paraboloid, which is enough depth for small angles.
fn rotate(shape: &mut Shape, [pitch, yaw, roll]: [f64; 3]) {
    let (sin_yaw, cos_yaw) = (libm::sin(yaw), libm::cos(yaw));
    let (sin_pitch, cos_pitch) = (libm::sin(pitch), libm::cos(pitch));
    let (sin_roll, cos_roll) = (libm::sin(roll), libm::cos(roll));
    for point in shape {
        let x = point[0] * cos_yaw + 0.25 * sin_yaw * (1.0 - point[0] * point[0]);
        let y = point[1] * cos_pitch + 0.25 * sin_pitch * (1.0 - x * x);
        *point = [cos_roll * x - sin_roll * y, sin_roll * x + cos_roll * y];
    }
}

/// The tracked frame of a shape.
fn observe(
    shape: &Shape,
    [pitch, yaw, roll]: [f64; 3],
    scale: f64,
    place: [f64; 2],
    lost: bool,
    pose: f64,
    stream: &mut Stream,
) -> LandmarkFrame {
    let shift = stream.normals::<2>().map(|normal| if lost { normal * LOST_SHIFT } else { 0.0 });
    let scatter = TRACKER_NOISE * pose + if lost { LOST_SCATTER } else { 0.0 };
    let points = shape.map(|point| {
        core::array::from_fn(|axis| {
            let units = point[axis] * scale + place[axis] + shift[axis] + stream.normal() * scatter;
            let pixels = CAMERA[axis] / 2.0 + PIXELS_OF_UNIT * units;
            pixels.clamp(0.0, CAMERA[axis] - 1.0) as f32
        })
    });
    let confidence = if lost { stream.between(0.05, 0.4) } else { stream.between(0.92, 0.98) };
    // A head 150 mm wide over two units gives the scale of the position; 600 mm is OpenFace's usual distance.
    let position = [place[0] * 75.0, place[1] * 75.0, 600.0 / scale.max(0.5)].map(|mm| mm as f32);
    let rotation = [pitch, yaw, roll].map(|angle| angle as f32);
    LandmarkFrame { points, confidence: confidence as f32, rotation, position }
}
