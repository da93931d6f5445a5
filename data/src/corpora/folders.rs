//! Folders of classes: `ROOT/CLASS/ID.wav`, or `ROOT/CLASS/GROUP/ID.wav` when samples have a group, e.g. a speaker.
//!
//! Files in one folder that differ only in their extension are the modalities of one sample, recorded at the same time:
//! `.wav` is voice, `.csv` landmarks by OpenFace, `.txt` words, a video or frames in `.npy` a clip. When a sequence is
//! wanted, `.npy` is the sequence. Folders `train`, `valid` and `test` above the classes are the corpus's own split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted, tree};
use crate::corpus::{Corpus, Label, Part, Sample};
use crate::features::{FeatureKind, Source};
use crate::formats::video;
use crate::{Error, Result};

/// The format `folders`.
pub const FORMAT: Format = Format(&Folders);

struct Folders;

/// The files of one sample by extension.
type Files = BTreeMap<String, Source>;

impl CorpusFormat for Folders {
    fn name(&self) -> &'static str {
        "folders"
    }

    fn about(&self) -> &'static str {
        "A folder for each class: ROOT/CLASS/ID.wav or ROOT/CLASS/GROUP/ID.wav"
    }

    fn is_here(&self, path: &Path) -> bool {
        path.is_dir() && Tree::read(path).is_ok_and(|tree| !tree.samples.is_empty())
    }

    fn modalities(&self, path: &Path, vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        let tree = Tree::read(path)?;
        let endings: BTreeSet<&String> = tree.samples.values().flat_map(Files::keys).collect();
        let kinds: BTreeSet<FeatureKind> =
            endings.into_iter().filter_map(|ending| kind_of(ending)).collect();
        let wanted = |kind: FeatureKind| {
            let feature = kind.extractor(vectors).ok_or_else(|| {
                Error::config(format!(
                    "{}: has files of text, which need word vectors; name a file in GloVe's text format with --vectors",
                    path.display()
                ))
            })?;
            Ok(Wanted { name: kind.name().to_owned(), feature })
        };
        kinds.into_iter().map(wanted).collect()
    }

    fn find(&self, path: &Path, wanted: &[Wanted], _options: &Options) -> Result<Found> {
        let tree = Tree::read(path)?;
        let kinds: Vec<FeatureKind> = wanted.iter().map(|wanted| wanted.feature.kind()).collect();
        let corpus = tree.corpus(wanted, &kinds);
        if corpus.samples.is_empty() {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            return Err(Error::missing(
                path,
                format!(
                    "has no file for {} in a folder of a class; expected files such as happy/1.wav or happy/anna/1.wav",
                    kinds.join(" or ")
                ),
            ));
        }
        Ok(Found { corpus, wanted: (0..wanted.len()).collect() })
    }

    fn census(&self, _path: &Path, _corpus: &Corpus) -> Vec<Census> {
        Vec::new()
    }

    fn own_split(&self) -> OwnSplit {
        OwnSplit::Required(
            "put the folders of the classes into folders train, valid and test, or choose by_group",
        )
    }

    fn same_seconds(&self) -> bool {
        true
    }
}

/// The kind of a file with this extension, in lower case.
fn kind_of(ending: &str) -> Option<FeatureKind> {
    match ending {
        "wav" => Some(FeatureKind::Voice),
        "csv" => Some(FeatureKind::Landmarks),
        "npy" => Some(FeatureKind::Sequence),
        "txt" => Some(FeatureKind::Words),
        ending if video::ENDINGS.contains(&ending) => Some(FeatureKind::Clip),
        _ => None,
    }
}

/// The folders of a sample, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SamplePath {
    part: Option<String>,
    class: String,
    group: Option<String>,
    name: String,
}

/// The files below a folder.
#[derive(Default)]
struct Tree {
    samples: BTreeMap<SamplePath, Files>,
    /// Number of files that are not in CLASS/ or CLASS/GROUP/.
    outside: usize,
    /// Notices about files that are not used because of their names.
    notices: Vec<String>,
}

