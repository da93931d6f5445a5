//! The performances of the published RAVDESS, compared with those of a copy.

use std::collections::{BTreeMap, BTreeSet};

use super::name::id;
use crate::corpora::Census;
use crate::corpus::Corpus;

/// Number of actors; odd numbers are male.
pub(super) const ACTORS: u8 = 24;
/// The actor without songs.
const NO_SONGS: u8 = 18;

/// The census of speech and the census of song.
pub(super) fn census(corpus: &Corpus) -> Vec<Census> {
    let found: BTreeSet<&str> = corpus.samples.iter().map(|sample| sample.id.as_str()).collect();
    [(1, "speech"), (2, "song")]
        .into_iter()
        .map(|(code, name)| {
            let whole = whole(code);
            let absent: Vec<String> =
                whole.iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
            let mut absent_by_group = BTreeMap::new();
            for id in &absent {
                let actor = id.rsplit('-').next().unwrap_or(id);
                *absent_by_group.entry(format!("actor {actor}")).or_default() += 1;
            }
            let prefix = format!("{code:02}-");
            let unexpected = found
                .iter()
                .filter(|id| id.starts_with(&prefix) && !whole.contains(**id))
                .map(|id| id.to_string());
            Census {
                vocal: name,
                expected: whole.len(),
                found: whole.len() - absent.len(),
                unexpected: unexpected.collect(),
                absent,
                absent_by_group,
            }
        })
        .collect()
}

/// The ids of all published performances of speech (1) or song (2).
fn whole(vocal: u8) -> BTreeSet<String> {
    let emotions = if vocal == 1 { 8 } else { 6 };
    let actors = (1..=ACTORS).filter(|&actor| vocal == 1 || actor != NO_SONGS);
    let mut all = BTreeSet::new();
    for actor in actors {
        for emotion in 1..=emotions {
            // Neutral has no strong intensity.
            for intensity in 1..=if emotion == 1 { 1 } else { 2 } {
                for (statement, repetition) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
                    all.insert(id([vocal, emotion, intensity, statement, repetition, actor]));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Sample;

    #[test]
    fn the_whole_has_the_published_counts() {
        assert_eq!((whole(1).len(), whole(2).len()), (1_440, 1_012));
        assert!(!whole(2).iter().any(|id| id.ends_with("-18")));
    }

    #[test]
    fn what_is_absent_or_foreign_is_named() {
        let sample = |id: &String| Sample {
            id: id.clone(),
            files: Vec::new(),
            label: None,
            group: None,
            leak_key: String::new(),
            part: None,
            line: None,
        };
        let mut corpus =
            Corpus { samples: whole(1).iter().map(sample).collect(), ..Corpus::default() };
        corpus.samples.remove(3);
        corpus.samples.push(sample(&"01-01-02-01-01-01".into()));
        let counted = census(&corpus);
        assert_eq!(counted.len(), 2);
        assert_eq!((counted[0].found, counted[0].absent.len()), (1_439, 1));
        assert_eq!(counted[0].unexpected, ["01-01-02-01-01-01"]);
        assert_eq!((counted[1].found, counted[1].absent.len()), (0, 1_012));
        assert_eq!(counted[1].absent_by_group["actor 24"], 44);
    }
}
