//! H.264 in presentation order, by a decoder without `unsafe`; its panics and allocations are bounded.

use std::collections::BTreeMap;
use std::path::Path;

use h264_reader::avcc::AvcDecoderConfigurationRecord;
use h264_reader::nal::sps::{ChromaFormat, FrameMbsFlags, SeqParameterSet};
use h264_reader::nal::{Nal, RefNal};
use rusty_h264_decoder::{DecodeError, Decoder};

use super::frame::Colours;
use super::mp4::Track;
use super::{Frame, MOST_PIXELS, Trouble, too_large};
use crate::{Error, Result, fence};

/// Start code of a unit in a byte stream.
const START: [u8; 4] = [0, 0, 0, 1];
/// Largest number of frames that are reordered; the standard allows 16.
const MOST_WAITING: usize = 32;
/// Type of a sequence parameter set.
const SEQUENCE_PARAMETERS: u8 = 7;

/// Calls a function with every shown frame of a track in presentation order, and its index.
pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    track: &Track,
    each: &mut dyn FnMut(usize, Frame) -> Result<()>,
) -> Result<(), Trouble> {
    let settings = Settings::read(path, &track.configuration)?;
    let mut decoder = Decoder::new();
    decode_unit(path, &mut decoder, &settings.units)?;
    let (mut waiting, mut next) = (BTreeMap::new(), 0);
    for (number, sample) in track.samples.iter().enumerate() {
        let unit = settings.unit(path, number, &bytes[sample.start..sample.end])?;
        let frame = decode_unit(path, &mut decoder, &unit)?;
        let Some(shown) = sample.shown else { continue };
        let Some(frame) = frame else {
            let what = format!("frame {number} is not whole; copy the file again");
            return Err(Error::bad(path, what).into());
        };
        waiting.insert(shown, frame);
        while let Some(frame) = waiting.remove(&next) {
            each(next, settings.frame(frame, track))?;
            next += 1;
        }
        if waiting.len() > MOST_WAITING {
            return Err(Trouble::Unsupported(format!(
                "more than {MOST_WAITING} frames wait for one that is shown before them"
            )));
        }
    }
    Ok(())
}

fn decode_unit(
    path: &Path,
    decoder: &mut Decoder,
    unit: &[u8],
) -> Result<Option<rusty_h264_common::YuvFrame>, Trouble> {
    match fence::run(|| decoder.decode(unit)) {
        Ok(Ok(frame)) => Ok(frame),
        Ok(Err(DecodeError::Truncated | DecodeError::MissingParameterSet)) => {
            Err(Error::bad(path, "its H.264 breaks off; copy the file again").into())
        }
        Ok(Err(error)) => Err(Trouble::Unsupported(error.to_string())),
        Err(panic) => Err(Trouble::Unsupported(format!("the decoder gave up ({panic})"))),
    }
}

/// The decoder configuration of a stream.
struct Settings {
    /// Parameter sets with start codes.
    units: Vec<u8>,
    /// Size of the length before each unit, in bytes.
    length_bytes: usize,
    size: (usize, usize),
    colours: Colours,
}

impl Settings {
    fn read(path: &Path, configuration: &[u8]) -> Result<Self, Trouble> {
        let broken = || Error::bad(path, "its H.264 settings are broken; copy the file again");
        let record =
            AvcDecoderConfigurationRecord::try_from(configuration).map_err(|_| broken())?;
        let mut units = Vec::new();
        let mut settings = None;
        for set in record.sequence_parameter_sets() {
            let set = set.map_err(|_| broken())?;
            let found = sequence(path, set)?;
            if settings.is_some_and(|known| known != found) {
                return Err(Trouble::Unsupported("its frames change in size".into()));
            }
            settings = Some(found);
            units.extend(START);
            units.extend(set);
        }
        for set in record.picture_parameter_sets() {
            units.extend(START);
            units.extend(set.map_err(|_| broken())?);
        }
        let length_bytes = usize::from(record.length_size_minus_one()) + 1;
        let (size, colours) = settings.ok_or_else(broken)?;
        Ok(Self { units, length_bytes, size, colours })
    }

    /// Converts the units of a sample from length prefixes to start codes.
    fn unit(&self, path: &Path, number: usize, mut sample: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut unit = Vec::with_capacity(sample.len() + 16);
        while !sample.is_empty() {
            let cut = sample.split_at_checked(self.length_bytes).and_then(|(length, rest)| {
                let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                rest.split_at_checked(length)
            });
            let Some((part, rest)) = cut else {
                let what = format!("frame {number} is longer than its place; copy the file again");
                return Err(Error::bad(path, what).into());
            };
            let kind = part.first().map(|byte| byte & 31);
            // Parameter sets inside the stream must repeat the known frame size, which bounds memory.
            if kind == Some(SEQUENCE_PARAMETERS) && sequence(path, part)?.0 != self.size {
                return Err(Trouble::Unsupported("its frames change in size".into()));
            }
            unit.extend(START);
            unit.extend(part);
            sample = rest;
        }
        Ok(unit)
    }

    fn frame(&self, decoded: rusty_h264_common::YuvFrame, track: &Track) -> Frame {
        let rusty_h264_common::YuvFrame { width, height, y, u, v } = decoded;
        Frame { time: 0.0, width, height, y, u, v, turn: track.turn, colours: self.colours }
    }
}

/// The frame size and colours of a sequence, when the decoder supports it.
fn sequence(path: &Path, unit: &[u8]) -> Result<((usize, usize), Colours), Trouble> {
    let set = SeqParameterSet::from_bits(RefNal::new(unit, &[], true).rbsp_bits())
        .map_err(|_| Error::bad(path, "its H.264 settings are broken; copy the file again"))?;
    let (width, height) = set
        .pixel_dimensions()
        .map_err(|_| Error::bad(path, "its frames have no size; copy the file again"))?;
    let size = (width as usize, height as usize);
    if size.0.saturating_mul(size.1) > MOST_PIXELS {
        return Err(too_large(path, size.0, size.1).into());
    }
    let chroma = &set.chroma_info;
    if chroma.chroma_format != ChromaFormat::YUV420
        || chroma.bit_depth_luma_minus8 != 0
        || chroma.bit_depth_chroma_minus8 != 0
    {
        return Err(Trouble::Unsupported("its colours are not 8-bit 4:2:0".into()));
    }
    if set.frame_mbs_flags != FrameMbsFlags::Frames {
        return Err(Trouble::Unsupported("it is interlaced".into()));
    }
    let signal = set.vui_parameters.as_ref().and_then(|vui| vui.video_signal_type.as_ref());
    let matrix = signal.and_then(|signal| signal.colour_description.as_ref());
    let colours = Colours {
        high_definition: matrix.is_some_and(|colours| colours.matrix_coefficients == 1),
        full_range: signal.is_some_and(|signal| signal.video_full_range_flag),
    };
    Ok((size, colours))
}
