//! One video: following its face, then writing crops, points and the sheet.

use super::networks::Networks;
use super::sheet::{Sheet, Tile};
use super::source::{Clip, Frames};
use crate::cli::Gaps;
use crate::failure::{Failure, Result};
use data::formats::npy;
use data::formats::openface::{self, Row};
use models::faces::points::{self, POINTS, SIDE};
use models::faces::{FollowSettings, Follower, Square, Sums, steady};
use serde::{Deserialize, Serialize};

/// What decides the results besides the video and the weights.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Settings {
    /// The side of a crop in those of the face's box.
    pub margin: f32,
    /// What crops show where no face was found.
    pub gaps: Gaps,
    /// The smallest face looked for, in pixels.
    pub min_face: u16,
    /// Frames from one look at the whole frame to the next.
    pub look_every: u16,
    /// Frames a second of files that do not say.
    pub rate: f64,
}

/// Seconds over which the squares of crops are steadied: the deviation of a normal curve. Slower than the shaking of
/// single boxes, faster than a head that turns away.
const STEADY: f64 = 0.2;
/// Faces whose points are looked for at once.
const BATCH: usize = 16;

/// What a video shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Frames in all.
    pub frames: usize,
    /// Frames with a face.
    pub with_face: usize,
    /// Frames a second, as they are shown.
    pub rate: f64,
    /// Frames that were looked at as a whole.
    pub looked: usize,
    /// Frames in which another face was at least half as large as the one that was followed, among those.
    pub with_others: usize,
    /// Times that the face was lost and another place was followed.
    pub jumps: usize,
    /// The mean probability of a face in frames with one.
    pub confidence: f32,
}

impl Found {
    /// What a person should know of it.
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
                "another face about as large in {} of {} looks; the largest at first was followed",
                self.with_others, self.looked
            ));
        }
        if self.jumps > 0 {
            warnings.push(format!(
                "the face was lost and another place followed ({} in all): cut it into scenes?",
                self.jumps
            ));
        }
        warnings
    }
}

/// Told how far it is: frames done and in all.
pub type Tick<'a> = dyn FnMut(usize, Option<usize>) -> Result<()> + 'a;

/// What is known of each frame.
struct Track {
    rows: Vec<Row>,
    squares: Vec<Option<Square>>,
    /// Frames that another place is followed from.
    cuts: Vec<usize>,
    found: Found,
}

/// Follows the face of a video and writes the results.
///
/// # Errors
/// As reading the frames and writing the results; whatever `tick` returns, which is told how many frames of the two
/// rounds are done, and of how many where that is known.
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
            // A file that has grown since is caught by the count of what is written.
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

/// The first round: where the face is and its points.
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

/// Faces whose points are to be found, with the numbers of their frames.
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

/// Frames without a face get the last one's points, those at the start the first one's.
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

/// Numbers from 0 to 255 as bytes.
pub fn bytes(pixels: Vec<[f32; 3]>) -> Vec<u8> {
    pixels.into_iter().flatten().map(|value| value.round().clamp(0.0, 255.0) as u8).collect()
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
        for part in ["3 of 10 frames", "1 of 2 looks", "followed (2 in all)"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(Found { with_face: 0, ..found }.warnings()[0].contains("nothing is written"));
    }
}
