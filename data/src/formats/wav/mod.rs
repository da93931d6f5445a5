//! WAV files, read as mono `f32`: any number of channels; integers of 8 to 32 or 64 bits, floats, A-law and mu-law.
//!
//! The header is read as soundfile and ffmpeg read it: pad bytes, byte rates, block sizes and the lengths of a stream may be
//! wrong. A file that ends before the length in its header is an error, because samples are missing.

mod chunks;
mod format;
mod resample;
mod samples;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::foreign;
use crate::{Error, Result};

/// Lowest accepted sample rate, in Hz.
const LOWEST_RATE: u32 = 1_000;
/// Highest accepted sample rate, in Hz.
const HIGHEST_RATE: u32 = 768_000;
/// Largest accepted file, in bytes: more than 12 hours of 48 kHz, 16 bits, stereo.
const LARGEST: u64 = 1 << 33;
/// Number of bytes that identify the kind of a file.
const HEAD: u64 = 1 << 10;
/// The command that converts any recording.
const CONVERT: &str = "`ffmpeg -i IN -c:a pcm_s16le OUT.wav`";

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
/// Bad data when it is not a WAV file, is truncated, is larger than 8 GiB, has no samples, or has a sample that is not a
/// finite number or above 1e10.
pub fn read(path: &Path) -> Result<Sound> {
    let failed = |e| Error::reading(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut bytes).map_err(failed)?;
    // The rest of another file, which may have no end, is not read.
    if chunks::may_be_riff(&bytes) {
        let size = file.metadata().map_err(failed)?.len();
        bytes.reserve(size.min(LARGEST).saturating_sub(HEAD) as usize);
        file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::bad(
                path,
                format!("is larger than {LARGEST} bytes; cut it into recordings"),
            ));
        }
    }
    parse(path, &bytes)
}

/// Reads a recording from the bytes of a WAV file; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Sound> {
    if !chunks::is_riff(bytes) {
        return Err(foreign::refuse(
            path,
            bytes,
            &format!("not a WAV file; convert it with {CONVERT}"),
        ));
    }
    let decoded = chunks::open(bytes).and_then(|recording| {
        let samples = samples::mixed(&recording.format, recording.data)?;
        Ok(Sound { samples, rate: recording.format.rate })
    });
    let sound = decoded.map_err(|what| Error::bad(path, what))?;
    if sound.samples.is_empty() {
        return Err(Error::bad(path, "has no samples; record it again or remove the sample"));
    }
    Ok(sound)
}

#[cfg(test)]
mod tests;
