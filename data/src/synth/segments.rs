//! The actors of a synthetic world as `.csd` files like CMU-MOSEI's: one video for each actor, cut into segments.
//!
//! A segment is one performance. Its word vectors depend on the emotion. Its voice and face are those of the performance,
//! but only as values like those of COVAREP, OpenFace and FACET: there are no recordings. Labels are intensities, so a
//! performance with a second emotion has two.

use std::path::Path;

use super::clip_id::ClipId;
use super::landmarks::{LandmarkFrame, TrueFrame, track};
use super::performance::Performance;
use super::random::{Purpose, Stream};
use super::sequences::mixing;
use super::settings::CONTROL_RATE;
use super::tables::{AFFECT, EMOTION_AFFECT, EMOTIONS};
use super::vocabulary::{FEELINGS, PHRASES, Slot, TOPICS};
use super::write::openface_names;
use super::{SegmentSettings, World};
use crate::corpora::mosei;
use crate::formats::csd::write::{Entry, Features, write};
use crate::{Array, Result};

/// Silence between two segments of a video, in seconds.
const PAUSE: f64 = 0.5;
/// Widths of a word vector and of rows of COVAREP and FACET.
const WORD_WIDTH: usize = 300;
pub(super) const VOICE_WIDTH: usize = 74;
pub(super) const FACET_WIDTH: usize = 35;
/// Norm of a word's own part in its vector; the part of its feeling has norm 1.
const WORD_NOISE: f64 = 0.5;
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

    /// The setting that takes rows from it, and its value.
    pub(super) fn absence(self, settings: &SegmentSettings) -> (&'static str, f64) {
        match self {
            SequenceFile::Voice => ("segments.absent_voice", settings.absent_voice),
            SequenceFile::OpenFace => ("segments.absent_landmarks", settings.absent_landmarks),
            SequenceFile::Facet => ("segments.absent_faces", settings.absent_faces),
            SequenceFile::Words | SequenceFile::WordVectors | SequenceFile::Labels => ("", 0.0),
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
    pub(super) truth: Vec<TrueFrame>,
    pub(super) tracked: Vec<LandmarkFrame>,
    /// Seconds into the video.
    pub(super) start: f64,
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

/// The rows of one file for an actor's video; `None` when all of its segments are absent.
///
/// # Errors
/// None in practice.
pub(super) fn entry(world: &World, actor: usize, kind: SequenceFile) -> Result<Option<Entry>> {
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
                (vec![shown.span(world)], shown.labels(world).to_vec())
            }
        };
        let rows: Vec<[f64; 2]> = rows;
        intervals.extend(rows);
        numbers.extend(values);
    }
    if intervals.is_empty() {
        return Ok(None);
    }
    let features = match kind {
        SequenceFile::Words => Features::Words(words),
        _ => Features::Numbers(Array::new([intervals.len(), width], numbers)?),
    };
    Ok(Some(Entry { id: video(actor), features, intervals }))
}

impl Shown {
    /// Start and end in the video.
    fn span(&self, world: &World) -> [f64; 2] {
        [self.start, self.start + world.settings().seconds]
    }

    /// The segment's stream of a purpose.
    pub(super) fn stream(&self, world: &World, purpose: Purpose) -> Stream {
        Stream::new(world.settings().seed, purpose, self.clip.actor as u64, self.clip.code())
    }

    /// The number of words of feeling of each emotion.
    pub(super) fn feelings(&self, world: &World) -> [usize; EMOTIONS.len()] {
        let mut counts = [0; EMOTIONS.len()];
        for (word, _) in self.words(world) {
            if let Some(emotion) = FEELINGS.iter().position(|words| words.contains(&word)) {
                counts[emotion] += 1;
            }
        }
        counts
    }

    /// The words and their intervals: a phrase during speech, then a pause.
    fn words(&self, world: &World) -> Vec<(&'static str, [f64; 2])> {
        let mut stream = self.stream(world, Purpose::Words);
        let slips = world.scaled().segments.slips;
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

    /// Sentiment and the intensity of each emotion, in thirds, as the mean of three annotators.
    fn labels(&self, world: &World) -> [f32; 7] {
        let least = world.settings().segments.label_threshold;
        let thirds = |x: f64| (libm::round(3.0 * x) / 3.0) as f32;
        let mixture = &self.performance.mixture;
        let sentiment: f64 =
            mixture.iter().zip(EMOTION_AFFECT).map(|(weight, affect)| weight * affect[1]).sum();
        let mut labels = [0.0; 7];
        labels[0] = thirds((3.0 * sentiment).clamp(-3.0, 3.0));
        for (label, emotion) in labels[1..].iter_mut().zip(EMOTION_OF_LABEL) {
            let above = (mixture[emotion] - least) / (1.0 - least);
            *label = thirds((1.5 * above).clamp(0.0, 3.0));
        }
        labels
    }
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
