//! Tables I to IV of Franceschini et al. (ICPR 2022), with the figures that are known here and captions of this program.

use crate::config::{Config, Protocol};
use data::features::Extractor;

/// The kinds of tables, by the runs and figures that belong in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// RAVDESS's spoken performances: accuracy, by group and stratified.
    Ravdess,
    /// CMU-MOSEI: weighted accuracy and F1 of each emotion and of all.
    MoseiEmotions,
    /// CMU-MOSEI: weighted accuracy and F1 of all emotions.
    MoseiOverall,
}

/// A table of the paper.
pub struct Table {
    /// Its number in the paper, and a caption.
    pub title: &'static str,
    /// The headers of the columns of figures.
    pub columns: &'static [&'static str],
    /// The paper's rows: a system and its figures in percent.
    pub rows: &'static [(&'static str, &'static [f64])],
    /// Its kind.
    pub place: Place,
    /// A note below the table.
    pub note: &'static str,
}

/// Emotions of CMU-MOSEI in the order of the columns.
pub const EMOTIONS: [&str; 6] = ["happy", "sad", "anger", "surprise", "disgust", "fear"];

const BY_EMOTION: &[&str] = &[
    "happy w-ACC",
    "F1",
    "sad w-ACC",
    "F1",
    "anger w-ACC",
    "F1",
    "surprise w-ACC",
    "F1",
    "disgust w-ACC",
    "F1",
    "fear w-ACC",
    "F1",
    "overall w-ACC",
    "F1",
];

/// F1 is scikit-learn's with `average="weighted"`.
const F1: &str =
    "F1 is that of positives and negatives, weighted by their frequency, as in the authors' code.";

const OURS: &[f64] = &[
    68.82, 69.20, 62.93, 55.70, 67.91, 70.09, 62.93, 72.73, 72.91, 74.25, 64.49, 74.85, 66.70,
    69.50,
];

/// The tables.
pub const TABLES: [Table; 4] = [
    Table {
        title: "Table I: RAVDESS, accuracy",
        columns: &["actor split", "not split"],
        rows: &[
            ("face images, trained with labels", &[60.80, 72.80]),
            ("audio, trained with labels", &[58.50, 75.90]),
            ("landmarks, trained with labels", &[62.05, 76.35]),
            ("late fusion of all three", &[64.10, 80.72]),
            ("attention over all three", &[65.40, 81.80]),
            ("MPUC: face images, audio", &[63.78, 80.32]),
            ("MPUC: audio, landmarks", &[77.10, 89.50]),
            ("MPUC: all three", &[78.54, 93.17]),
        ],
        place: Place::Ravdess,
        note: "The paper quotes 80.0 for people.",
    },
    Table {
        title: "Table II: CMU-MOSEI, weighted accuracy and F1, baselines of the paper",
        columns: BY_EMOTION,
        rows: &[
            (
                "late fusion",
                &[
                    59.71, 60.17, 54.17, 27.97, 54.58, 34.58, 50.01, 3.31, 54.29, 34.10, 54.92,
                    22.83, 54.60, 30.50,
                ],
            ),
            (
                "attention",
                &[
                    61.27, 61.61, 55.80, 36.09, 54.92, 37.06, 50.34, 5.66, 55.84, 44.15, 57.25,
                    43.71, 55.90, 38.00,
                ],
            ),
            (
                "MPUC without text",
                &[
                    63.96, 61.84, 50.71, 12.41, 54.88, 26.59, 50.30, 2.76, 58.37, 35.44, 54.79,
                    27.56, 55.50, 27.77,
                ],
            ),
            ("MPUC: all four", OURS),
        ],
        place: Place::MoseiEmotions,
        note: F1,
    },
    Table {
        title: "Table III: CMU-MOSEI, weighted accuracy and F1, beside other unsupervised learning",
        columns: BY_EMOTION,
        rows: &[
            (
                "CAE-LR",
                &[
                    64.70, 65.60, 53.20, 55.60, 61.80, 61.90, 57.10, 70.70, 69.00, 70.10, 60.40,
                    69.20, 61.03, 65.52,
                ],
            ),
            ("MPUC: all four", OURS),
        ],
        place: Place::MoseiEmotions,
        note: "CAE-LR's row may be of another table of the paper. F1 as above.",
    },
    Table {
        title: "Table IV: CMU-MOSEI, weighted accuracy and F1 of all emotions, beside systems trained with labels",
        columns: &["w-ACC", "F1"],
        rows: &[
            ("Graph-MFN", &[62.35, 76.33]),
            ("MESM", &[66.80, 46.80]),
            ("FE2E", &[67.60, 47.40]),
            ("Tsai et al.", &[81.58, 79.08]),
            ("Shenoy et al.", &[82.77, 80.35]),
            ("MPUC: all four", &[66.70, 69.50]),
        ],
        place: Place::MoseiOverall,
        note: "These papers define F1 differently: do not compare the rows of its column.",
    },
];

