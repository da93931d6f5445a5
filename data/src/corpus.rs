//! A corpus: its samples with their files, labels, groups and parts.

use crate::features::Source;

/// The class, the classes or the attributes of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// Exactly one class: an index into [`Corpus::classes`].
    One(usize),
    /// Any number of classes: bit `i` is set when class `i` applies. At most 64 classes.
    Each(u64),
    /// A number for each attribute, e.g. arousal, valence and dominance.
    Values(Attributes),
}

/// The numbers of a sample's attributes, in the order of [`Corpus::classes`], which are then the attributes' names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes {
    count: usize,
    values: [f32; Attributes::MOST],
}

impl Attributes {
    /// The most attributes that a sample can have.
    pub const MOST: usize = 8;

    /// The attributes with these numbers; `None` when there are none or more than [`MOST`](Self::MOST).
    pub fn new(numbers: &[f32]) -> Option<Self> {
        let mut values = [0.0; Self::MOST];
        values.get_mut(..numbers.len()).filter(|slots| !slots.is_empty())?.copy_from_slice(numbers);
        Some(Self { count: numbers.len(), values })
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.values[..self.count]
    }
}

impl Label {
    /// Whether `class` applies; for attributes, whether there is a number for it.
    pub fn has(self, class: usize) -> bool {
        match self {
            Self::One(one) => one == class,
            Self::Each(bits) => class < 64 && bits >> class & 1 == 1,
            Self::Values(attributes) => class < attributes.count,
        }
    }

    /// The class of a [`Label::One`]; `None` for others.
    pub fn class(self) -> Option<usize> {
        match self {
            Self::One(class) => Some(class),
            Self::Each(_) | Self::Values(_) => None,
        }
    }
}

/// A sample: one performance, one utterance or one row of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, unique within the corpus.
    pub id: String,
    /// One source for each modality of the corpus; `None` when the sample lacks the modality.
    pub files: Vec<Option<Source>>,
    /// Its class or classes; `None` when they are not known.
    pub label: Option<Label>,
    /// The group, e.g. the actor. A split by group never puts one group into two parts.
    pub group: Option<String>,
    /// Samples with equal keys are near-duplicates. No split may put them into two parts.
    pub leak_key: String,
    /// The part in the corpus's own split; `None` when that split does not name the sample.
    pub part: Option<Part>,
    /// Its line in the manifest, counted from 1; `None` in other corpora.
    pub line: Option<usize>,
}

/// A part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Training.
    Train,
    /// Validation: early stopping and model selection.
    Validation,
    /// Testing: the reported figures.
    Test,
}

impl Part {
    /// All parts.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// The names that corpora use for it; the first is the usual one.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Part::Train => &["train"],
            Part::Validation => &["valid", "validation", "dev"],
            Part::Test => &["test"],
        }
    }

    /// The part with this name; `None` when no part has it.
    pub fn named(name: &str) -> Option<Self> {
        Part::ALL.into_iter().find(|part| part.names().contains(&name))
    }
}

/// The samples of a corpus as files, before any feature is decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// Names of the modalities, e.g. "voice".
    pub modalities: Vec<String>,
    /// Names of the classes, indexed by the labels, or of the attributes.
    pub classes: Vec<String>,
    /// The samples, in a fixed order.
    pub samples: Vec<Sample>,
    /// Remarks for the user: missing files, duplicates, videos that need converting.
    pub notices: Vec<String>,
}

impl Corpus {
    /// The number of samples without each modality.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.modalities.len())
            .map(|modality| {
                self.samples.iter().filter(|sample| sample.files[modality].is_none()).count()
            })
            .collect()
    }

    /// Removes the classes that no sample has (e.g. the two emotions of RAVDESS that are not sung), renumbers the labels
    /// and adds a notice.
    pub fn leave_out_absent_classes(&mut self) {
        let labels: Vec<Label> = self.samples.iter().filter_map(|sample| sample.label).collect();
        let kept: Vec<usize> = (0..self.classes.len())
            .filter(|class| labels.iter().any(|label| label.has(*class)))
            .collect();
        if kept.len() == self.classes.len() {
            return;
        }
        let absent = self.classes.iter().enumerate().filter(|(class, _)| !kept.contains(class));
        let absent: Vec<&str> = absent.map(|(_, name)| name.as_str()).collect();
        self.notices.push(format!(
            "no sample is {}; {} of {} classes are used",
            absent.join(" or "),
            kept.len(),
            self.classes.len()
        ));
        let renumbered = |label: Label| match label {
            Label::One(class) => {
                Label::One(kept.iter().position(|old| *old == class).unwrap_or(class))
            }
            Label::Each(_) => {
                let has = |(new, old): (usize, &usize)| u64::from(label.has(*old)) << new;
                Label::Each(kept.iter().enumerate().map(has).sum())
            }
            // Every labelled sample has all of them.
            Label::Values(_) => label,
        };
        for sample in &mut self.samples {
            sample.label = sample.label.map(renumbered);
        }
        self.classes = kept.iter().map(|class| self.classes[*class].clone()).collect();
    }

    /// Adds a notice for each modality that is missing in some samples.
    pub(crate) fn note_missing(&mut self) {
        for (name, missing) in self.modalities.iter().zip(self.missing()) {
            if missing > 0 {
                self.notices
                    .push(format!("{missing} of {} samples have no {name}", self.samples.len()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(labels: &[Option<Label>]) -> Corpus {
        let sample = |(number, label): (usize, &Option<Label>)| Sample {
            id: number.to_string(),
            files: Vec::new(),
            label: *label,
            group: None,
            leak_key: number.to_string(),
            part: None,
            line: None,
        };
        Corpus {
            classes: ["happy", "sad", "angry"].map(str::to_owned).to_vec(),
            samples: labels.iter().enumerate().map(sample).collect(),
            ..Corpus::default()
        }
    }

    #[test]
    fn classes_without_a_sample_are_left_out() {
        let left = |labels: &[Option<Label>]| {
            let mut corpus = corpus(labels);
            corpus.leave_out_absent_classes();
            let labels: Vec<_> = corpus.samples.iter().map(|sample| sample.label).collect();
            (corpus.classes.join(" "), labels, corpus.notices.join("; "))
        };
        let one = [Some(Label::One(2)), None, Some(Label::One(0))];
        let (classes, labels, notice) = left(&one);
        assert_eq!(classes, "happy angry");
        assert_eq!(labels, [Some(Label::One(1)), None, Some(Label::One(0))]);
        assert_eq!(notice, "no sample is sad; 2 of 3 classes are used");
        let each = [Some(Label::Each(0b100)), Some(Label::Each(0)), Some(Label::Each(0b110))];
        let (classes, labels, _) = left(&each);
        assert_eq!(classes, "sad angry");
        assert_eq!(labels, [0b10, 0, 0b11].map(|bits| Some(Label::Each(bits))));
        let all = [0, 1, 2].map(|class| Some(Label::One(class)));
        assert_eq!(left(&all), ("happy sad angry".into(), all.to_vec(), String::new()));
    }
}
