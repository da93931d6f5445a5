//! Tracking of one face through a clip, and smooth crop squares around it.

use super::boxes::{FaceBox, Overlap};
use super::detector::{Detector, Face};
use super::picture::Sums;
use engine::{Parameters, Result};

/// Settings of [`Follower`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowSettings {
    /// Frames between detections in the whole frame, which find new faces and end the tracking of false ones.
    pub look_every: usize,
    /// Frames after a loss during which a face near the last position is preferred; later the largest is selected.
    pub patience: usize,
}

impl Default for FollowSettings {
    fn default() -> Self {
        FollowSettings { look_every: 15, patience: 30 }
    }
}

/// The tracking result of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sighting {
    /// The tracked face, if found.
    pub face: Option<Face>,
    /// Whether the detector ran on the whole frame.
    pub looked: bool,
    /// The number of other faces at least half as large; 0 unless [`looked`](Self::looked).
    pub others: usize,
    /// Whether the tracker switched to another position: the face before was lost.
    pub jumped: bool,
}

/// Tracks one face from frame to frame: first the largest, then the one at the last position.
///
/// If the last frame has a face, only the output network runs, on three windows around it, and the mean of its
/// outputs is the face. This takes a fraction of the time of the whole cascade and has less jitter.
#[derive(Debug)]
pub struct Follower<'a> {
    detector: &'a Detector,
    parameters: &'a Parameters,
    settings: FollowSettings,
    last: Option<Face>,
    /// Frames since the last face, and since the last detection in the whole frame.
    lost: usize,
    unlooked: usize,
    /// Consecutive whole-frame detections without the face that the output network finds.
    doubts: usize,
}

/// Sides of the windows around the last face, relative to its own.
const WINDOWS: [f32; 3] = [0.9, 1.0, 1.15];
/// Consecutive whole-frame detections without the tracked face that end its tracking.
const DOUBTS: usize = 2;
/// The least overlap of two boxes of one face in neighbouring frames.
const SAME: f32 = 0.4;

impl<'a> Follower<'a> {
    /// A tracker of the face in a video, before its first frame.
    pub fn new(
        detector: &'a Detector,
        parameters: &'a Parameters,
        settings: FollowSettings,
    ) -> Self {
        Follower { detector, parameters, settings, last: None, lost: 0, unlooked: 0, doubts: 0 }
    }

    /// Processes the next frame.
    ///
    /// # Errors
    /// When work on a GPU fails.
    pub fn next(&mut self, picture: &Sums) -> Result<Sighting> {
        self.unlooked += 1;
        let again = match self.last.filter(|_| self.lost == 0) {
            Some(last) => self.at(picture, &last.at)?.filter(|face| same(face, &last)),
            None => None,
        };
        if again.is_some() && self.unlooked < self.settings.look_every {
            self.last = again;
            return Ok(Sighting { face: again, ..Sighting::default() });
        }
        self.unlooked = 0;
        let found = self.detector.detect(self.parameters, picture)?;
        let Some((chosen, jumped)) = self.choose(&found, again) else {
            self.lost += 1;
            return Ok(Sighting { looked: true, ..Sighting::default() });
        };
        // The mean of windows, as in frames without detection, so that both kinds give equal boxes.
        let face = self.at(picture, &chosen.at)?.filter(|face| same(face, &chosen));
        let face = face.unwrap_or(chosen);
        let others = found.iter().filter(|other| {
            other.at.size() >= chosen.at.size() / 2.0
                && other.at.overlap(&chosen.at, Overlap::Union) < SAME
        });
        let others = others.count();
        self.last = Some(face);
        self.lost = 0;
        Ok(Sighting { face: Some(face), looked: true, others, jumped })
    }

