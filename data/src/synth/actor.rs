//! An actor: voice, face, habits and looks.

use super::WorldSettings;
use super::random::{Purpose, Stream};
use super::tables::UNITS;
use super::template::{POINTS, SHAPE_MODES, Shape, TRACKER_MODES};

/// Resting pitch of men and women, Hz, and its standard deviation in octaves (Peterson and Barney 1952, widened).
const RESTING_PITCH: [f64; 2] = [105.0, 200.0];
const PITCH_SPREAD: [f64; 2] = [0.15, 0.13];
/// Ratio of female to male formants, and the standard deviation within either.
const SHORT_TRACT: f64 = 1.16;
const TRACT_SPREAD: f64 = 0.03;
/// Standard deviations among actors at identity 1.
const RATE_SPREAD: f64 = 0.08;
const EXPRESSIVITY_SPREAD: f64 = 0.25;
const STYLE_SPREAD: f64 = 0.16;
const HABIT_SPREAD: f64 = 0.25;

/// The properties of an actor, the same in all of the actor's clips.
pub(super) struct Actor {
    /// Resting pitch, Hz.
    pub(super) pitch: f64,
    /// Formant factor of the vocal tract: 1 for a male tract, more for a shorter one.
    pub(super) tract: f64,
    /// Speaking rate relative to the average.
    pub(super) rate: f64,
    /// Strength of the affect in voice and face; 1 on average.
    pub(super) voice_expressivity: f64,
    pub(super) face_expressivity: f64,
    /// Constant offset of the voice's affect.
    pub(super) voice_style: [f64; 5],
    /// Action units that are always shown.
    pub(super) face_habits: [f64; UNITS],
    /// The neutral face.
    pub(super) shape: Shape,
    /// Constant error of the tracker on this face, in face units.
    pub(super) tracker_bias: Shape,
    /// Looks.
    pub(super) looks: Looks,
}

/// Looks of a person in the face frames; colours are linear RGB in [0, 1].
pub(super) struct Looks {
    pub(super) skin: [f32; 3],
    pub(super) hair: [f32; 3],
    pub(super) lips: [f32; 3],
    pub(super) iris: [f32; 3],
    pub(super) clothes: [f32; 3],
    /// Thickness of the brows, face units.
    pub(super) brow: f32,
    /// Volume of the hair over the skull, face units.
    pub(super) hair_volume: f32,
    /// Length of the hair beside the face, in face units below the eyes.
    pub(super) hair_fall: f32,
    /// Height of the forehead, face units above the ears.
    pub(super) forehead: f32,
}

impl Actor {
    /// The actor with a number from 1; odd numbers are male as in RAVDESS.
    pub(super) fn new(
        settings: &WorldSettings,
        modes: &[Shape; SHAPE_MODES],
        biases: &[Shape; TRACKER_MODES],
        mean: &Shape,
        number: usize,
    ) -> Self {
        let mut stream = Stream::new(settings.seed, Purpose::Actor, number as u64, 0);
        let identity = settings.identity;
        let male = number % 2 == 1;
        let pitch = if male {
            RESTING_PITCH[0] * libm::exp2(stream.normal() * PITCH_SPREAD[0])
        } else {
            RESTING_PITCH[1] * libm::exp2(stream.normal() * PITCH_SPREAD[1])
        };
        let tract = if male { 1.0 } else { SHORT_TRACT } + stream.normal() * TRACT_SPREAD;
        let coordinates = stream.normals::<SHAPE_MODES>().map(|normal| normal * identity);
        let shape = combine(mean, modes, &coordinates);
        let bias = identity * settings.tracker_bias;
        let errors = stream.normals::<TRACKER_MODES>().map(|normal| normal * bias);
        let tracker_bias = combine(&[[0.0; 2]; POINTS], biases, &errors);
        Self {
            pitch,
            tract,
            rate: 1.0 + stream.normal() * RATE_SPREAD * identity,
            voice_expressivity: (1.0 + stream.normal() * EXPRESSIVITY_SPREAD * identity)
                .clamp(0.4, 1.8),
            face_expressivity: (1.0 + stream.normal() * EXPRESSIVITY_SPREAD * identity)
                .clamp(0.4, 1.8),
            voice_style: stream.normals().map(|normal| normal * STYLE_SPREAD * identity),
            face_habits: stream.normals().map(|normal| normal.abs() * HABIT_SPREAD * identity),
            shape,
            tracker_bias,
            looks: Looks::new(settings.seed, number, male),
        }
    }
}

/// A shape plus weighted modes.
fn combine(start: &Shape, modes: &[Shape], weights: &[f64]) -> Shape {
    let mut shape = *start;
    for (mode, weight) in modes.iter().zip(weights) {
        for (point, step) in shape.iter_mut().zip(mode) {
            point[0] += weight * step[0];
            point[1] += weight * step[1];
        }
    }
    shape
}

impl Looks {
    fn new(seed: u64, number: usize, male: bool) -> Self {
        let mut stream = Stream::new(seed, Purpose::Appearance, number as u64, 0);
        // Skin and hair lie between a light and a dark end; mixtures in between are as common as the ends.
        let depth = stream.uniform() as f32;
        let skin = blend([0.93, 0.74, 0.62], [0.45, 0.29, 0.21], depth);
        let hair = if stream.uniform() < 0.25 {
            blend([0.72, 0.52, 0.28], [0.55, 0.25, 0.10], stream.uniform() as f32)
        } else {
            blend([0.30, 0.18, 0.10], [0.06, 0.05, 0.05], stream.uniform() as f32)
        };
        let lips = blend(skin, [0.68, 0.22, 0.24], stream.between(0.45, 0.75) as f32);
        let iris = blend([0.25, 0.40, 0.55], [0.18, 0.09, 0.05], stream.uniform() as f32);
        let clothes = [0; 3].map(|_| stream.between(0.08, 0.75) as f32);
        Self {
            skin,
            hair,
            lips,
            iris,
            clothes,
            brow: stream.between(0.06, 0.11) as f32,
            hair_volume: stream.between(0.08, 0.24) as f32,
            hair_fall: if male { stream.between(-0.5, -0.1) } else { stream.between(-0.2, 1.4) }
                as f32,
            forehead: stream.between(1.05, 1.25) as f32,
        }
    }
}

/// Mixes two colours: `share` 0 is the first, 1 the second.
pub(super) fn blend(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    core::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}
