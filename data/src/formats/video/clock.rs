//! The frame rate of a file that only ffmpeg reads, by the presentation times of its packets.
//!
//! ffmpeg lists them without decoding, in its format `framecrc`: a comment with the length of a tick, then for each packet
//! a line `stream, decoding time, presentation time, duration, size, checksum`.

use std::path::Path;
use std::time::Duration;

use super::{MOST_FRAMES, ffmpeg, timeline};
use crate::process;

/// Largest length of the list, in bytes: 128 for each frame.
const MOST_BYTES: u64 = 128 * MOST_FRAMES as u64;
/// ffmpeg's number for a packet without a presentation time, as in AVI.
const NONE: i64 = i64::MIN;
/// Time limit for the list; a whole film takes seconds.
const MOST_TIME: Duration = Duration::from_secs(300);

/// Frames per second; `None` when ffmpeg cannot tell, for which decoding then gives the reason.
pub(super) fn rate(file: &Path) -> Option<f64> {
    let mut command = ffmpeg::command(file);
    command.args(["-c", "copy", "-f", "framecrc", "pipe:1"]);
    let list = process::output(&mut command, MOST_BYTES, MOST_TIME).ok()?;
    rate_of(std::str::from_utf8(&list).ok()?)
}

/// The rate of a list; `None` without two different times.
fn rate_of(list: &str) -> Option<f64> {
    let mut tick = None;
    let mut times = Vec::new();
    for line in list.lines() {
        if let Some(fraction) = line.strip_prefix("#tb 0:") {
            let (above, below) = fraction.trim().split_once('/')?;
            tick = Some(above.parse::<f64>().ok()? / below.parse::<f64>().ok()?);
        } else if !line.starts_with('#') {
            let time: i64 = line.split(',').nth(2)?.trim().parse().ok()?;
            times.push((time != NONE).then_some(time as f64 * tick?)?);
        }
    }
    times.sort_by(f64::total_cmp);
    let (first, last) = (times.first()?, times.last()?);
    // Shorter than a millisecond is no video but one frame.
    (last - first > 1e-3).then(|| timeline::rate(&times)).filter(|rate| rate.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_presentation_times() {
        // Recorded by a browser: 30 frames a second on a clock of 1 kHz; decoding times come in another order.
        let times = [
            0, 34, 101, 70, 118, 168, 201, 232, 263, 290, 307, 343, 370, 404, 445, 481, 514, 545,
            581, 615, 642, 678, 714, 748, 781, 817, 853, 894, 925, 966,
        ];
        let lines: String =
            times.iter().map(|time| format!("0, 0, {time}, 1, 65, 0x8c8816fe\n")).collect();
        let list = format!("#software: Lavf59\n#tb 0: 1/1000\n#codec_id 0: vp8\n{lines}");
        let rate = rate_of(&list).unwrap();
        assert!((rate - 29.0 / 0.966).abs() < 1e-6, "{rate}");
        assert_eq!(rate_of("#tb 0: 1/1000\n0, 0, 0, 1, 65, 0x8c8816fe\n"), None);
        let without_times =
            "#tb 0: 1/25\n0, 0, -9223372036854775808, 1, 65, 0x8c\n0, 2, 2, 1, 9, 0x8c\n";
        assert_eq!(rate_of(without_times), None);
        assert_eq!(rate_of("0, 0, 0, 1, 65, 0x8c8816fe\n0, 1, 1, 1, 65, 0x8c8816fe\n"), None);
        assert_eq!(rate_of(""), None);
    }
}
