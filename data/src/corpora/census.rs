//! The census of a copy: its samples compared with those of the published corpus.

use std::collections::BTreeMap;

use serde::Serialize;

/// The number of samples of the published corpus that a copy has, and those that it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Census {
    /// The samples that are counted: "speech" or "song".
    pub vocal: &'static str,
    /// The number of samples of the published corpus.
    pub expected: usize,
    /// The number of them that the copy has.
    pub found: usize,
    /// The ids that the copy lacks; empty when the published ids are not known.
    pub absent: Vec<String>,
    /// The number of absent samples of each group.
    #[serde(skip)]
    pub absent_by_group: BTreeMap<String, usize>,
    /// The ids that the published corpus does not have.
    pub unexpected: Vec<String>,
}
