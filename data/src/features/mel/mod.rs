//! Log-mel spectrograms equal to librosa's (Slaney mel scale, periodic Hann window, zero padding around the clip).

use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex};
use serde::{Deserialize, Serialize};

use crate::formats::wav::Sound;
use crate::{Array, Error, Result};

/// Length of the time axis in MPUC's paper, in frames; a window of the loader, not a property of the spectrogram.
pub const PAPER_FRAMES: usize = 128;

/// The spectrum that the mel filters sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Magnitude.
    Magnitude,
    /// Power: the squared magnitude.
    Power,
}

/// The compression of mel values `x`. Every variant gives finite values for silence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scale {
    /// `clip((20 log10(max(1e-5, x)) - reference + range) / range, 1e-8, 1)` (Tachibana et al., DC-TTS).
    Bounded {
        /// Level that is mapped to 1, in dB.
        reference_db: f64,
        /// Distance below `reference` that is mapped to 0, in dB.
        range_db: f64,
    },
    /// dB relative to the clip's maximum, clipped at `-range` (librosa's `power_to_db(ref=max)`).
    BelowPeak {
        /// Largest distance below the maximum, in dB.
        range_db: f64,
    },
    /// `log10(x + floor)`.
    Log10 {
        /// Added before the logarithm.
        floor: f64,
    },
}

/// Settings of a log-mel spectrogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MelSettings {
    /// Sample rate to which recordings are resampled, Hz.
    pub sample_rate: u32,
    /// Length of the Fourier transform in samples; even.
    pub fft_length: usize,
    /// Length of the Hann window in samples, centred in the transform.
    pub window_length: usize,
    /// Samples between frames; with a fraction the centres are rounded.
    pub hop: f64,
    /// Keep one frame in this many.
    pub stride: usize,
    /// `y[n] = x[n] - pre_emphasis * x[n-1]`; 0 for none.
    pub pre_emphasis: f64,
    /// Mel bands.
    pub bands: usize,
    /// Lower edge of the lowest band, Hz.
    pub lowest_hz: f64,
    /// Upper edge of the highest band, Hz; half the sample rate when absent.
    pub highest_hz: Option<f64>,
    /// Whether filters have area 1 (Slaney's norm) instead of height 1.
    pub unit_area: bool,
    /// The spectrum that the filters sum.
    pub measure: Measure,
    /// The compression of the sums.
    pub scale: Scale,
}

impl Default for MelSettings {
    fn default() -> Self {
        Self::paper()
    }
}

impl MelSettings {
    /// MPUC's paper, after Tachibana et al.: 80 bands at 22,050 Hz, a frame every 12.5 ms, values in (0, 1].
    /// The paper keeps one frame in 16; at that stride a four-second clip is mostly padding, so `stride` is 1 here.
    pub fn paper() -> Self {
        Self {
            sample_rate: 22_050,
            fft_length: 2048,
            window_length: 1102,
            hop: 275.0,
            stride: 1,
            pre_emphasis: 0.97,
            bands: 80,
            lowest_hz: 0.0,
            highest_hz: None,
            unit_area: true,
            measure: Measure::Magnitude,
            scale: Scale::Bounded { reference_db: 20.0, range_db: 100.0 },
        }
    }

    /// The code of MPUC's authors: 128 power bands at 16 kHz, one frame for each video frame (`frames_per_second`), in
    /// dB below the clip's peak.
    pub fn authors(frames_per_second: f64) -> Self {
        Self {
            sample_rate: 16_000,
            window_length: 2048,
            hop: 16_000.0 / frames_per_second,
            pre_emphasis: 0.0,
            bands: 128,
            measure: Measure::Power,
            scale: Scale::BelowPeak { range_db: 80.0 },
            ..Self::paper()
        }
    }

    /// For the synthetic world: 40 bands at 16 kHz, 50 frames per second, `log10(power + 1e-8)`.
    pub fn world() -> Self {
        Self {
            sample_rate: 16_000,
            fft_length: 512,
            window_length: 512,
            hop: 320.0,
            pre_emphasis: 0.0,
            bands: 40,
            lowest_hz: 60.0,
            highest_hz: Some(7_600.0),
            unit_area: false,
            measure: Measure::Power,
            scale: Scale::Log10 { floor: 1e-8 },
            ..Self::paper()
        }
    }

