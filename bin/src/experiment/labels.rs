//! The labels of an experiment: how many groups have them, and settings that they do not allow.

use crate::config::Config;
use crate::failure::{Failure, Kind, Result};
use crate::progress::Progress;
use data::corpus::{Label, Part};
use data::folds::Split;
use engine::Philox;
use std::collections::BTreeSet;

/// Leaves the labels of `count` groups of a fold's training part, drawn at random; its other parts keep all. More groups
/// contain those of a smaller count.
///
/// # Errors
/// 78 when fewer groups have labels, or no labelled training sample is of some class.
pub fn keep_few(
    count: usize,
    seed: u64,
    (fold, split): (usize, &Split),
    groups: &[usize],
    labels: &[Option<Label>],
    classes: &[String],
) -> Result<Vec<Option<Label>>> {
    let labelled = split.train.iter().filter(|&&sample| labels[sample].is_some());
    let known: BTreeSet<usize> = labelled.map(|&sample| groups[sample]).collect();
    if count > known.len() {
        let (fold, known) = (fold + 1, known.len());
        let what = format!(
            "`data.labelled` is {count}, but {known} groups of the training part of fold {fold} have labels"
        );
        return Err(Failure::config(what).hint("lower it, or remove it with `data.labelled=`"));
    }
    let known: Vec<usize> = known.into_iter().collect();
    let order = Philox::new(seed, "labelled").at(fold as u64).permutation(known.len());
    let kept: BTreeSet<usize> = order[..count].iter().map(|&place| known[place]).collect();
    let mut few = labels.to_vec();
    for &sample in split.train.iter().filter(|&&sample| !kept.contains(&groups[sample])) {
        few[sample] = None;
    }
    let absent = split.absent_classes(fold, &few, classes);
    if let Some(absent) = absent.into_iter().find(|absent| absent.part == Part::Train) {
        let what = format!(
            "`data.labelled` is {count}, and the labelled groups of the training part of fold {} have no sample of class `{}`",
            fold + 1,
            absent.class
        );
        return Err(Failure::config(what).hint("raise it"));
    }
    Ok(few)
}

/// Checks settings that need one class a sample, or several labels.
///
/// # Errors
/// 78 for the first setting that the labels do not allow.
pub fn check(
    config: &Config,
    splits: &[Split],
    labels: &[Option<Label>],
    classes: &[String],
) -> Result<()> {
    let balanced = config.sampling.sampler.uses_labels();
    let train = splits.iter().flat_map(|split| &split.train);
    let unlabelled: BTreeSet<_> = train.filter(|&&sample| labels[sample].is_none()).collect();
    if balanced && !unlabelled.is_empty() {
        let message = format!(
            "`sampling.sampler` is `class_balanced`, but {} training samples have no label",
            unlabelled.len()
        );
        return Err(Failure::config(message).hint("use uniform or within_group"));
    }
    let several = labels.iter().any(|label| matches!(label, Some(Label::Each(_))));
    let numbers = labels.iter().any(|label| matches!(label, Some(Label::Values(_))));
    if (several || numbers) && balanced {
        let have = if several { "several labels" } else { "attributes" };
        let message =
            format!("`sampling.sampler` is `class_balanced`, but these samples have {have}");
        return Err(Failure::config(message).hint("use uniform or within_group"));
    }
    match &config.data.positive_weights {
        Some(weights) if !several || weights.len() != classes.len() => {
            let message = format!(
                "`data.positive_weights` has {} numbers, where {} are needed",
                weights.len(),
                if several { classes.len() } else { 0 }
            );
            Err(Failure::config(message).hint(format!("the labels are {}", classes.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Refuses a class without training samples, and warns of one that another part lacks.
///
/// # Errors
/// 65 for the first class without training samples.
pub fn warn_of_absent_classes(
    config: &Config,
    splits: &[Split],
    labels: &[Option<Label>],
    classes: &[String],
    progress: &Progress,
) -> Result<()> {
    for (fold, split) in splits.iter().enumerate() {
        for absent in split.absent_classes(fold, labels, classes) {
            if absent.part == Part::Train {
                let failure = Failure::new(Kind::BadData, absent);
                return Err(match config.limit_train {
                    Some(most) => failure.hint(format!("limit_train is {most}: raise it")),
                    None => failure.hint(format!("data.folds is {}", config.data.folds)),
                });
            }
            progress.warn(absent);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::sampler::Sampler;

    fn labels(of: impl Fn(usize) -> Option<usize>) -> Vec<Option<Label>> {
        (0..40).map(|sample| of(sample).map(Label::One)).collect()
    }

    /// Ten groups of four samples: eight for training, one for validation, one for testing.
    fn keep(count: usize, labels: &[Option<Label>], seed: u64) -> Result<Vec<Option<Label>>> {
        let groups: Vec<usize> = (0..40).map(|sample| sample / 4).collect();
        let [train, validation, test] = [0..32, 32..36, 36..40].map(Vec::from_iter);
        let split = Split { train, validation, test };
        let classes = ["a", "b"].map(str::to_owned);
        keep_few(count, seed, (1, &split), &groups, labels, &classes)
    }

    #[test]
    fn batches_by_class_need_every_label() -> Result<()> {
        let (train, rest) = (Vec::from_iter(0..40), Vec::new());
        let splits = [Split { train, validation: rest.clone(), test: rest }];
        let mut config = Config::default();
        config.sampling.sampler = Sampler::ClassBalanced;
        let classes = ["a", "b"].map(str::to_owned);
        check(&config, &splits, &labels(|sample| Some(sample % 2)), &classes)?;
        let some = labels(|sample| (sample > 11).then_some(sample % 2));
        let message = check(&config, &splits, &some, &classes).unwrap_err().to_string();
        assert!(message.contains("but 12 training samples have no label"), "{message}");
        Ok(())
    }

    #[test]
    fn few_groups_keep_their_labels_and_more_groups_contain_them() -> Result<()> {
        let all = labels(|sample| Some(sample % 2));
        let of = |count, seed| -> Result<Vec<usize>> {
            let few = keep(count, &all, seed)?;
            assert_eq!(few[32..], all[32..]);
            Ok((0..32).filter(|&sample| few[sample].is_some()).collect())
        };
        let (two, five) = (of(2, 7)?, of(5, 7)?);
        assert_eq!((two.len(), five.len()), (8, 20));
        assert!(two.iter().all(|sample| five.contains(sample)));
        assert!(two.chunks(4).all(|group| group[0] % 4 == 0 && group[3] == group[0] + 3));
        assert!((8..12).any(|seed| of(2, seed).unwrap() != two));
        assert_eq!(of(8, 7)?, Vec::from_iter(0..32));
        Ok(())
    }

    #[test]
    fn too_many_or_too_few_labelled_groups_are_refused() {
        let half = labels(|sample| (sample % 8 < 4).then_some(sample % 2));
        let message = keep(5, &half, 7).unwrap_err().to_string();
        assert!(message.contains("is 5, but 4 groups of the training part of fold 2"), "{message}");
        let grouped = labels(|sample| Some(sample / 4 % 2));
        let failure = keep(1, &grouped, 7).unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.to_string().contains("have no sample of class `"), "{failure}");
    }
}
