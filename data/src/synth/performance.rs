//! One performance: the affect that its views share, the affect of each view, and the timing of speech.

use super::WorldSettings;
use super::actor::Actor;
use super::clip_id::ClipId;
use super::random::{Purpose, Stream};
use super::settings::CONTROL_RATE;
use super::tables::{
    ACTION_UNITS, EMOTION_AFFECT, EMOTION_UNITS, STATEMENTS, UNITS, VOICE_OF_AFFECT, phone_of,
};

/// Intensity of a normal performance relative to a strong one.
const NORMAL_INTENSITY: f64 = 0.55;
/// Share of the affect in a clip's weak modality.
const WEAK_SHARE: f64 = 0.35;
/// Factor on the voice's affect, chosen so that the voice alone classifies about half of the clips correctly.
const VOICE_GAIN: f64 = 1.15;
/// Longest silence before speech, and shortest silence after it, in seconds.
const LEAD: [f64; 2] = [0.02, 0.25];
/// Length of a phone at the average rate, seconds.
const PHONE_SECONDS: [f64; 2] = [0.07, 0.13];
/// Standard deviation of a pitch accent in time, in seconds.
const ACCENT_SECONDS: f64 = 0.06;

/// Flush of the skin by affect: more with arousal and dominance (anger, joy), less in fear and sadness.
const FLUSH_OF_AFFECT: [f64; 5] = [0.45, 0.10, 0.60, 0.0, 0.0];
/// Gloss (sweat) by affect, mostly tension.
const GLOSS_OF_AFFECT: [f64; 5] = [0.25, -0.15, -0.2, 0.75, 0.1];
/// Downward gaze by affect: down in sadness and disgust, up in surprise.
const GAZE_OF_AFFECT: [f64; 5] = [-0.35, -0.35, -0.15, 0.0, -0.45];

/// Cues of the face frames alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SkinCues {
    /// Redness of cheeks and face; negative is pale.
    pub(super) flush: f64,
    /// Sweat on forehead and cheeks; negative is matt.
    pub(super) gloss: f64,
    /// Gaze downwards, in irises.
    pub(super) gaze: f64,
    /// Visibility of lines and folds: 1, less in a clip whose frames are the weak modality.
    pub(super) clarity: f64,
}

/// Properties of the voice over a whole clip.
pub(super) struct VoiceTraits {
    /// Octaves above the resting pitch.
    pub(super) pitch: f64,
    /// Octaves by which the pitch range widens.
    pub(super) range: f64,
    pub(super) energy: f64,
    /// Speaking rate relative to the average.
    pub(super) rate: f64,
    pub(super) brightness: f64,
    pub(super) breath: f64,
}

/// The course of speech on the 5 ms grid.
pub(super) struct Timeline {
    /// Seconds of silence before speech.
    pub(super) lead: f64,
    /// Formant targets of the average male tract, Hz.
    pub(super) formants: Vec<[f64; 3]>,
    pub(super) voicing: Vec<f64>,
    /// Openness of the mouth, smoothed over 45 ms; also the voice's envelope.
    pub(super) openness: Vec<f64>,
    /// Pitch accents, 1 at each centre.
    pub(super) accent: Vec<f64>,
    pub(super) accent_strength: f64,
}

pub(super) struct Performance {
    /// Share of each emotion, before the actor's style.
    pub(super) mixture: [f64; 8],
    /// Arousal, valence, dominance, tension, novelty, common to all views.
    pub(super) affect: [f64; 5],
    pub(super) voice_affect: [f64; 5],
    pub(super) units: [f64; UNITS],
    pub(super) skin: SkinCues,
    pub(super) traits: VoiceTraits,
    pub(super) timeline: Timeline,
    /// The portrait's light is poor in this clip.
    pub(super) weak_light: bool,
}

fn dot(weights: &[f64; 5], affect: &[f64; 5]) -> f64 {
    weights.iter().zip(affect).map(|(weight, value)| weight * value).sum()
}

/// Strength of each action unit in each emotion.
fn unit_table() -> [[f64; UNITS]; 8] {
    let mut table = [[0.0; UNITS]; 8];
    for (row, units) in table.iter_mut().zip(EMOTION_UNITS) {
        for &(number, strength) in units {
            if let Some(unit) = ACTION_UNITS.iter().position(|&known| known == number) {
                row[unit] = strength;
            }
        }
    }
    table
}

