//! GloVe word vectors: a text file with one word and its vector per line.
//!
//! The file (up to 5 GB) is memory-mapped. An index of 16 bytes per word gives the line, which is parsed when the word is
//! looked up. Building the index reads the whole file; it can be cached in a folder. Lines are split from the right,
//! because some tokens of `glove.840B` contain spaces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memchr::{memchr, memchr_iter, memrchr};
use memmap2::Mmap;
use rayon::prelude::*;

use super::{map_file, write_aside};
use crate::cache::content;
use crate::{Array, Error, Result};

/// Number of lines that are read to find the dimension.
const LINES_PROBED: usize = 200;
/// Bytes that one task of the indexing reads.
const CHUNK: usize = 1 << 24;

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

/// The hash of each word and the start of its line, sorted.
#[derive(Debug)]
enum Index {
    Made(Vec<[u64; 2]>),
    /// A mapped cache file: a header of [`KEPT`] bytes, then the pairs.
    Kept(Mmap),
}

/// First bytes of a cached index. The dimension and a checksum of the pairs follow.
const MAGIC: &[u8; 24] = b"mpuc index of words, 1.\n";
/// Length of the header in bytes.
const KEPT: usize = MAGIC.len() + 8 + 32;

impl Index {
    fn pairs(&self) -> &[[u64; 2]] {
        match self {
            Index::Made(pairs) => pairs,
            // The header is a multiple of 8 bytes long and maps are page-aligned, so the pairs are aligned.
            Index::Kept(map) => bytemuck::try_cast_slice(&map[KEPT..]).unwrap_or_default(),
        }
    }

    /// The index that `keep` wrote; `None` when it is damaged or has another dimension.
    fn find(path: &Path, dimension: usize) -> Option<Self> {
        let map = map_file(path).ok()?;
        let (head, pairs) = map.split_at_checked(KEPT)?;
        let whole = head == Self::head(dimension, pairs) && pairs.len().is_multiple_of(16);
        whole.then_some(Index::Kept(map))
    }

