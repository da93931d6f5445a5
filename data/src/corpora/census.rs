//! A copy of a corpus, held against what the published corpus has.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many samples of the published corpus a copy has, and which are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Which samples are counted: "speech" or "song".
    pub vocal: &'static str,
    /// Samples of the published corpus.
    pub expected: usize,
    /// Those of them that the copy has.
    pub found: usize,
    /// Those that it lacks, by id; empty where the published ids are not known.
    pub absent: Vec<String>,
    /// How many of the absent samples are of each group.
    #[serde(skip)]
    pub absent_by_group: BTreeMap<String, usize>,
    /// Samples that the published corpus does not have, by id.
    pub unexpected: Vec<String>,
}
