use super::*;
use crate::feature::Feature;
use crate::values::Values;

/// Sample s: `a` = s + 10 t in steps of two (s + 2 of them), `b` = pixels 20 t (missing for sample 1).
fn dataset() -> Arc<Dataset> {
    let memory = |values| Some(Feature::Memory(Arc::new(values)));
    let features = (0..4usize)
        .map(|s| {
            let a = (0..s + 2).flat_map(|t| [(s + 10 * t) as f32; 2]).collect();
            let b = (0..9).flat_map(|t| [20 * t as u8; 3]).collect();
            let a = memory(Values::F32(Array::new([s + 2, 2], a).unwrap()));
            let b = memory(Values::U8(Array::new([9, 1, 1, 3], b).unwrap()));
            vec![a, b.filter(|_| s != 1)]
        })
        .collect();
    Arc::new(Dataset::new(vec!["a".into(), "b".into()], features).unwrap())
}

fn windows(padding: Padding) -> Vec<Window> {
    let window = |steps, pick, standardiser| Window { steps, pick, padding, standardiser };
    vec![window(3, None, None), window(8, Some(4), Some(Standardiser::kinetics()))]
}

fn plan(batches: usize) -> Vec<Vec<Item>> {
    (0..batches)
        .map(|i| {
            (0..3).map(|j| Item { sample: (i + j) % 4, starts: vec![(i + j) % 2, i % 3] }).collect()
        })
        .collect()
}

fn load(padding: Padding, workers: usize) -> Vec<Batch> {
    Loader::new(dataset(), windows(padding), plan(7), workers, 2)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn windows_are_cut_padded_and_flagged() {
    let first = &load(Padding::RepeatLast, 1)[0];
    let [a, b] = &first.modalities[..] else { panic!() };
    assert_eq!(
        (a.values.shape(), b.values.shape()),
        (&[3usize, 3, 2][..], &[3usize, 4, 1, 1, 3][..])
    );
    assert_eq!(a.values.data()[..6], [0.0, 0.0, 10.0, 10.0, 10.0, 10.0]);
    assert_eq!(
        (a.lengths.as_slice(), b.present.as_slice()),
        (&[2usize, 2, 3][..], &[true, false, true][..])
    );
    let kinetics = Standardiser::kinetics();
    let mut wanted: Vec<f32> = [0.0, 40.0, 80.0, 140.0].iter().flat_map(|&x| [x; 3]).collect();
    kinetics.apply(&mut wanted);
    assert_eq!(b.values.data()[..12], wanted);
    assert_eq!(b.values.data()[12..24], [0.0; 12]);
    assert_eq!(load(Padding::Zero, 1)[0].modalities[0].values.data()[4..6], [0.0, 0.0]);
}

#[test]
fn picked_frames_are_spread_over_the_sample_and_none_is_padding() {
    let item = |start| Item { sample: 0, starts: vec![0, start] };
    let plan = vec![vec![item(1), item(6), item(8)]];
    let mut windows = windows(Padding::RepeatLast);
    windows[1].standardiser = None;
    let batch = Loader::new(dataset(), windows, plan, 1, 1).unwrap().next().unwrap().unwrap();
    // Windows with 8, 3 and 1 of 8 frames.
    let frames: Vec<f32> =
        batch.modalities[1].values.data().chunks(3).map(|p| p[0] / 20.0).collect();
    assert_eq!(frames, [1.0, 3.0, 5.0, 8.0, 6.0, 6.0, 7.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
    assert_eq!(batch.modalities[1].lengths, [4, 4, 4]);
}

#[test]
fn any_number_of_workers_gives_the_same_batches() {
    let one = load(Padding::Zero, 1);
    assert_eq!(one.len(), 7);
    assert!(one.iter().enumerate().all(|(i, batch)| batch.index == i));
    for workers in [2, 3, 8] {
        assert_eq!(load(Padding::Zero, workers), one);
    }
}

#[test]
fn every_batch_is_finished_once_by_the_thread_that_makes_it() {
    let reader = std::thread::current().id();
    let finish = move |batch: &mut Batch| {
        assert_ne!(std::thread::current().id(), reader);
        batch.modalities[0].values.data_mut()[0] += 1000.0 * (batch.index + 1) as f32;
    };
    let plain = load(Padding::Zero, 1);
    for workers in [1, 3] {
        let windows = windows(Padding::Zero);
        let loader = Loader::finishing(dataset(), windows, plan(7), workers, 2, finish).unwrap();
        for (index, (batch, plain)) in loader.map(Result::unwrap).zip(&plain).enumerate() {
            let [first, was] = [&batch, plain].map(|batch| batch.modalities[0].values.data()[0]);
            assert_eq!(first, was + 1000.0 * (index + 1) as f32);
        }
    }
}

#[test]
fn errors_come_in_order_and_an_early_end_stops_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let features = vec![
        vec![Some(Feature::Memory(Arc::new(Values::F32(
            Array::new([1, 1], vec![1.0]).unwrap()
        ))))];
        2
    ];
    let mut set = Dataset::new(vec!["m".into()], features).unwrap();
    set.break_feature(1, folder.path().join("gone"));
    let item = |sample| vec![Item { sample, starts: vec![0] }];
    let window = Window { steps: 1, pick: None, padding: Padding::Zero, standardiser: None };
    let short = vec![item(0), item(1), item(0), item(0)];
    let loader = Loader::new(Arc::new(set), vec![window], short, 2, 1).unwrap();
    let answers: Vec<bool> = loader.map(|batch| batch.is_ok()).collect();
    assert_eq!(answers, [true, false, true, true]);
    let mut early = Loader::new(dataset(), windows(Padding::Zero), plan(10_000), 3, 1).unwrap();
    assert!(early.next().unwrap().is_ok());
    drop(early);
}

#[test]
fn plans_outside_the_data_are_refused() {
    let refuse = |windows: Vec<Window>, item: Item| {
        Loader::new(dataset(), windows, vec![vec![item]], 1, 1).err().unwrap().to_string()
    };
    let good = || windows(Padding::Zero);
    assert!(
        refuse(good(), Item { sample: 4, starts: vec![0, 0] })
            .contains("batch 0 of the plan asks for sample 4")
    );
    assert!(refuse(good(), Item { sample: 0, starts: vec![2, 0] }).contains("[2, 0]"));
    assert!(
        refuse(good()[..1].to_vec(), Item { sample: 0, starts: vec![0, 0] })
            .contains("1 windows for 2")
    );
    let mut wrong = good();
    wrong[0].standardiser = Some(Standardiser::kinetics());
    assert!(
        refuse(wrong, Item { sample: 0, starts: vec![0, 0] })
            .contains("the standardiser of `a` has 3 values")
    );
}
