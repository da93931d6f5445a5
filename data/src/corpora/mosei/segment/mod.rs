//! Segments: excerpts of computational sequences that cover one interval of a video.
//!
//! A row belongs to an interval when they overlap by more than [`EPSILON`] seconds, as in CMU's SDK; shorter intervals are
//! ignored. Rows may overlap, have gaps or come in any order: they are sorted by their start.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::features::landmarks::LandmarkSettings;
use crate::features::{Decoded, Decoder, Excerpt, Ready, SequenceSettings};
use crate::formats::csd::Csd;
use crate::formats::glove::Glove;
use crate::formats::openface::{Columns, LEAST_CONFIDENCE, POINTS};
use crate::values::Values;
use crate::{Array, Error, Result};

/// Tolerance of times, in seconds.
pub const EPSILON: f64 = 1e-5;
/// The token of a pause between words in the SDK.
const PAUSE: &str = "sp";

/// The alignment of a sequence's rows to the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// One frame for each word: the mean of the rows that overlap it, or zeros when none does.
    #[default]
    WordMeans,
    /// The rows that overlap a word, word by word.
    WordRows,
    /// No alignment: the rows that overlap the segment.
    None,
}

/// One interval of a video in one computational sequence.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The sample's id, for messages.
    pub id: String,
    /// The sequence.
    pub sequence: Arc<Csd>,
    /// The video's id in it.
    pub video: String,
    /// Start and end of the interval, in seconds from the start of the video.
    pub span: [f64; 2],
    /// The alignment of rows.
    pub align: Align,
    /// The sequence whose rows are the words.
    pub words: Arc<Csd>,
}

/// The position of a row: the part of its video, and the row in that part.
type RowPosition = (usize, usize);

/// The rows of a segment, frame by frame.
struct Rows {
    /// `[rows, width]`
    values: Array<f32>,
    /// The range of rows of each frame.
    steps: Vec<Range<usize>>,
}

impl Segment {
    /// The positions of each frame's rows.
    fn places(&self) -> Result<Vec<Vec<RowPosition>>> {
        let all = intervals(&self.sequence, &self.video)?;
        let within = |span: &[f64; 2]| -> Vec<RowPosition> {
            all.iter().filter(|(row, _)| overlap(row, span)).map(|(_, place)| *place).collect()
        };
        if self.align == Align::None {
            return Ok(within(&self.span).into_iter().map(|place| vec![place]).collect());
        }
        let words = intervals(&self.words, &self.video)?;
        let words = words.iter().filter(|(word, _)| overlap(word, &self.span));
        let words = words.map(|(word, _)| within(word));
        Ok(match self.align {
            Align::WordMeans => words.collect(),
            _ => words.flatten().map(|place| vec![place]).collect(),
        })
    }

    /// The rows of all frames.
    fn rows(&self) -> Result<Rows> {
        let steps = self.places()?;
        let (mut values, mut width) = (Vec::new(), None);
        for (part, id) in self.sequence.parts(&self.video).iter().enumerate() {
            let rows = || steps.iter().flatten().filter(|(at, _)| *at == part).map(|(_, row)| *row);
            let (Some(first), Some(last)) = (rows().min(), rows().max()) else { continue };
            let read = self.sequence.features(id, first..last + 1)?;
            let here = read.shape()[1];
            if *width.get_or_insert(here) != here {
                return Err(Error::bad(
                    self.sequence.path(),
                    format!(
                        "{id} has rows of {here} numbers and an earlier part of other; write the file again"
                    ),
                ));
            }
            values.push((part, first, read));
        }
        let width = width.unwrap_or(0);
        let row = |&(part, row): &RowPosition| {
            let found = values.iter().find(|(at, ..)| *at == part);
            found
                .and_then(|(_, first, read)| read.data().get((row - first) * width..)?.get(..width))
        };
        let gathered: Vec<f32> =
            steps.iter().flatten().filter_map(row).flatten().copied().collect();
        let mut end = 0;
        let range = |step: &Vec<_>| {
            end += step.len();
            end - step.len()..end
        };
        let steps: Vec<Range<usize>> = steps.iter().map(range).collect();
        Ok(Rows { values: Array::new([end, width], gathered)?, steps })
    }

