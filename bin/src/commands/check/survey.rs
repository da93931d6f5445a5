//! Anomalies of a data set whose files can all be read: performances without a modality, counts that differ from the
//! published ones, unusual lengths, and duplicate files.

use crate::output;
use data::corpora::{Census, Format};
use data::corpus::Corpus;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A length is unusual if it is above this many times the median, or below the median divided by this.
const ODD: f64 = 3.0;
/// The largest accepted difference in length between two modalities of a performance, in seconds.
const DIFFERENCE: f64 = 0.5;
/// The most printed lines of one kind; JSON has all.
const SHOWN: usize = 10;

/// One readable file.
pub struct Seen {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the modality.
    pub modality: usize,
    /// Its length in seconds; `None` if it has no duration.
    pub seconds: Option<f64>,
    /// A hash of its decoded values.
    pub values: [u8; 32],
    /// The shape of its decoded values, time first.
    pub shape: Vec<usize>,
}

/// Samples of one group with a missing modality.
#[derive(Debug, PartialEq, Serialize)]
struct Group {
    group: String,
    samples: usize,
    /// The number of samples that lack each modality; only modalities with such samples.
    missing: BTreeMap<String, usize>,
}

/// A sample with missing modalities.
#[derive(Debug, PartialEq, Serialize)]
struct Lacking {
    sample: String,
    missing: Vec<String>,
}

/// The lengths of one modality, in seconds.
#[derive(Debug, PartialEq, Serialize)]
struct Lengths {
    modality: String,
    median: f64,
    least: f64,
    greatest: f64,
}

/// All anomalies of a data set.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// The published counts and those found, for a known corpus.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    census: Vec<Census>,
    /// Groups (actors) with missing modalities.
    groups: Vec<Group>,
    /// Samples with missing modalities.
    lacking: Vec<Lacking>,
    lengths: Vec<Lengths>,
    /// Messages about files of unusual length.
    odd_lengths: Vec<String>,
    /// Duplicate files of one modality: each duplicate, and the first file with its content.
    duplicates: Vec<[String; 2]>,
}

impl Survey {
    /// Surveys a corpus whose readable files are `seen`; `root` is its folder.
    pub fn new(corpus: &Corpus, format: Format, root: &Path, seen: &[Seen]) -> Self {
        let lengths = lengths(corpus, seen);
        Survey {
            census: format.census(root, corpus),
            groups: groups(corpus),
            lacking: lacking(corpus),
            odd_lengths: odd_lengths(corpus, format, seen, &lengths),
            lengths,
            duplicates: duplicates(corpus, seen),
        }
    }

    /// The report as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for census in &self.census {
            lines.push(format!(
                "{}: {} of {} performances",
                census.vocal, census.found, census.expected
            ));
            lines.extend(some("not there", &absent(census)));
            lines.extend(some("not in the published corpus", &census.unexpected));
        }
        lines.extend(some("odd length", &self.odd_lengths));
        let same: Vec<String> =
            self.duplicates.iter().map(|[copy, first]| format!("{copy} as {first}")).collect();
        lines.extend(some("the same content", &same));
        let lacking: Vec<String> = self
            .lacking
            .iter()
            .map(|l| format!("{}: {}", l.sample, l.missing.join(", ")))
            .collect();
        lines.extend(some("missing", &lacking));
        if !self.groups.is_empty() {
            lines.push(self.group_table());
        }
        if !self.lengths.is_empty() {
            let cells = |l: &Lengths| {
                let [median, least, greatest] =
                    [l.median, l.least, l.greatest].map(|seconds| format!("{seconds:.2}"));
                vec![l.modality.clone(), median, least, greatest]
            };
            let cells: Vec<Vec<String>> = self.lengths.iter().map(cells).collect();
            lines.push(output::table(&["seconds", "median", "least", "greatest"], &cells));
        }
        lines
    }

    fn group_table(&self) -> String {
        let mut names: Vec<&str> =
            self.groups.iter().flat_map(|group| group.missing.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let headings: Vec<String> = names.iter().map(|name| format!("no {name}")).collect();
        let mut header = vec!["group", "samples"];
        header.extend(headings.iter().map(String::as_str));
        let cells = |group: &Group| {
            let missing = |name: &&str| group.missing.get(*name).copied().unwrap_or(0).to_string();
            [group.group.clone(), group.samples.to_string()]
                .into_iter()
                .chain(names.iter().map(missing))
                .collect()
        };
        let cells: Vec<Vec<String>> = self.groups.iter().map(cells).collect();
        output::table(&header, &cells)
    }
}