    /// Selects the face among the detections of the whole frame, and whether the tracker switched to another
    /// position. `again` is the output network's face at the last position.
    fn choose(&mut self, found: &[Face], again: Option<Face>) -> Option<(Face, bool)> {
        let largest = found.iter().max_by(|a, b| a.at.size().total_cmp(&b.at.size()));
        let Some(last) = self.last else { return largest.map(|face| (*face, false)) };
        let distance = |face: &Face| {
            let ([x, y], [last_x, last_y]) = (face.at.centre(), last.at.centre());
            (x - last_x).hypot(y - last_y)
        };
        let nearest = found.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        // During `patience` frames a face moves by at most its own size.
        if let Some(near) = nearest.filter(|face| distance(face) <= last.at.size()) {
            self.doubts = 0;
            return Some((*near, false));
        }
        // The output network alone has more false positives than the whole cascade.
        self.doubts += usize::from(again.is_some());
        match (again, largest) {
            (Some(again), _) if self.doubts < DOUBTS => Some((again, false)),
            (None, _) if (1..self.settings.patience).contains(&self.lost) => None,
            (_, Some(other)) => {
                self.doubts = 0;
                Some((*other, true))
            }
            (_, None) => None,
        }
    }

    /// The face at a position: the mean of the output network's faces in windows around it.
    fn at(&self, picture: &Sums, place: &FaceBox) -> Result<Option<Face>> {
        let [x, y] = place.centre();
        let windows = WINDOWS.map(|share| {
            let half = place.size() * share / 2.0;
            FaceBox { sides: [x - half, y - half, x + half, y + half], score: 0.0 }
        });
        let faces = self.detector.judge_each(self.parameters, picture, &windows)?;
        Ok(mean(&faces))
    }
}

fn same(a: &Face, b: &Face) -> bool {
    a.at.overlap(&b.at, Overlap::Union) >= SAME
}

/// The mean of several detections of one face.
fn mean(faces: &[Face]) -> Option<Face> {
    let (first, others) = faces.split_first()?;
    let mut sum = *first;
    for face in others {
        sum.at.score += face.at.score;
        sum.at.sides.iter_mut().zip(face.at.sides).for_each(|(sum, side)| *sum += side);
        let points = sum.points.iter_mut().flatten();
        points.zip(face.points.iter().flatten()).for_each(|(sum, place)| *sum += place);
    }
    let share = 1.0 / faces.len() as f32;
    sum.at.score *= share;
    sum.at.sides = sum.at.sides.map(|side| side * share);
    sum.points = sum.points.map(|point| point.map(|place| place * share));
    Some(sum)
}

/// A square, in pixels; the centre of the first pixel is at 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Square {
    /// The centre: x, y.
    pub centre: [f32; 2],
    /// The side.
    pub side: f32,
}

impl Square {
    /// The input square of [`PointNet`](super::PointNet). Its side is 1.2 times the longer extent of the box. It is
    /// shifted down by a tenth of its side, because MTCNN's boxes include the forehead and the network's training boxes
    /// did not. With factors from .9 to 1.4 the points change by less than 1 % of the face.
    pub fn of_points(face: &FaceBox) -> Self {
        let side = 1.2 * face.size();
        let [x, y] = face.centre();
        // MTCNN's coordinates start at 1.
        Square { centre: [x - 0.5, y - 0.5 + 0.1 * side], side }
    }

    /// The square around a face's box, with `margin` times its longer extent as side.
    pub fn around(face: &FaceBox, margin: f32) -> Self {
        let [x, y] = face.centre();
        Square { centre: [x - 0.5, y - 0.5], side: margin * face.size() }
    }

    fn parts(self) -> [f64; 3] {
        let Square { centre: [x, y], side } = self;
        [x, y, side].map(f64::from)
    }
}

/// Smooth squares for all frames of a clip, from those of the frames with a face; `None` if no frame has one.
///
/// Squares are interpolated linearly between frames with a face and constant before the first and after the last.
/// Then they are smoothed with a Gaussian of standard deviation `std` (in frames), which removes jitter of single
/// boxes, since a network could mistake it for motion. There is no smoothing across `cuts`: the sorted indices of the
/// frames at which the tracker switched to another position.
pub fn steady(seen: &[Option<Square>], cuts: &[usize], std: f64) -> Option<Vec<Square>> {
    let mut squares = Vec::with_capacity(seen.len());
    let mut rest = seen;
    for &cut in cuts.iter().chain([&seen.len()]) {
        let (scene, after) = rest.split_at(cut.saturating_sub(squares.len()).min(rest.len()));
        if !scene.is_empty() {
            squares.extend(steady_scene(scene, std)?);
        }
        rest = after;
    }
    (!squares.is_empty()).then_some(squares)
}