    /// The segment as a sequence `[T, columns]`. Means ignore values that are not finite, which COVAREP and FACET have; a
    /// mean of no values is 0.
    fn sequence(&self, settings: &SequenceSettings) -> Result<Decoded> {
        let Rows { values, steps } = self.rows()?;
        let width = values.shape()[1];
        let columns = self.columns(&settings.columns, width)?;
        let none = steps.iter().all(Range::is_empty);
        let (mut out, mut replaced, mut empty) = (Vec::new(), 0usize, 0usize);
        for step in steps.iter().filter(|_| !none) {
            empty += usize::from(step.is_empty());
            for &column in &columns {
                let seen = step.clone().map(|row| values.data()[row * width + column]);
                let finite = seen.filter(|x| x.is_finite()).map(f64::from);
                let (sum, count) = finite.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
                replaced += step.len() - count;
                out.push(if count == 0 { 0.0 } else { (sum / count as f64) as f32 });
            }
        }
        let length = if none { 0 } else { steps.len() };
        let mut warnings = Vec::new();
        if replaced > 0 {
            let all = values.shape()[0] * columns.len();
            warnings.push(format!(
                "{replaced} of {all} values are no finite numbers and were left out"
            ));
        }
        self.note_gaps(length, empty, &mut warnings);
        let frames_per_second = settings.frames_per_second.filter(|_| self.align == Align::None);
        let values = Values::F32(Array::new([length, columns.len()], out)?);
        Ok(Decoded { values, frames_per_second, warnings })
    }

    /// The segment as landmarks `[T, points, 2 or 3]`. Means ignore rows without a face; a frame without any face repeats
    /// the previous one.
    fn landmarks(&self, settings: &LandmarkSettings) -> Result<Decoded> {
        let Rows { values, steps } = self.rows()?;
        let width = values.shape()[1];
        let axes = settings.coordinates.count();
        let size = POINTS * axes;
        let rows: Vec<&[f32]> = values.data().chunks_exact(width.max(1)).collect();
        let names = self.sequence.dimension_names()?;
        let found = match names.filter(|names| names.len() == width) {
            Some(names) => Columns::named(&names, settings.coordinates),
            None => Columns::plausible(width, &rows, settings.coordinates),
        };
        let tracked = |columns: &Columns, row: &[f32]| {
            let at = |column: Option<usize>| column.and_then(|column| row.get(column).copied());
            let sure = match (at(columns.success), at(columns.confidence)) {
                (Some(success), _) => success == 1.0,
                (None, Some(confidence)) => confidence >= LEAST_CONFIDENCE,
                (None, None) => true,
            };
            sure && columns.points.iter().all(|&column| row[column].is_finite())
        };
        let (mut out, mut held, mut leading) = (Vec::<f32>::new(), 0usize, 0usize);
        if let Some(columns) = &found {
            for step in &steps {
                let good: Vec<&&[f32]> =
                    rows[step.clone()].iter().filter(|row| tracked(columns, row)).collect();
                if !good.is_empty() {
                    let mean = |&column: &usize| {
                        let sum: f64 = good.iter().map(|row| f64::from(row[column])).sum();
                        (sum / good.len() as f64) as f32
                    };
                    out.extend(columns.points.iter().map(mean));
                    continue;
                }
                held += 1;
                match out.len().checked_sub(size) {
                    Some(last) => out.extend_from_within(last..),
                    None => leading += 1,
                }
            }
        } else if rows.iter().any(|row| row.iter().any(|&x| x != 0.0)) {
            return Err(Error::bad(
                self.sequence.path(),
                format!(
                    "rows of {width} numbers in {}, in which the 68 points cannot be found: neither `dimension names` in the metadata says where nor does any known layout look like a face; write the file with its metadata",
                    self.id
                ),
            ));
        }
        let mut warnings = Vec::new();
        if out.is_empty() {
            self.note_gaps(0, 0, &mut warnings);
            let values = Values::F32(Array::new([0, settings.points.count(), axes], out)?);
            return Ok(Decoded { values, frames_per_second: None, warnings });
        }
        if held > 0 {
            warnings.push(format!(
                "{held} of {} frames show no face and repeat the points of another frame",
                steps.len()
            ));
        }
        let first = out[..size].to_vec();
        out.splice(0..0, first.iter().copied().cycle().take(leading * size));
        let frames = Array::new([steps.len(), POINTS, axes], out)?;
        let values = Values::F32(settings.apply(frames)?);
        Ok(Decoded { values, frames_per_second: None, warnings })
    }

