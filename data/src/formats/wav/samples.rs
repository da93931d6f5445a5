//! Samples as `f32`, mixed down to mono.

use super::format::{Coding, Format, Order};

/// Largest accepted magnitude of a sample. Samples nominally lie in [-1, 1]; some programs write floats as large as their
/// integers, 2^31. Squares of larger samples can overflow in the features.
const LOUDEST: f64 = 1e10;

/// Decodes whole frames and averages their channels.
///
/// # Errors
/// The largest sample, when it is not finite or above 1e10.
pub(super) fn mixed(format: &Format, data: &[u8]) -> Result<Vec<f32>, String> {
    let long = |bytes: [u8; 8]| f64::from_le_bytes(bytes);
    Ok(match (format.coding, format.width) {
        (Coding::Integer, 1) => average(format, data, |[byte]| integer([byte ^ 0x80])),
        (Coding::Integer, 2) => average(format, data, integer::<2>),
        (Coding::Integer, 3) => average(format, data, integer::<3>),
        (Coding::Integer, 4) => average(format, data, integer::<4>),
        (Coding::Integer, _) => average(format, data, integer::<8>),
        (Coding::Float, 4) => {
            check(format, data, |bytes| f64::from(f32::from_le_bytes(bytes)))?;
            average(format, data, f32::from_le_bytes)
        }
        (Coding::Float, _) => {
            check(format, data, long)?;
            average(format, data, |bytes| long(bytes) as f32)
        }
        (Coding::ALaw, _) => average(format, data, |[code]| f32::from(a_law(code)) / 32_768.0),
        (Coding::MuLaw, _) => average(format, data, |[code]| f32::from(mu_law(code)) / 32_768.0),
    })
}

/// The values of `data` with their bytes in little-endian order.
fn values<const N: usize>(order: Order, data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    let (values, _) = data.as_chunks();
    values.iter().map(move |&bytes| {
        let mut bytes: [u8; N] = bytes;
        if order == Order::Big {
            bytes.reverse();
        }
        bytes
    })
}

fn average<const N: usize>(
    format: &Format,
    data: &[u8],
    value: impl Fn([u8; N]) -> f32,
) -> Vec<f32> {
    let frames = data.chunks_exact(format.frame());
    let sum = |frame| values(format.order, frame).map(&value).fold(0.0, |sum, value| sum + value);
    frames.map(|frame| sum(frame) / format.channels as f32).collect()
}

/// Checks the magnitudes.
fn check<const N: usize>(
    format: &Format,
    data: &[u8],
    value: impl Fn([u8; N]) -> f64,
) -> Result<(), String> {
    let loudness = |value: f64| if value.is_nan() { f64::INFINITY } else { value.abs() };
    let samples = values(format.order, data).map(value).enumerate();
    let loudest = samples.reduce(|a, b| if loudness(b.1) > loudness(a.1) { b } else { a });
    match loudest {
        Some((at, value)) if loudness(value) > LOUDEST => Err(format!(
            "its largest sample, number {}, is {value:.3e} where -1 to 1 is usual and {LOUDEST:e} the most; scale the recording and export it again",
            at / format.channels + 1
        )),
        _ => Ok(()),
    }
}

/// A little-endian integer as a fraction of its largest magnitude.
fn integer<const N: usize>(bytes: [u8; N]) -> f32 {
    let mut upper = [0; 4];
    let kept = N.min(4);
    upper[4 - kept..].copy_from_slice(&bytes[N - kept..]);
    i32::from_le_bytes(upper) as f32 / 2_147_483_648.0
}

/// Decodes A-law to 16 bits.
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (step, segment) = (i16::from(code & 0x0f) << 4, (code >> 4) & 7);
    let magnitude = match segment {
        0 => step + 0x08,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// Decodes mu-law to 16 bits.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let magnitude = (((i16::from(code & 0x0f) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}
