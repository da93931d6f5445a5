//! Rows by frame, and the face that is followed through the clip.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::layout::Face;
use super::timing::LARGEST_NUMBER;

/// How many frames after its last row a face may come back under another number beside other faces.
const SOON: usize = 30;
/// The most faces that a note names.
const NAMED: usize = 5;

/// One frame of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// Its number, as the file counts.
    pub number: f64,
    /// Seconds from the start; NaN without them.
    pub time: f64,
    /// The indices of its rows, one for each face.
    pub rows: Vec<usize>,
}

/// The frames of all rows, in the order of time, and whether their numbers can be used: whole numbers, of which each has a
/// face once.
pub(super) fn group(faces: &[Face]) -> (Vec<Frame>, bool) {
    let whole =
        |face: &Face| (0.0..LARGEST_NUMBER).contains(&face.frame) && face.frame.fract() == 0.0;
    let mut seen = HashSet::with_capacity(faces.len());
    let numbered =
        faces.iter().all(|face| whole(face) && seen.insert((face.frame.to_bits(), face.id)));
    let mut order: Vec<usize> = (0..faces.len()).collect();
    if numbered {
        order.sort_by(|&a, &b| faces[a].frame.total_cmp(&faces[b].frame));
    }
    let mut frames: Vec<Frame> = Vec::new();
    for row in order {
        let face = &faces[row];
        let same = |frame: &&mut Frame| match numbered {
            true => frame.number == face.frame,
            // Without times rows of different faces are one frame.
            false => {
                (face.time.is_nan() || frame.time == face.time)
                    && frame.rows.iter().all(|&other| faces[other].id != face.id)
            }
        };
        match frames.last_mut().filter(same) {
            Some(frame) => frame.rows.push(row),
            None => frames.push(Frame { number: face.frame, time: face.time, rows: vec![row] }),
        }
    }
    (frames, numbered)
}

/// The row of the followed face in each frame, and remarks about other faces.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// By frame; `None` when the frame does not have the face.
    pub rows: Vec<Option<usize>>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

/// The rows of one number: the sum of their confidence, and their frames and indices.
type Rows = (f64, Vec<(usize, usize)>);

/// Follows the face with the greatest sum of confidence over the clip. It may come back under another number: alone in its
/// frames, or beside others, soon and near where it was last. `centre` gives the middle of a row's points and the size of
/// the face.
pub(super) fn follow(
    faces: &[Face],
    frames: &[Frame],
    centre: impl Fn(usize) -> ([f64; 2], f64),
) -> Followed {
    let mut sums: BTreeMap<i64, Rows> = BTreeMap::new();
    for (index, frame) in frames.iter().enumerate() {
        for &row in &frame.rows {
            let (sum, seen) = sums.entry(faces[row].id).or_default();
            *sum += faces[row].confidence;
            seen.push((index, row));
        }
    }
    let mut by_sum: Vec<(&i64, &Rows)> = sums.iter().collect();
    by_sum.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let mut rows: Vec<Option<usize>> = vec![None; frames.len()];
    let (mut same, mut others) = (BTreeSet::new(), BTreeSet::new());
    for (number, (&id, (sum, seen))) in by_sum.into_iter().enumerate() {
        let free = seen.iter().all(|(frame, _)| rows[*frame].is_none());
        let alone = || seen.iter().all(|(frame, _)| frames[*frame].rows.len() == 1);
        let near = || beside(&rows, seen, &centre);
        if number == 0 || free && (alone() || *sum > 0.0 && near()) {
            seen.iter().for_each(|&(frame, row)| rows[frame] = Some(row));
            same.insert(id);
        } else if *sum > 0.0 {
            others.insert(id);
        }
    }
    let mut notes = Vec::new();
    if !others.is_empty() {
        let left_out: usize = others.iter().map(|id| sums[id].1.len()).sum();
        notes.push(format!(
            "shows {} faces: face_id {}, the most confident, is followed; {left_out} rows of face_id {} are left out",
            others.len() + 1,
            named(&same),
            named(&others)
        ));
    } else if same.len() > 1 {
        notes.push(format!("the face has {} numbers (face_id {})", same.len(), named(&same)));
    }
    Followed { rows, notes }
}

/// Whether a face begins where and when the followed one was last, or ends where it is next.
fn beside(
    rows: &[Option<usize>],
    seen: &[(usize, usize)],
    centre: &impl Fn(usize) -> ([f64; 2], f64),
) -> bool {
    let (Some(&(first, from)), Some(&(last, to))) = (seen.first(), seen.last()) else {
        return false;
    };
    let before = rows[first.saturating_sub(SOON)..first].iter().rev().find_map(|row| *row);
    let after = rows[last + 1..rows.len().min(last + 1 + SOON)].iter().find_map(|row| *row);
    let near = |one: usize, other: Option<usize>| {
        other.is_some_and(|other| {
            let ((a, size), (b, _)) = (centre(one), centre(other));
            (a[0] - b[0]).hypot(a[1] - b[1]) < size / 2.0
        })
    };
    near(from, before) || near(to, after)
}

/// The numbers of faces, the first few.
fn named(ids: &BTreeSet<i64>) -> String {
    let shown: Vec<String> = ids.iter().take(NAMED).map(i64::to_string).collect();
    let more = if ids.len() > NAMED { ", .." } else { "" };
    shown.join(", ") + more
}
