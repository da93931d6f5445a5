//! Prosody of a recording on the 5 ms grid: loudness, its part below the sibilants, and pitch.

use super::settings::{SAMPLES_OF_STEP, VOICE_RATE};

/// Steps on either side that enter the energy: 25 ms have two cycles of a low voice.
const REACH: usize = 2;
/// Pitch is estimated at half the rate, over 40 ms.
const HALF_RATE: f64 = VOICE_RATE as f64 / 2.0;
const PITCH_WINDOW: usize = 320;
/// Lowest correlation of a cycle with the next for a voiced sound, and the share of the highest correlation at which a
/// shorter cycle is preferred, because multiples of a cycle correlate as well.
const VOICED: f64 = 0.6;
const SHORTER: f64 = 0.92;
/// Loudness below which a step is unvoiced, relative to the loudest.
const QUIET: f64 = 0.03;
/// Samples of the moving mean that removes sibilants from the jaw's signal: 2 kHz fully, higher frequencies mostly.
const HUSH: usize = 8;

/// Root mean square around every whole step of a signal at the rate of synthesis.
pub(super) fn loudness(signal: &[f32]) -> Vec<f64> {
    let energies: Vec<f64> = signal
        .chunks_exact(SAMPLES_OF_STEP)
        .map(|step| step.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
        .collect();
    (0..energies.len())
        .map(|step| {
            let around =
                &energies[step.saturating_sub(REACH)..(step + REACH + 1).min(energies.len())];
            let samples = around.len() * SAMPLES_OF_STEP;
            libm::sqrt(around.iter().sum::<f64>() / samples as f64)
        })
        .collect()
}

/// The signal without sibilants.
pub(super) fn hushed(signal: &[f32]) -> Vec<f32> {
    (0..signal.len())
        .map(|end| {
            let window = &signal[end.saturating_sub(HUSH / 2)..(end + HUSH / 2).min(signal.len())];
            window.iter().sum::<f32>() / HUSH as f32
        })
        .collect()
}

/// Pitch of every step between two bounds, in Hz; `None` in unvoiced steps.
pub(super) fn pitch(signal: &[f32], lowest: f64, highest: f64) -> Vec<Option<f64>> {
    let half: Vec<f32> = signal.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let loud = loudness(signal);
    let quiet = loud.iter().copied().fold(0.0, f64::max) * QUIET;
    let lags = ((HALF_RATE / highest) as usize).max(2)..=(HALF_RATE / lowest).ceil() as usize;
    loud.iter()
        .enumerate()
        .map(|(step, &loud)| {
            let centre = step * SAMPLES_OF_STEP / 2 + SAMPLES_OF_STEP / 4;
            let first = centre.saturating_sub((PITCH_WINDOW + lags.end()) / 2);
            if loud <= quiet || first + PITCH_WINDOW + lags.end() > half.len() {
                return None;
            }
            cycle(&half[first..], lags.clone()).map(|lag| HALF_RATE / lag)
        })
        .collect()
}

/// The sum of products, in eight sums at a time; lengths are multiples of eight.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

/// The lag of the highest autocorrelation of the signal's start, interpolated; `None` if no correlation is high enough.
fn cycle(signal: &[f32], lags: core::ops::RangeInclusive<usize>) -> Option<f64> {
    let start = &signal[..PITCH_WINDOW];
    let energy = dot(start, start);
    if energy <= 0.0 {
        return None;
    }
    let shortest = *lags.start();
    let square = |place: usize| f64::from(signal[place]) * f64::from(signal[place]);
    let mut later_energy: f64 = (shortest..shortest + PITCH_WINDOW).map(square).sum();
    let likeness: Vec<f64> = lags
        .map(|lag| {
            if lag > shortest {
                later_energy += square(lag + PITCH_WINDOW - 1) - square(lag - 1);
            }
            // A signal that is zero within the rounding error of these sums has no correlation.
            if later_energy < 1e-6 * energy {
                return 0.0;
            }
            dot(start, &signal[lag..lag + PITCH_WINDOW]) / libm::sqrt(energy * later_energy)
        })
        .collect();
    let best = likeness.iter().copied().fold(0.0, f64::max);
    if best < VOICED {
        return None;
    }
    let peak = (1..likeness.len().saturating_sub(1)).find(|&i| {
        likeness[i] >= SHORTER * best
            && likeness[i] >= likeness[i - 1]
            && likeness[i] >= likeness[i + 1]
    })?;
    // The top of the parabola through three points.
    let [before, top, after] = [likeness[peak - 1], likeness[peak], likeness[peak + 1]];
    let bend = before - 2.0 * top + after;
    let shift = if bend < -1e-12 { 0.5 * (before - after) / bend } else { 0.0 };
    Some((shortest + peak) as f64 + shift)
}

/// The quantile of the values at this share; 0 for no values.
pub(super) fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let place = (share * values.len().saturating_sub(1) as f64) as usize;
    values.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::f64::consts::TAU;

    /// Pulses through one resonance, as a voice has them; the pitch may move.
    fn buzz(hz: impl Fn(f64) -> f64, seconds: f64) -> Vec<f32> {
        let rate = f64::from(VOICE_RATE);
        let (mut phase, mut y) = (0.0, [0.0f64; 2]);
        (0..(seconds * rate) as usize)
            .map(|n| {
                phase += hz(n as f64 / rate) / rate;
                let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
                phase -= f64::floor(phase);
                let next = pulse + 1.9 * libm::cos(TAU * 500.0 / rate) * y[0] - 0.9025 * y[1];
                y = [next, y[0]];
                next as f32
            })
            .collect()
    }

    #[test]
    fn pitch_is_found_within_a_fiftieth_and_only_in_voice() {
        for (low, high) in [(90.0, 130.0), (180.0, 320.0)] {
            let glide = |at: f64| low + (high - low) * at;
            let mut signal = buzz(glide, 1.0);
            let found = pitch(&signal, low / 1.8, high * 1.8);
            let voiced = found.iter().filter(|hz| hz.is_some()).count();
            assert!(voiced > 170, "{voiced}");
            for (step, hz) in found.iter().enumerate().filter_map(|(i, hz)| hz.map(|hz| (i, hz))) {
                // The window extends to both sides of the step, so its estimate is between the two pitches.
                let wanted = glide((step as f64 + 0.5) / 200.0);
                assert!((hz / wanted - 1.0).abs() < 0.02, "{step}: {hz} for {wanted}");
            }
            let mut random = 1u32;
            signal.fill_with(|| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 8) as f32 / (1 << 24) as f32 - 0.5
            });
            let found = pitch(&signal, low / 1.8, high * 1.8);
            assert!(found.iter().filter(|hz| hz.is_some()).count() < 10);
        }
        assert!(pitch(&[0.0; 16_000], 50.0, 400.0).iter().all(Option::is_none));
        assert!(pitch(&[], 50.0, 400.0).is_empty());
        assert_eq!(pitch(&[0.5; 100], 50.0, 400.0), [None]);
    }

    #[test]
    fn loudness_is_a_root_mean_square_and_hiss_is_hushed() {
        let tone = |hz: f64| -> Vec<f32> {
            let rate = f64::from(VOICE_RATE);
            (0..8000).map(|n| libm::sin(TAU * hz * f64::from(n) / rate) as f32).collect()
        };
        let low = tone(300.0);
        let steps = loudness(&low);
        assert_eq!(steps.len(), 100);
        assert!(steps[3..97].iter().all(|x| (x - 0.5f64.sqrt()).abs() < 0.06), "{steps:?}");
        let left = |hz: f64| loudness(&hushed(&tone(hz)))[50] / 0.5f64.sqrt();
        assert!(left(300.0) > 0.9 && left(5000.0) < 0.25, "{} {}", left(300.0), left(5000.0));
    }

    #[test]
    fn quantiles() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(quantile(values.into_iter(), 0.5), 3.0);
        assert_eq!(quantile(values.into_iter(), 1.0), 5.0);
        assert_eq!(quantile([].into_iter(), 0.5), 0.0);
    }
}
