//! WAV files, read as mono `f32`: any number of channels, 8 to 32 bits, integer or float.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use hound::{SampleFormat, WavReader};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::{Error, Result};

/// Lowest accepted sample rate, in Hz.
const LOWEST_RATE: u32 = 1_000;
/// Highest accepted sample rate, in Hz.
const HIGHEST_RATE: u32 = 768_000;
/// Length of the resampler's filter in input samples (longer when the two rates share few factors). The transition band
/// of the anti-aliasing filter is then the top 2 % of the band, with images below -100 dB.
const RESAMPLER_SPAN: usize = 1_024;

/// A recording mixed down to mono.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples, nominally in [-1, 1]; float files may exceed it.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate: u32,
}

/// Reads a WAV file and mixes its channels down by their mean.
///
/// # Errors
/// Bad data when it is not a WAV file, is truncated, has no samples, or has a sample that is not a finite number.
pub fn read(path: &Path) -> Result<Sound> {
    let file = File::open(path).map_err(|e| Error::reading(path, e))?;
    let size = file.metadata().map_err(|e| Error::reading(path, e))?.len();
    decode(path, BufReader::with_capacity(1 << 16, file), size)
}

/// Reads a recording from the bytes of a WAV file; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Sound> {
    decode(path, bytes, bytes.len() as u64)
}

fn decode(path: &Path, input: impl Read, size: u64) -> Result<Sound> {
    let mut reader = WavReader::new(input).map_err(|e| {
        Error::bad(
            path,
            format!("not a WAV file this program can read ({e}); convert it with `ffmpeg -i IN -c:a pcm_s16le OUT.wav`"),
        )
    })?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    if channels == 0 || !(LOWEST_RATE..=HIGHEST_RATE).contains(&spec.sample_rate) {
        return Err(Error::bad(
            path,
            format!(
                "the header has {channels} channels at {} Hz, which is out of range; write the file again",
                spec.sample_rate
            ),
        ));
    }
    let promised = reader.len() as usize;
    let bytes_each = usize::from(spec.bits_per_sample).div_ceil(8).max(1);
    let possible = usize::try_from(size).unwrap_or(usize::MAX) / bytes_each;
    let mut mixer = Mixer::new(path, channels, promised, promised.min(possible));
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, 32) => mixer.take(reader.samples::<f32>(), |x| x)?,
        (SampleFormat::Int, 8) => mixer.take(reader.samples::<i8>(), |x| f32::from(x) / 128.0)?,
        (SampleFormat::Int, 16) => {
            mixer.take(reader.samples::<i16>(), |x| f32::from(x) / 32_768.0)?
        }
        (SampleFormat::Int, 24) => {
            mixer.take(reader.samples::<i32>(), |x| x as f32 / 8_388_608.0)?
        }
        (SampleFormat::Int, 32) => {
            mixer.take(reader.samples::<i32>(), |x| x as f32 / 2_147_483_648.0)?
        }
        (format, bits) => {
            return Err(Error::bad(
                path,
                format!(
                    "{bits}-bit {format:?} samples are not supported; convert it to 16-bit with ffmpeg"
                ),
            ));
        }
    }
    if mixer.samples.is_empty() {
        return Err(Error::bad(path, "has no samples; record it again or remove the sample"));
    }
    Ok(Sound { samples: mixer.samples, rate: spec.sample_rate })
}

/// Averages the channels of interleaved values.
struct Mixer<'a> {
    path: &'a Path,
    channels: usize,
    promised: usize,
    samples: Vec<f32>,
}

impl<'a> Mixer<'a> {
    fn new(path: &'a Path, channels: usize, promised: usize, capacity: usize) -> Self {
        Self { path, channels, promised, samples: Vec::with_capacity(capacity / channels) }
    }

    fn take<S>(
        &mut self,
        values: impl Iterator<Item = hound::Result<S>>,
        scale: impl Fn(S) -> f32,
    ) -> Result<()> {
        let (mut sum, mut in_frame, mut found) = (0.0f32, 0, 0usize);
        for value in values {
            let value = scale(value.map_err(|_| {
                Error::bad(
                    self.path,
                    format!(
                        "cut short: the header gives {} samples, the file has {found}; copy or record the file again",
                        self.promised
                    ),
                )
            })?);
            if !value.is_finite() {
                return Err(Error::bad(
                    self.path,
                    format!("sample {found} is {value}; export the file again"),
                ));
            }
            found += 1;
            sum += value;
            in_frame += 1;
            if in_frame == self.channels {
                self.samples.push(sum / self.channels as f32);
                (sum, in_frame) = (0.0, 0);
            }
        }
        Ok(())
    }
}

