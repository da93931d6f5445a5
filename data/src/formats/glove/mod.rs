//! GloVe word vectors: a text file with one word and its vector per line.
//!
//! The file (up to 5 GB) is memory-mapped. An index of 16 bytes per word gives the line, which is parsed when the word is
//! looked up. Building the index reads the whole file; it can be cached in a folder. Lines are split from the right,
//! because some tokens of `glove.840B` contain spaces.

mod index;
mod tokens;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memchr::{memchr, memchr_iter, memrchr};
use memmap2::Mmap;

use self::index::{Index, hash};
pub use self::tokens::words;
use super::{foreign, map_file};
use crate::cache::content;
use crate::{Array, Error, Result};

/// Number of lines that are read to find the dimension.
const LINES_PROBED: usize = 200;
/// The byte-order mark that some editors write at the start of a text file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An opened file of word vectors. Threads may share it.
#[derive(Debug)]
pub struct Glove {
    path: PathBuf,
    map: Mmap,
    dimension: usize,
    index: Index,
    /// See [`Glove::fingerprint`].
    fingerprint: OnceLock<String>,
}

/// The word vectors of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// `[T, dimension]`, one row for each known word; one row of zeros when no word is known.
    pub vectors: Array<f32>,
    /// The number of words with a vector.
    pub known: usize,
    /// The distinct words without a vector, sorted.
    pub unknown: BTreeSet<String>,
}

impl Glove {
    /// Opens the file and indexes its words; with a folder `kept` the index is cached there.
    ///
    /// # Errors
    /// Bad data when the first lines are not words followed by equally many numbers.
    pub fn open(path: &Path, folder: Option<&Path>) -> Result<Self> {
        let map = map_file(path)?;
        let dimension = dimension(path, &map)?;
        let make = || Index::make(&map, dimension);
        let (index, fingerprint) = match folder {
            None => (make(), OnceLock::new()),
            Some(folder) => {
                let fingerprint = short(content::hash(folder, path)?);
                let kept = folder.join(format!("{fingerprint}.words"));
                let index = Index::find(&kept, dimension).unwrap_or_else(|| {
                    let made = make();
                    made.keep(&kept, dimension);
                    made
                });
                (index, fingerprint.into())
            }
        };
        Ok(Self { path: path.to_owned(), map, dimension, index, fingerprint })
    }

    /// The dimension of the vectors.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The number of words.
    pub fn word_count(&self) -> usize {
        self.index.pairs().len()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short hash of the file's content, for cache keys.
    pub fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| short(blake3::hash(&self.map)))
    }

    /// The vector of `word`, case-sensitive (GloVe 6B has only lower case); `None` when the file does not have it.
    ///
    /// # Errors
    /// Bad data when a value is not a finite number.
    pub fn vector(&self, word: &str) -> Result<Option<Vec<f32>>> {
        let found = self.find(word).map(|(start, numbers)| self.parse(word, numbers, start));
        found.transpose()
    }

    /// Whether the file has the word, case-sensitive.
    pub fn has(&self, word: &str) -> bool {
        self.find(word).is_some()
    }

    /// The start of the word's line and the text of its values.
    fn find(&self, word: &str) -> Option<(usize, &[u8])> {
        let wanted = hash(word.as_bytes());
        let index = self.index.pairs();
        let first = index.partition_point(|[hash, _]| *hash < wanted);
        let same = index[first..].iter().take_while(|[hash, _]| *hash == wanted);
        same.map(|&[_, start]| start as usize).find_map(|start| {
            let (found, numbers) = split(line_at(&self.map, start), self.dimension)?;
            (found == word.as_bytes()).then_some((start, numbers))
        })
    }

    fn parse(&self, word: &str, numbers: &[u8], start: usize) -> Result<Vec<f32>> {
        numbers
            .split(|byte| *byte == b' ')
            .map(|number| {
                let value = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                value.filter(|value: &f32| value.is_finite()).ok_or_else(|| {
                    let line = memchr_iter(b'\n', &self.map[..start]).count() + 1;
                    Error::bad_at(
                        &self.path,
                        line,
                        0,
                        format!("the vector of `{word}` has a value that is not a finite number; download the file again"),
                    )
                })
            })
            .collect()
    }

    /// The vectors of the words of a text, in order. Unknown words are skipped and reported.
    ///
    /// # Errors
    /// As [`Glove::vector`].
    pub fn embed(&self, text: &str) -> Result<Embedded> {
        let mut values = Vec::new();
        let mut unknown = BTreeSet::new();
        for word in words(text, |word| self.has(word)) {
            match self.vector(&word)? {
                Some(vector) => values.extend(vector),
                None => drop(unknown.insert(word)),
            }
        }
        let known = values.len() / self.dimension;
        if known == 0 {
            values.resize(self.dimension, 0.0);
        }
        Ok(Embedded {
            vectors: Array::new([known.max(1), self.dimension], values)?,
            known,
            unknown,
        })
    }
}

/// The fingerprint of a file: the first digits of its hash.
fn short(hash: blake3::Hash) -> String {
    hash.to_hex().as_str()[..32].to_owned()
}

/// Start of the first line.
fn body(map: &[u8]) -> usize {
    if map.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// The line that starts at `start`, without its line end; empty after the end of the file.
fn line_at(map: &[u8], start: usize) -> &[u8] {
    let rest = map.get(start..).unwrap_or_default();
    &rest[..memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// The word of a line and its `dimension` values as text; `None` when the line has too few fields.
fn split(line: &[u8], dimension: usize) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_end();
    let mut end = line.len();
    for _ in 0..dimension {
        end = memrchr(b' ', &line[..end])?;
    }
    (end > 0).then(|| (&line[..end], &line[end + 1..]))
}

/// The dimension of the vectors in the first lines. A word2vec header (two numbers) is not a word.
fn dimension(path: &Path, map: &[u8]) -> Result<usize> {
    let numbers = |line: &[u8]| {
        let fields = line.trim_ascii_end().split(|byte| *byte == b' ');
        let is_number =
            |field: &[u8]| std::str::from_utf8(field).is_ok_and(|text| text.parse::<f32>().is_ok());
        fields.rev().take_while(|field| is_number(field)).count()
    };
    let lines = map[body(map)..].split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let counts: Vec<(usize, usize)> =
        lines.take(LINES_PROBED).map(|(at, line)| (at + 1, numbers(line))).collect();
    let rows = match counts.as_slice() {
        [(_, 2), rest @ ..] if rest.iter().all(|(_, count)| *count > 2) && !rest.is_empty() => rest,
        all => all,
    };
    // Words that are numbers make single lines look longer.
    let mut frequent: BTreeMap<usize, usize> = BTreeMap::new();
    rows.iter().for_each(|(_, count)| *frequent.entry(*count).or_default() += 1);
    let usual = frequent.iter().max_by_key(|&(&count, &lines)| (lines, Reverse(count)));
    let Some((&usual, _)) = usual.filter(|&(&count, _)| count > 1) else {
        let otherwise = "not a file of word vectors: its first lines are not words followed by numbers; give a GloVe text \
            file such as glove.6B.300d.txt";
        return Err(foreign::refuse(path, map, otherwise));
    };
    match rows.iter().find(|(_, count)| *count < usual) {
        None => Ok(usual),
        Some(&(line, count)) => Err(Error::bad_at(
            path,
            line,
            0,
            format!(
                "{count} numbers, where the lines around it have {usual}; download the file again"
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