impl Tree {
    /// Finds the files with known extensions. Ignores archives, and files and folders whose names start with a dot.
    fn read(root: &Path) -> Result<Self> {
        tree::check_folder(root, "give the folder that contains a folder for each class")?;
        let files = tree::files(root)?;
        let mut tree = Self { notices: files.notices(), ..Self::default() };
        let mut found: Vec<(Vec<String>, String, Source)> = Vec::new();
        for source in files.sources {
            let (Source::File(path), Some((stem, ending))) = (&source, tree::name(&source)) else {
                continue;
            };
            let Some(folders) = path.parent().and_then(|folder| folder.strip_prefix(root).ok())
            else {
                continue;
            };
            let names: Option<Vec<&str>> = folders.iter().map(|name| name.to_str()).collect();
            let Some(mut names) = names else { continue };
            names.push(stem);
            if kind_of(&ending).is_some() && !names.iter().any(|name| name.starts_with('.')) {
                found.push((names.into_iter().map(str::to_owned).collect(), ending, source));
            }
        }
        let tops: BTreeSet<&str> = found.iter().map(|(names, ..)| names[0].as_str()).collect();
        let parts = !tops.is_empty() && tops.iter().all(|name| Part::named(name).is_some());
        for (mut names, ending, source) in found {
            let part = parts.then(|| names.remove(0));
            let place = match names.as_slice() {
                [class, name] => (class, None, name),
                [class, group, name] => (class, Some(group.clone()), name),
                _ => {
                    tree.outside += 1;
                    continue;
                }
            };
            let (class, group, name) = (place.0.clone(), place.1, place.2.clone());
            let place = SamplePath { part, class, group, name };
            tree.samples.entry(place).or_default().insert(ending, source);
        }
        Ok(tree)
    }

