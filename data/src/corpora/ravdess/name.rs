//! File names of RAVDESS: `MM-VV-EE-II-SS-RR-AA`.

/// The codes of a file name: medium, speech or song, emotion, intensity, statement, repetition, actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub [u8; 7]);

impl Name {
    /// The codes of `stem`; `None` when it is not such a name, `Some(Err)` when a code is out of range.
    pub fn parse(stem: &str) -> Option<std::result::Result<Self, ()>> {
        let bytes = stem.as_bytes();
        if bytes.len() != 20 {
            return None;
        }
        let mut codes = [0; 7];
        for (i, (code, field)) in codes.iter_mut().zip(bytes.chunks(3)).enumerate() {
            let &[tens, ones] = field.get(..2)? else { return None };
            if !tens.is_ascii_digit() || !ones.is_ascii_digit() || (i < 6 && field[2] != b'-') {
                return None;
            }
            *code = (tens - b'0') * 10 + (ones - b'0');
        }
        // RAVDESS has 24 actors; a synthetic world has as many as two digits can number.
        let most = [3, 2, 8, 2, 2, 2, 99];
        let in_range = codes.iter().zip(most).all(|(&code, most)| (1..=most).contains(&code));
        Some(in_range.then_some(Self(codes)).ok_or(()))
    }

    /// For a video without sound, the file stem of the video with the same pictures and with sound; otherwise `None`.
    pub fn with_sound(self) -> Option<String> {
        (self.0[0] == 2).then(|| format!("01-{}", id(self.performance())))
    }

    /// Fields 2 to 7, which identify a performance.
    pub fn performance(self) -> [u8; 6] {
        let [_, rest @ ..] = self.0;
        rest
    }
}

/// The id of a performance: codes 2 to 7.
pub(super) fn id(codes: [u8; 6]) -> String {
    codes.map(|code| format!("{code:02}")).join("-")
}