/// Absent samples, by id if they are few, else how many of each group.
fn absent(census: &Census) -> Vec<String> {
    if census.absent.len() <= SHOWN {
        return census.absent.clone();
    }
    let groups = census.absent_by_group.iter();
    groups.map(|(group, count)| format!("{count} of {group}")).collect()
}

/// Lines `WHAT: ITEM` for the first [`SHOWN`] items, and a line with the number of further ones.
pub fn some(what: &str, all: &[String]) -> Vec<String> {
    let mut lines: Vec<String> =
        all.iter().take(SHOWN).map(|one| format!("{what}: {one}")).collect();
    if all.len() > SHOWN {
        lines.push(format!("{what}: {} more (--json lists them)", all.len() - SHOWN));
    }
    lines
}

fn missing_of<'a>(
    corpus: &'a Corpus,
    sample: &'a data::corpus::Sample,
) -> impl Iterator<Item = &'a String> {
    let absent = sample.files.iter().zip(&corpus.modalities).filter(|(file, _)| file.is_none());
    absent.map(|(_, name)| name)
}

fn groups(corpus: &Corpus) -> Vec<Group> {
    let mut by_group: BTreeMap<&str, Group> = BTreeMap::new();
    for sample in &corpus.samples {
        let Some(name) = sample.group.as_deref() else { continue };
        let group = by_group.entry(name).or_insert_with(|| Group {
            group: name.to_owned(),
            samples: 0,
            missing: BTreeMap::new(),
        });
        group.samples += 1;
        missing_of(corpus, sample)
            .for_each(|name| *group.missing.entry(name.clone()).or_default() += 1);
    }
    by_group.into_values().filter(|group| !group.missing.is_empty()).collect()
}

fn lacking(corpus: &Corpus) -> Vec<Lacking> {
    let of = |sample: &data::corpus::Sample| {
        let missing: Vec<String> = missing_of(corpus, sample).cloned().collect();
        (!missing.is_empty()).then(|| Lacking { sample: sample.id.clone(), missing })
    };
    corpus.samples.iter().filter_map(of).collect()
}

fn lengths(corpus: &Corpus, seen: &[Seen]) -> Vec<Lengths> {
    let of = |(modality, name): (usize, &String)| {
        let mut all: Vec<f64> =
            seen.iter().filter(|s| s.modality == modality).filter_map(|s| s.seconds).collect();
        all.sort_unstable_by(f64::total_cmp);
        Some(Lengths {
            modality: name.clone(),
            median: *all.get(all.len() / 2)?,
            least: *all.first()?,
            greatest: *all.last()?,
        })
    };
    corpus.modalities.iter().enumerate().filter_map(of).collect()
}

fn odd_lengths(corpus: &Corpus, format: Format, seen: &[Seen], lengths: &[Lengths]) -> Vec<String> {
    let mut odd = Vec::new();
    let mut by_sample: BTreeMap<usize, Vec<(&String, f64)>> = BTreeMap::new();
    for one in seen {
        let (Some(seconds), Some(name)) = (one.seconds, corpus.modalities.get(one.modality)) else {
            continue;
        };
        // A .npy file of frames has no frame rate.
        let source =
            corpus.samples.get(one.sample).and_then(|s| s.files.get(one.modality)?.as_ref());
        if source
            .is_none_or(|source| source.path().extension().is_none_or(|ending| ending != "npy"))
        {
            by_sample.entry(one.sample).or_default().push((name, seconds));
        }
        let median = lengths.iter().find(|l| l.modality == *name).map_or(seconds, |l| l.median);
        if seconds > ODD * median || seconds * ODD < median {
            let id = corpus.samples.get(one.sample).map_or("", |sample| &sample.id);
            odd.push(format!("{id}: {name} of {seconds:.2} s (median {median:.2} s)"));
        }
    }
    if !format.same_seconds() {
        return odd;
    }
    for (sample, mut all) in by_sample {
        all.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        if let (Some((short, least)), Some((long, most))) = (all.first(), all.last())
            && most - least > DIFFERENCE
        {
            let id = corpus.samples.get(sample).map_or("", |sample| &sample.id);
            odd.push(format!("{id}: {short} of {least:.2} s beside {long} of {most:.2} s"));
        }
    }
    odd
}

