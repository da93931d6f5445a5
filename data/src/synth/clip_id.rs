//! Names of clips.

/// Name of a clip by the fields of RAVDESS's file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClipId {
    /// Actor, from 1.
    pub actor: usize,
    /// Emotion, index into [`EMOTIONS`](super::EMOTIONS) (RAVDESS's code less 1).
    pub emotion: usize,
    /// Whether the intensity is strong; false for neutral.
    pub strong: bool,
    /// Statement, 0 "Kids are talking by the door" or 1 "Dogs are sitting by the door".
    pub statement: usize,
    /// Repetition, 0 or 1.
    pub repetition: usize,
}

impl ClipId {
    /// A number for the clip among those of its actor.
    pub(super) fn code(&self) -> u64 {
        let intensity = usize::from(self.strong);
        (((self.emotion * 2 + intensity) * 2 + self.statement) * 2 + self.repetition) as u64
    }

    /// RAVDESS's file stem for a modality (1 audio-video, 2 video only, 3 audio only), e.g. `03-01-05-02-01-01-12`.
    pub fn stem(&self, modality: u8) -> String {
        format!("{modality:02}-{}", self.performance())
    }

    /// Its sample's id: the fields of the stem behind the modality, e.g. `01-05-02-01-01-12`.
    pub fn performance(&self) -> String {
        format!(
            "01-{:02}-{:02}-{:02}-{:02}-{:02}",
            self.emotion + 1,
            if self.strong { 2 } else { 1 },
            self.statement + 1,
            self.repetition + 1,
            self.actor
        )
    }
}
