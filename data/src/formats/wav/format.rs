//! The format of the samples: the chunk `fmt ` of a WAV file.

use super::CONVERT;
use super::{HIGHEST_RATE, LOWEST_RATE};

/// Format tags.
const INTEGER: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
/// `WAVE_FORMAT_EXTENSIBLE`: the tag is in the sub format.
const EXTENSIBLE: u16 = 0xfffe;

/// The byte order of all numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The unsigned number in at most 8 bytes.
    pub(super) fn number(self, bytes: &[u8]) -> u64 {
        let add = |number, byte: &u8| number << 8 | u64::from(*byte);
        match self {
            Order::Little => bytes.iter().rev().fold(0, add),
            Order::Big => bytes.iter().fold(0, add),
        }
    }
}

/// The meaning of a value's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Two's complement in 1 to 4 or 8 bytes; unsigned in 1 byte. Fewer valid bits are the upper ones.
    Integer,
    /// 4 or 8 bytes.
    Float,
    /// ITU-T G.711, 1 byte.
    ALaw,
    /// ITU-T G.711, 1 byte.
    MuLaw,
}

/// The format of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) coding: Coding,
    pub(super) order: Order,
    /// At least 1.
    pub(super) channels: usize,
    /// Samples per second.
    pub(super) rate: u32,
    /// Bytes of a value.
    pub(super) width: usize,
}

impl Format {
    /// Reads the content of the chunk. Only tag, channels, rate and bits count: many programs write wrong byte rates and
    /// block sizes, and lengthen the chunk.
    ///
    /// # Errors
    /// What is wrong with it, or which coding the samples have, and what to do.
    pub(super) fn parse(body: &[u8], order: Order) -> Result<Self, String> {
        let field =
            |at: usize, length: usize| body.get(at..at + length).map(|field| order.number(field));
        let short = |at: usize| field(at, 2).unwrap_or_default() as u16;
        let (Some(rate), Some(byte_rate), Some(bits)) = (field(4, 4), field(8, 4), field(14, 2))
        else {
            return Err(format!(
                "has a chunk `fmt ` of {} bytes where 16 are needed; copy or export it again",
                body.len()
            ));
        };
        let (channels, rate) = (usize::from(short(2)), rate as u32);
        if channels == 0 || !(LOWEST_RATE..=HIGHEST_RATE).contains(&rate) {
            return Err(format!(
                "the header has {channels} channels at {rate} Hz, which is out of range; write the file again"
            ));
        }
        let tag = match (short(0), short(24)) {
            // Some programs leave the sub format out, or write 0.
            (EXTENSIBLE, 0) if bits <= 24 => INTEGER,
            (EXTENSIBLE, sub) => sub,
            (tag, _) => tag,
        };
        let (coding, width) = match (tag, bits) {
            (INTEGER, 1..=32 | 64) => (Coding::Integer, bits.div_ceil(8) as usize),
            (FLOAT, 32 | 64) => (Coding::Float, bits as usize / 8),
            (A_LAW, _) => (Coding::ALaw, 1),
            (MU_LAW, _) => (Coding::MuLaw, 1),
            _ => {
                return Err(format!(
                    "has {bits}-bit samples in the coding {}, which is not supported; convert it with {CONVERT}",
                    name(tag)
                ));
            }
        };
        let format = Self { coding, order, channels, rate, width };
        // Old programs put floats or 24 of 32 bits into such blocks, and no field tells which.
        let block = 4 * channels as u64;
        if (coding, width) == (Coding::Integer, 3)
            && u64::from(short(12)) == block
            && byte_rate == block * u64::from(rate)
        {
            return Err(format!(
                "has 24-bit samples in blocks of 32 bits, whose layout is unclear; convert it with {CONVERT}"
            ));
        }
        Ok(format)
    }

    /// Bytes of a frame: one value of each channel.
    pub(super) fn frame(&self) -> usize {
        self.width * self.channels
    }
}

/// The name of a coding, for messages.
fn name(tag: u16) -> String {
    let known = match tag {
        INTEGER => "integer",
        FLOAT => "float",
        0x02 => "Microsoft ADPCM",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x50 => "MPEG",
        0x55 => "MP3",
        0xff => "AAC",
        0x160..=0x163 => "Windows Media",
        other => return format!("{other:#06x}"),
    };
    known.into()
}
