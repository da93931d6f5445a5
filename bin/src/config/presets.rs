//! The recipes that come with the program.

use super::nearest::among;
use crate::failure::{Failure, Result};

/// Name and text of every preset. One may say `base = "NAME"` and give only what differs.
const PRESETS: [(&str, &str); 10] = [
    ("quick", include_str!("../../presets/quick.toml")),
    ("smoke", include_str!("../../presets/smoke.toml")),
    ("world", include_str!("../../presets/world.toml")),
    ("hard", include_str!("../../presets/hard.toml")),
    ("h5", include_str!("../../presets/h5.toml")),
    ("paper", include_str!("../../presets/paper.toml")),
    ("authors", include_str!("../../presets/authors.toml")),
    ("mosei", include_str!("../../presets/mosei.toml")),
    ("mosei_cae", include_str!("../../presets/mosei_cae.toml")),
    ("mosei_smoke", include_str!("../../presets/mosei_smoke.toml")),
];

/// The arms that every configuration may name in `arms`: the layer below all presets.
pub(super) const ARMS: &str = "arms";

/// The preset of `mpuc train` without arguments.
pub const DEFAULT: &str = "quick";

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The text of a preset.
///
/// # Errors
/// When there is none of that name.
pub fn text(name: &str) -> Result<&'static str> {
    if name == ARMS {
        return Ok(include_str!("../../presets/arms.toml"));
    }
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text).ok_or_else(|| {
        let all: Vec<&str> = names().collect();
        Failure::config(format!("there is no preset `{name}`")).hint(among(name, &all))
    })
}
