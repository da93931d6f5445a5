//! One video: tracks its face, then writes crops, points and the contact sheet.

use super::networks::Networks;
use super::sheet::{Sheet, Tile, bytes};
use super::source::{Clip, Frames};
use crate::cli::Gaps;
use crate::failure::{Failure, Result};
use data::formats::npy;
use data::formats::openface::{self, Row};
use models::faces::points::{self, POINTS, SIDE};
use models::faces::{FollowSettings, Follower, Square, Sums, steady};
use serde::{Deserialize, Serialize};

/// The settings on which the results depend, besides video and weights.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Settings {
    /// The side of a crop, relative to the longer side of the face's box.
    pub margin: f32,
    /// The content of crops in frames without a face.
    pub gaps: Gaps,
    /// The smallest face to detect, in pixels.
    pub min_face: u16,
    /// Frames between detections in the whole frame.
    pub look_every: u16,
    /// Frames per second of files without a frame rate.
    pub rate: f64,
}

/// Standard deviation, in seconds, of the Gaussian that smooths the crop squares: longer than the jitter of single
/// boxes, shorter than a turn of the head.
const STEADY: f64 = 0.2;
/// Faces in a batch of the landmark network.
const BATCH: usize = 16;

/// The tracking result of a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Number of frames.
    pub frames: usize,
    /// Frames with a face.
    pub with_face: usize,
    /// Frames per second.
    pub rate: f64,
    /// Frames in which the detector ran on the whole frame.
    pub looked: usize,
    /// Those of them with another face at least half as large as the tracked one.
    pub with_others: usize,
    /// Switches of the tracker to another position after a loss.
    pub jumps: usize,
    /// The mean probability of a face in frames with one.
    pub confidence: f32,
}

impl Found {
    /// Warnings for the user.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let without = self.frames - self.with_face.min(self.frames);
        if self.with_face == 0 {
            warnings
                .push(format!("no face in any of its {} frames: nothing is written", self.frames));
        } else if without > 0 {
            warnings.push(format!("no face in {without} of {} frames", self.frames));
        }
        if self.with_others > 0 {
            warnings.push(format!(
                "another face about as large in {} of {} detections; the face that was largest first is tracked",
                self.with_others, self.looked
            ));
        }
        if self.jumps > 0 {
            warnings.push(format!(
                "the face was lost and another one tracked ({} times); cut the video into scenes",
                self.jumps
            ));
        }
        warnings
    }
}

/// The progress callback: frames done, and their total if known.
pub type Tick<'a> = dyn FnMut(usize, Option<usize>) -> Result<()> + 'a;

/// The tracking results of all frames.
struct Track {
    rows: Vec<Row>,
    squares: Vec<Option<Square>>,
    /// Frames at which the tracker switched to another position.
    cuts: Vec<usize>,
    found: Found,
}

/// Tracks the face of a video and writes the results.
///
/// # Errors
/// When frames cannot be read, results cannot be written, or `tick` returns an error. `tick` gets the number of
/// frames done in both passes and, if known, the total.
pub fn run(
    networks: &Networks,
    settings: &Settings,
    clip: &Clip,
    frames: &Frames,
    tick: &mut Tick<'_>,
) -> Result<Found> {
    let Track { rows, squares, cuts, found } = follow(networks, settings, frames, tick)?;
    let Some(steady) = steady(&squares, &cuts, STEADY * found.rate) else { return Ok(found) };
    let total = rows.len();
    let mut sheet = Sheet::new(total);
    npy::write_parts::<u8, Failure>(&clip.result("npy"), &[total, SIDE, SIDE, 3], |part| {
        let mut number = 0;
        frames.each(|_, picture| {
            // The count of written frames detects a file that has grown since the first pass.
            let Some((row, square)) = rows.get(number).zip(steady.get(number)) else {
                return Ok(());
            };
            let crop = match settings.gaps {
                Gaps::Mask if !row.success => vec![0; SIDE * SIDE * 3],
                _ => bytes(picture.square(square.centre, square.side, SIDE)),
            };
            sheet.take(number, &Tile { picture, square, row, crop: &crop });
            part(&crop)?;
            number += 1;
            tick(total + number, Some(2 * total))
        })?;
        Ok(())
    })?;
    openface::write(&clip.result("csv"), &rows)?;
    sheet.write(&clip.result("png"))?;
    Ok(found)
}

