//! Locks, resumption, partial lines.

use super::*;
use crate::config::Layers;

fn resolved(set: &[&str]) -> Resolved {
    let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
    Resolved::new(&Layers { set: &set, ..Layers::default() }).unwrap()
}

fn at(stage: &str, epoch: u64, step: u64) -> Position {
    Position { stage: stage.into(), epoch: Some(epoch), step: Some(step) }
}

#[test]
fn a_run_is_found_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a run");
    let resolved = resolved(&[]);
    let (run, found) = RunFolder::create(&path, &resolved, false)?;
    assert_eq!(found, Found::New);
    run.write_json("results.json", &1)?;
    drop(run);
    let (run, found) = RunFolder::create(&path, &resolved, false)?;
    assert_eq!(found, Found::Existing);
    assert!(run.file("results.json").exists());
    let (run, opened) = RunFolder::read(&path)?;
    assert_eq!((opened.config, opened.preset), (resolved.config.clone(), resolved.preset.clone()));
    run.tell(|status| status.trials = 3)?;
    assert!(!run.file("status.json").exists(), "a folder that is only read stays as it is");
    Ok(())
}

#[test]
fn fresh_removes_the_files_of_a_run_and_no_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run");
    let resolved = resolved(&[]);
    let (run, _) = RunFolder::create(&path, &resolved, false)?;
    run.write_json("results.json", &1)?;
    let (own, others) = (
        [
            "checkpoints/seed0-fold1-mpuc.safetensors",
            "eval/seed0-fold1-mpuc.json",
            "splits/splits.json",
        ],
        [
            "checkpoints/kept by hand.safetensors",
            "eval/figure.pdf",
            "notes.txt",
            "thesis/results.json",
        ],
    );
    std::fs::create_dir(path.join("thesis"))?;
    for name in own.iter().chain(&others) {
        std::fs::write(path.join(name), "")?;
    }
    drop(run);
    let (run, found) = RunFolder::create(&path, &resolved, true)?;
    assert_eq!(found, Found::Cleared(others.iter().map(PathBuf::from).collect()));
    assert!(own.iter().all(|name| !run.file(name).exists()) && !run.file("results.json").exists());
    assert!(others.iter().all(|name| run.file(name).exists()));
    Ok(())
}

#[test]
fn fresh_leaves_a_folder_that_merely_has_a_configuration() -> Result<()> {
    let resolved = resolved(&[]);
    for config in [resolved.to_text()?, "[server]\nport = 80\n".to_owned()] {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        std::fs::write(path.join("config.toml"), &config)?;
        std::fs::write(path.join("results.json"), "mine")?;
        std::fs::create_dir(path.join("checkpoints"))?;
        std::fs::write(path.join("checkpoints/seed0-fold1-mpuc.safetensors"), "mine")?;
        let failure = RunFolder::create(path, &resolved, true).unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.to_string().contains("nothing was removed"), "{failure}");
        assert_eq!(std::fs::read_to_string(path.join("config.toml"))?, config);
        assert_eq!(std::fs::read_to_string(path.join("results.json"))?, "mine");
        assert!(path.join("checkpoints/seed0-fold1-mpuc.safetensors").exists());
    }
    Ok(())
}

#[test]
fn results_without_their_configuration_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run");
    let (run, _) = RunFolder::create(&path, &resolved(&[]), false)?;
    run.write_json("eval/seed0-fold1-mpuc.json", &1)?;
    drop(run);
    std::fs::remove_file(path.join("config.toml"))?;
    for fresh in [false, true] {
        let failure =
            RunFolder::create(&path, &resolved(&["training.batch=8"]), fresh).unwrap_err();
        assert!(
            failure.code() == 78 && failure.to_string().contains("seed0-fold1-mpuc.json"),
            "{failure}"
        );
    }
    Ok(())
}

