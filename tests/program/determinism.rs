//! Equal seeds give equal bits.

use super::world::{checkpoints, mpuc, short_run, text};

#[test]
fn threads_and_repetition_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = None;
    for (number, threads) in ["1", "2", "3", "1"].into_iter().enumerate() {
        let run = folder.path().join(format!("run{number}"));
        let output = mpuc(&short_run(&run, &["--threads", threads]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found = (checkpoints(&run), std::fs::read(run.join("metrics.jsonl")).unwrap());
        assert_eq!(found.0.len(), 3, "MPUC, shuffled pairs, late fusion");
        match &first {
            None => first = Some(found),
            Some(first) => assert!(*first == found, "{threads} threads, run {number}: other bytes"),
        }
    }
}
