//! The actors of a synthetic world as `.csd` files like CMU-MOSEI's: one video for each actor, cut into segments.
//!
//! A segment is one performance. Its word vectors depend on the emotion. Its voice and face are those of the performance,
//! but only as values like those of COVAREP, OpenFace and FACET: there are no recordings. Labels are intensities, so a
//! performance with a second emotion has two.

use std::path::Path;

use super::World;
use super::clip_id::ClipId;
use super::landmarks::{LandmarkFrame, TrueFrame, track};
use super::performance::Performance;
use super::random::{Purpose, Stream};
use super::settings::CONTROL_RATE;
use super::tables::{ACTION_UNITS, AFFECT, EMOTION_AFFECT, UNITS};
use super::vocabulary::{FEELINGS, PHRASES, Slot, TOPICS};
use super::write::openface_names;
use crate::corpora::mosei;
use crate::formats::csd::write::{Entry, Features, write};
use crate::{Array, Result};

/// Silence between two segments of a video, in seconds.
const PAUSE: f64 = 0.5;
/// Widths of a word vector and of rows of COVAREP and FACET.
const WORD_WIDTH: usize = 300;
const VOICE_WIDTH: usize = 74;
const FACET_WIDTH: usize = 35;
/// Rows of COVAREP per second.
const VOICE_RATE: f64 = 100.0;
/// Share of words of feeling that are of another emotion.
const SLIPS: f64 = 0.25;
/// Norm of a word's own part in its vector; the part of its feeling has norm 1.
const WORD_NOISE: f64 = 0.5;
/// Mean energy below which COVAREP's logarithms are not finite.
const SILENCE: f64 = 0.02;
/// The column in [`mosei::EMOTIONS`] of each emotion, in RAVDESS's order.
const EMOTION_OF_LABEL: [usize; 6] = [2, 3, 4, 7, 6, 5];

/// A file of a world in CMU-MOSEI's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SequenceFile {
    Words,
    WordVectors,
    Voice,
    OpenFace,
    Facet,
    Labels,
}

impl SequenceFile {
    pub(super) const ALL: [SequenceFile; 6] = [
        SequenceFile::Words,
        SequenceFile::WordVectors,
        SequenceFile::Voice,
        SequenceFile::OpenFace,
        SequenceFile::Facet,
        SequenceFile::Labels,
    ];

