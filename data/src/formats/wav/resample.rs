//! Resampling.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use super::{HIGHEST_RATE, LOWEST_RATE, Sound};
use crate::{Error, Result};

/// Length of the resampler's filter in input samples (longer when the two rates share few factors). The transition band
/// of the anti-aliasing filter is then the top 2 % of the band, with images below -100 dB.
const RESAMPLER_SPAN: usize = 1_024;

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