/// The first pass: tracks the face and finds its points.
fn follow(
    networks: &Networks,
    settings: &Settings,
    frames: &Frames,
    tick: &mut Tick<'_>,
) -> Result<Track> {
    let follow = FollowSettings {
        look_every: usize::from(settings.look_every),
        ..FollowSettings::default()
    };
    let mut follower = Follower::new(&networks.detector, &networks.parameters, follow);
    let (mut rows, mut squares, mut waiting) = (Vec::new(), Vec::new(), Waiting::default());
    let mut cuts = Vec::new();
    let mut found = Found {
        frames: 0,
        with_face: 0,
        rate: 0.0,
        looked: 0,
        with_others: 0,
        jumps: 0,
        confidence: 0.0,
    };
    let whole = frames.count().map(|count| 2 * count);
    let rate = frames.each(|time, picture| {
        let sighting = follower.next(&Sums::new(picture))?;
        found.looked += usize::from(sighting.looked);
        found.with_others += usize::from(sighting.others > 0);
        if sighting.jumped {
            cuts.push(rows.len());
        }
        let confidence = sighting.face.map_or(0.0, |face| face.at.score);
        let (success, points) = (sighting.face.is_some(), [[0.0; 2]; POINTS]);
        if let Some(face) = sighting.face {
            found.with_face += 1;
            found.confidence += confidence;
            let square = Square::of_points(&face.at);
            waiting.crops.push(points::crop(picture, square.centre, square.side));
            waiting.squares.push((rows.len(), square));
        }
        squares.push(sighting.face.map(|face| Square::around(&face.at, settings.margin)));
        rows.push(Row { time, confidence, success, points });
        if waiting.crops.len() == BATCH {
            waiting.locate(networks, &mut rows)?;
        }
        tick(rows.len(), whole)
    })?;
    waiting.locate(networks, &mut rows)?;
    hold(&mut rows);
    found.frames = rows.len();
    found.rate = rate;
    found.jumps = cuts.len();
    found.confidence /= found.with_face.max(1) as f32;
    Ok(Track { rows, squares, cuts, found })
}

/// Faces whose points are to be found, with the indices of their frames.
#[derive(Default)]
struct Waiting {
    crops: Vec<Vec<f32>>,
    squares: Vec<(usize, Square)>,
}

impl Waiting {
    fn locate(&mut self, networks: &Networks, rows: &mut [Row]) -> Result<()> {
        let located = networks.points.locate(&networks.parameters, &self.crops)?;
        for ((number, square), shares) in self.squares.drain(..).zip(located) {
            let Square { centre: [x, y], side } = square;
            let place =
                |[across, down]: [f32; 2]| [x + (across - 0.5) * side, y + (down - 0.5) * side];
            if let Some(row) = rows.get_mut(number) {
                row.points = shares.map(place);
            }
        }
        self.crops.clear();
        Ok(())
    }
}

/// Gives frames without a face the points of the last face before, or of the first face.
fn hold(rows: &mut [Row]) {
    let Some(first) = rows.iter().find(|row| row.success) else { return };
    let mut last = first.points;
    for row in rows {
        if row.success {
            last = row.points;
        } else {
            row.points = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(success: bool, place: f32) -> Row {
        Row { time: 0.0, confidence: 0.0, success, points: [[place; 2]; POINTS] }
    }

    #[test]
    fn frames_without_a_face_hold_points() {
        let mut rows = [row(false, 0.0), row(true, 1.0), row(false, 0.0), row(true, 3.0)];
        hold(&mut rows);
        assert_eq!(rows.map(|row| row.points[67][1]), [1.0, 1.0, 1.0, 3.0]);
        let mut none = [row(false, 0.0)];
        hold(&mut none);
        assert_eq!(none[0].points[0], [0.0; 2]);
    }

    #[test]
    fn warnings_say_what_is_odd() {
        let found = Found {
            frames: 10,
            with_face: 10,
            rate: 25.0,
            looked: 2,
            with_others: 0,
            jumps: 0,
            confidence: 0.99,
        };
        assert!(found.warnings().is_empty());
        let odd = Found { with_face: 7, with_others: 1, jumps: 2, ..found.clone() };
        let text = odd.warnings().join("\n");
        for part in ["3 of 10 frames", "1 of 2 detections", "tracked (2 times)"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(Found { with_face: 0, ..found }.warnings()[0].contains("nothing is written"));
    }
}
