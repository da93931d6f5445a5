//! The place of each frame in its clip, by frame numbers or times, and the frame rate.

use std::path::Path;

use super::frames::Frame;
use crate::{Error, Result};

/// Most frames that are added to a clip in all: 11 minutes at 30 per second. Bounds the memory of a small file.
const MOST_ADDED: usize = 20_000;
/// Frame numbers from here on are not believed; they are exact below 2^53.
pub(super) const LARGEST_NUMBER: f64 = 1e15;
/// Intervals within this factor of the median are averaged; those of rounded times are, gaps are not.
const NEAR: std::ops::Range<f64> = 0.6..1.6;

/// The frames of a clip in time.
#[derive(Debug, PartialEq)]
pub(super) struct Timing {
    /// The index in the clip of each frame of the file, ascending.
    pub places: Vec<usize>,
    /// Frames per second; `None` without times.
    pub rate: Option<f64>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

impl Timing {
    /// Places frames by their numbers, or else by their times. `numbered` says whether the numbers can be used.
    ///
    /// # Errors
    /// Bad data when more frames are absent between two rows than are added to a clip.
    pub fn new(path: &Path, frames: &[Frame], numbered: bool) -> Result<Self> {
        let times: Vec<f64> = frames.iter().map(|frame| frame.time).collect();
        let given = numbered.then(|| frames.iter().map(|frame| frame.number).collect());
        let numbers: Vec<f64> = given
            .or_else(|| by_time(&times))
            .unwrap_or_else(|| (0..frames.len()).map(|number| number as f64).collect());
        let rate = rate(&numbers, &times);
        let mut notes = Vec::new();
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
            return Ok(Self { places: Vec::new(), rate, notes });
        };
        let start = if numbered { start(first, times[0], rate) } else { 0.0 };
        let late = (first - start) as usize;
        let absent = (last - first) as usize + 1 - frames.len();
        if absent > MOST_ADDED {
            let gap = numbers.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
            let [before, after] = gap.map_or([first, last], |gap| [gap[0], gap[1]]);
            let what = format!(
                "{absent} frames are absent, e.g. between frame {before} and frame {after}; at most {MOST_ADDED} are filled: correct the columns `frame` and `timestamp`, or cut the clip there"
            );
            return Err(Error::bad(path, what));
        }
        let cut_from_longer = absent + late > MOST_ADDED;
        let origin = if cut_from_longer { first } else { start };
        if cut_from_longer {
            notes.push(format!("begins at frame {first}; the frames before it are left out"));
        } else if late > 0 {
            notes.push(format!(
                "begins {late} frames late{}: they repeat the points of the first face",
                if numbered { format!(" (at frame {first})") } else { String::new() }
            ));
        }
        if absent > 0 {
            let gap = numbers.windows(2).find(|pair| pair[1] - pair[0] > 1.0);
            let after = gap.map_or(0.0, |pair| pair[0] - origin + 1.0);
            notes.push(format!(
                "{absent} frames are absent, the first after frame {after}: they repeat the points of the frame before"
            ));
        }
        let places = numbers.iter().map(|number| (number - origin) as usize).collect();
        Ok(Self { places, rate, notes })
    }
}

/// The number of the clip's first frame. OpenFace counts from 1; times tell a file that counts from 0, or from elsewhere.
fn start(first: f64, time: f64, rate: Option<f64>) -> f64 {
    // The first frame, whose time some versions give as one interval.
    if first <= 1.0 {
        return first;
    }
    let zero = rate.filter(|_| time.is_finite()).map(|rate| (first - time * rate).round());
    match zero {
        Some(zero) if zero == 0.0 || zero == 1.0 || zero == first => zero,
        _ => 1.0,
    }
}

/// Frame numbers from times; `None` when times do not ascend by whole intervals.
fn by_time(times: &[f64]) -> Option<Vec<f64>> {
    let interval = interval(times)?;
    let numbers: Vec<f64> = times.iter().map(|time| (time / interval).round()).collect();
    let ascend = numbers.windows(2).all(|pair| pair[1] > pair[0]);
    let (first, last) = (numbers.first()?, numbers.last()?);
    // A first time of one interval, or of another clock (a date, a longer recording), is no late start.
    let late = *first > 1.0 && *first <= MOST_ADDED as f64;
    let offset = if late { 0.0 } else { *first };
    let believed = ascend && *last < LARGEST_NUMBER;
    believed.then(|| numbers.iter().map(|number| number - offset).collect())
}

/// The mean of the intervals near the median, in seconds.
fn interval(times: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> =
        times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 1e-4).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let median = *steps.get(steps.len() / 2)?;
    let near = || steps.iter().filter(|step| NEAR.contains(&(**step / median)));
    let mean = near().sum::<f64>() / near().count() as f64;
    mean.is_finite().then_some(mean)
}

