//! Figures of samples without a modality: means over repetitions, and their tables.

use super::missing::MissingScore;
use crate::config::{Replacement, word};
use models::evaluate::metrics::Summary;
use serde::{Deserialize, Serialize};

/// The score of an arm when a share of the test samples lacks a modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MissingFigure {
    /// The modality.
    pub modality: String,
    /// What stands in for its features; absent for a system with a head of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// The share of the samples that have it and another one.
    pub share: f64,
    /// The score over the whole test part.
    pub score: Summary,
}

impl MissingFigure {
    /// The figures for which `mean` has a summary, in the order of the first repetition that has them.
    pub fn of<'a>(
        scores: impl IntoIterator<Item = &'a MissingScore>,
        mean: impl Fn(&MissingScore) -> Option<Summary>,
    ) -> Vec<Self> {
        let mut figures: Vec<MissingFigure> = Vec::new();
        for score in scores {
            let known = figures.iter().any(|figure| figure.is_of(score));
            if let (false, Some(summary)) = (known, mean(score)) {
                let MissingScore { modality, replacement, share, .. } = score.clone();
                figures.push(MissingFigure { modality, replacement, share, score: summary });
            }
        }
        figures
    }

    fn is_of(&self, score: &MissingScore) -> bool {
        (&self.modality, self.replacement, self.share)
            == (&score.modality, score.replacement, score.share)
    }

    /// The name of the row or curve of this figure, for an arm with this title.
    pub fn name(&self, title: &str) -> String {
        match &self.replacement {
            None => title.to_owned(),
            Some(replacement) => format!("{title}, {}", word(replacement).replace('_', "-")),
        }
    }
}

impl MissingScore {
    /// Whether another repetition measured the same.
    pub fn matches(&self, other: &MissingScore) -> bool {
        (&self.modality, self.replacement, self.share)
            == (&other.modality, other.replacement, other.share)
    }
}

/// A table: its title, header and rows.
pub type Table = (String, Vec<String>, Vec<Vec<String>>);

/// One table for each modality: a row for each arm and replacement, a column for each share.
pub fn missing_tables<'a>(
    figure: &str,
    arms: impl Iterator<Item = (&'a str, &'a [MissingFigure])> + Clone,
) -> Vec<Table> {
    let mut modalities: Vec<&str> = Vec::new();
    let mut shares: Vec<f64> = Vec::new();
    for found in arms.clone().flat_map(|(_, figures)| figures) {
        if !modalities.contains(&found.modality.as_str()) {
            modalities.push(&found.modality);
        }
        if !shares.contains(&found.share) {
            shares.push(found.share);
        }
    }
    let table = |modality: &&str| {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (title, figures) in arms.clone() {
            for found in figures.iter().filter(|found| found.modality == **modality) {
                let name = found.name(title);
                let known = rows.iter().position(|row| row[0] == name);
                let place = known.unwrap_or(rows.len());
                if known.is_none() {
                    let mut row = vec![name];
                    row.resize(shares.len() + 1, String::new());
                    rows.push(row);
                }
                if let Some(column) = shares.iter().position(|&share| share == found.share) {
                    rows[place][column + 1] = format!("{:.3}", found.score.mean);
                }
            }
        }
        let columns = shares.iter().map(|share| format!("{:.0} %", 100.0 * share));
        let header = std::iter::once("share of samples without it".to_owned()).chain(columns);
        (format!("{figure} without {modality}"), header.collect(), rows)
    };
    modalities.iter().map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_arms_and_replacements_and_columns_are_shares() {
        let score = |modality: &str, replacement, share, score| MissingScore {
            modality: modality.into(),
            replacement,
            share,
            score,
        };
        let scores = [
            score("voice", Some(Replacement::CrossModal), 0.0, 0.9),
            score("voice", Some(Replacement::CrossModal), 0.5, 0.8),
            score("voice", Some(Replacement::Zeros), 0.5, 0.6),
            score("text", Some(Replacement::Zeros), 0.5, 0.7),
            // A second repetition.
            score("text", Some(Replacement::Zeros), 0.5, 0.9),
        ];
        let figures = MissingFigure::of(&scores, |score| {
            let same = scores.iter().filter(|other| other.matches(score)).map(|other| other.score);
            Some(Summary::of(&same.collect::<Vec<_>>()))
        });
        let tables = missing_tables("accuracy", [("MPUC", &figures[..])].into_iter());
        let [(voice, header, rows), (text, _, of_text)] = &tables[..] else { panic!() };
        assert_eq!(
            (voice.as_str(), text.as_str()),
            ("accuracy without voice", "accuracy without text")
        );
        assert_eq!(header[1..], ["0 %", "50 %"]);
        assert_eq!(rows[0], ["MPUC, cross-modal", "0.900", "0.800"]);
        assert_eq!(rows[1], ["MPUC, zeros", "", "0.600"]);
        assert_eq!(of_text[0], ["MPUC, zeros", "", "0.800"]);
    }
}
