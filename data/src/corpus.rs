//! A corpus as files: which belong to which sample, and what is known of each sample.

use crate::features::Source;

/// What is known of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Its one class: an index into [`Corpus::classes`].
    One(usize),
    /// Every class that applies, be it none or several: bit `i` stands for class `i`.
    Each(u64),
}

impl Label {
    /// Whether the class applies.
    pub fn has(self, class: usize) -> bool {
        match self {
            Self::One(one) => one == class,
            Self::Each(bits) => class < 64 && bits >> class & 1 == 1,
        }
    }

    /// The one class; `None` where there may be several.
    pub fn class(self) -> Option<usize> {
        match self {
            Self::One(class) => Some(class),
            Self::Each(_) => None,
        }
    }
}

/// One sample: a performance, an utterance, a row of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Unique within the corpus.
    pub id: String,
    /// For each modality of the corpus, its source; `None` where the sample lacks it.
    pub files: Vec<Option<Source>>,
    /// Where it is known.
    pub label: Option<Label>,
    /// Who or what must not be in two parts of a split by group, e.g. the actor.
    pub group: Option<String>,
    /// Samples with the same key are near-copies and must never be in two parts of any split.
    pub leak_key: String,
    /// Where the corpus's own split has it; `None` where it has none.
    pub part: Option<Part>,
}

/// A part of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Split::train`]
    Train,
    /// [`Split::validation`]
    Validation,
    /// [`Split::test`]
    Test,
}

impl Part {
    /// All parts.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// What data sets call it, the usual name first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Part::Train => &["train"],
            Part::Validation => &["valid", "validation", "dev"],
            Part::Test => &["test"],
        }
    }

    /// The part of this name.
    pub fn named(name: &str) -> Option<Self> {
        Part::ALL.into_iter().find(|part| part.names().contains(&name))
    }
}

/// A data set as files: shared by all readers in this module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// Names of the modalities, e.g. "voice".
    pub modalities: Vec<String>,
    /// Names of the classes, in the order of the labels' numbers.
    pub classes: Vec<String>,
    /// The samples, in a fixed order.
    pub samples: Vec<Sample>,
    /// What a person should know: missing files, duplicates, videos that need converting.
    pub notices: Vec<String>,
}

impl Corpus {
    /// For each modality, how many samples lack it.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.modalities.len())
            .map(|modality| {
                self.samples.iter().filter(|sample| sample.files[modality].is_none()).count()
            })
            .collect()
    }

    /// Takes away the classes that no sample is of, as two of RAVDESS's are not sung, and says so in the notices. Labels
    /// are numbered anew.
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
            "no sample is {}: the other classes count, {} of {}",
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
        };
        for sample in &mut self.samples {
            sample.label = sample.label.map(renumbered);
        }
        self.classes = kept.iter().map(|class| self.classes[*class].clone()).collect();
    }

    /// Adds a notice for each modality that some samples lack.
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
        assert_eq!(notice, "no sample is sad: the other classes count, 2 of 3");
        let each = [Some(Label::Each(0b100)), Some(Label::Each(0)), Some(Label::Each(0b110))];
        let (classes, labels, _) = left(&each);
        assert_eq!(classes, "sad angry");
        assert_eq!(labels, [0b10, 0, 0b11].map(|bits| Some(Label::Each(bits))));
        let all = [0, 1, 2].map(|class| Some(Label::One(class)));
        assert_eq!(left(&all), ("happy sad angry".into(), all.to_vec(), String::new()));
    }
}
