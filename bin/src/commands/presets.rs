//! `mpuc presets`: the built-in configurations.

use crate::cli::PresetsArgs;
use crate::config::{Layers, Resolved, presets};
use crate::failure::Result;
use crate::output;

/// Runs the command.
///
/// # Errors
/// 78 when there is no preset of that name.
pub fn run(args: &PresetsArgs) -> Result<()> {
    if let Some(name) = &args.name {
        let resolved = Resolved::new(&Layers { preset: Some(name), ..Layers::default() })?;
        return output::text_lines(resolved.to_text()?.trim_end());
    }
    let rows = presets::names()
        .map(|name| Ok(vec![name.to_owned(), description(presets::text(name)?)]))
        .collect::<Result<Vec<_>>>()?;
    let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    let lines: Vec<String> =
        rows.iter().map(|row| format!("{:width$}  {}", row[0], row[1])).collect();
    output::text_lines(lines.join("\n"))
}

/// The first sentence of a preset's comment.
fn description(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let comment = lines.collect::<Vec<_>>().join(" ");
    // A dot inside a name, as in `.csd`, ends no sentence.
    comment.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_says_in_one_sentence_what_it_is() -> Result<()> {
        for name in presets::names() {
            let said = description(presets::text(name)?);
            assert!((20..400).contains(&said.len()), "{name}: {said}");
        }
        Ok(())
    }
}