    /// The vectors of the segment's words, `[T, dimension]`; zeros for a pause or an unknown word.
    fn embedded(&self, glove: &Glove) -> Result<Decoded> {
        let mut out = Vec::new();
        let (mut steps, mut unknown) = (0usize, 0usize);
        let parts = self.sequence.parts(&self.video);
        for (part, row) in self.places()?.into_iter().flatten() {
            let words = self.sequence.words(&parts[part], row..row + 1)?;
            for word in words.iter().map(|word| word.trim_matches(['\0', ' '])) {
                let embedded = glove.embed(word)?;
                let rows = embedded.vectors.data().chunks_exact(glove.dimension());
                let start = out.len();
                out.resize(start + glove.dimension(), 0.0);
                if word != PAUSE && embedded.known > 0 {
                    let share = 1.0 / embedded.known as f32;
                    for row in rows {
                        out[start..].iter_mut().zip(row).for_each(|(sum, x)| *sum += share * x);
                    }
                }
                unknown += usize::from(word != PAUSE && embedded.known == 0);
                steps += 1;
            }
        }
        let mut warnings = Vec::new();
        self.note_gaps(steps, 0, &mut warnings);
        if unknown > 0 {
            warnings.push(format!("{unknown} of {steps} words have no vector and are zeros"));
        }
        let values = Values::F32(Array::new([steps, glove.dimension()], out)?);
        Ok(Decoded { values, frames_per_second: None, warnings })
    }

    /// The columns whose names begin with one of `prefixes`; all columns when it is empty.
    fn columns(&self, prefixes: &[String], width: usize) -> Result<Vec<usize>> {
        if prefixes.is_empty() || width == 0 {
            return Ok((0..width.max(1)).filter(|_| width > 0).collect());
        }
        let names = self.sequence.dimension_names()?.filter(|names| names.len() == width);
        let names = names.ok_or_else(|| {
            Error::bad(
                self.sequence.path(),
                format!(
                    "its metadata does not name the {width} columns, so {prefixes:?} cannot be found; take all columns, or write the file with its `dimension names`"
                ),
            )
        })?;
        let wanted = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let found: Vec<usize> = (0..width).filter(|&column| wanted(&names[column])).collect();
        if found.is_empty() {
            return Err(Error::config(format!(
                "{}: no column is named like {prefixes:?}; there are e.g. {:?}",
                self.sequence.path().display(),
                &names[..names.len().min(6)]
            )));
        }
        Ok(found)
    }

    /// Adds a warning when frames have no rows.
    fn note_gaps(&self, length: usize, empty: usize, warnings: &mut Vec<String>) {
        let [start, end] = self.span;
        if length == 0 {
            let root = self.sequence.root();
            warnings.push(format!("{root} has nothing between {start:.2} and {end:.2} s"));
        } else if empty > 0 {
            warnings.push(format!("{empty} of {length} words have no rows and are zeros"));
        }
    }
}

impl Excerpt for Segment {
    fn path(&self) -> &Path {
        self.sequence.path()
    }

    fn key(&self) -> String {
        let [start, end] = self.span.map(f64::to_bits);
        let (sequence, words) = (self.sequence.path(), self.words.path());
        format!("{sequence:?} {:?} {start} {end} {:?} {words:?}", self.video, self.align)
    }

    fn content(&self, hash_file: &dyn Fn(&Path) -> Result<blake3::Hash>) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.sequence.hash(hash_file)?.as_bytes());
        if self.align != Align::None {
            hasher.update(self.words.hash(hash_file)?.as_bytes());
        }
        hasher.update(&[self.align as u8]);
        for time in self.span {
            hasher.update(&time.to_bits().to_le_bytes());
        }
        hasher.update(self.video.as_bytes());
        Ok(hasher.finalize())
    }

    fn decode(&self, decoder: &Decoder) -> Result<Decoded> {
        let decoded = match decoder.ready() {
            Ready::Words(glove) => self.embedded(glove),
            Ready::Landmarks(settings) => self.landmarks(settings),
            Ready::Sequence(settings) => self.sequence(settings),
            Ready::Voice(_) | Ready::Clip(_) => Err(Error::config(format!(
                "{}: only words, landmarks and sequences can be taken from it; change the modality's feature.kind",
                self.path().display()
            ))),
        }?;
        let named = |warning| format!("{}: {warning}", self.id);
        let warnings = decoded.warnings.into_iter().map(named).collect();
        Ok(Decoded { warnings, ..decoded })
    }
}

/// The intervals of all parts of a video with their positions, sorted by start.
fn intervals(csd: &Csd, video: &str) -> Result<Vec<([f64; 2], RowPosition)>> {
    let mut all = Vec::new();
    for (part, id) in csd.parts(video).iter().enumerate() {
        let intervals = csd.intervals(id)?;
        all.extend(intervals.iter().enumerate().map(|(row, interval)| (*interval, (part, row))));
    }
    all.sort_by(|(a, _), (b, _)| a[0].total_cmp(&b[0]));
    Ok(all)
}

/// Whether two intervals overlap by more than [`EPSILON`]; false when an end is NaN.
fn overlap(a: &[f64; 2], b: &[f64; 2]) -> bool {
    let numbers = a.iter().chain(b).all(|end| !end.is_nan());
    numbers && a[1].min(b[1]) - a[0].max(b[0]) > EPSILON
}

#[cfg(test)]
mod tests;
