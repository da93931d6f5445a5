//! The neutral face of 68 points and what each action unit does to it.
//!
//! Units: half the face's width. x to the viewer's right, y down, origin between eyes and nose.

use super::random::{Purpose, Stream};
use super::tables::{ACTION_UNITS, UNITS};
use core::f64::consts::PI;

/// Points of the usual 68-point layout: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67.
pub(super) const POINTS: usize = 68;
/// A face: one (x, y) per point.
pub(super) type Shape = [[f64; 2]; POINTS];
/// Number of shape modes, the directions in which faces differ.
pub(super) const SHAPE_MODES: usize = 12;

/// Number of modes of the tracker's constant error on a face. An encoder can learn to ignore eight directions from many
/// people, and an untrained one cannot; independent errors of every point would harm both.
pub(super) const TRACKER_MODES: usize = 8;
/// Standard deviation of a point per mode of that error, face units: 0.08 over people at identity 0.7. As a part of the
/// shape it would make the drawn faces irregular.
const TRACKER_BIAS: f64 = 0.04;

/// Parts that move together from person to person.
const PARTS: [core::ops::Range<usize>; 7] = [0..17, 17..22, 22..27, 27..36, 36..42, 42..48, 48..68];
/// Standard deviation of a part's position and of its size per shape mode; twelve modes at identity 0.7 move each point
/// by about 0.06, and a face keeps its proportions.
const PART_SHIFT: f64 = 0.015;
const PART_STRETCH: f64 = 0.045;
/// Standard deviation of the jaw's size: smaller, because the jaw surrounds the other parts.
const JAW_STRETCH: f64 = 0.022;
/// Standard deviation of single points per mode, because faces are not regular.
const POINT_JITTER: f64 = 0.007;

fn spaced(from: f64, to: f64, count: usize, index: usize) -> f64 {
    from + (to - from) * index as f64 / (count - 1) as f64
}

/// The mean face.
pub(super) fn mean_face() -> Shape {
    let mut face = [[0.0; 2]; POINTS];
    for (i, point) in face[..17].iter_mut().enumerate() {
        let angle = spaced(PI, 0.0, 17, i);
        *point = [libm::cos(angle), 0.1 + 1.15 * libm::sin(angle)];
    }
    for i in 0..5 {
        let left = libm::sin(spaced(0.3, PI - 0.2, 5, i));
        let right = libm::sin(spaced(0.2, PI - 0.3, 5, i));
        face[17 + i] = [spaced(-0.78, -0.2, 5, i), -0.42 - 0.10 * left];
        face[22 + i] = [spaced(0.2, 0.78, 5, i), -0.42 - 0.10 * right];
        face[31 + i] = [spaced(-0.2, 0.2, 5, i), [0.36, 0.40, 0.42, 0.40, 0.36][i]];
    }
    for i in 0..4 {
        face[27 + i] = [0.0, spaced(-0.2, 0.25, 4, i)];
    }
    for (first, centre) in [(36, -0.45), (42, 0.45)] {
        for (i, turn) in [1.0, 0.68, 0.32, 0.0, -0.32, -0.68].into_iter().enumerate() {
            let angle = PI * turn;
            face[first + i] = [centre + 0.17 * libm::cos(angle), -0.16 - 0.07 * libm::sin(angle)];
        }
    }
    for i in 0..12 {
        let angle = spaced(PI, -PI, 13, i);
        face[48 + i] = [0.36 * libm::cos(angle), 0.72 - 0.12 * libm::sin(angle)];
    }
    for i in 0..8 {
        let angle = spaced(PI, -PI, 9, i);
        face[60 + i] = [0.27 * libm::cos(angle), 0.72 - 0.03 * libm::sin(angle)];
    }
    face
}