    /// Writes the index to the cache. A failure is ignored: the index is then built again at the next start.
    fn keep(&self, path: &Path, dimension: usize) {
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
        let make = || Index::Made(index(&map, dimension));
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
        let wanted = hash(word.as_bytes());
        let index = self.index.pairs();
        let first = index.partition_point(|[hash, _]| *hash < wanted);
        for &[_, start] in index[first..].iter().take_while(|[hash, _]| *hash == wanted) {
            let line = line_at(&self.map, start as usize);
            if let Some((_, numbers)) =
                split(line, self.dimension).filter(|(found, _)| *found == word.as_bytes())
            {
                return self.parse(word, numbers, start as usize).map(Some);
            }
        }
        Ok(None)
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
        for word in words(text) {
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

/// The tokens of a text as in GloVe 6B: lower case, punctuation marks separate, and the endings `'s 're 've 'll 'd 'm n't`
/// split off, as the Stanford tokeniser does.
pub fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let inside = !word.is_empty() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        let digit_before = word.ends_with(|c: char| c.is_ascii_digit());
        let digit_after = letters.peek().is_some_and(|next| next.is_ascii_digit());
        if letter.is_alphanumeric() || (letter == '\'' && inside) {
            word.push(letter);
        } else if matches!(letter, '.' | ',') && digit_before && digit_after {
            word.push(letter); // 3.5 and 1,000 are one word
        } else {
            push_word(&mut found, std::mem::take(&mut word));
            if !letter.is_whitespace() && !letter.is_control() {
                found.push(letter.to_string());
            }
        }
    }
    push_word(&mut found, word);
    found
}

/// Adds a word, or a word and its contracted ending.
fn push_word(found: &mut Vec<String>, word: String) {
    let ending = ["n't", "'s", "'re", "'ve", "'ll", "'d", "'m"]
        .into_iter()
        .find(|ending| word.ends_with(ending) && word.len() > ending.len());
    match ending {
        Some(ending) => {
            found.push(word[..word.len() - ending.len()].to_owned());
            found.push(ending.to_owned());
        }
        None if word.is_empty() => {}
        None => found.push(word),
    }
}

fn hash(word: &[u8]) -> u64 {
    let digest = blake3::hash(word);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The hash of each word and the start of its line, sorted.
fn index(map: &[u8], dimension: usize) -> Vec<[u64; 2]> {
    let mut starts = vec![0];
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

/// The fingerprint of a file: the first digits of its hash.
fn short(hash: blake3::Hash) -> String {
    hash.to_hex().as_str()[..32].to_owned()
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
    let lines = map.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let counts: Vec<(usize, usize)> =
        lines.take(LINES_PROBED).map(|(at, line)| (at + 1, numbers(line))).collect();
    let body = match counts.as_slice() {
        [(_, 2), rest @ ..] if rest.iter().all(|(_, count)| *count > 2) && !rest.is_empty() => rest,
        all => all,
    };
    // Words that are numbers make single lines look longer.
    let mut frequent: BTreeMap<usize, usize> = BTreeMap::new();
    body.iter().for_each(|(_, count)| *frequent.entry(*count).or_default() += 1);
    let usual = frequent.iter().max_by_key(|&(&count, &lines)| (lines, Reverse(count)));
    let Some((&usual, _)) = usual.filter(|&(&count, _)| count > 1) else {
        return Err(Error::bad(
            path,
            "its first lines are not words followed by numbers; give a GloVe text file such as glove.6B.300d.txt",
        ));
    };
    match body.iter().find(|(_, count)| *count < usual) {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glove(text: &[u8]) -> Result<Glove> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        std::fs::write(&path, text).unwrap();
        Glove::open(&path, None)
    }

    const SMALL: &[u8] = b"the 0.5 -1 2\n. . . 1 2 3\n7 1e-2 0 0\nkids 4 5 6\n's 7 8 9\n";

    #[test]
    fn lines_are_read_from_the_right() {
        let glove = glove(SMALL).unwrap();
        assert_eq!((glove.dimension(), glove.word_count()), (3, 5));
        assert_eq!(glove.vector(". . .").unwrap(), Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(glove.vector("7").unwrap(), Some(vec![0.01, 0.0, 0.0]));
        assert_eq!(glove.vector("dogs").unwrap(), None);
    }

    #[test]
    fn a_text_becomes_rows_and_a_list_of_unknown_words() {
        let glove = glove(SMALL).unwrap();
        let embedded = glove.embed("The kids' dogs, the KIDS's dogs").unwrap();
        assert_eq!(embedded.vectors.shape(), [5, 3]);
        assert_eq!(embedded.vectors.data()[3..6], [4.0, 5.0, 6.0]);
        assert_eq!(embedded.unknown.iter().collect::<Vec<_>>(), ["'", ",", "dogs"]);
        let nothing = glove.embed("").unwrap();
        assert_eq!((nothing.vectors.data(), nothing.known), (&[0.0f32; 3][..], 0));
    }

    #[test]
    fn words_are_split_as_glove_counts_them() {
        assert_eq!(
            words("Don't stop, it\u{2019}s 3.5 km!"),
            ["do", "n't", "stop", ",", "it", "'s", "3.5", "km", "!"]
        );
        assert_eq!(
            words("  well-known (\"yes\")"),
            ["well", "-", "known", "(", "\"", "yes", "\"", ")"]
        );
        assert!(words(" \n\t").is_empty());
    }

    #[test]
    fn a_word2vec_header_is_no_word_and_bad_files_are_named() {
        assert_eq!(glove(b"2 3\na 1 2 3\nb 1 2 3\n").unwrap().word_count(), 2);
        assert!(
            glove(b"hello world\n")
                .unwrap_err()
                .to_string()
                .contains("vectors.txt: its first lines")
        );
        assert!(glove(b"").is_err());
        let cut = glove(b"a 1 2 3\nb 1 2\nc 1 2 3\n").unwrap_err().to_string();
        assert!(cut.contains("vectors.txt:2: 2 numbers, where the lines"), "{cut}");
        let mut text = SMALL.repeat(60);
        text.extend(b"late 1 x 2\n");
        let message = glove(&text).unwrap().vector("late").unwrap_err().to_string();
        assert!(message.contains("vectors.txt:301: the vector of `late`"), "{message}");
    }

    #[test]
    fn an_index_is_kept_and_made_again_where_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(&path, SMALL).unwrap();
        let open = || Glove::open(&path, Some(&kept)).unwrap();
        let good = |glove: &Glove| {
            assert_eq!((glove.word_count(), glove.dimension()), (5, 3));
            assert_eq!(glove.vector("kids").unwrap(), Some(vec![4.0, 5.0, 6.0]));
        };
        let first = open();
        assert!(matches!(first.index, Index::Made(_)));
        good(&first);
        let second = open();
        assert!(matches!(second.index, Index::Kept(_)));
        good(&second);
        let file = kept.join(format!("{}.words", second.fingerprint()));
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            std::fs::write(&file, if at % 2 == 0 { &damaged[..] } else { &whole[..at] }).unwrap();
            let glove = open();
            assert!(matches!(glove.index, Index::Made(_)), "byte {at}");
            good(&glove);
        }
        // The whole file counts, not its ends.
        let long = SMALL.repeat(600_000);
        let middle = long.len() / 2;
        let name = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            open().fingerprint().to_owned()
        };
        let intact = name(&long);
        assert_ne!(name(&[&long[..middle], b"\0", &long[middle + 1..]].concat()), intact);
        // Other vectors of the same name have an index of their own.
        std::fs::write(&path, b"kids 9 9 9\n").unwrap();
        assert_eq!(open().vector("kids").unwrap(), Some(vec![9.0, 9.0, 9.0]));
        // A folder that cannot be written costs only time.
        let nowhere = Glove::open(&path, Some(Path::new("/nonexistent"))).unwrap();
        assert_eq!(nowhere.vector("kids").unwrap(), Some(vec![9.0, 9.0, 9.0]));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(glove) = glove(&bytes) {
                let _ = glove.embed(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}