/// The paper's word for a modality, otherwise its name.
pub fn word(name: &str, feature: &Extractor) -> String {
    match feature {
        Extractor::Voice(_) => "audio".into(),
        Extractor::Landmarks(_) => "landmarks".into(),
        Extractor::Clip(_) => "face images".into(),
        Extractor::Words(_) => "text".into(),
        _ => name.to_owned(),
    }
}

/// The paper's score, from 0 to 1, of a system that is trained on these modalities of a configuration, where the paper has
/// one for this corpus and protocol: the accuracy for RAVDESS, the overall weighted accuracy for CMU-MOSEI.
pub fn score(corpus: &str, config: &Config, system: &str, modalities: &[String]) -> Option<f64> {
    let of = |table: usize, row: &str, column: usize| {
        let (_, figures) = TABLES[table].rows.iter().find(|(name, _)| *name == row)?;
        Some(figures.get(column)? / 100.0)
    };
    let words =
        modalities.iter().filter_map(|name| Some(word(name, &config.modality.get(name)?.feature)));
    let mut words: Vec<String> = words.collect();
    words.sort();
    let has: Vec<&str> = words.iter().map(String::as_str).collect();
    match corpus {
        "ravdess" => {
            let column = match config.data.protocol {
                Protocol::ByGroup => 0,
                Protocol::Stratified => 1,
                _ => return None,
            };
            let row = match (system, &has[..]) {
                ("unimodal", [one]) => format!("{one}, trained with labels"),
                ("late_fusion", ["audio", "face images", "landmarks"]) => {
                    "late fusion of all three".into()
                }
                ("attention", ["audio", "face images", "landmarks"]) => {
                    "attention over all three".into()
                }
                ("mpuc", ["audio", "face images"]) => "MPUC: face images, audio".into(),
                ("mpuc", ["audio", "landmarks"]) => "MPUC: audio, landmarks".into(),
                ("mpuc", ["audio", "face images", "landmarks"]) => "MPUC: all three".into(),
                _ => return None,
            };
            of(0, &row, column)
        }
        "mosei" => {
            let overall = BY_EMOTION.len() - 2;
            match (system, has.len()) {
                ("late_fusion", 4) => of(1, "late fusion", overall),
                ("attention", 4) => of(1, "attention", overall),
                ("mpuc", 3) if !modalities.iter().any(|name| name == "text") => {
                    of(1, "MPUC without text", overall)
                }
                ("mpuc", 4) => of(1, "MPUC: all four", overall),
                ("cae_lr", _) => of(2, "CAE-LR", overall),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Resolved};

    #[test]
    fn the_papers_rows_are_found_by_system_and_modalities() -> crate::failure::Result<()> {
        let of =
            |preset: &str| Resolved::new(&Layers { preset: Some(preset), ..Layers::default() });
        let (ravdess, mosei) = (of("paper")?.config, of("mosei")?.config);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let of_ravdess = |system: &str, of: &[&str]| score("ravdess", &ravdess, system, &names(of));
        let all = ["voice", "landmarks", "faces"];
        assert_eq!(of_ravdess("mpuc", &all), Some(78.54 / 100.0));
        assert_eq!(of_ravdess("mpuc", &["voice", "landmarks"]), Some(77.10 / 100.0));
        assert_eq!(of_ravdess("unimodal", &["faces"]), Some(60.80 / 100.0));
        assert_eq!(of_ravdess("late_fusion", &all), Some(64.10 / 100.0));
        assert_eq!(of_ravdess("vavl", &all), None);
        let of_mosei = |system: &str, of: &[&str]| score("mosei", &mosei, system, &names(of));
        assert_eq!(of_mosei("mpuc", &["text", "voice", "landmarks", "faces"]), Some(66.70 / 100.0));
        assert_eq!(of_mosei("mpuc", &all), Some(55.50 / 100.0));
        assert_eq!(of_mosei("cae_lr", &["text", "voice", "faces"]), Some(61.03 / 100.0));
        assert_eq!(score("synthetic world", &ravdess, "mpuc", &names(&all)), None);
        Ok(())
    }
}
