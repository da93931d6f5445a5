//! Settings of the synthetic world, and constants that several of its parts share.

use super::{SegmentSettings, SynthError};
use serde::{Deserialize, Serialize};

/// Sample rate of the voice's synthesis, Hz: speech cues end below 8 kHz. Written files have a multiple of it.
pub(super) const VOICE_RATE: u32 = 16_000;
/// Control frames of the voice per second (5 ms, about one glottal cycle).
pub(super) const CONTROL_RATE: f64 = 200.0;
/// Samples of the voice in one control frame.
pub(super) const SAMPLES_OF_STEP: usize = (VOICE_RATE as f64 / CONTROL_RATE) as usize;
/// Rise of the pitch at a full accent, in octaves.
pub(super) const ACCENT_OCTAVES: f64 = 0.25;
/// Clips of one actor in RAVDESS speech: 4 neutral and 8 of each other emotion.
pub(super) const CLIPS_OF_ACTOR: usize = 60;
/// Speakers of RAVDESS, and the highest number its two-digit field can carry.
const MOST_ACTORS: usize = 99;

/// The corpus whose files and names a synthetic world has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// RAVDESS: recordings of single performances.
    #[default]
    Ravdess,
    /// CMU-MOSEI: `.csd` files of videos cut into segments.
    Mosei,
}

/// The speech synthesiser of a synthetic world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voice {
    /// The built-in formant synthesiser: pulses and noise through formants. Its bytes are the same on every machine.
    #[default]
    Formants,
    /// espeak-ng, which must be installed: RAVDESS's two statements in English.
    Espeak,
}

impl Voice {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings of a synthetic world. Noise settings are factors on the calibrated noise, and `difficulty` scales all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldSettings {
    /// Seed of all random streams.
    pub seed: u64,
    /// Labelled actors, 1 to 99 together with `extra_actors`; odd numbers are male, even ones female.
    pub actors: usize,
    /// Clips of each actor, 1 to 60; fewer than 60 keep the emotions balanced.
    pub clips_per_actor: usize,
    /// Further actors, numbered after the labelled ones, meant for pretraining without labels.
    pub extra_actors: usize,
    /// Sample rate of the written voice, Hz: 16000, 32000, 48000 or 96000.
    pub sample_rate: u32,
    /// Length of every clip, seconds. 2.42 s hold 120 log-mel frames (50 a second, 32 ms window) and 72 landmark frames.
    pub seconds: f64,
    /// Landmark frames per second.
    pub landmark_fps: f64,
    /// Face frames per second, at most `landmark_fps`.
    pub video_fps: f64,
    /// Height and width of the square face frames, pixels, 16 to 256.
    pub face_size: usize,
    /// Factor on every noise setting below: 1 is calibrated, 0 gives noise-free prototypes.
    pub difficulty: f64,
    /// Largest share of a second emotion in a performance, common to all views.
    pub second_emotion: f64,
    /// Standard deviation of the log intensity of a performance, common to all views.
    pub intensity_spread: f64,
    /// Standard deviation of the noise on the five affect dimensions, common to all views.
    pub shared_noise: f64,
    /// Noise on the affect of the voice alone.
    pub voice_noise: f64,
    /// Noise on the action units alone.
    pub face_noise: f64,
    /// Noise on the cues of the face frames alone (flush, gloss, gaze).
    pub skin_noise: f64,
    /// Strength of identity: styles, habits, expressivity, face shape.
    pub identity: f64,
    /// Constant error of the tracker on each actor's landmarks, as a factor on `identity`; 1 moves a point by about 0.08
    /// of half a face's width.
    #[serde(skip_serializing_if = "is_zero")]
    pub tracker_bias: f64,
    /// Channel nuisance of the voice: microphone, level, room noise; the noise of COVAREP.
    pub channel: f64,
    /// Nuisance of the landmarks: head pose, drift, tracker noise; the noise of OpenFace's action units.
    pub pose: f64,
    /// Nuisance of the face frames: light, exposure, crop, sensor noise; the noise of FACET.
    pub light: f64,
    /// Share of clips in which one random modality shows little of the affect.
    pub weak_modality: f64,
    /// Strength of the motion of brows and head at pitch accents.
    pub accent_sync: f64,
    /// Strength of the jaw's motion with the voice's envelope.
    pub jaw_coupling: f64,
    /// The speech synthesiser.
    #[serde(skip_serializing_if = "Voice::is_default")]
    pub voice: Voice,
    /// Settings of CMU-MOSEI's shape alone.
    #[serde(skip_serializing_if = "SegmentSettings::is_default")]
    pub segments: SegmentSettings,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            seed: 11,
            actors: 24,
            clips_per_actor: CLIPS_OF_ACTOR,
            extra_actors: 0,
            sample_rate: 48_000,
            seconds: 2.42,
            landmark_fps: 30.0,
            video_fps: 15.0,
            face_size: 32,
            difficulty: 1.0,
            second_emotion: 0.4,
            intensity_spread: 0.25,
            shared_noise: 0.15,
            voice_noise: 0.5,
            face_noise: 0.5,
            skin_noise: 0.5,
            identity: 0.7,
            tracker_bias: 0.0,
            channel: 1.0,
            pose: 1.0,
            light: 1.0,
            weak_modality: 0.1,
            accent_sync: 0.3,
            jaw_coupling: 0.9,
            voice: Voice::default(),
            segments: SegmentSettings::default(),
        }
    }
}