impl Sound {
    /// Resamples the recording to `rate` Hz with a deterministic band-limited resampler. The new length is
    /// `ceil(samples * rate / self.rate)`.
    ///
    /// # Errors
    /// Bad settings when `rate` lies outside 1,000 to 768,000 Hz.
    pub fn resampled(&self, rate: u32) -> Result<Sound> {
        if rate == self.rate {
            return Ok(self.clone());
        }
        let refuse = |why: String| {
            Error::config(format!(
                "cannot resample from {} Hz to {rate} Hz: {why}; choose a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz",
                self.rate
            ))
        };
        let believed = LOWEST_RATE..=HIGHEST_RATE;
        if !believed.contains(&rate) || !believed.contains(&self.rate) {
            return Err(refuse("no recording has such a rate".into()));
        }
        // An even number of smallest blocks, so that the delay (half of the filter's length) is a whole number of samples.
        let block = (self.rate / greatest_common_divisor(self.rate, rate)) as usize;
        let span = RESAMPLER_SPAN.div_ceil(block).next_multiple_of(2) * block;
        let mut resampler = Fft::<f32>::new_custom(
            self.rate as usize,
            rate as usize,
            span,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|e| refuse(e.to_string()))?;
        let length = self.samples.len();
        let input =
            InterleavedSlice::new(&self.samples, 1, length).map_err(|e| refuse(e.to_string()))?;
        let needed = resampler.process_all_needed_output_len(length);
        let mut samples = vec![0.0; needed];
        let mut output = InterleavedSlice::new_mut(&mut samples, 1, needed)
            .map_err(|e| refuse(e.to_string()))?;
        let (_, written) = resampler
            .process_all_into_buffer(&input, &mut output, length, None)
            .map_err(|e| refuse(e.to_string()))?;
        let wanted = (length as u64 * u64::from(rate)).div_ceil(u64::from(self.rate)) as usize;
        samples.truncate(written.min(wanted));
        Ok(Sound { samples, rate })
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    fn write<S: hound::Sample + Copy>(path: &Path, spec: WavSpec, values: &[S]) {
        let mut writer = WavWriter::create(path, spec).unwrap();
        for &value in values {
            writer.write_sample(value).unwrap();
        }
        writer.finalize().unwrap();
    }

    fn spec(channels: u16, bits: u16, format: SampleFormat) -> WavSpec {
        WavSpec { channels, sample_rate: 48_000, bits_per_sample: bits, sample_format: format }
    }

    #[test]
    fn every_width_gives_the_same_half_scale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let half = |path: &Path| {
            let sound = read(path).unwrap();
            assert_eq!(sound.rate, 48_000);
            assert_eq!(sound.samples, [0.5, -0.5, 0.0]);
        };
        write(&path, spec(1, 8, SampleFormat::Int), &[64i8, -64, 0]);
        half(&path);
        write(&path, spec(1, 16, SampleFormat::Int), &[16_384i16, -16_384, 0]);
        half(&path);
        write(&path, spec(1, 24, SampleFormat::Int), &[1i32 << 22, -(1 << 22), 0]);
        half(&path);
        write(&path, spec(1, 32, SampleFormat::Int), &[1i32 << 30, -(1 << 30), 0]);
        half(&path);
        write(&path, spec(1, 32, SampleFormat::Float), &[0.5f32, -0.5, 0.0]);
        half(&path);
    }

    #[test]
    fn channels_are_mixed_down_by_their_mean() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        write(&path, spec(3, 32, SampleFormat::Float), &[0.3f32, 0.6, 0.0, -0.3, 0.0, 0.0]);
        let sound = read(&path).unwrap();
        assert!((sound.samples[0] - 0.3).abs() < 1e-6 && (sound.samples[1] + 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_cut_file_says_how_much_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.wav");
        write(&path, spec(1, 16, SampleFormat::Int), &[1i16; 1000]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(
            message.contains("cut.wav") && message.contains("1000") && message.contains("950"),
            "{message}"
        );
    }

    #[test]
    fn empty_and_not_a_number_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        write::<i16>(&path, spec(1, 16, SampleFormat::Int), &[]);
        assert!(read(&path).unwrap_err().to_string().contains("no samples"));
        write(&path, spec(1, 32, SampleFormat::Float), &[0.0, f32::NAN]);
        assert!(read(&path).unwrap_err().to_string().contains("sample 1"));
        assert_eq!(
            read(&folder.path().join("none.wav")).unwrap_err().kind(),
            crate::ErrorKind::MissingData
        );
    }

    #[test]
    fn resampling_keeps_a_tone_and_removes_what_cannot_be_carried() {
        let wave =
            |hz: f64, rate: u32, n: usize| (TAU * hz * n as f64 / f64::from(rate)).sin() as f32;
        let tone = |hz: f64| Sound {
            samples: (0..48_000).map(|n| wave(hz, 48_000, n)).collect(),
            rate: 48_000,
        };
        for rate in [22_050u32, 16_000, 44_100, 96_000] {
            let out = tone(440.0).resampled(rate).unwrap();
            assert_eq!(out.samples.len(), rate as usize);
            let worst = (2_000..rate as usize - 2_000)
                .map(|n| (out.samples[n] - wave(440.0, rate, n)).abs())
                .fold(0.0, f32::max);
            assert!(worst < 1e-4, "{rate}: {worst}");
        }
        let gone = tone(12_000.0).resampled(16_000).unwrap();
        let loudest = gone.samples[2_000..14_000].iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!(loudest < 1e-4, "{loudest}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damaged_files_never_panic(cut in 0usize..200, at in 0usize..200, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.wav");
            write(&path, spec(2, 16, SampleFormat::Int), &[7i16; 64]);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(value) = bytes.get_mut(at) { *value = byte; }
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(sound) = read(&path) {
                prop_assert!(sound.samples.len() <= bytes.len());
            }
        }
    }
}