    /// The samples with a file of at least one kind. Classes are sorted by name.
    fn corpus(&self, wanted: &[Wanted], kinds: &[FeatureKind]) -> Corpus {
        let file = |files: &Files, kind: &FeatureKind| {
            let frames = *kind == FeatureKind::Clip && !kinds.contains(&FeatureKind::Sequence);
            let frames = files.get("npy").filter(|_| frames);
            let of_kind =
                || files.iter().find(|(ending, _)| kind_of(ending) == Some(*kind)).map(|(_, f)| f);
            frames.or_else(of_kind).cloned()
        };
        let found: Vec<(&SamplePath, Vec<Option<Source>>)> = self
            .samples
            .iter()
            .map(|(place, files)| (place, kinds.iter().map(|kind| file(files, kind)).collect()))
            .filter(|(_, files): &(_, Vec<Option<Source>>)| files.iter().any(Option::is_some))
            .collect();
        let classes: BTreeSet<&String> = found.iter().map(|(place, _)| &place.class).collect();
        let classes: Vec<String> = classes.into_iter().cloned().collect();
        let sample = |(place, files): (&SamplePath, Vec<Option<Source>>)| {
            let SamplePath { part, class, group, name } = place;
            let folders = [part.as_ref(), Some(class), group.as_ref(), Some(name)];
            let names: Vec<&str> = folders.into_iter().flatten().map(String::as_str).collect();
            let id = names.join("/");
            Sample {
                files,
                label: classes.iter().position(|known| known == class).map(Label::One),
                group: group.clone(),
                part: part.as_deref().and_then(Part::named),
                leak_key: id.clone(),
                id,
                line: None,
            }
        };
        let mut corpus = Corpus {
            modalities: wanted.iter().map(|wanted| wanted.name.clone()).collect(),
            samples: found.into_iter().map(sample).collect(),
            classes: classes.clone(),
            notices: Vec::new(),
        };
        if self.outside > 0 {
            corpus.notices.push(format!(
                "{} files are not in CLASS/ or CLASS/GROUP/ and are not used",
                self.outside
            ));
        }
        corpus.note_missing();
        corpus.notices.extend(self.notices.iter().cloned());
        corpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn find(root: &Path, kinds: &[FeatureKind]) -> Result<Corpus> {
        let wanted: Vec<Wanted> = kinds
            .iter()
            .map(|kind| {
                let feature = kind.extractor(Some(Path::new("vectors"))).unwrap();
                Wanted { name: kind.name().into(), feature }
            })
            .collect();
        Ok(FORMAT.find(root, &wanted, &Options::default())?.corpus)
    }

    #[test]
    fn folders_are_classes_and_groups() {
        use FeatureKind::{Clip, Landmarks, Sequence, Voice};
        let files = [
            "sad/anna/1.wav",
            "sad/anna/1.csv",
            "sad/anna/1.npy",
            "sad/anna/1.mp4",
            "sad/bert/1.WAV",
            "happy/2.wav",
            "happy/2.json",
            "happy/anna/old/3.wav",
            ".git/happy/4.wav",
            "table.csv",
        ];
        let folder = folder(&files);
        assert_eq!(Format::recognise(folder.path()).unwrap(), FORMAT);
        let corpus = find(folder.path(), &[Voice, Landmarks, Clip]).unwrap();
        assert_eq!(corpus.classes, ["happy", "sad"]);
        let seen = |sample: &Sample| {
            (sample.id.clone(), sample.label, sample.group.clone().unwrap_or_default())
        };
        let samples: Vec<_> = corpus.samples.iter().map(seen).collect();
        assert_eq!(
            samples,
            [
                ("happy/2".into(), Some(Label::One(0)), "".into()),
                ("sad/anna/1".into(), Some(Label::One(1)), "anna".into()),
                ("sad/bert/1".into(), Some(Label::One(1)), "bert".into()),
            ]
        );
        assert_eq!(corpus.missing(), [0, 2, 2]);
        assert!(corpus.notices[0].starts_with("2 files are not in CLASS/"), "{:?}", corpus.notices);
        let clip = |corpus: &Corpus| corpus.samples[1].files[0].clone().unwrap();
        let of = |kinds: &[FeatureKind]| find(folder.path(), kinds).unwrap();
        assert!(corpus.samples[1].files[2].as_ref().unwrap().path().ends_with("1.npy"));
        assert!(clip(&find(folder.path(), &[Clip, Voice]).unwrap()).path().ends_with("1.npy"));
        let both = of(&[Clip, Sequence]);
        assert!(both.samples[0].files[0].as_ref().unwrap().path().ends_with("1.mp4"));
        assert!(both.samples[0].files[1].as_ref().unwrap().path().ends_with("1.npy"));
        let wanted = FORMAT.modalities(folder.path(), None).unwrap();
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(names, ["voice", "landmarks", "faces", "sequence"]);
    }

    #[test]
    fn folders_of_parts_are_the_corpus_s_own_split() {
        let folder = folder(&["train/a/1.wav", "valid/b/1.wav", "test/a/anna/2.wav"]);
        let corpus = find(folder.path(), &[FeatureKind::Voice]).unwrap();
        let parts: Vec<_> = corpus.samples.iter().map(|sample| sample.part).collect();
        assert_eq!(parts, [Part::Test, Part::Train, Part::Validation].map(Some));
        assert_eq!(corpus.classes, ["a", "b"]);
        let other = self::folder(&["train/1.wav", "sad/1.wav"]);
        let corpus = find(other.path(), &[FeatureKind::Voice]).unwrap();
        assert_eq!((corpus.classes.len(), corpus.samples[0].part), (2, None));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = folder(&["happy/1.txt"]);
        let error = find(folder.path(), &[FeatureKind::Voice]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingData);
        assert!(error.to_string().contains("no file for voice"), "{error}");
        let error = FORMAT.modalities(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("--vectors"), "{error}");
        let error = find(&folder.path().join("none"), &[FeatureKind::Voice]).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
}