#[test]
fn another_configuration_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run");
    RunFolder::create(&path, &resolved(&[]), false)?;
    let failure = RunFolder::create(&path, &resolved(&["training.batch=8"]), false).unwrap_err();
    assert_eq!(failure.kind(), Kind::Config);
    let message = failure.to_string();
    assert!(
        message.contains("`training.batch` is 32 there and 8 now") && message.contains("--fresh"),
        "{message}"
    );
    RunFolder::create(&path, &resolved(&["training.batch=8"]), true)?;
    Ok(())
}

#[test]
fn other_peoples_folders_are_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("thesis.tex"), "")?;
    let failure = RunFolder::create(folder.path(), &resolved(&[]), true).unwrap_err();
    assert!(failure.to_string().contains("thesis.tex"), "{failure}");
    let failure = RunFolder::read(folder.path()).unwrap_err();
    assert_eq!(failure.kind(), Kind::MissingData);
    let failure = RunFolder::create(&folder.path().join("thesis.tex/run"), &resolved(&[]), false)
        .unwrap_err();
    assert_eq!(failure.code(), 74);
    Ok(())
}

#[test]
fn one_process_at_a_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run");
    let resolved = resolved(&[]);
    let (run, _) = RunFolder::create(&path, &resolved, false)?;
    let failure = RunFolder::create(&path, &resolved, true).unwrap_err();
    assert_eq!(failure.code(), 73);
    let expected = format!("in use by process {}", std::process::id());
    assert!(failure.to_string().contains(&expected), "{failure}");
    drop(run);
    // The content that a dead process left in the file is ignored.
    RunFolder::create(&path, &resolved, false)?;
    Ok(())
}

#[test]
fn metrics_go_back_to_the_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (run, _) = RunFolder::create(&folder.path().join("run"), &resolved(&[]), false)?;
    let mut metrics = run.metrics(|_| true)?;
    for step in 0..4 {
        metrics.add(
            &at("seed 0, fold 0", step / 2, step),
            &serde_json::json!({ "loss": 0.1 * step as f64 }),
        )?;
    }
    metrics.sync()?;
    drop(metrics);
    let path = run.file("metrics.jsonl");
    let whole = std::fs::read_to_string(&path)?;
    assert!(
        whole.starts_with("{\"stage\":\"seed 0, fold 0\",\"epoch\":0,\"step\":0,\"loss\":0.0}\n"),
        "{whole}"
    );
    std::fs::write(&path, whole.clone() + "{\"stage\":\"seed 0, fo")?;
    run.metrics(|_| true)?;
    assert_eq!(std::fs::read_to_string(&path)?, whole);
    let mut metrics = run.metrics(|position| position.step.is_some_and(|step| step < 2))?;
    metrics.add(&at("seed 0, fold 0", 1, 2), &serde_json::json!({ "loss": 0.2 }))?;
    metrics.add(&at("seed 0, fold 0", 1, 3), &serde_json::json!({ "loss": 0.1 * 3.0 }))?;
    assert_eq!(std::fs::read_to_string(&path)?, whole);
    // Records of old versions have `unit` in place of `stage`.
    std::fs::write(&path, whole.replace("stage", "unit"))?;
    run.metrics(|position| position.stage == "seed 0, fold 0")?;
    assert_eq!(std::fs::read_to_string(&path)?, whole.replace("stage", "unit"));
    std::fs::write(&path, "garbage\n".to_owned() + &whole)?;
    let failure = run.metrics(|_| true).unwrap_err();
    assert!(failure.code() == 65 && failure.to_string().contains("metrics.jsonl:1"), "{failure}");
    Ok(())
}

#[test]
fn status_carries_time_and_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (run, _) = RunFolder::create(&folder.path().join("run"), &resolved(&[]), false)?;
    run.tell(|status| status.trials = 3)?;
    run.tell(|status| status.step = 2)?;
    let value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.file("status.json"))?).unwrap();
    assert_eq!(
        (&value["state"], &value["process"]),
        (&"running".into(), &std::process::id().into())
    );
    assert_eq!((&value["trials"], &value["step"]), (&3.into(), &2.into()));
    let name = RunFolder::default_path(&resolved(&[]))?;
    let name = name.to_string_lossy();
    assert!(name.starts_with("runs/quick-") && !name.contains([' ', ':']), "{name}");
    Ok(())
}