fn duplicates(corpus: &Corpus, seen: &[Seen]) -> Vec<[String; 2]> {
    let mut first: BTreeMap<(usize, [u8; 32]), usize> = BTreeMap::new();
    let mut found = Vec::new();
    let name = |sample: usize, modality: usize| {
        let source = corpus.samples.get(sample).and_then(|s| s.files.get(modality)?.as_ref());
        source.map(|source| source.path().display().to_string()).unwrap_or_default()
    };
    for one in seen {
        match first.get(&(one.modality, one.values)) {
            Some(&before) => {
                found.push([name(one.sample, one.modality), name(before, one.modality)]);
            }
            None => drop(first.insert((one.modality, one.values), one.sample)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::corpora::{manifest, ravdess};
    use data::corpus::Sample;
    use data::features::Source;

    fn corpus() -> Corpus {
        let sample = |id: &str, group: &str, files: [bool; 2]| Sample {
            id: id.into(),
            files: files.map(|there| there.then(|| Source::File(id.into()))).to_vec(),
            label: None,
            group: Some(group.into()),
            leak_key: id.into(),
            part: None,
            line: None,
        };
        Corpus {
            modalities: vec!["voice".into(), "landmarks".into()],
            samples: vec![
                sample("a", "01", [true, true]),
                sample("b", "01", [true, false]),
                sample("c", "02", [true, true]),
            ],
            ..Corpus::default()
        }
    }

    fn seen(sample: usize, modality: usize, seconds: f64, values: u8) -> Seen {
        Seen { sample, modality, seconds: Some(seconds), values: [values; 32], shape: vec![1, 1] }
    }

    #[test]
    fn what_is_missing_strange_or_twice_there_is_told() {
        let files = [
            seen(0, 0, 3.0, 1),
            seen(0, 1, 3.1, 1),
            seen(1, 0, 3.2, 2),
            seen(2, 0, 10.0, 2),
            seen(2, 1, 3.0, 3),
        ];
        let survey = Survey::new(&corpus(), ravdess::FORMAT, Path::new("none"), &files);
        assert_eq!(survey.groups.len(), 1);
        assert_eq!((survey.groups[0].samples, survey.groups[0].missing["landmarks"]), (2, 1));
        assert_eq!(survey.lacking[0].sample, "b");
        assert_eq!(
            survey.odd_lengths,
            [
                "c: voice of 10.00 s (median 3.20 s)",
                "c: landmarks of 3.00 s beside voice of 10.00 s"
            ]
        );
        assert_eq!(survey.duplicates, [["c".to_owned(), "b".to_owned()]]);
        let text = survey.lines().join("\n");
        assert!(text.contains("group  samples  no landmarks\n01           2"), "{text}");
        assert!(text.contains("the same content: c as b"), "{text}");
        // Many that are absent are counted by group.
        let many: Vec<String> = (1..=24).map(|actor| format!("01-{actor:02}")).collect();
        let census = |absent: &[String]| Census {
            vocal: "speech",
            expected: 1_440,
            found: 0,
            absent: absent.to_vec(),
            absent_by_group: absent.iter().map(|id| (format!("actor {}", &id[3..]), 1)).collect(),
            unexpected: Vec::new(),
        };
        assert_eq!(absent(&census(&many))[23], "1 of actor 24");
        assert_eq!(absent(&census(&many[..2])), many[..2]);
        // Columns of a manifest may have different lengths.
        let manifest = Survey::new(&corpus(), manifest::FORMAT, Path::new("none"), &files);
        assert_eq!(manifest.odd_lengths.len(), 1);
    }
}
