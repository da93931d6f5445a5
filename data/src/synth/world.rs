//! A synthetic world: its actors, and its clips on demand.

use super::actor::Actor;
use super::clip_id::ClipId;
use super::espeak::Speaker;
use super::filter::Upsampler;
use super::landmarks::{LandmarkFrame, track};
use super::performance::Performance;
use super::portrait::paint;
use super::settings::{Shape as CorpusShape, Voice};
use super::spoken;
use super::tables::{ACTION_UNITS, EMOTIONS, UNITS};
use super::template::{Shape, mean_face, shape_modes, tracker_modes, unit_moves};
use super::voice::speak;
use super::{SynthError, WorldSettings};

/// Largest sample of a written voice, relative to full scale.
const LOUDEST: f32 = 0.98;

/// The true factors behind a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// The voice's affect: arousal, valence, dominance, tension, novelty.
    pub voice_affect: [f64; 5],
    /// Strength of each of [`ACTION_UNITS`] at the expression's apex.
    pub action_units: [f64; UNITS],
    /// Flush, gloss and downward gaze of the face frames.
    pub skin: [f64; 3],
}

impl Factors {
    pub(super) fn of(performance: &Performance) -> Self {
        let skin = performance.skin;
        Self {
            voice_affect: performance.voice_affect,
            action_units: performance.units,
            skin: [skin.flush, skin.gloss, skin.gaze],
        }
    }
}

/// One clip with all of its views.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Its name.
    pub id: ClipId,
    /// Voice, mono, `sample_rate` Hz.
    pub voice: Vec<i16>,
    /// Tracked landmarks, `landmark_fps` a second.
    pub landmarks: Vec<LandmarkFrame>,
    /// Face frames, RGB, row by row: `video_frames` x `face_size` x `face_size` x 3 bytes.
    pub frames: Vec<u8>,
    /// The true factors.
    pub factors: Factors,
    /// The affect of the performance, which its views share: arousal, valence, dominance, tension, novelty.
    pub affect: [f64; 5],
}

/// A synthetic world: settings and the actors that they determine.
pub struct World {
    settings: WorldSettings,
    /// Settings with noise multiplied by the difficulty.
    scaled: WorldSettings,
    actors: Vec<Actor>,
    moves: [Shape; UNITS],
    upsampler: Upsampler,
    /// The external speech synthesiser; `None` for formants.
    speaker: Option<Speaker>,
}

impl World {
    /// Checks the settings for this shape, draws the actors, and finds espeak-ng when it is the voice.
    ///
    /// # Errors
    /// A setting out of range; espeak-ng that is not installed or fails.
    pub fn new(settings: &WorldSettings, shape: CorpusShape) -> Result<Self, SynthError> {
        settings.check(shape)?;
        let speaker = match settings.voice {
            Voice::Formants => None,
            Voice::Espeak => Some(Speaker::find()?),
        };
        Ok(Self::with_speaker(settings, speaker))
    }

    /// A world with this speech synthesiser and settings that were checked.
    pub(super) fn with_speaker(settings: &WorldSettings, speaker: Option<Speaker>) -> Self {
        let modes = shape_modes(settings.seed);
        let biases = tracker_modes(settings.seed);
        let mean = mean_face();
        let everyone = settings.actors + settings.extra_actors;
        let scaled = settings.scaled();
        let actors = (1..=everyone)
            .map(|number| Actor::new(&scaled, &modes, &biases, &mean, number))
            .collect();
        let factor = settings.samples() / settings.voice_samples();
        Self {
            settings: settings.clone(),
            scaled,
            actors,
            moves: unit_moves(),
            upsampler: Upsampler::new(factor),
            speaker,
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &WorldSettings {
        &self.settings
    }

    /// Its settings with noise multiplied by the difficulty.
    pub(super) fn scaled(&self) -> &WorldSettings {
        &self.scaled
    }

    /// The names of all clips, actor by actor. Emotions vary fastest, so that the first clips of an actor are balanced.
    pub fn clips(&self) -> Vec<ClipId> {
        let mut names = Vec::new();
        for repetition in 0..2 {
            for statement in 0..2 {
                for strong in [false, true] {
                    for emotion in usize::from(strong)..EMOTIONS.len() {
                        names.push((emotion, strong, statement, repetition));
                    }
                }
            }
        }
        names.truncate(self.settings.clips_per_actor);
        let of_actor = |actor| {
            names.iter().map(move |&(emotion, strong, statement, repetition)| ClipId {
                actor,
                emotion,
                strong,
                statement,
                repetition,
            })
        };
        (1..=self.actors.len()).flat_map(of_actor).collect()
    }

    /// Name and version of the external speech synthesiser; `None` for formants.
    pub fn speaker(&self) -> Option<&str> {
        self.speaker.as_ref().map(|speaker| speaker.version.as_str())
    }

    /// Generates one clip. Its bytes do not depend on other clips.
    ///
    /// # Errors
    /// [`SynthError::NoClip`] for a name out of range; errors of espeak-ng.
    pub fn clip(&self, id: ClipId) -> Result<Clip, SynthError> {
        let known = id.emotion < EMOTIONS.len() && id.statement < 2 && id.repetition < 2;
        let actor = id.actor.checked_sub(1).and_then(|place| self.actors.get(place));
        let actor = actor.filter(|_| known).ok_or_else(|| SynthError::NoClip(id.stem(1)))?;
        let mut performance = Performance::new(&self.scaled, actor, id);
        let said = match &self.speaker {
            Some(speaker) => {
                let said = spoken::say(speaker, &self.scaled, actor, &performance, id)?;
                performance.timeline = said.timeline(&performance.timeline);
                Some(said.samples)
            }
            None => None,
        };
        let voice = speak(&self.scaled, actor, &performance, id, said.as_deref(), &self.upsampler);
        let (truth, landmarks) = track(&self.scaled, actor, &self.moves, &performance, id);
        let frames = paint(&self.scaled, actor, &performance, &truth, id);
        let to_sample = |value: f32| (value.clamp(-LOUDEST, LOUDEST) * 32_768.0).round() as i16;
        Ok(Clip {
            id,
            voice: voice.into_iter().map(to_sample).collect(),
            landmarks,
            frames,
            factors: Factors::of(&performance),
            affect: performance.affect,
        })
    }

    /// The scaled settings, an actor, and the motion of points by action units; `None` when there is no such actor.
    pub(super) fn scene(&self, actor: usize) -> Option<(&WorldSettings, &Actor, &[Shape; UNITS])> {
        Some((&self.scaled, self.actors.get(actor.checked_sub(1)?)?, &self.moves))
    }

    /// Header of `factors.csv`.
    pub(super) fn factor_header() -> String {
        let affect = super::AFFECT.map(|name| format!("voice_{name}"));
        let units = ACTION_UNITS.map(|number| format!("au{number:02}"));
        format!(
            "id,actor,class,{},{},skin_flush,skin_gloss,gaze_down\n",
            affect.join(","),
            units.join(",")
        )
    }
}