impl Performance {
    /// Draws the performance of a clip; noise in `settings` is already multiplied by the difficulty.
    pub(super) fn new(settings: &WorldSettings, actor: &Actor, clip: ClipId) -> Self {
        let stream = |purpose| Stream::new(settings.seed, purpose, clip.actor as u64, clip.code());
        let mut shared = stream(Purpose::Performance);
        let full = if clip.strong { 1.0 } else { NORMAL_INTENSITY };
        let intensity = full * libm::exp(shared.normal() * settings.intensity_spread);
        let mut mixture = [0.0; 8];
        mixture[clip.emotion] = intensity;
        mixture[1 + shared.below(7)] += shared.uniform() * settings.second_emotion;
        let free = shared.normals::<5>().map(|normal| normal * settings.shared_noise);
        let mut affect = free;
        for (weight, prototype) in mixture.iter().zip(EMOTION_AFFECT) {
            for (value, part) in affect.iter_mut().zip(prototype) {
                *value += weight * part;
            }
        }
        let weak = shared.uniform() < settings.weak_modality;
        let weak_view = shared.below(3);
        let share = |view| if weak && weak_view == view { WEAK_SHARE } else { 1.0 };

        let mut voice = stream(Purpose::Voice);
        let voice_affect = core::array::from_fn(|i| {
            share(0) * actor.voice_expressivity * affect[i]
                + actor.voice_style[i]
                + voice.normal() * 0.20 * settings.voice_noise
        });
        let mut face = stream(Purpose::Face);
        let units = draw_units(settings, actor, &mixture, &free, share(1), &mut face);
        let mut portrait = stream(Purpose::Portrait);
        let mut cue = |weights: &[f64; 5]| {
            share(2) * actor.face_expressivity * dot(weights, &affect)
                + portrait.normal() * 0.35 * settings.skin_noise
        };
        let skin = SkinCues {
            flush: cue(&FLUSH_OF_AFFECT),
            gloss: cue(&GLOSS_OF_AFFECT),
            gaze: cue(&GAZE_OF_AFFECT),
            clarity: share(2),
        };
        let moved = VOICE_OF_AFFECT.map(|row| VOICE_GAIN * dot(&row, &voice_affect));
        let [pitch, range, energy, rate, brightness, breath] = moved;
        let rate = actor.rate * libm::exp2(0.5 * rate);
        let timeline = Timeline::new(settings, clip.statement, rate, &affect, &mut shared);
        Self {
            mixture,
            affect,
            voice_affect,
            units,
            skin,
            traits: VoiceTraits { pitch, range, energy, rate, brightness, breath },
            timeline,
            weak_light: weak && weak_view == 2,
        }
    }
}

/// The emotion's units with noise, drop-outs, the free affect's own traces and the actor's habits.
fn draw_units(
    settings: &WorldSettings,
    actor: &Actor,
    mixture: &[f64; 8],
    free: &[f64; 5],
    share: f64,
    stream: &mut Stream,
) -> [f64; UNITS] {
    let table = unit_table();
    core::array::from_fn(|unit| {
        let shown: f64 = mixture.iter().zip(&table).map(|(weight, row)| weight * row[unit]).sum();
        // Free affect moves a unit as far as the unit goes with that affect among the emotions (a quarter of their sum).
        let trace: f64 = (0..5)
            .map(|axis| {
                let link: f64 = (1..8).map(|e| EMOTION_AFFECT[e][axis] * table[e][unit]).sum();
                free[axis] * link / 4.0
            })
            .sum();
        let wobble = libm::exp(stream.normal() * 0.5 * settings.face_noise);
        let kept = stream.uniform() > 0.20 * settings.face_noise;
        let habit = actor.face_habits[unit] * stream.uniform();
        let clean = share * actor.face_expressivity * shown;
        if kept {
            clean * wobble + share * trace.max(0.0) + habit
        } else {
            share * trace.max(0.0) + habit
        }
    })
}