    /// The file and the root group, as CMU has them.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            SequenceFile::Words => ("CMU_MOSEI_TimestampedWords.csd", "words"),
            SequenceFile::WordVectors => ("CMU_MOSEI_TimestampedWordVectors.csd", "glove_vectors"),
            SequenceFile::Voice => ("CMU_MOSEI_COVAREP.csd", "COVAREP"),
            SequenceFile::OpenFace => ("CMU_MOSEI_VisualOpenFace2.csd", "OpenFace_2"),
            SequenceFile::Facet => ("CMU_MOSEI_VisualFacet42.csd", "FACET_4.2"),
            SequenceFile::Labels => ("CMU_MOSEI_Labels.csd", "All Labels"),
        }
    }

    fn dimensions(self) -> Vec<String> {
        match self {
            SequenceFile::OpenFace => openface_names(),
            SequenceFile::Labels => {
                ["sentiment"].into_iter().chain(mosei::EMOTIONS).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Writes one file of the world.
pub(super) fn write_kind(path: &Path, kind: SequenceFile, entries: &[Entry]) -> Result<()> {
    write(path, kind.names().1, &kind.dimensions(), entries)
}

/// A video's id.
pub(super) fn video(actor: usize) -> String {
    format!("speaker_{actor:02}")
}

/// The segments of an actor in the order of time.
pub(super) fn segments(world: &World, actor: usize) -> Vec<ClipId> {
    let mut clips: Vec<ClipId> =
        world.clips().into_iter().filter(|clip| clip.actor == actor).collect();
    let mut stream = Stream::new(world.settings().seed, Purpose::Segments, actor as u64, 0);
    for last in (1..clips.len()).rev() {
        clips.swap(last, stream.below(last + 1));
    }
    clips
}

/// One performance with its face.
pub(super) struct Shown {
    clip: ClipId,
    pub(super) performance: Performance,
    truth: Vec<TrueFrame>,
    tracked: Vec<LandmarkFrame>,
    /// Seconds into the video.
    start: f64,
}

impl World {
    /// The performance of an actor's segment of this number; `None` where there is no such actor.
    pub(super) fn shown(&self, clip: ClipId, number: usize) -> Option<Shown> {
        let (scaled, actor, moves) = self.scene(clip.actor)?;
        let performance = Performance::new(scaled, actor, clip);
        let (truth, tracked) = track(scaled, actor, moves, &performance, clip);
        let start = number as f64 * (self.settings().seconds + PAUSE);
        Some(Shown { clip, performance, truth, tracked, start })
    }
}

/// The rows of one file for an actor's video.
///
/// # Errors
/// None in practice.
pub(super) fn entry(world: &World, actor: usize, kind: SequenceFile) -> Result<Entry> {
    let (mut words, mut numbers, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
    let mut width = 1;
    for (number, clip) in segments(world, actor).into_iter().enumerate() {
        let Some(shown) = world.shown(clip, number) else { continue };
        let (rows, values) = match kind {
            SequenceFile::Words => {
                let said = shown.words(world);
                words.extend(said.iter().map(|(word, _)| (*word).to_owned()));
                (said.into_iter().map(|(_, span)| span).collect(), Vec::new())
            }
            SequenceFile::WordVectors => {
                width = WORD_WIDTH;
                let said = shown.words(world);
                let vectors = said.iter().flat_map(|(word, _)| vector(world, word)).collect();
                (said.into_iter().map(|(_, span)| span).collect(), vectors)
            }
            SequenceFile::Voice => {
                width = VOICE_WIDTH;
                shown.voice(world)
            }
            SequenceFile::OpenFace => {
                width = openface_names().len();
                shown.openface(world)
            }
            SequenceFile::Facet => {
                width = FACET_WIDTH;
                shown.facet(world)
            }
            SequenceFile::Labels => {
                width = 1 + mosei::EMOTIONS.len();
                (vec![shown.span(world)], shown.labels().to_vec())
            }
        };
        let rows: Vec<[f64; 2]> = rows;
        intervals.extend(rows);
        numbers.extend(values);
    }
    let features = match kind {
        SequenceFile::Words => Features::Words(words),
        _ => Features::Numbers(Array::new([intervals.len(), width], numbers)?),
    };
    Ok(Entry { id: video(actor), features, intervals })
}

impl Shown {
    /// Start and end in the video.
    fn span(&self, world: &World) -> [f64; 2] {
        [self.start, self.start + world.settings().seconds]
    }

    fn stream(&self, world: &World, purpose: Purpose) -> Stream {
        Stream::new(world.settings().seed, purpose, self.clip.actor as u64, self.clip.code())
    }

    /// The words and their intervals: a phrase during speech, then a pause.
    fn words(&self, world: &World) -> Vec<(&'static str, [f64; 2])> {
        let mut stream = self.stream(world, Purpose::Words);
        let slips = (SLIPS * world.settings().difficulty).min(1.0);
        let feeling = |stream: &mut Stream| {
            let total: f64 = self.performance.mixture.iter().sum();
            let mut left = stream.uniform() * total;
            let by_mixture = |weight: &f64| {
                left -= weight;
                left < 0.0
            };
            let felt = self.performance.mixture.iter().position(by_mixture).unwrap_or(0);
            let said = if stream.uniform() < slips { stream.below(FEELINGS.len()) } else { felt };
            FEELINGS[said][stream.below(FEELINGS[said].len())]
        };
        let phrase = PHRASES[stream.below(PHRASES.len())];
        let said: Vec<&'static str> = phrase
            .iter()
            .map(|slot| match slot {
                Slot::Word(word) => word,
                Slot::Topic => TOPICS[stream.below(TOPICS.len())],
                Slot::Feeling => feeling(&mut stream),
            })
            .collect();
        let lengths: Vec<f64> =
            said.iter().map(|word| word.len() as f64 + stream.between(1.0, 3.0)).collect();
        let total: f64 = lengths.iter().sum();
        let timeline = &self.performance.timeline;
        let seconds = timeline.steps() as f64 / CONTROL_RATE;
        let mut end = self.start + timeline.lead;
        let mut spans = Vec::with_capacity(said.len() + 1);
        for (word, length) in said.into_iter().zip(lengths) {
            let from = end;
            end += seconds * length / total;
            spans.push((word, [from, end]));
        }
        spans.push(("sp", [end, self.span(world)[1] + PAUSE / 2.0]));
        spans
    }

    /// COVAREP's rows: pitch and voicing, then mixtures of the voice's properties, in time with speech.
    fn voice(&self, world: &World) -> (Vec<[f64; 2]>, Vec<f32>) {
        let performance = &self.performance;
        let (traits, timeline) = (&performance.traits, &performance.timeline);
        let mut noise = self.stream(world, Purpose::Sequences);
        let mixing = mixing(world, 1, VOICE_WIDTH, 12);
        let rows = (world.settings().seconds * VOICE_RATE) as usize;
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let at = row as f64 / VOICE_RATE;
            intervals.push([self.start + at, self.start + (row + 1) as f64 / VOICE_RATE]);
            let openness = timeline.at(&timeline.openness, at);
            let voicing = timeline.at(&timeline.voicing, at);
            let accent = timeline.at(&timeline.accent, at) * timeline.accent_strength;
            let energy = openness * (1.0 + 0.5 * traits.energy);
            let pitch = 120.0 * libm::exp2(traits.pitch + 0.3 * traits.range.max(-1.0) * accent);
            let mut state = [0.0; 12];
            state[..5].copy_from_slice(&performance.voice_affect);
            state[5..10].copy_from_slice(&[
                traits.pitch,
                traits.range,
                traits.energy,
                traits.brightness,
                traits.breath,
            ]);
            state[10] = openness;
            state[11] = accent;
            let voiced = f64::from(u8::from(voicing > 0.5));
            values.push((pitch * voiced) as f32);
            values.push(voiced as f32);
            for (column, weights) in mixing.iter().enumerate().skip(2) {
                let sum: f64 = weights.iter().zip(&state).map(|(weight, x)| weight * x).sum();
                let value = sum * (0.3 + energy) + 0.5 * noise.normal();
                // The logarithm of 0, as in the real files.
                let silent = column % 24 == 5 && energy < SILENCE;
                values.push(if silent { f32::NEG_INFINITY } else { value as f32 });
            }
        }
        (intervals, values)
    }

    /// OpenFace's rows: head, points and action units; eyes, gaze and points in space stay 0.
    fn openface(&self, world: &World) -> (Vec<[f64; 2]>, Vec<f32>) {
        let names = openface_names();
        let find = |name: &str| names.iter().position(|known| known == name).unwrap_or(0);
        let (pose, x, y) = (find("pose_Tx"), find("x_0"), find("y_0"));
        let units = ACTION_UNITS.map(|number| find(&format!("AU{number:02}_r")));
        let fps = world.settings().landmark_fps;
        let mut noise = self.stream(world, Purpose::Sequences);
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for (number, (frame, truth)) in self.tracked.iter().zip(&self.truth).enumerate() {
            let at = self.start + number as f64 / fps;
            intervals.push([at, at + 1.0 / fps]);
            let mut row = vec![0.0f32; names.len()];
            row[1] = at as f32;
            row[2] = frame.confidence;
            row[3] = f32::from(u8::from(frame.confidence >= 0.5));
            row[pose..pose + 3].copy_from_slice(&frame.position);
            row[pose + 3..pose + 6].copy_from_slice(&frame.rotation);
            for (point, place) in frame.points.iter().enumerate() {
                row[x + point] = place[0];
                row[y + point] = place[1];
            }
            for (unit, column) in units.iter().enumerate() {
                let strength = 3.0 * self.performance.units[unit] * truth.apex;
                row[*column] = (strength + 0.3 * noise.normal()).clamp(0.0, 5.0) as f32;
            }
            values.extend(row);
        }
        (intervals, values)
    }

    /// FACET's rows: mixtures of action units and of the cues of skin and eyes.
    fn facet(&self, world: &World) -> (Vec<[f64; 2]>, Vec<f32>) {
        let mixing = mixing(world, 2, FACET_WIDTH, UNITS + 3);
        let skin = self.performance.skin;
        let fps = world.settings().landmark_fps;
        let mut noise = self.stream(world, Purpose::Facet);
        let (mut intervals, mut values) = (Vec::new(), Vec::new());
        for (number, truth) in self.truth.iter().enumerate() {
            // Not exactly the times of the video's other sequences, as in the real files.
            let at = self.start + (number as f64 + 0.4) / fps;
            intervals.push([at, at + 1.0 / fps]);
            let shown = self.performance.units.map(|strength| strength * truth.apex);
            let state: Vec<f64> =
                shown.into_iter().chain([skin.flush, skin.gloss, skin.gaze]).collect();
            for weights in &mixing {
                let sum: f64 = weights.iter().zip(&state).map(|(weight, x)| weight * x).sum();
                values.push((sum + 0.3 * noise.normal()) as f32);
            }
        }
        (intervals, values)
    }

    /// Sentiment and the intensity of each emotion, in thirds, as the mean of three annotators.
    fn labels(&self) -> [f32; 7] {
        let thirds = |x: f64| (libm::round(3.0 * x) / 3.0) as f32;
        let mixture = &self.performance.mixture;
        let sentiment: f64 =
            mixture.iter().zip(EMOTION_AFFECT).map(|(weight, affect)| weight * affect[1]).sum();
        let mut labels = [0.0; 7];
        labels[0] = thirds((3.0 * sentiment).clamp(-3.0, 3.0));
        for (label, emotion) in labels[1..].iter_mut().zip(EMOTION_OF_LABEL) {
            *label = thirds((1.5 * mixture[emotion]).clamp(0.0, 3.0));
        }
        labels
    }
}

/// Fixed random weights of a file's columns.
fn mixing(world: &World, file: u64, columns: usize, inputs: usize) -> Vec<Vec<f64>> {
    let mut stream = Stream::new(world.settings().seed, Purpose::Mixing, file, 0);
    let size = 1.0 / libm::sqrt(inputs as f64 / 3.0);
    (0..columns).map(|_| (0..inputs).map(|_| size * stream.normal()).collect()).collect()
}

/// A word's vector: its feeling along five directions, plus a random part of its own; zero for a pause.
fn vector(world: &World, word: &str) -> Vec<f32> {
    if word == "sp" {
        return vec![0.0; WORD_WIDTH];
    }
    let feeling = FEELINGS.iter().position(|words| words.contains(&word));
    let affect = feeling.map_or([0.0; AFFECT.len()], |emotion| EMOTION_AFFECT[emotion]);
    let directions = mixing(world, 3, WORD_WIDTH, AFFECT.len());
    let key = word.bytes().fold(0u64, |key, byte| key.wrapping_mul(257) + u64::from(byte));
    let mut own = Stream::new(world.settings().seed, Purpose::Words, u64::MAX, key);
    let number = |weights: &Vec<f64>| {
        let felt: f64 = weights.iter().zip(&affect).map(|(weight, x)| weight * x).sum();
        (0.4 * (felt + WORD_NOISE * own.normal())) as f32
    };
    directions.iter().map(number).collect()
}
