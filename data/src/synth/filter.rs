//! The microphone's equaliser, and upsampling from the rate of synthesis to the rate of the file.

use super::random::Stream;
use super::settings::VOICE_RATE;
use core::f64::consts::{PI, TAU};

/// Taps of the equaliser: resolves 250 Hz at 16 kHz, finer than its curve.
const EQUALISER_TAPS: usize = 65;
/// Taps per phase of the interpolator. With a Blackman window and this cut-off, images lie 70 dB down.
const INTERPOLATOR_TAPS: usize = 48;
const CUTOFF_HZ: f64 = 7_200.0;
/// Samples that are filtered at a time, so that input, output and taps fit into the L1 cache.
const BLOCK: usize = 1024;
/// Range of the equaliser's curve on the mel scale, Hz.
const CURVE_HZ: [f64; 2] = [60.0, 7_600.0];

/// Adds `signal` convolved with `taps` to `output[start::step]`, centred; zero beyond the ends.
fn convolve(signal: &[f32], taps: &[f32], output: &mut [f32], start: usize, step: usize) {
    let half = taps.len() / 2;
    let mut padded = vec![0.0f32; signal.len() + taps.len()];
    padded[half..half + signal.len()].copy_from_slice(signal);
    let mut sums = [0.0f32; BLOCK];
    for first in (0..signal.len()).step_by(BLOCK) {
        let count = BLOCK.min(signal.len() - first);
        let sums = &mut sums[..count];
        sums.fill(0.0);
        for (tap, &weight) in taps.iter().rev().enumerate() {
            let input = &padded[first + tap..first + tap + count];
            for (sum, &value) in sums.iter_mut().zip(input) {
                *sum += weight * value;
            }
        }
        for (index, &sum) in sums.iter().enumerate() {
            output[(first + index) * step + start] += sum;
        }
    }
}

fn mel(hz: f64) -> f64 {
    2595.0 * libm::log10(1.0 + hz / 700.0)
}

/// A microphone: a smooth random curve over the mel scale, some 1.5 dB deep, as a linear-phase filter.
pub(super) fn equalise(signal: &[f32], channel: f64, stream: &mut Stream) -> Vec<f32> {
    let [slope, wave, ripple] = stream.normals::<3>();
    let half = EQUALISER_TAPS / 2;
    let bins = EQUALISER_TAPS - 1;
    let gain = |bin: usize| {
        let hz = f64::from(VOICE_RATE) / 2.0 * bin as f64 / bins as f64;
        let x =
            ((mel(hz) - mel(CURVE_HZ[0])) / (mel(CURVE_HZ[1]) - mel(CURVE_HZ[0]))).clamp(0.0, 1.0);
        let decades = slope * 0.15 * (2.0 * x - 1.0)
            + wave * 0.12 * libm::sin(TAU * x)
            + ripple * 0.1 * libm::cos(3.0 * PI * x);
        // The curve is of power; the filter acts on amplitude.
        libm::exp10(channel * decades / 2.0)
    };
    let gains: Vec<f64> = (0..=bins).map(gain).collect();
    let taps: Vec<f32> = (0..EQUALISER_TAPS)
        .map(|tap| {
            let shift = (tap as f64 - half as f64) * PI / bins as f64;
            let inner: f64 = (1..bins).map(|bin| gains[bin] * libm::cos(shift * bin as f64)).sum();
            let ends = 0.5 * (gains[0] + gains[bins] * libm::cos(shift * bins as f64));
            let window =
                0.5 + 0.5 * libm::cos(PI * (tap as f64 - half as f64) / (half as f64 + 1.0));
            (window * (inner + ends) / bins as f64) as f32
        })
        .collect();
    let mut output = vec![0.0; signal.len()];
    convolve(signal, &taps, &mut output, 0, 1);
    output
}

/// The interpolator's phases for a whole factor, made once per world.
pub(super) struct Upsampler {
    phases: Vec<Vec<f32>>,
}

impl Upsampler {
    pub(super) fn new(factor: usize) -> Self {
        let phase = |index: usize| {
            let taps: Vec<f64> = (0..INTERPOLATOR_TAPS)
                .map(|tap| {
                    // `convolve` gives tap `k` the input `half - 1 - k` samples after the output's own.
                    let away = tap as f64 - (INTERPOLATOR_TAPS / 2 - 1) as f64
                        + index as f64 / factor as f64;
                    let turn = 2.0 * CUTOFF_HZ / f64::from(VOICE_RATE) * PI * away;
                    let sinc = if turn.abs() < 1e-9 { 1.0 } else { libm::sin(turn) / turn };
                    let place = away / (INTERPOLATOR_TAPS / 2) as f64;
                    let blackman =
                        0.42 + 0.5 * libm::cos(PI * place) + 0.08 * libm::cos(TAU * place);
                    if place.abs() >= 1.0 { 0.0 } else { sinc * blackman }
                })
                .collect();
            let sum: f64 = taps.iter().sum();
            taps.iter().map(|tap| (tap / sum) as f32).collect()
        };
        Self { phases: (0..factor).map(phase).collect() }
    }

    /// The signal at `factor` times its rate.
    pub(super) fn apply(&self, signal: Vec<f32>) -> Vec<f32> {
        let factor = self.phases.len();
        if factor == 1 {
            return signal;
        }
        let mut output = vec![0.0; signal.len() * factor];
        for (index, taps) in self.phases.iter().enumerate() {
            convolve(&signal, taps, &mut output, index, factor);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone within the band comes out at its own frequency and amplitude, images far down.
    #[test]
    fn tone_survives_without_images() {
        let tone = |n: usize, rate: f64| libm::sin(TAU * 3_000.0 * n as f64 / rate) as f32;
        let signal: Vec<f32> = (0..1600).map(|n| tone(n, 16_000.0)).collect();
        let output = Upsampler::new(3).apply(signal);
        let error = (300..4500).map(|n| (output[n] - tone(n, 48_000.0)).abs()).fold(0.0, f32::max);
        assert!(error < 2e-3, "largest error {error}");
    }
}
