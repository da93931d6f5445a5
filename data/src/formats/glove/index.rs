//! An index of the words: where the line of each is, made by reading the whole file, or kept in a cache.

use std::io::Write;
use std::path::Path;

use memchr::memchr;
use memmap2::Mmap;
use rayon::prelude::*;

use super::{body, line_at, split};
use crate::formats::{map_file, write_aside};

/// Bytes that one task of the indexing reads.
const CHUNK: usize = 1 << 24;

/// The hash of each word and the start of its line, sorted.
#[derive(Debug)]
pub(super) enum Index {
    Made(Vec<[u64; 2]>),
    /// A mapped cache file: a header of [`KEPT`] bytes, then the pairs.
    Kept(Mmap),
}

/// First bytes of a cached index. The dimension and a checksum of the pairs follow.
const MAGIC: &[u8; 24] = b"mpuc index of words, 2.\n";
/// Length of the header in bytes.
const KEPT: usize = MAGIC.len() + 8 + 32;

impl Index {
    /// Reads the whole file.
    pub(super) fn make(map: &[u8], dimension: usize) -> Self {
        Index::Made(index(map, dimension))
    }

    pub(super) fn pairs(&self) -> &[[u64; 2]] {
        match self {
            Index::Made(pairs) => pairs,
            // The header is a multiple of 8 bytes long and maps are page-aligned, so the pairs are aligned.
            Index::Kept(map) => bytemuck::try_cast_slice(&map[KEPT..]).unwrap_or_default(),
        }
    }

    /// The index that `keep` wrote; `None` when it is damaged or has another dimension.
    pub(super) fn find(path: &Path, dimension: usize) -> Option<Self> {
        let map = map_file(path).ok()?;
        let (head, pairs) = map.split_at_checked(KEPT)?;
        let whole = head == Self::head(dimension, pairs) && pairs.len().is_multiple_of(16);
        whole.then_some(Index::Kept(map))
    }

    /// Writes the index to the cache. A failure is ignored: the index is then built again at the next start.
    pub(super) fn keep(&self, path: &Path, dimension: usize) {
        let pairs: &[u8] = bytemuck::cast_slice(self.pairs());
        let written = write_aside(path, |file| {
            file.write_all(&Self::head(dimension, pairs))?;
            file.write_all(pairs)
        });
        drop(written);
    }

    fn head(dimension: usize, pairs: &[u8]) -> Vec<u8> {
        let numbers = (dimension as u64).to_le_bytes();
        [&MAGIC[..], &numbers, blake3::hash(pairs).as_bytes()].concat()
    }
}

/// The hash by which a word is found.
pub(super) fn hash(word: &[u8]) -> u64 {
    let digest = blake3::hash(word);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The hash of each word and the start of its line, sorted.
fn index(map: &[u8], dimension: usize) -> Vec<[u64; 2]> {
    let mut starts = vec![body(map)];
    while let Some(from) = starts.last().map(|start| start + CHUNK).filter(|from| *from < map.len())
    {
        match memchr(b'\n', &map[from..]) {
            Some(end) => starts.push(from + end + 1),
            None => break,
        }
    }
    starts.push(map.len());
    let mut index: Vec<[u64; 2]> = starts
        .par_windows(2)
        .flat_map_iter(|part| {
            let (mut from, to) = (part[0], part[1]);
            std::iter::from_fn(move || {
                if from >= to {
                    return None;
                }
                let start = from;
                let line = line_at(map, start);
                from += line.len() + 1;
                Some(split(line, dimension).map(|(word, _)| [hash(word), start as u64]))
            })
            .flatten()
        })
        .collect();
    index.par_sort_unstable();
    index
}
