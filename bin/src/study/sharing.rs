//! Cells that can share networks: those of one unit, seed and fold, under conditions that some training does not read.

use crate::config::{Cell, Study};
use crate::failure::Result;
use std::collections::BTreeSet;

/// The other cells of a cell's unit, seed and fold.
pub fn siblings<'a>(study: &'a Study, cell: &'a Cell) -> impl Iterator<Item = &'a Cell> {
    let of = |cell: &Cell| (cell.unit, cell.seed, cell.fold);
    study
        .cells
        .iter()
        .filter(move |other| of(other) == of(cell) && other.condition != cell.condition)
}

/// The number of each cell's group, from 0. Siblings in which an arm's training reads equal settings are in one group, so
/// that one process runs them and each such training is done once.
///
/// # Errors
/// When a configuration cannot be written as TOML.
pub fn groups(study: &Study) -> Result<Vec<usize>> {
    let mut known: Vec<(&Cell, BTreeSet<String>, usize)> = Vec::new();
    let mut next = 0;
    for cell in &study.cells {
        let resolved = &cell.resolved;
        let trained =
            resolved.arms.iter().filter(|arm| arm.system().is_some() && arm.training.epochs > 0);
        let read: BTreeSet<String> =
            trained.map(|arm| resolved.hash_of_training(arm)).collect::<Result<_>>()?;
        let of = |cell: &Cell| (cell.unit, cell.seed, cell.fold);
        // Siblings follow each other.
        let before = known.iter().rev().take_while(|(other, ..)| of(other) == of(cell));
        let mut shares = before.filter(|(_, others, _)| !others.is_disjoint(&read));
        let group = shares.next().map(|(.., group)| *group);
        let group = group.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        known.push((cell, read, group));
    }
    Ok(known.into_iter().map(|(.., group)| group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn conditions_that_a_training_does_not_read_share_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let read = |name: &str, settings: &str, arms: &str| -> Result<Vec<usize>> {
            let path = folder.path().join(format!("{name}.toml"));
            let text = format!(
                "base = \"world\"\narms = [{arms}]\nseeds = [0, 1]\n[data]\nrun_folds = 1\n[study]\n\
                 units = {{ key = \"data.world.seed\", values = [7, 8] }}\n\
                 [[study.conditions]]\nname = \"all\"\n\
                 [[study.conditions]]\nname = \"other\"\nsettings = {{ {settings} }}\n"
            );
            std::fs::write(&path, text)?;
            let study = Study::read(Path::new(&path), &[])?;
            assert!(siblings(&study, &study.cells[0]).map(|cell| cell.condition).eq([1]));
            groups(&study)
        };
        let (together, apart) = ([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 3, 4, 5, 6, 7]);
        let (mpuc, both) = ("\"mpuc\"", "\"mpuc\", \"late_fusion\"");
        for (number, (settings, arms, expected)) in [
            ("data.labelled = 6", mpuc, together),
            ("data.labelled = 6", both, together),
            ("data.labelled = 6", "\"late_fusion\"", apart),
            ("data.labelled = 6", "\"label_positives\"", apart),
            ("data.labelled = 6, sampling.sampler = \"class_balanced\"", mpuc, apart),
            ("probe.epochs = 3", both, together),
            ("missing.shares = [0.5]", both, together),
            ("data.missing.voice = 0.5", mpuc, apart),
            ("training.epochs = 3", mpuc, apart),
            ("arm.mpuc.modality.voice.window = 12", mpuc, apart),
            ("steps = 3", mpuc, apart),
        ]
        .into_iter()
        .enumerate()
        {
            let found = read(&format!("study{number}"), settings, arms)?;
            assert_eq!(found, expected, "{settings} {arms}");
        }
        Ok(())
    }
}
