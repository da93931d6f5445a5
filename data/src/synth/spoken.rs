//! A performance spoken by espeak-ng: its input, and the processing of its audio.
//!
//! The affect changes the same properties as in the formant synthesiser: pitch, its range, rate and accents in espeak-ng's
//! input; smile, brightness and breath in its audio. The timeline of jaw and brows is measured on the audio.

use super::actor::Actor;
use super::clip_id::ClipId;
use super::espeak::{Speaker, Utterance, failed};
use super::performance::{Performance, Timeline, VoiceTraits, longest_speech, smile, smooth, tilt};
use super::prosody::{hushed, loudness, pitch, quantile};
use super::random::Stream;
use super::settings::{ACCENT_OCTAVES, SAMPLES_OF_STEP, VOICE_RATE};
use super::{SynthError, WorldSettings};
use crate::formats::wav::Sound;

/// RAVDESS's statements.
const STATEMENTS: [&str; 2] = ["Kids are talking by the door", "Dogs are sitting by the door"];
/// espeak-ng's voices of men and women, and the median pitch in Hz of the statements with each voice's defaults
/// (version 1.51).
const MEN: [(&str, f64); 7] = [
    ("m1", 90.7),
    ("m2", 97.6),
    ("m3", 100.2),
    ("m4", 90.0),
    ("m5", 100.2),
    ("m6", 97.1),
    ("m7", 101.1),
];
const WOMEN: [(&str, f64); 5] =
    [("f1", 173.6), ("f2", 185.3), ("f3", 198.6), ("f4", 172.3), ("f5", 196.9)];
/// Ratio of the formants of espeak-ng's female voices to those of its male ones.
const SHORT_TRACT: f64 = 1.16;
/// Words per minute at the average rate: 1.7 seconds per statement.
const SPEED: f64 = 150.0;
const SPEEDS: [f64; 2] = [80.0, 450.0];
/// espeak-ng's scales of pitch and range: 0 to 99, with the default 50. One step of pitch is `OCTAVES_OF_PITCH` octaves,
/// measured above 50. The range at 100 is double; one step of range raises the median pitch by `OCTAVES_OF_RANGE` octaves.
const MIDDLE: f64 = 50.0;
const TOP: f64 = 99.0;
const OCTAVES_OF_PITCH: f64 = 0.0155;
const OCTAVES_OF_RANGE: f64 = 0.0028;
/// Accents below this share of a full accent are not requested.
const LEAST_ACCENT: f64 = 0.2;
/// Sample rates for shifting a recording's pitch are multiples of this many Hz, which keeps the resampler's filters short.
const RATE_STEP: f64 = 50.0;
/// Largest number of attempts with a higher rate when the speech does not fit into the clip.
const TRIES: usize = 3;
/// Length of the fade, in samples, at the end of speech that does not fit into the clip.
const FADE: usize = SAMPLES_OF_STEP * 4;
/// Loudness of silence around speech, relative to the loudest step.
const SILENCE: f64 = 0.01;
/// Quantile of the loudness of a clip's steps at which the mouth is fully open.
const OPEN: f64 = 0.95;
/// Largest ratio of the measured to the requested pitch.
const PITCH_REACH: f64 = 1.9;
/// Lowest rise of a full accent above the clip's median pitch, in octaves.
const LEAST_RISE: f64 = 0.05;
/// Amplitude of the breath relative to the voice at an average affect.
const BREATH: f64 = 0.1;

/// A synthesised statement.
pub(super) struct Said {
    /// Mono, at the rate of synthesis, without silence at the ends.
    pub(super) samples: Vec<f32>,
    /// The requested pitch, Hz.
    pitch: f64,
}

/// Synthesises a clip's statement with espeak-ng.
///
/// # Errors
/// Errors of espeak-ng.
pub(super) fn say(
    speaker: &Speaker,
    settings: &WorldSettings,
    actor: &Actor,
    performance: &Performance,
    clip: ClipId,
) -> Result<Said, SynthError> {
    let order = Order::new(actor, performance, clip);
    let longest = (longest_speech(settings) * f64::from(VOICE_RATE)) as usize;
    let mut speed = order.speed;
    let mut samples = Vec::new();
    for _ in 0..TRIES {
        let said = speaker.say(&order.utterance(performance, clip, speed))?;
        samples = order.heard(said)?;
        if samples.len() <= longest {
            break;
        }
        speed *= 1.03 * samples.len() as f64 / longest as f64;
    }
    if samples.len() > longest {
        samples.truncate(longest);
        let end = samples.iter_mut().rev().take(FADE).enumerate();
        end.for_each(|(left, sample)| *sample *= left as f32 / FADE as f32);
    }
    Ok(Said { samples, pitch: order.pitch })
}

/// The parameters of an actor's speech in a performance.
struct Order {
    voice: &'static str,
    /// Pitch after the shift, Hz.
    pitch: f64,
    /// Factor by which all frequencies of the recording are shifted: the actor's vocal tract, and a smile.
    shift: f64,
    /// Words per minute, and pitch and range on espeak-ng's scales.
    speed: f64,
    height: f64,
    range: f64,
}

impl Order {
    fn new(actor: &Actor, performance: &Performance, clip: ClipId) -> Self {
        let traits = &performance.traits;
        let (voices, tract) = if clip.actor % 2 == 1 {
            (&MEN[..], actor.tract)
        } else {
            (&WOMEN[..], actor.tract / SHORT_TRACT)
        };
        let (voice, natural) = voices[(clip.actor / 2) % voices.len()];
        let shift = (tract * (1.0 + smile(performance))).clamp(0.8, 1.25);
        let pitch = actor.pitch * libm::exp2(traits.pitch);
        let range = (MIDDLE * libm::exp2(traits.range)).clamp(0.0, TOP);
        let octaves = libm::log2(pitch / shift / natural) - OCTAVES_OF_RANGE * (range - MIDDLE);
        Self {
            voice,
            pitch,
            shift,
            speed: SPEED * traits.rate / shift,
            height: MIDDLE + octaves / OCTAVES_OF_PITCH,
            range,
        }
    }