/// Frames per second: the inverse of the slope of the line through all times, which averages their rounding.
fn rate(numbers: &[f64], times: &[f64]) -> Option<f64> {
    let pairs = || numbers.iter().zip(times).filter(|(_, time)| time.is_finite());
    let count = pairs().count() as f64;
    let mean = |sum: f64| sum / count;
    let middle = mean(pairs().map(|(number, _)| number).sum());
    let (mut across, mut along) = (0.0, 0.0);
    for (number, time) in pairs() {
        across += (number - middle).powi(2);
        along += (number - middle) * time;
    }
    let slope = along / across;
    (slope.is_finite() && slope > 1e-4).then(|| 1.0 / slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(frames: &[(f64, f64)]) -> Result<Timing> {
        let frame = |&(number, time): &(f64, f64)| Frame { number, time, rows: Vec::new() };
        let frames: Vec<Frame> = frames.iter().map(frame).collect();
        let numbered = frames.iter().all(|frame| frame.number.is_finite());
        Timing::new(Path::new("x.csv"), &frames, numbered)
    }

    fn rounded(time: f64) -> f64 {
        (time * 1e3).round() / 1e3
    }

    #[test]
    fn rates_come_out_of_rounded_times_with_numbers_and_without() {
        for rate in [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 119.88, 240.0] {
            for numbered in [true, false] {
                let frame = |k: i32| {
                    let number = if numbered { f64::from(k) } else { f64::NAN };
                    (number, rounded(f64::from(k - 1) / rate))
                };
                let frames: Vec<_> = (1..=240).map(frame).collect();
                let found = timing(&frames).unwrap();
                let off = (found.rate.unwrap() - rate).abs() / rate;
                assert!(off < 1e-4, "{rate} {numbered}: {:?}", found.rate);
                assert_eq!(found.places, (0..240).collect::<Vec<_>>(), "{rate} {numbered}");
            }
        }
    }

    #[test]
    fn gaps_and_late_starts_keep_their_frames() {
        let frame = |k: f64| (k, rounded((k - 1.0) / 30.0));
        let found = timing(&[4.0, 5.0, 6.0, 9.0, 10.0].map(frame)).unwrap();
        assert_eq!(found.places, [3, 4, 5, 8, 9]);
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        // By times alone.
        let unnumbered = [3.0, 4.0, 5.0, 8.0, 9.0].map(|k| (f64::NAN, rounded(k / 30.0)));
        assert_eq!(timing(&unnumbered).unwrap().places, [3, 4, 5, 8, 9]);
        // Counted from 0, and without times.
        let zero = [0.0, 1.0, 3.0].map(|k| (k, rounded(k / 25.0)));
        assert_eq!(timing(&zero).unwrap().places, [0, 1, 3]);
        let one_interval = [1.0, 2.0, 4.0].map(|k| (k, rounded(k / 25.0)));
        assert_eq!(timing(&one_interval).unwrap().places, [0, 1, 3]);
        assert_eq!(timing(&[(3.0, f64::NAN), (4.0, f64::NAN)]).unwrap().places, [2, 3]);
    }

    #[test]
    fn a_clip_of_a_longer_recording_is_not_filled_from_its_start() {
        let frame = |k: i32| (f64::from(k), rounded(f64::from(k - 1) / 30.0));
        let found = timing(&[90_001, 90_002, 90_003].map(frame)).unwrap();
        assert_eq!(found.places, [0, 1, 2]);
        assert!(found.notes[0].contains("begins at frame 90001"), "{:?}", found.notes);
        // Its times begin at 0.
        let frame = |k: i32| (f64::from(k + 300), rounded(f64::from(k) / 30.0));
        assert_eq!(timing(&[0, 1, 2].map(frame)).unwrap().places, [0, 1, 2]);
    }

    #[test]
    fn a_gap_of_hours_is_refused_with_its_place() {
        let frame = |k: f64| (k, (k - 1.0) / 30.0);
        let error = timing(&[1.0, 2.0, 3.0, 4e9].map(frame)).unwrap_err().to_string();
        assert!(error.contains("between frame 3 and frame 4000000000"), "{error}");
    }

    #[test]
    fn times_that_are_no_numbers_or_stand_still_give_no_rate() {
        assert_eq!(timing(&[(1.0, f64::NAN), (2.0, f64::NAN)]).unwrap().rate, None);
        assert_eq!(timing(&[(1.0, 0.0), (2.0, 0.0)]).unwrap().rate, None);
        let one_missing = [(1.0, 0.0), (2.0, f64::NAN), (3.0, 0.08), (4.0, 0.12)];
        assert!((timing(&one_missing).unwrap().rate.unwrap() - 25.0).abs() < 1e-6);
    }
}