impl WorldSettings {
    /// Checks the range of every setting, and that none is set that a world of this shape does not have.
    ///
    /// # Errors
    /// [`SynthError::Setting`] for the first setting that is refused.
    pub fn check(&self, shape: Shape) -> Result<(), SynthError> {
        let whole = |name, value: usize, low: usize, high: usize, rule| {
            let inside = (low..=high).contains(&value);
            inside.then_some(()).ok_or_else(|| SynthError::setting(name, value, rule))
        };
        let real = |name, value: f64, low: f64, high: f64, rule| {
            let inside = (low..=high).contains(&value);
            inside.then_some(()).ok_or_else(|| SynthError::setting(name, value, rule))
        };
        self.check_shape(shape)?;
        self.segments.check()?;
        whole("actors", self.actors, 1, MOST_ACTORS, "1 to 99")?;
        whole("clips_per_actor", self.clips_per_actor, 1, CLIPS_OF_ACTOR, "1 to 60")?;
        let everyone = self.actors.saturating_add(self.extra_actors);
        whole("extra_actors", everyone, 1, MOST_ACTORS, "at most 99 together with `actors`")?;
        whole("face_size", self.face_size, 16, 256, "16 to 256 pixels")?;
        let factor = (self.sample_rate / VOICE_RATE) as usize;
        if !self.sample_rate.is_multiple_of(VOICE_RATE) || !(1..=6).contains(&factor) {
            let rule = "16000 Hz times a whole number up to 6";
            return Err(SynthError::setting("sample_rate", self.sample_rate, rule));
        }
        real("seconds", self.seconds, 1.0, 10.0, "1 to 10 seconds")?;
        real("landmark_fps", self.landmark_fps, 5.0, 120.0, "5 to 120 frames a second")?;
        if shape == Shape::Ravdess {
            real("video_fps", self.video_fps, 1.0, self.landmark_fps, "1 to `landmark_fps`")?;
        }
        for (name, value) in [
            ("difficulty", self.difficulty),
            ("second_emotion", self.second_emotion),
            ("intensity_spread", self.intensity_spread),
            ("shared_noise", self.shared_noise),
            ("voice_noise", self.voice_noise),
            ("face_noise", self.face_noise),
            ("skin_noise", self.skin_noise),
            ("identity", self.identity),
            ("tracker_bias", self.tracker_bias),
            ("channel", self.channel),
            ("pose", self.pose),
            ("light", self.light),
            ("accent_sync", self.accent_sync),
            ("jaw_coupling", self.jaw_coupling),
        ] {
            real(name, value, 0.0, 3.0, "0 to 3")?;
        }
        real("weak_modality", self.weak_modality, 0.0, 1.0, "0 to 1")
    }

    /// Refuses settings that have no effect on a world of this shape.
    fn check_shape(&self, shape: Shape) -> Result<(), SynthError> {
        const NO_AUDIO: &str = "left out with CMU-MOSEI's shape, which has no audio";
        const NO_FRAMES: &str = "left out with CMU-MOSEI's shape, which has no face frames";
        let Self { sample_rate, video_fps, face_size, .. } = Self::default();
        match shape {
            Shape::Ravdess if !self.segments.is_default() => {
                let rule = "left out with RAVDESS's shape, which has no segments";
                Err(SynthError::setting("segments", "set", rule))
            }
            Shape::Mosei if self.voice != Voice::Formants => {
                Err(SynthError::setting("voice", "espeak", NO_AUDIO))
            }
            Shape::Mosei if self.sample_rate != sample_rate => {
                Err(SynthError::setting("sample_rate", self.sample_rate, NO_AUDIO))
            }
            Shape::Mosei if self.video_fps != video_fps => {
                Err(SynthError::setting("video_fps", self.video_fps, NO_FRAMES))
            }
            Shape::Mosei if self.face_size != face_size => {
                Err(SynthError::setting("face_size", self.face_size, NO_FRAMES))
            }
            _ => Ok(()),
        }
    }

    /// Landmark frames of a clip.
    pub fn landmark_frames(&self) -> usize {
        (self.seconds * self.landmark_fps) as usize
    }

    /// Face frames of a clip.
    pub fn video_frames(&self) -> usize {
        (self.seconds * self.video_fps) as usize
    }

    /// Samples of a clip's written voice.
    pub fn samples(&self) -> usize {
        self.voice_samples() * (self.sample_rate / VOICE_RATE) as usize
    }

    /// Samples of a clip's voice at the rate of synthesis.
    pub(super) fn voice_samples(&self) -> usize {
        (self.seconds * f64::from(VOICE_RATE)) as usize
    }

    /// The settings with every noise setting multiplied by `difficulty`.
    pub(super) fn scaled(&self) -> Self {
        let mut scaled = self.clone();
        for lever in [
            &mut scaled.second_emotion,
            &mut scaled.intensity_spread,
            &mut scaled.shared_noise,
            &mut scaled.voice_noise,
            &mut scaled.face_noise,
            &mut scaled.skin_noise,
            &mut scaled.channel,
            &mut scaled.pose,
            &mut scaled.light,
        ] {
            *lever *= self.difficulty;
        }
        scaled.segments = self.segments.scaled(self.difficulty);
        scaled.weak_modality = (scaled.weak_modality * self.difficulty).min(1.0);
        scaled
    }
}
