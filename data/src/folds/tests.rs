use super::*;
use crate::corpus::Label;
use proptest::prelude::*;

fn actors(count: usize, each: usize) -> Vec<String> {
    (0..count * each).map(|i| format!("{:02}", i / each + 1)).collect()
}

/// Every sample is in exactly one part of each fold and tested once; no key is in two parts.
fn check(splits: &[Split], keys: &[String]) {
    let mut tested = vec![0; keys.len()];
    for split in splits {
        let mut part_of: BTreeMap<&str, Part> = BTreeMap::new();
        let mut seen = vec![0; keys.len()];
        for (part, samples) in split.parts() {
            for &sample in samples {
                seen[sample] += 1;
                assert_eq!(*part_of.entry(&keys[sample]).or_insert(part), part);
            }
        }
        assert!(seen.iter().all(|&count| count == 1));
        split.test.iter().for_each(|&sample| tested[sample] += 1);
    }
    assert!(tested.iter().all(|&count| count == 1));
}

#[test]
fn twenty_four_actors_in_ten_folds() {
    let groups = actors(24, 60);
    let splits = by_group(&groups, 10, GroupOrder::Shuffled(0), Validation::NextFold).unwrap();
    let sizes: Vec<usize> = splits.iter().map(|split| split.test.len() / 60).collect();
    assert_eq!(sizes, [3, 3, 3, 3, 2, 2, 2, 2, 2, 2]);
    assert_eq!(splits[0].validation, splits[1].test);
    assert_eq!(splits[9].validation, splits[0].test);
    let sorted = by_group(&groups, 10, GroupOrder::Sorted, Validation::NextFold).unwrap();
    assert_eq!(sorted[0].test, (0..180).collect::<Vec<_>>());
    assert_ne!(sorted[0].test, splits[0].test);
}

#[test]
fn the_synthetic_worlds_folds_hold_eight_actors() {
    let groups = actors(24, 60);
    let splits = three_by_pairs(&groups, Validation::None).unwrap();
    check(&splits, &groups);
    assert!(
        splits
            .iter()
            .all(|s| s.test.len() == 480 && s.validation.is_empty() && s.train.len() == 960)
    );
    assert_eq!((splits[0].test[60], splits[0].test[120]), (60, 360));
    let shared = three_by_pairs(&groups, Validation::Share { share: 0.125, seed: 3 }).unwrap();
    check(&shared, &groups);
    assert_eq!(shared[0].validation.len(), 120);
}

#[test]
fn the_stamp_depends_on_ids_and_parts_only() {
    let ids = ["a", "b", "c"];
    let split = |train: &[usize], test: &[usize]| Split {
        train: train.to_vec(),
        validation: vec![],
        test: test.to_vec(),
    };
    assert_eq!(split(&[0, 1], &[2]).stamp(&ids), split(&[1, 0], &[2]).stamp(&ids));
    assert_ne!(split(&[0, 1], &[2]).stamp(&ids), split(&[0], &[1, 2]).stamp(&ids));
    assert_eq!(split(&[0, 1], &[2]).stamp(&ids).len(), 16);
}

#[test]
fn too_few_of_anything_is_said() {
    assert!(by_group(&actors(4, 2), 5, GroupOrder::Sorted, Validation::None).is_err());
    assert!(by_group(&actors(4, 2), 2, GroupOrder::Sorted, Validation::NextFold).is_err());
    let classes = ["calm".to_owned(), "sad".to_owned()];
    let message = stratified(&[0, 0, 1], &["a", "b", "c"], &classes, 2, 0).unwrap_err().to_string();
    assert!(message.contains("class `sad` has 1"), "{message}");
    assert!(
        stratified(&[0, 1], &["a", "a"], &classes, 2, 0)
            .unwrap_err()
            .to_string()
            .contains("two classes")
    );
    let split = Split { train: vec![0], validation: vec![], test: vec![1] };
    let absent = split.absent_classes(2, &[Some(Label::One(0)), Some(Label::Each(2))], &classes);
    assert_eq!(absent.len(), 2);
    assert!(
        absent[0].to_string().starts_with("fold 3: the training part has no sample of class `sad`")
    );
}

proptest! {
    #[test]
    fn no_group_is_in_two_parts(count in 4usize..30, each in 1usize..5, folds in 3usize..6, seed: u64) {
        prop_assume!(count >= folds);
        let groups = actors(count, each);
        for validation in [Validation::None, Validation::NextFold, Validation::Share { share: 0.2, seed }] {
            let make = || by_group(&groups, folds, GroupOrder::Shuffled(seed), validation);
            if let Ok(splits) = make() {
                check(&splits, &groups);
                prop_assert_eq!(splits, make().unwrap());
            }
        }
    }

    #[test]
    fn no_leak_key_is_in_two_parts(sizes in proptest::collection::vec((0usize..3, 1usize..4), 1..60), folds in 2usize..5, seed: u64) {
        let (mut labels, mut keys) = (Vec::new(), Vec::new());
        for (unit, (label, size)) in sizes.into_iter().enumerate() {
            labels.extend(std::iter::repeat_n(label, size));
            keys.extend(std::iter::repeat_n(format!("{unit}"), size));
        }
        let classes = ["a", "b", "c"].map(str::to_owned);
        if let Ok(splits) = stratified(&labels, &keys, &classes, folds, seed) {
            check(&splits, &keys);
            prop_assert_eq!(&splits, &stratified(&labels, &keys, &classes, folds, seed).unwrap());
            for split in &splits {
                for &sample in &split.test {
                    prop_assert!(split.train.iter().any(|&other| labels[other] == labels[sample]));
                }
            }
        }
    }
}
