//! Settings of a synthetic world that only CMU-MOSEI's shape has.

use super::SynthError;
use serde::{Deserialize, Serialize};

/// Settings of the segments of CMU-MOSEI's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentSettings {
    /// Size of the nuisance of COVAREP, 0 to 10: random offsets of its columns, constant over a segment, independent of
    /// all other files. `difficulty` scales it.
    pub voice_nuisance: f64,
    /// Size of the nuisance of FACET, 0 to 10, like that of COVAREP.
    pub faces_nuisance: f64,
    /// Dimensions of either nuisance, 1 to 64.
    pub nuisance_dimensions: usize,
    /// Strength of the five affect dimensions in COVAREP's columns, 0 to 3; pitch, energy, brightness and breath follow the
    /// affect at any strength.
    pub voice_affect: f64,
    /// Share of words of feeling that are of a random emotion, 0 to 1. `difficulty` scales it.
    pub slips: f64,
    /// Share of an emotion in a performance up to which its label is 0; 0 to 0.9.
    pub label_threshold: f64,
    /// Share of segments without rows in COVAREP, 0 to 0.9.
    pub absent_voice: f64,
    /// Share of segments without rows in OpenFace, 0 to 0.9.
    pub absent_landmarks: f64,
    /// Share of segments without rows in FACET, 0 to 0.9.
    pub absent_faces: f64,
}

impl Default for SegmentSettings {
    fn default() -> Self {
        Self {
            voice_nuisance: 0.0,
            faces_nuisance: 0.0,
            nuisance_dimensions: 16,
            voice_affect: 1.0,
            slips: 0.25,
            label_threshold: 0.0,
            absent_voice: 0.0,
            absent_landmarks: 0.0,
            absent_faces: 0.0,
        }
    }
}

impl SegmentSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the range of every setting.
    ///
    /// # Errors
    /// [`SynthError::Setting`] for the first setting out of range.
    pub(super) fn check(&self) -> Result<(), SynthError> {
        let dimensions = self.nuisance_dimensions;
        if !(1..=64).contains(&dimensions) {
            return Err(SynthError::setting("segments.nuisance_dimensions", dimensions, "1 to 64"));
        }
        for (name, value, high, rule) in [
            ("segments.voice_nuisance", self.voice_nuisance, 10.0, "0 to 10"),
            ("segments.faces_nuisance", self.faces_nuisance, 10.0, "0 to 10"),
            ("segments.voice_affect", self.voice_affect, 3.0, "0 to 3"),
            ("segments.slips", self.slips, 1.0, "0 to 1"),
            ("segments.label_threshold", self.label_threshold, 0.9, "0 to 0.9"),
            ("segments.absent_voice", self.absent_voice, 0.9, "0 to 0.9"),
            ("segments.absent_landmarks", self.absent_landmarks, 0.9, "0 to 0.9"),
            ("segments.absent_faces", self.absent_faces, 0.9, "0 to 0.9"),
        ] {
            if !(0.0..=high).contains(&value) {
                return Err(SynthError::setting(name, value, rule));
            }
        }
        Ok(())
    }

    /// The settings with nuisance and slips multiplied by `difficulty`.
    pub(super) fn scaled(&self, difficulty: f64) -> Self {
        Self {
            voice_nuisance: self.voice_nuisance * difficulty,
            faces_nuisance: self.faces_nuisance * difficulty,
            slips: (self.slips * difficulty).min(1.0),
            ..self.clone()
        }
    }
}