impl Timeline {
    fn new(
        settings: &WorldSettings,
        statement: usize,
        rate: f64,
        affect: &[f64; 5],
        stream: &mut Stream,
    ) -> Self {
        let phones: Vec<_> = STATEMENTS[statement % 2].chars().map(phone_of).collect();
        let mut lengths: Vec<f64> = phones
            .iter()
            .map(|_| stream.between(PHONE_SECONDS[0], PHONE_SECONDS[1]) / rate)
            .collect();
        let longest = longest_speech(settings);
        let total: f64 = lengths.iter().sum();
        if total > longest {
            lengths.iter_mut().for_each(|length| *length *= longest / total);
        }
        let lead = stream.between(LEAD[0], LEAD[1]);
        let total: f64 = lengths.iter().sum();
        let steps = ((total * CONTROL_RATE) as usize).max(1);
        let mut end = 0.0;
        let centres: Vec<f64> = lengths
            .iter()
            .map(|length| {
                end += length;
                end - length / 2.0
            })
            .collect();
        let track = |value: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let values: Vec<f64> = (0..phones.len()).map(value).collect();
            (0..steps)
                .map(|step| interpolate((step as f64 + 0.5) / CONTROL_RATE, &centres, &values))
                .collect()
        };
        let tracks: [Vec<f64>; 3] = core::array::from_fn(|k| track(&|i| phones[i].formants[k]));
        let openness = smooth(&track(&|i| phones[i].openness));
        let accents: Vec<usize> = (0..1 + stream.below(3)).map(|_| stream.below(steps)).collect();
        let width = ACCENT_SECONDS * CONTROL_RATE;
        let accent = (0..steps)
            .map(|step| {
                let bump = |&centre: &usize| {
                    let away = (step as f64 - centre as f64) / width;
                    libm::exp(-0.5 * away * away)
                };
                accents.iter().map(bump).sum()
            })
            .collect();
        Self {
            lead,
            formants: (0..steps).map(|step| core::array::from_fn(|k| tracks[k][step])).collect(),
            voicing: track(&|i| phones[i].voicing),
            openness,
            accent,
            accent_strength: (0.35 + 0.35 * affect[0] + 0.2 * affect[4]).clamp(0.0, 1.2),
        }
    }

    /// Control steps of speech.
    pub(super) fn steps(&self) -> usize {
        self.voicing.len()
    }

    /// A control track at a time in seconds since the clip's start; 0 outside speech.
    pub(super) fn at(&self, track: &[f64], seconds: f64) -> f64 {
        let place = (seconds - self.lead) * CONTROL_RATE - 0.5;
        if place < 0.0 || place > (track.len() - 1) as f64 {
            return 0.0;
        }
        let before = place as usize;
        let after = (before + 1).min(track.len() - 1);
        track[before] + (track[after] - track[before]) * (place - before as f64)
    }
}

/// Seconds that speech may take after the longest lead.
pub(super) fn longest_speech(settings: &WorldSettings) -> f64 {
    settings.seconds - LEAD[1] - 0.02
}

/// Linear interpolation through rising `places`, constant beyond the ends.
pub(super) fn interpolate(place: f64, places: &[f64], values: &[f64]) -> f64 {
    let after = places.partition_point(|&known| known <= place);
    if after == 0 {
        return values[0];
    }
    if after == places.len() {
        return values[after - 1];
    }
    let share = (place - places[after - 1]) / (places[after] - places[after - 1]);
    values[after - 1] + share * (values[after] - values[after - 1])
}

/// Mean over nine control frames (45 ms), with zeros beyond the ends, because the mouth moves smoothly.
pub(super) fn smooth(track: &[f64]) -> Vec<f64> {
    (0..track.len())
        .map(|step| {
            let window = &track[step.saturating_sub(4)..(step + 5).min(track.len())];
            window.iter().sum::<f64>() / 9.0
        })
        .collect()
}

/// Decay of a glottal pulse from sample to sample; a smaller decay is brighter.
pub(super) fn tilt(brightness: f64) -> f64 {
    (0.90 - 0.12 * brightness).clamp(0.6, 0.985)
}

/// Relative rise of the formants with valence: smiling shortens the vocal tract at the lips.
pub(super) fn smile(performance: &Performance) -> f64 {
    0.05 * libm::tanh(performance.voice_affect[1])
}
