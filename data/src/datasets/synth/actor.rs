//! A person: voice, face, habits, looks.

use super::WorldSettings;
use super::random::{Purpose, Stream};
use super::tables::UNITS;
use super::template::{POINTS, SHAPE_MODES, Shape};

/// Deviation of the tracker's lasting error at identity 1, face units. With the shape modes it gives each tracked point
/// the prototype's 0.07 from person to person, without making the painted faces irregular.
const TRACKER_BIAS: f64 = 0.09;

/// Everything that stays the same in all clips of one person.
pub(super) struct Actor {
    /// Resting pitch, Hz.
    pub(super) pitch: f64,
    /// Formant factor of the vocal tract: 1 for a male tract, more for a shorter one.
    pub(super) tract: f64,
    /// Speaking rate against the average.
    pub(super) rate: f64,
    /// How strongly voice and face show an affect; 1 on average.
    pub(super) voice_expressivity: f64,
    pub(super) face_expressivity: f64,
    /// Lasting offset of the voice's affect.
    pub(super) voice_style: [f64; 5],
    /// Action units shown out of habit.
    pub(super) face_habits: [f64; UNITS],
    /// The neutral face.
    pub(super) shape: Shape,
    /// Lasting error of the tracker on this face, face units: it misjudges the same face in the same way.
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
    /// How far the hair falls beside the face, face units below the eyes.
    pub(super) hair_fall: f32,
    /// Height of the forehead, face units above the ears.
    pub(super) forehead: f32,
}

impl Actor {
    /// The actor with a number from 1; odd numbers are male as in RAVDESS.
    pub(super) fn new(
        settings: &WorldSettings,
        modes: &[Shape; SHAPE_MODES],
        mean: &Shape,
        number: usize,
    ) -> Self {
        let mut stream = Stream::new(settings.seed, Purpose::Actor, number as u64, 0);
        let identity = settings.identity;
        let male = number % 2 == 1;
        let pitch = if male {
            105.0 * libm::exp2(stream.normal() * 0.15)
        } else {
            200.0 * libm::exp2(stream.normal() * 0.13)
        };
        let tract = if male { 1.0 } else { 1.16 } + stream.normal() * 0.03;
        let coordinates = stream.normals::<SHAPE_MODES>().map(|normal| normal * identity);
        let mut shape = *mean;
        for point in 0..POINTS {
            for axis in 0..2 {
                let offset: f64 = modes
                    .iter()
                    .zip(coordinates)
                    .map(|(mode, weight)| mode[point][axis] * weight)
                    .sum();
                shape[point][axis] += offset;
            }
        }
        Self {
            pitch,
            tract,
            rate: 1.0 + stream.normal() * 0.08 * identity,
            voice_expressivity: (1.0 + stream.normal() * 0.25 * identity).clamp(0.4, 1.8),
            face_expressivity: (1.0 + stream.normal() * 0.25 * identity).clamp(0.4, 1.8),
            voice_style: stream.normals().map(|normal| normal * 0.16 * identity),
            face_habits: stream.normals().map(|normal| normal.abs() * 0.25 * identity),
            shape,
            tracker_bias: [[0.0; 2]; POINTS]
                .map(|_| stream.normals().map(|normal| normal * TRACKER_BIAS * identity)),
            looks: Looks::new(settings.seed, number, male),
        }
    }
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
