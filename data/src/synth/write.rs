//! The bytes of the files: OpenFace table, WAV, NPY.

use super::clip_id::ClipId;
use super::landmarks::LandmarkFrame;
use super::world::Factors;
use std::io::Cursor;

/// Columns of eye landmarks and 3-D points of the OpenFace table that the world leaves at 0.
const GAZE_AND_EYES: usize = 8 + 5 * 56;
const SPACE_POINTS_AND_REST: usize = 3 * 68 + 6 + 34 + 17 + 18;
/// Action units of OpenFace's intensities; presences add 28.
const OPENFACE_UNITS: [u8; 17] = [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45];

/// Header of an OpenFace 2.1 table as RAVDESS's facial tracking has it: 712 columns, without face_id and success.
pub(super) fn openface_header() -> String {
    let mut header = columns(&["frame", "timestamp", "confidence"]).join(",");
    header.push('\n');
    header
}

/// The columns of CMU-MOSEI's OpenFace_2: 713, without the number of the frame.
pub(crate) fn openface_names() -> Vec<String> {
    columns(&["face_id", "timestamp", "confidence", "success"])
}

/// OpenFace's columns behind these.
fn columns(leading: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = leading.iter().map(|name| (*name).to_owned()).collect();
    for eye in 0..2 {
        names.extend(["x", "y", "z"].map(|axis| format!("gaze_{eye}_{axis}")));
    }
    names.extend(["gaze_angle_x", "gaze_angle_y"].map(String::from));
    for axis in ["x", "y", "X", "Y", "Z"] {
        names.extend((0..56).map(|point| format!("eye_lmk_{axis}_{point}")));
    }
    names.extend(["Tx", "Ty", "Tz", "Rx", "Ry", "Rz"].map(|axis| format!("pose_{axis}")));
    for axis in ["x", "y", "X", "Y", "Z"] {
        names.extend((0..68).map(|point| format!("{axis}_{point}")));
    }
    names.extend(["scale", "rx", "ry", "rz", "tx", "ty"].map(|name| format!("p_{name}")));
    names.extend((0..34).map(|mode| format!("p_{mode}")));
    names.extend(OPENFACE_UNITS.map(|number| format!("AU{number:02}_r")));
    let mut present = OPENFACE_UNITS.to_vec();
    present.insert(16, 28);
    names.extend(present.iter().map(|number| format!("AU{number:02}_c")));
    names
}

/// The OpenFace table of a clip; `fps` dates its rows. Undefined columns are 0.
pub(super) fn openface_table(header: &str, frames: &[LandmarkFrame], fps: f64) -> Vec<u8> {
    let mut table = Vec::with_capacity(header.len() + frames.len() * 2200);
    table.extend_from_slice(header.as_bytes());
    for (index, frame) in frames.iter().enumerate() {
        push_decimal(&mut table, index as f64 + 1.0, 0);
        push_decimal(&mut table, index as f64 / fps, 3);
        push_decimal(&mut table, f64::from(frame.confidence), 2);
        push_zeros(&mut table, GAZE_AND_EYES);
        for value in frame.position {
            push_decimal(&mut table, f64::from(value), 1);
        }
        for value in frame.rotation {
            push_decimal(&mut table, f64::from(value), 3);
        }
        for axis in 0..2 {
            for point in &frame.points {
                push_decimal(&mut table, f64::from(point[axis]), 1);
            }
        }
        push_zeros(&mut table, SPACE_POINTS_AND_REST);
        table.pop();
        table.push(b'\n');
    }
    table
}

fn push_zeros(table: &mut Vec<u8>, count: usize) {
    for _ in 0..count {
        table.extend_from_slice(b"0,");
    }
}

/// A number with at most `decimals` digits behind the point (none that are 0), and a comma.
fn push_decimal(table: &mut Vec<u8>, value: f64, decimals: u32) {
    let scale = 10u64.pow(decimals);
    let scaled = (value.abs() * scale as f64).round() as u64;
    if value < 0.0 && scaled > 0 {
        table.push(b'-');
    }
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut rest = scaled / scale;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    table.extend_from_slice(&digits[start..]);
    let mut fraction = scaled % scale;
    if fraction > 0 {
        table.push(b'.');
        let mut unit = scale / 10;
        while fraction > 0 {
            table.push(b'0' + (fraction / unit) as u8);
            fraction %= unit;
            unit /= 10;
        }
    }
    table.push(b',');
}

/// A 16-bit mono WAV file.
pub(super) fn wav(samples: &[i16], sample_rate: u32) -> Result<Vec<u8>, hound::Error> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::with_capacity(44 + samples.len() * 2));
    let mut writer = hound::WavWriter::new(&mut file, spec)?;
    let mut block = writer.get_i16_writer(samples.len() as u32);
    for &sample in samples {
        block.write_sample(sample);
    }
    block.flush()?;
    writer.finalize()?;
    Ok(file.into_inner())
}

/// An NPY file (version 1.0) of bytes with the given shape.
pub(super) fn npy(values: &[u8], shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // Magic, version and length take 10 bytes; the whole is padded to 64 and ends with a line break.
    let padded = (10 + header.len() + 1).next_multiple_of(64);
    while header.len() + 11 < padded {
        header.push(' ');
    }
    header.push('\n');
    let mut file = Vec::with_capacity(padded + values.len());
    file.extend_from_slice(b"\x93NUMPY\x01\x00");
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(values);
    file
}

/// A clip's line of `factors.csv`.
pub(super) fn factor_line(id: &str, clip: ClipId, factors: &Factors) -> String {
    let numbers = factors.voice_affect.iter().chain(&factors.action_units).chain(&factors.skin);
    let numbers: String = numbers.map(|value| format!(",{value:.5}")).collect();
    format!("{id},{},{}{numbers}\n", clip.actor, clip.emotion)
}