    /// Frames per second of the spectrogram.
    pub fn frames_per_second(&self) -> f64 {
        f64::from(self.sample_rate) / (self.hop * self.stride as f64)
    }

    fn check(&self) -> Result<()> {
        let top = self.highest_hz.unwrap_or(f64::from(self.sample_rate) / 2.0);
        let wrong = if !(1_000..=768_000).contains(&self.sample_rate) {
            "sample_rate must lie between 1000 and 768000 Hz"
        } else if !(2..=1 << 16).contains(&self.fft_length) || self.fft_length % 2 == 1 {
            "fft_length must be even and at most 65536"
        } else if !(1..=self.fft_length).contains(&self.window_length) {
            "window_length must be at least 1 and at most fft_length"
        } else if !(self.hop >= 1.0 && self.hop <= 1e7) || self.stride == 0 {
            "hop and stride must be at least 1"
        } else if !(1..=4096).contains(&self.bands) {
            "bands must lie between 1 and 4096"
        } else if !(self.lowest_hz >= 0.0
            && self.lowest_hz < top
            && top <= f64::from(self.sample_rate) / 2.0)
        {
            "lowest_hz must lie below highest_hz, and that at or below half the sample rate"
        } else if !(0.0..=1.0).contains(&self.pre_emphasis) {
            "pre_emphasis must lie between 0 and 1"
        } else if !self.scale.is_sound() {
            "range_db and floor must be above 0"
        } else {
            return Ok(());
        };
        Err(Error::config(format!("mel settings: {wrong}")))
    }
}

impl Scale {
    fn is_sound(self) -> bool {
        match self {
            Self::Bounded { reference_db, range_db } => reference_db.is_finite() && range_db > 0.0,
            Self::BelowPeak { range_db } => range_db > 0.0,
            Self::Log10 { floor } => floor > 0.0 && floor.is_finite(),
        }
    }

    /// Compresses mel values in place.
    fn apply(self, mels: Vec<f64>) -> Vec<f32> {
        let to = |f: &dyn Fn(f64) -> f64| mels.iter().map(|&x| f(x) as f32).collect();
        match self {
            Self::Bounded { reference_db, range_db } => to(&|x| {
                let level = 20.0 * x.max(1e-5).log10();
                ((level - reference_db + range_db) / range_db).clamp(1e-8, 1.0)
            }),
            Self::BelowPeak { range_db } => {
                let peak = mels.iter().fold(1e-10f64, |a, &x| a.max(x)).log10();
                to(&|x| (10.0 * (x.max(1e-10).log10() - peak)).max(-range_db))
            }
            Self::Log10 { floor } => to(&|x| (x + floor).log10()),
        }
    }
}

/// A triangular filter: its first frequency bin, and its weights from there.
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

/// A log-mel spectrogram with its transform planned, for many clips.
pub struct Mel {
    settings: MelSettings,
    fft: Arc<dyn Fft<f64>>,
    window: Vec<f64>,
    filters: Vec<Filter>,
}