    /// The statement as SSML: every word has its own pitch, because accents are on words.
    fn utterance(&self, performance: &Performance, clip: ClipId, speed: f64) -> Utterance {
        let timeline = &performance.timeline;
        let statement = STATEMENTS[clip.statement % STATEMENTS.len()];
        let range = libm::round(self.range);
        let mut letters = 0;
        let words: Vec<String> = statement
            .split(' ')
            .map(|word| {
                let middle = (letters as f64 + word.len() as f64 / 2.0) / statement.len() as f64;
                letters += word.len() + 1;
                let step = (middle * timeline.steps() as f64) as usize;
                let accent = timeline.accent.get(step).copied().unwrap_or(0.0).min(1.0);
                let rise = ACCENT_OCTAVES * accent * timeline.accent_strength / OCTAVES_OF_PITCH;
                if accent < LEAST_ACCENT || rise < 1.0 {
                    return word.to_owned();
                }
                let height = libm::round((self.height + rise).clamp(0.0, TOP));
                format!("<prosody pitch=\"{height}\">{word}</prosody>")
            })
            .collect();
        let height = libm::round(self.height.clamp(0.0, TOP));
        let text = format!(
            "<speak><prosody pitch=\"{height}\" range=\"{range}\">{}.</prosody></speak>",
            words.join(" ")
        );
        let speed = libm::round(speed.clamp(SPEEDS[0], SPEEDS[1])) as u32;
        Utterance { voice: format!("en-us+{}", self.voice), speed, text }
    }

    /// The recording after the shift, at the rate of synthesis, from the first sound to the last.
    fn heard(&self, said: Sound) -> Result<Vec<f32>, SynthError> {
        let rate = libm::round(f64::from(said.rate) * self.shift / RATE_STEP) * RATE_STEP;
        let shifted = Sound { rate: rate as u32, ..said };
        let heard = shifted.resampled(VOICE_RATE).map_err(|error| failed(&error.to_string()))?;
        let loud = loudness(&heard.samples);
        let loudest = loud.iter().copied().fold(0.0, f64::max);
        let speaks = |loud: &f64| loudest > 0.0 && *loud > SILENCE * loudest;
        let ends = loud.iter().position(speaks).zip(loud.iter().rposition(speaks));
        let (first, last) = ends.ok_or_else(|| failed("wrote a silent recording"))?;
        Ok(heard.samples[first * SAMPLES_OF_STEP..(last + 1) * SAMPLES_OF_STEP].to_vec())
    }
}

impl Said {
    /// The timeline of this speech; lead-in and strength of accents are those of `drawn`.
    pub(super) fn timeline(&self, drawn: &Timeline) -> Timeline {
        let loud = loudness(&hushed(&self.samples));
        let open = quantile(loud.iter().copied(), OPEN).max(1e-9);
        let openness: Vec<f64> = loud.iter().map(|loud| (loud / open).min(1.0)).collect();
        let pitch = pitch(&self.samples, self.pitch / PITCH_REACH, self.pitch * PITCH_REACH);
        Timeline {
            lead: drawn.lead,
            formants: Vec::new(),
            voicing: pitch.iter().map(|hz| f64::from(u8::from(hz.is_some()))).collect(),
            openness: smooth(&openness),
            accent: accents(&pitch),
            accent_strength: drawn.accent_strength,
        }
    }
}

/// Rise of the pitch above its median, 1 at the clip's highest pitch; unvoiced steps repeat the value before.
fn accents(pitch: &[Option<f64>]) -> Vec<f64> {
    let octaves = || pitch.iter().flatten().map(|&hz| libm::log2(hz));
    let median = quantile(octaves(), 0.5);
    let rise = (quantile(octaves(), 0.97) - median).max(LEAST_RISE);
    let mut held = 0.0;
    let track: Vec<f64> = pitch
        .iter()
        .map(|hz| {
            if let Some(hz) = hz {
                held = ((libm::log2(*hz) - median) / rise).clamp(0.0, 1.0);
            }
            held
        })
        .collect();
    smooth(&track)
}

/// Adds brightness and breath to the audio.
pub(super) fn coloured(said: &[f32], traits: &VoiceTraits, stream: &mut Stream) -> Vec<f32> {
    let [neutral, decay] = [tilt(0.0), tilt(traits.brightness)];
    let (mut last, mut tilted) = (0.0, 0.0);
    let mut output: Vec<f32> = said
        .iter()
        .map(|&sample| {
            let sample = f64::from(sample);
            tilted = sample - neutral * last + decay * tilted;
            last = sample;
            tilted as f32
        })
        .collect();
    let breath = BREATH * libm::exp2(2.0 * traits.breath);
    let loud = loudness(&output);
    let mut before = stream.hiss();
    for (step, &loud) in output.chunks_exact_mut(SAMPLES_OF_STEP).zip(&loud) {
        for sample in step {
            let hiss = stream.hiss();
            // The difference of two noise samples has mostly high frequencies, as breath has.
            *sample += (breath * loud) as f32 * (hiss - before) * core::f32::consts::FRAC_1_SQRT_2;
            before = hiss;
        }
    }
    output
}