/// Smooths the squares of frames without a cut.
fn steady_scene(seen: &[Option<Square>], std: f64) -> Option<Vec<Square>> {
    let filled = filled(seen)?;
    let reach = (3.0 * std).ceil().clamp(0.0, 1e4) as usize;
    let weight = |distance: usize| (-0.5 * (distance as f64 / std.max(1e-6)).powi(2)).exp();
    let weights: Vec<f64> = (0..=reach).map(weight).collect();
    let smooth = |at: usize| {
        let (mut sums, mut whole) = ([0.0; 3], 0.0);
        let last = (at + reach).min(filled.len() - 1);
        let around = filled.iter().enumerate().take(last + 1).skip(at.saturating_sub(reach));
        for (other, parts) in around {
            let weight = weights[other.abs_diff(at)];
            whole += weight;
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += weight * part);
        }
        let [x, y, side] = sums.map(|sum| (sum / whole) as f32);
        Square { centre: [x, y], side }
    };
    Some((0..filled.len()).map(smooth).collect())
}

/// Centre and side of the squares, with gaps interpolated.
fn filled(seen: &[Option<Square>]) -> Option<Vec<[f64; 3]>> {
    let mut filled: Vec<[f64; 3]> = Vec::with_capacity(seen.len());
    let mut last: Option<[f64; 3]> = None;
    for (at, square) in seen.iter().enumerate() {
        let Some(square) = square else { continue };
        let (parts, gap) = (square.parts(), at - filled.len());
        let from = last.unwrap_or(parts);
        for step in 1..=gap {
            let share = step as f64 / (gap + 1) as f64;
            filled
                .push(std::array::from_fn(|part| from[part] + share * (parts[part] - from[part])));
        }
        filled.push(parts);
        last = Some(parts);
    }
    filled.resize(seen.len(), last?);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, side: f32) -> Square {
        Square { centre: [x, y], side }
    }

    #[test]
    fn gaps_are_crossed_evenly_and_ends_held() {
        let seen =
            [None, Some(square(10.0, 4.0, 8.0)), None, None, Some(square(16.0, 1.0, 11.0)), None];
        let squares = steady(&seen, &[], 0.0).unwrap();
        let expected = [
            square(10.0, 4.0, 8.0),
            square(10.0, 4.0, 8.0),
            square(12.0, 3.0, 9.0),
            square(14.0, 2.0, 10.0),
            square(16.0, 1.0, 11.0),
            square(16.0, 1.0, 11.0),
        ];
        assert_eq!(squares, expected);
        assert!(steady(&[None, None], &[], 3.0).is_none() && steady(&[], &[], 3.0).is_none());
    }

    #[test]
    fn steady_squares_shake_less_and_stay_where_they_are() {
        let still = vec![Some(square(50.0, 40.0, 20.0)); 40];
        for square in steady(&still, &[], 4.0).unwrap() {
            assert!((square.centre[0] - 50.0).abs() < 1e-4 && (square.side - 20.0).abs() < 1e-4);
        }
        let shaking: Vec<Option<Square>> = (0..60)
            .map(|n| Some(square(50.0 + if n % 2 == 0 { 2.0 } else { -2.0 }, 40.0, 20.0)))
            .collect();
        let squares = steady(&shaking, &[], 4.0).unwrap();
        for square in &squares[12..48] {
            assert!((square.centre[0] - 50.0).abs() < 0.05, "{square:?}");
        }
        // A steady motion across the image is followed.
        let walk: Vec<Option<Square>> =
            (0..60).map(|n| Some(square(3.0 * n as f32, 40.0, 20.0))).collect();
        for (n, square) in steady(&walk, &[], 4.0).unwrap().iter().enumerate().take(48).skip(12) {
            assert!((square.centre[0] - 3.0 * n as f32).abs() < 1e-3, "{square:?}");
        }
    }

    #[test]
    fn squares_leap_at_cuts() {
        let scene = |x: f32| [Some(square(x, 40.0, 20.0)), None, Some(square(x, 40.0, 20.0)), None];
        let seen = [scene(50.0), scene(200.0), scene(90.0)].concat();
        let squares = steady(&seen, &[4, 8], 3.0).unwrap();
        for (squares, x) in squares.chunks(4).zip([50.0, 200.0, 90.0]) {
            assert!(squares.iter().all(|s| (s.centre[0] - x).abs() < 1e-3), "{squares:?}");
        }
        assert_eq!(squares.len(), 12);
        // Cuts past the end or at the start change nothing.
        assert_eq!(steady(&seen, &[0, 4, 8, 12, 99], 3.0).unwrap(), squares);
    }

    #[test]
    fn the_face_is_the_one_at_the_last_place() -> Result<()> {
        let mut parameters = Parameters::new(engine::DType::F32, 0);
        let detector = Detector::new(parameters.scope(), Default::default())?;
        let at = |x: f32, size: f32| Face {
            at: FaceBox { sides: [x, 50.0, x + size, 50.0 + size], score: 0.9 },
            points: [[0.0; 2]; 5],
        };
        let mut follower = Follower::new(&detector, &parameters, FollowSettings::default());
        let (small, large) = (at(100.0, 20.0), at(300.0, 60.0));
        assert_eq!(follower.choose(&[small, large], None), Some((large, false)));
        follower.last = Some(small);
        assert_eq!(
            follower.choose(&[at(110.0, 22.0), large], None),
            Some((at(110.0, 22.0), false))
        );
        // No face at the last position: a cut.
        assert_eq!(follower.choose(&[large], None), Some((large, true)));
        // The face is lost for a while; only later another one is selected.
        follower.lost = 3;
        assert_eq!(follower.choose(&[large], None), None);
        follower.lost = 30;
        assert_eq!(follower.choose(&[large], None), Some((large, true)));
        // A face that only the output network finds is accepted once.
        follower.lost = 0;
        assert_eq!(follower.choose(&[large], Some(small)), Some((small, false)));
        assert_eq!(follower.choose(&[small, large], Some(small)), Some((small, false)));
        assert_eq!(follower.choose(&[large], Some(small)), Some((small, false)));
        assert_eq!(follower.choose(&[large], Some(small)), Some((large, true)));
        assert_eq!(follower.choose(&[], None), None);
        Ok(())
    }

    #[test]
    fn the_mean_of_views() {
        let face = |shift: f32| Face {
            at: FaceBox { sides: [shift, 1.0, 10.0 + shift, 12.0], score: 0.9 + shift / 100.0 },
            points: [[shift, 2.0]; 5],
        };
        let mean = mean(&[face(0.0), face(2.0), face(4.0)]).unwrap();
        assert!((mean.at.sides[0] - 2.0).abs() < 1e-6 && (mean.at.score - 0.92).abs() < 1e-6);
        assert!((mean.points[4][0] - 2.0).abs() < 1e-6 && mean.points[0][1] == 2.0);
        assert!(super::mean(&[]).is_none());
    }

    #[test]
    fn squares_for_points_lie_lower() {
        let face = FaceBox { sides: [11.0, 21.0, 51.0, 71.0], score: 1.0 };
        let square = Square::of_points(&face);
        assert!((square.side - 60.0).abs() < 1e-4);
        assert!((square.centre[0] - 30.5).abs() < 1e-5 && (square.centre[1] - 51.5).abs() < 1e-5);
        let around = Square::around(&face, 1.3);
        assert!(around.centre == [30.5, 45.5] && (around.side - 65.0).abs() < 1e-4);
    }
}
