//! The voice: glottal pulses and noise through three moving formants, or the audio of espeak-ng; then the microphone.

use super::WorldSettings;
use super::actor::Actor;
use super::clip_id::ClipId;
use super::filter::{Upsampler, equalise};
use super::performance::{Performance, interpolate, smile, tilt};
use super::random::{Purpose, Stream};
use super::settings::{ACCENT_OCTAVES, CONTROL_RATE, SAMPLES_OF_STEP, VOICE_RATE};
use super::spoken::coloured;
use core::f64::consts::{PI, TAU};

/// Bandwidths of the formants, Hz.
const BANDWIDTHS: [f64; 3] = [80.0, 110.0, 160.0];
/// Headroom below full scale; the loudest clip has about +12 dB.
const HEADROOM_DB: f64 = 18.0;
/// Amplitude of the noise of unvoiced phones relative to a glottal pulse.
const FRICTION: f64 = 0.075;
/// Shape of the pitch over an utterance, in ranges.
const MELODY: [f64; 5] = [0.2, 1.0, 0.3, 0.1, -1.0];
const MELODY_TIMES: [f64; 5] = [0.0, 0.2, 0.45, 0.8, 1.0];

/// The voice of a clip in [-1, 1] at the file's rate; `said` is the audio of espeak-ng at the rate of synthesis.
pub(super) fn speak(
    settings: &WorldSettings,
    actor: &Actor,
    performance: &Performance,
    clip: ClipId,
    said: Option<&[f32]>,
    upsampler: &Upsampler,
) -> Vec<f32> {
    // The clip's code plus an offset: the affect uses the plain code.
    let mut stream =
        Stream::new(settings.seed, Purpose::Voice, clip.actor as u64, clip.code() + 10_000);
    let speech = match said {
        Some(said) => coloured(said, &performance.traits, &mut stream),
        None => {
            let pitch = melody(settings, actor, performance, &mut stream);
            resonate(actor, performance, &pitch, &mut stream)
        }
    };
    let decibels =
        performance.traits.energy * 9.0 - 12.0 + stream.normal() * 3.0 * settings.channel;
    let peak = speech.iter().fold(1e-9f32, |peak, value| peak.max(value.abs()));
    let gain = libm::exp10((decibels - HEADROOM_DB) / 20.0) as f32 / peak;
    let room = -55.0 + stream.between(0.0, 12.0) * settings.channel;
    let floor = libm::exp10((room - HEADROOM_DB) / 20.0) as f32;
    let mut signal: Vec<f32> =
        (0..settings.voice_samples()).map(|_| floor * stream.hiss()).collect();
    let start = (performance.timeline.lead * CONTROL_RATE) as usize * SAMPLES_OF_STEP;
    for (sample, value) in signal.iter_mut().skip(start).zip(&speech) {
        *sample += gain * value;
    }
    upsampler.apply(equalise(&signal, settings.channel, &mut stream))
}

/// Pitch of every control frame, Hz: melody, accents, and tremor by tension.
fn melody(
    settings: &WorldSettings,
    actor: &Actor,
    performance: &Performance,
    stream: &mut Stream,
) -> Vec<f64> {
    let traits = &performance.traits;
    let timeline = &performance.timeline;
    let resting = actor.pitch * libm::exp2(traits.pitch);
    let range = 0.12 * libm::exp2(traits.range) * 3.0;
    let shape: [f64; 5] = core::array::from_fn(|i| MELODY[i] + stream.normal() * 0.35);
    let tremor = 0.03 * performance.voice_affect[3].max(0.0);
    let tremor_hz = 5.5 + stream.normal() * 0.4;
    let phase = stream.between(0.0, TAU);
    let accent = settings.accent_sync * ACCENT_OCTAVES * timeline.accent_strength;
    let steps = timeline.steps();
    (0..steps)
        .map(|step| {
            let place = step as f64 / (steps.max(2) - 1) as f64;
            let octaves =
                range * interpolate(place, &MELODY_TIMES, &shape) + accent * timeline.accent[step];
            let seconds = (step as f64 + 0.5) / CONTROL_RATE;
            resting
                * libm::exp2(octaves)
                * (1.0 + tremor * libm::sin(TAU * tremor_hz * seconds + phase))
        })
        .collect()
}

/// Source and filter: a decaying pulse train and breath through three resonators in a row.
fn resonate(
    actor: &Actor,
    performance: &Performance,
    pitch: &[f64],
    stream: &mut Stream,
) -> Vec<f32> {
    let timeline = &performance.timeline;
    let rate = f64::from(VOICE_RATE);
    let decay = tilt(performance.traits.brightness);
    let breath = 0.05 * libm::exp2(2.0 * performance.traits.breath);
    let smile = smile(performance);
    let spread = [1.0 + smile, 1.0 + 1.3 * smile, 1.0];
    let mut output = Vec::with_capacity(pitch.len() * SAMPLES_OF_STEP);
    let (mut phase, mut source) = (0.0f64, 0.0f64);
    let mut state = [[0.0f64; 2]; 3];
    for (step, &hz) in pitch.iter().enumerate() {
        let resonators: [[f64; 3]; 3] = core::array::from_fn(|k| {
            let formant = (timeline.formants[step][k] * actor.tract * spread[k]).min(7_000.0);
            let radius = libm::exp(-PI * BANDWIDTHS[k] / rate);
            let first = -2.0 * radius * libm::cos(TAU * formant / rate);
            let second = radius * radius;
            [1.0 + first + second, first, second]
        });
        let voicing = timeline.voicing[step];
        let noise = breath + if voicing < 0.2 { FRICTION } else { 0.0 };
        let envelope = 0.3 + timeline.openness[step];
        for _ in 0..SAMPLES_OF_STEP {
            phase += hz / rate;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= phase.floor();
            source = pulse + decay * source;
            let mut value = source * voicing + noise * f64::from(stream.hiss());
            for ([gain, first, second], state) in resonators.iter().zip(&mut state) {
                let next = gain * value - first * state[0] - second * state[1];
                *state = [next, state[0]];
                value = next;
            }
            output.push((value * envelope) as f32);
        }
    }
    output
}
