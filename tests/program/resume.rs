//! A killed run continues with the bits of an uninterrupted one.

use super::world::{checkpoints, command, mpuc, short_run, text, world};
use std::path::Path;
use std::time::{Duration, Instant};

/// The bytes of a run's `metrics.jsonl`.
pub fn metrics(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("metrics.jsonl")).unwrap()
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let started = Instant::now();
    let output = mpuc(&short_run(&whole, &[]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let length = started.elapsed();

    let random = engine::Philox::new(11, "kills");
    let mut runs = Vec::new();
    let mut kills = 0;
    while kills < 20 {
        let run = folder.path().join(format!("killed-{}", runs.len()));
        kills += kill_until_done(&run, &[], length, 20 - kills, random.at(runs.len() as u64));
        runs.push(run);
    }
    for run in &runs {
        assert!(checkpoints(run) == checkpoints(&whole), "other weights in {}", run.display());
        assert!(metrics(run) == metrics(&whole), "other metrics in {}", run.display());
    }
}

/// Starts a run repeatedly and kills each process at a random time, until one ends by itself or `most` were killed;
/// then lets one end. Returns the number of kills.
pub fn kill_until_done(
    run: &Path,
    more: &[&str],
    length: Duration,
    most: u32,
    random: engine::Philox,
) -> u32 {
    for kills in 0..most {
        let mut child = command(&short_run(run, more))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A time between the start and half of a whole run: a process may make no progress.
        let moment = length.mul_f64(0.5 * random.uniform(u64::from(kills)));
        std::thread::sleep(moment.max(Duration::from_millis(5)));
        let done = child.try_wait().unwrap();
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(status) = done {
            assert!(status.success(), "after {kills} kills: {status}");
            return kills;
        }
    }
    let output = mpuc(&short_run(run, more));
    assert!(output.status.success(), "after {most} kills: {}", text(&output.stderr));
    most
}

#[test]
fn a_signal_saves_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let more = ["--set", "training.epochs=6", "--set", "arms=[mpuc]"];
    assert!(mpuc(&short_run(&whole, &more)).status.success());
    let mut child =
        command(&short_run(&stopped, &more)).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !stopped.join("metrics.jsonl").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let signalled = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    let code = child.wait().unwrap().code();
    assert!(code == Some(143) || code == Some(0), "{code:?}");
    let status = std::fs::read(stopped.join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    if code == Some(143) {
        assert_eq!(
            (&status["state"], &status["stage"]),
            (&"stopped".into(), &"seed3-fold1-mpuc".into())
        );
        assert!(status["step"].as_u64() > Some(0), "{status}");
    } else {
        assert_eq!(
            (&status["state"], &status["trials_done"]),
            (&"finished".into(), &status["trials"])
        );
    }
    assert!(mpuc(&short_run(&stopped, &more)).status.success());
    assert!(checkpoints(&stopped) == checkpoints(&whole));
    assert!(metrics(&stopped) == metrics(&whole));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    let more = ["--set", "arms=[mpuc]"];
    assert!(mpuc(&short_run(&whole, &more)).status.success());
    assert!(mpuc(&short_run(&damaged, &more)).status.success());
    let file = damaged.join("checkpoints/seed3-fold1-mpuc.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    std::fs::remove_file(damaged.join("eval/seed3-fold1-mpuc.json")).unwrap();
    let output = mpuc(&short_run(&damaged, &more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("damaged"), "{}", text(&output.stderr));
    assert!(checkpoints(&damaged) == checkpoints(&whole));
}

/// 500 flips, or as many as `MPUC_FLIPS` says.
#[test]
fn no_flip_of_a_bit_of_a_run_s_checkpoint_is_silent() {
    use engine::checkpoint::Checkpoint;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert!(mpuc(&short_run(&run, &["--set", "arms=[mpuc]"])).status.success());
    let path = run.join("checkpoints/seed3-fold1-mpuc.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let count = std::env::var("MPUC_FLIPS").map_or(500, |count| count.parse().unwrap());
    let random = engine::Philox::new(5, "flips");
    for flip in 0..count {
        let bit = random.below(flip, 8 * whole.len());
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        assert!(Checkpoint::load(&path).is_err(), "bit {bit}");
        let (_, why) = Checkpoint::load_or_previous(&path).unwrap();
        assert!(why.unwrap().to_string().contains("seed3-fold1-mpuc.safetensors"));
    }
}

#[test]
fn a_run_goes_on_after_its_data_moved_and_is_evaluated_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    copy(world(), &place.join("a"));
    let train = |data: &str| {
        let more = ["--set", "arms=[mpuc]"];
        let mut arguments = short_run(Path::new("run"), &more);
        arguments[2] = data;
        let output = command(&arguments).current_dir(place).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    };
    train("a");
    let before = checkpoints(&place.join("run"));
    std::fs::rename(place.join("a"), place.join("b")).unwrap();
    let again = train("./b");
    assert!(text(&again.stderr).contains("continuing the run"), "{}", text(&again.stderr));
    assert!(checkpoints(&place.join("run")) == before);
    let run = place.join("run");
    let output =
        command(&["eval", run.to_str().unwrap(), "--json"]).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn eval_says_that_a_run_is_unfinished_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let more = ["--set", "arms=[mpuc]", "--max-time", "1ms"];
    let output = mpuc(&short_run(&run, &more));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let before: Vec<_> = walk(&run);
    let run = run.to_str().unwrap();
    let output = mpuc(&["eval", run]);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    for part in ["seed3-fold1-mpuc after 1 of", "--unfinished"] {
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    let output = mpuc(&["eval", run, "--unfinished"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("NOT FINISHED: seed3-fold1-mpuc"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(walk(Path::new(run)), before);
}

/// Every file with its content.
fn walk(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push((entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    found.sort();
    found
}
