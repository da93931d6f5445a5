//! Conversion of presentation times to a constant rate.

use std::path::Path;

use super::{MOST_FRAMES, too_long};
use crate::{Error, Result};

/// How often each frame is repeated so that frames have a constant rate from second 0.
#[derive(Debug, PartialEq)]
pub(super) struct Timeline {
    /// Frames per second.
    pub frames_per_second: f64,
    /// By frame in presentation order: how often it is returned (0 or more).
    pub shown: Vec<usize>,
}

impl Timeline {
    /// The timeline of frames with presentation `times`: seconds from the start of the recording, ascending.
    ///
    /// Time `k / rate` gets the last frame up to half an interval after it, so that a constant rate gives each frame once
    /// despite rounded times.
    ///
    /// # Errors
    /// Bad data when there are no frames or there would be too many.
    pub(super) fn new(path: &Path, times: &[f64]) -> Result<Self> {
        let Some(&last) = times.last() else {
            return Err(Error::bad(path, "no frame is ever shown; make the video again"));
        };
        let rate = rate(times);
        let count = (last * rate + 0.5).floor() + 1.0;
        if !(1.0..=MOST_FRAMES as f64).contains(&count) {
            return Err(too_long(path));
        }
        let mut shown = vec![0; times.len()];
        let mut frame = 0;
        for moment in 0..count as usize {
            let until = (moment as f64 + 0.5) / rate;
            while times.get(frame + 1).is_some_and(|time| *time < until) {
                frame += 1;
            }
            shown[frame] += 1;
        }
        Ok(Self { frames_per_second: rate, shown })
    }
}

/// Frames per second: the number of frames that the intervals stand for, by their median, over their sum. This averages
/// rounded and irregular times and leaves gaps and crowds out. 25 for a single frame.
pub(super) fn rate(times: &[f64]) -> f64 {
    let mut intervals: Vec<f64> = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|interval| *interval > 1e-6)
        .collect();
    intervals.sort_by(f64::total_cmp);
    let Some(&median) = intervals.get(intervals.len().saturating_sub(1) / 2) else { return 25.0 };
    let frames = |interval: &f64| match interval / median {
        crowd if crowd < 0.25 => 0.0,
        // A browser's frame may come half an interval early or late.
        one if one < 1.75 => 1.0,
        several => several.round(),
    };
    intervals.iter().map(frames).sum::<f64>() / intervals.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(times: &[f64]) -> (f64, Vec<usize>) {
        let timeline = Timeline::new(Path::new("x"), times).unwrap();
        (timeline.frames_per_second, timeline.shown)
    }

    #[test]
    fn a_constant_rate_gives_each_frame_once_however_times_are_rounded() {
        let times: Vec<f64> =
            (0..300).map(|k| (f64::from(k) * 1001.0 / 30.0).round() / 1000.0).collect();
        let (rate, shown) = shown(&times);
        assert!((rate - 30_000.0 / 1001.0).abs() < 0.01, "{rate}");
        assert_eq!(shown, vec![1; 300]);
    }

    #[test]
    fn gaps_are_filled_and_crowds_thinned() {
        // A late start, a gap of two frames, and one frame too many.
        let (rate, shown) = shown(&[0.2, 0.3, 0.4, 0.7, 0.8, 0.81, 0.9, 1.0]);
        assert!((rate - 10.0).abs() < 0.5, "{rate}");
        assert_eq!(shown, [3, 1, 3, 1, 0, 1, 1, 1]);
        assert_eq!(Timeline::new(Path::new("x"), &[0.0]).unwrap().shown, [1]);
    }

    #[test]
    fn a_browser_s_irregular_times_give_the_rate_of_all_frames() {
        // 30 per second by MediaRecorder, in milliseconds.
        let times = [
            0, 34, 70, 101, 118, 168, 201, 232, 263, 290, 307, 343, 370, 404, 445, 481, 514, 545,
            581, 615, 642, 678, 714, 748, 781, 817, 853, 894, 925, 966,
        ];
        let (rate, shown) = shown(&times.map(|time| f64::from(time) / 1e3));
        assert!((rate - 29.0 / 0.966).abs() < 1e-9, "{rate}");
        assert_eq!(shown.iter().sum::<usize>(), 30);
    }

    #[test]
    fn a_gap_of_a_year_is_refused() {
        let error = Timeline::new(Path::new("x"), &[0.0, 0.04, 3e7]).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
        assert!(Timeline::new(Path::new("x"), &[]).is_err());
    }
}