/// Points moved by each unit: (FACS number, points, outward x, downward y), at strength 1.
const UNIT_MOVES: [(u8, &[usize], f64, f64); 16] = [
    (1, &[20, 21, 22, 23], 0.0, -0.10),
    (2, &[17, 18, 19, 24, 25, 26], 0.0, -0.10),
    (4, &[17, 18, 19, 20, 21, 22, 23, 24, 25, 26], -0.04, 0.07),
    (5, &[37, 38, 43, 44], 0.0, -0.035),
    (6, &[40, 41, 46, 47, 1, 2, 14, 15], 0.0, -0.03),
    (7, &[37, 38, 43, 44], 0.0, 0.025),
    (9, &[31, 32, 33, 34, 35], 0.01, -0.05),
    (10, &[49, 50, 51, 52, 53], 0.0, -0.06),
    (12, &[48, 54, 60, 64], 0.10, -0.08),
    (15, &[48, 54, 60, 64], 0.01, 0.08),
    (17, &[55, 56, 57, 58, 59, 7, 8, 9], 0.0, -0.04),
    (20, &[48, 54, 60, 64], 0.10, 0.02),
    (23, &[48, 54, 60, 64, 49, 53, 55, 59], -0.05, 0.0),
    (25, &[65, 66, 67, 56, 57, 58], 0.0, 0.05),
    (25, &[61, 62, 63], 0.0, -0.02),
    (26, &[65, 66, 67, 55, 56, 57, 58, 59, 6, 7, 8, 9, 10], 0.0, 0.14),
];

/// Displacement of every point by each action unit at strength 1.
pub(super) fn unit_moves() -> [Shape; UNITS] {
    let face = mean_face();
    let mut moves = [[[0.0; 2]; POINTS]; UNITS];
    for (number, points, outward, downward) in UNIT_MOVES {
        let Some(unit) = ACTION_UNITS.iter().position(|&known| known == number) else { continue };
        for &point in points {
            let x = face[point][0];
            // A centred point has no outward side; the mean face holds such points only up to rounding.
            let side = if x.abs() < 1e-9 { 0.0 } else { x.signum() };
            moves[unit][point][0] += side * outward;
            moves[unit][point][1] += downward;
        }
    }
    moves
}

/// The directions in which this world's faces differ: parts shift and stretch, mirrored left and right.
pub(super) fn shape_modes(world_seed: u64) -> [Shape; SHAPE_MODES] {
    let mut stream = Stream::new(world_seed, Purpose::ShapeModes, 0, 0);
    let face = mean_face();
    core::array::from_fn(|_| {
        let mut mode = [[0.0; 2]; POINTS];
        let mut previous = [0.0; 4];
        for (index, part) in PARTS.into_iter().enumerate() {
            // Right brow and right eye mirror the left ones.
            let mirrored = matches!(index, 2 | 5);
            let drawn = if mirrored { previous } else { stream.normals::<4>() };
            previous = drawn;
            let paired = matches!(index, 1 | 2 | 4 | 5);
            let side = if mirrored { -1.0 } else { 1.0 };
            let stretch = if index == 0 { JAW_STRETCH } else { PART_STRETCH };
            let count = part.len() as f64;
            let centre: [f64; 2] = core::array::from_fn(|axis| {
                part.clone().map(|p| face[p][axis]).sum::<f64>() / count
            });
            for point in part {
                let across = if paired { side * drawn[0] * PART_SHIFT } else { 0.0 };
                mode[point][0] = across + drawn[2] * stretch * (face[point][0] - centre[0]);
                mode[point][1] =
                    drawn[1] * PART_SHIFT + drawn[3] * stretch * (face[point][1] - centre[1]);
            }
        }
        for point in &mut mode {
            for axis in point {
                *axis += stream.normal() * POINT_JITTER;
            }
        }
        mode
    })
}

/// The directions of this world's lasting tracker errors.
pub(super) fn tracker_modes(world_seed: u64) -> [Shape; TRACKER_MODES] {
    let mut stream = Stream::new(world_seed, Purpose::TrackerModes, 0, 0);
    core::array::from_fn(|_| {
        core::array::from_fn(|_| stream.normals().map(|normal| normal * TRACKER_BIAS))
    })
}
