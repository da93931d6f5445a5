//! Constants of the synthetic world: emotions, action units, phones, and the effect of affect on the voice.

/// RAVDESS's emotions in the order of its codes 01 to 08.
pub const EMOTIONS: [&str; 8] =
    ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"];

/// Dimensions of the affect.
pub const AFFECT: [&str; 5] = ["arousal", "valence", "dominance", "tension", "novelty"];

/// Facial action units of the world (FACS numbers).
pub const ACTION_UNITS: [u8; UNITS] = [1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26];

pub(super) const UNITS: usize = 15;
/// Indices into `ACTION_UNITS` of units that are used by name.
pub(super) mod unit {
    pub(in super::super) const INNER_BROW_RAISE: usize = 0;
    pub(in super::super) const OUTER_BROW_RAISE: usize = 1;
    pub(in super::super) const BROW_LOWER: usize = 2;
    pub(in super::super) const CHEEK_RAISE: usize = 4;
    pub(in super::super) const NOSE_WRINKLE: usize = 6;
    pub(in super::super) const LIP_CORNER_PULL: usize = 8;
    pub(in super::super) const CHIN_RAISE: usize = 10;
    pub(in super::super) const JAW_DROP: usize = 14;
}

/// Affect of each emotion: arousal, valence, dominance, tension, novelty, each in [-1, 1]. After the ratings of
/// Russell and Mehrabian (1977) and Fontaine et al. (2007), rounded.
pub(super) const EMOTION_AFFECT: [[f64; 5]; 8] = [
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [-0.35, 0.15, 0.05, -0.3, 0.0],
    [0.6, 0.9, 0.35, -0.1, 0.3],
    [-0.6, -0.7, -0.6, 0.2, -0.1],
    [0.85, -0.75, 0.9, 0.8, 0.1],
    [0.6, -0.7, -0.8, 0.9, 0.6],
    [0.1, -0.85, 0.3, 0.5, -0.2],
    [0.7, 0.3, -0.1, 0.1, 1.0],
];

/// Action units of each emotion after EMFACS: (FACS number, strength in [0, 1]).
pub(super) const EMOTION_UNITS: [&[(u8, f64)]; 8] = [
    &[],
    &[(12, 0.15)],
    &[(6, 0.8), (12, 1.0), (25, 0.5)],
    &[(1, 0.8), (4, 0.6), (15, 0.9), (17, 0.5)],
    &[(4, 1.0), (5, 0.5), (7, 0.7), (23, 0.9), (17, 0.3)],
    &[(1, 0.8), (2, 0.5), (4, 0.6), (5, 0.8), (20, 0.9), (25, 0.5)],
    &[(9, 1.0), (10, 0.7), (15, 0.4), (17, 0.4), (4, 0.4)],
    &[(1, 0.9), (2, 1.0), (5, 0.7), (26, 0.8), (25, 0.4)],
];

/// How the affect (columns as in `AFFECT`) moves the voice (rows): pitch and pitch range in octaves, energy, rate,
/// brightness, breath. Signs after Scherer (2003): arousal raises all but breath, tension brightens, submission breathes.
pub(super) const VOICE_OF_AFFECT: [[f64; 5]; 6] = [
    [0.42, 0.10, 0.02, 0.05, 0.25],
    [0.5, 0.25, -0.1, -0.2, 0.6],
    [0.8, 0.0, 0.5, 0.1, 0.1],
    [0.30, 0.1, 0.0, 0.1, 0.1],
    [0.7, -0.1, 0.5, 0.6, 0.0],
    [-0.2, -0.1, -0.5, -0.3, 0.1],
];

/// A phone's target: three formants in Hz, voicing in [0, 1], openness (and loudness) in [0, 1].
pub(super) struct Phone {
    pub(super) formants: [f64; 3],
    pub(super) voicing: f64,
    pub(super) openness: f64,
}

const fn phone(formants: [f64; 3], voicing: f64, openness: f64) -> Phone {
    Phone { formants, voicing, openness }
}

/// The target of a letter of `STATEMENTS`; formants after Peterson and Barney (1952), rounded.
pub(super) fn phone_of(letter: char) -> Phone {
    match letter {
        't' => phone([400.0, 1800.0, 2700.0], 0.0, 0.05),
        'g' => phone([300.0, 1500.0, 2300.0], 0.5, 0.1),
        'I' => phone([400.0, 1900.0, 2550.0], 1.0, 0.4),
        'a' => phone([730.0, 1100.0, 2450.0], 1.0, 1.0),
        'o' => phone([500.0, 900.0, 2400.0], 1.0, 0.6),
        'i' => phone([300.0, 2250.0, 3000.0], 1.0, 0.3),
        'e' => phone([530.0, 1800.0, 2480.0], 1.0, 0.6),
        'z' => phone([350.0, 1700.0, 2600.0], 0.3, 0.15),
        's' => phone([400.0, 1800.0, 2700.0], 0.0, 0.1),
        'k' => phone([400.0, 1500.0, 2500.0], 0.0, 0.2),
        'b' => phone([250.0, 1000.0, 2300.0], 0.5, 0.0),
        'd' => phone([300.0, 1700.0, 2600.0], 0.5, 0.1),
        'n' => phone([280.0, 1500.0, 2500.0], 0.8, 0.2),
        'r' => phone([350.0, 1200.0, 1700.0], 1.0, 0.4),
        _ => phone([500.0, 1500.0, 2500.0], 1.0, 0.3),
    }
}

/// "Kids are talking by the door" and "Dogs are sitting by the door", roughly as phones.
pub(super) const STATEMENTS: [&str; 2] = ["kIdzaratokInbaIzedor", "dogzarsItInbaIzedor"];