impl Mel {
    /// Plans the transform, the window and the filters of `settings`.
    ///
    /// # Errors
    /// Bad settings.
    pub fn new(settings: &MelSettings) -> Result<Self> {
        settings.check()?;
        let length = settings.window_length;
        Ok(Self {
            fft: FftPlanner::new().plan_fft_forward(settings.fft_length),
            window: (0..length)
                .map(|n| 0.5 - 0.5 * (2.0 * PI * n as f64 / length as f64).cos())
                .collect(),
            filters: filters(settings),
            settings: settings.clone(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &MelSettings {
        &self.settings
    }

    /// The spectrogram of a clip, `[T, bands]` with `T = ceil((1 + floor(samples / hop)) / stride)`.
    ///
    /// # Errors
    /// Bad settings when the sample rate cannot be converted.
    pub fn compute(&self, sound: &Sound) -> Result<Array<f32>> {
        let settings = &self.settings;
        let sound = sound.resampled(settings.sample_rate)?;
        let samples = emphasised(&sound.samples, settings.pre_emphasis);
        let frames = 1 + (samples.len() as f64 / settings.hop) as usize;
        let kept: Vec<i64> = (0..frames)
            .step_by(settings.stride)
            .map(|frame| (frame as f64 * settings.hop).round() as i64)
            .collect();
        let mut mels = Vec::with_capacity(kept.len() * settings.bands);
        let mut buffer = vec![Complex::default(); settings.fft_length];
        let mut scratch = vec![Complex::default(); self.fft.get_inplace_scratch_len()];
        let mut spectra = [(); 2].map(|()| vec![0.0; settings.fft_length / 2 + 1]);
        for pair in kept.chunks(2) {
            self.load(&samples, pair, &mut buffer);
            self.fft.process_with_scratch(&mut buffer, &mut scratch);
            self.split(&buffer, &mut spectra);
            for spectrum in spectra.iter().take(pair.len()) {
                mels.extend(self.filters.iter().map(|filter| {
                    let bins = &spectrum[filter.first..];
                    filter.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum::<f64>()
                }));
            }
        }
        Array::new([kept.len(), settings.bands], settings.scale.apply(mels))
    }

    /// Writes one or two windowed frames to the real and imaginary parts, so that one transform computes both.
    fn load(&self, samples: &[f64], centres: &[i64], buffer: &mut [Complex<f64>]) {
        buffer.fill(Complex::default());
        let offset = (self.settings.fft_length - self.settings.window_length) / 2;
        for (part, &centre) in centres.iter().enumerate() {
            let start = centre - self.settings.fft_length as i64 / 2 + offset as i64;
            for (n, &weight) in self.window.iter().enumerate() {
                let at = usize::try_from(start + n as i64).ok();
                let value = weight * at.and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
                let slot = &mut buffer[offset + n];
                *if part == 0 { &mut slot.re } else { &mut slot.im } = value;
            }
        }
    }

    /// Splits the transform of `a + ib` into the magnitude or power spectra of `a` and `b`.
    fn split(&self, both: &[Complex<f64>], spectra: &mut [Vec<f64>; 2]) {
        let length = both.len();
        let [first, second] = spectra;
        for (bin, (a, b)) in first.iter_mut().zip(second).enumerate() {
            let (x, mirror) = (both[bin], both[(length - bin) % length].conj());
            let (even, odd) = (x + mirror, x - mirror);
            let (even, odd) = (even.norm_sqr() / 4.0, odd.norm_sqr() / 4.0);
            (*a, *b) = match self.settings.measure {
                Measure::Power => (even, odd),
                Measure::Magnitude => (even.sqrt(), odd.sqrt()),
            };
        }
    }
}

fn emphasised(samples: &[f32], amount: f64) -> Vec<f64> {
    let mut before = 0.0;
    samples
        .iter()
        .map(|&sample| {
            f64::from(sample) - amount * std::mem::replace(&mut before, f64::from(sample))
        })
        .collect()
}

/// Slaney's mel scale: linear below 1 kHz, logarithmic above.
fn to_mel(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + 27.0 * (hz / 1_000.0).ln() / 6.4f64.ln() }
}

fn to_hz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * 6.4f64.powf((mel - 15.0) / 27.0) }
}

fn filters(settings: &MelSettings) -> Vec<Filter> {
    let rate = f64::from(settings.sample_rate);
    let (low, high) =
        (to_mel(settings.lowest_hz), to_mel(settings.highest_hz.unwrap_or(rate / 2.0)));
    let edge = |i: usize| to_hz(low + (high - low) * i as f64 / (settings.bands + 1) as f64);
    let bins = settings.fft_length / 2 + 1;
    (0..settings.bands)
        .map(|band| {
            let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
            let height = if settings.unit_area { 2.0 / (right - left) } else { 1.0 };
            let weight = |bin: usize| {
                let hz = bin as f64 * rate / settings.fft_length as f64;
                height
                    * ((hz - left) / (centre - left)).min((right - hz) / (right - centre)).max(0.0)
            };
            let first = (0..bins).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            let weights = (first..bins).map(weight).take_while(|&weight| weight > 0.0).collect();
            Filter { first, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests;
