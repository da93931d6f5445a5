//! The output of commands.

use super::world::{mpuc, short_run, text, world};
use serde_json::Value;

fn json(output: &[u8]) -> Value {
    let printed = text(output);
    assert_eq!(printed.lines().count(), 1, "one JSON object on one line: {printed}");
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn train_and_eval_report_every_control() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let output = mpuc(&short_run(&run, &[]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = json(&output.stdout);
    let accuracy = |value: &Value| {
        let mean = value["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&mean) && value["std"].is_number(), "{value}");
        mean
    };
    accuracy(&report["chance"]);
    let names: Vec<&String> = report["arms"].as_object().unwrap().keys().collect();
    let single = ["single.faces", "single.landmarks", "single.voice"];
    let controls = ["untrained", "late_fusion", "mpuc", "shuffled", "permuted_labels", "factors"];
    assert_eq!(names.len(), single.len() + controls.len(), "{names:?}");
    for name in single.iter().chain(&controls) {
        accuracy(&report["arms"][name]["score"]);
    }
    let mpuc_arm = &report["arms"]["mpuc"];
    for figure in [
        &mpuc_arm["retrieval"]["at_1"],
        &mpuc_arm["retrieval"]["chance"],
        &mpuc_arm["loss_first"],
        &mpuc_arm["loss_last"],
        &report["seconds"],
    ] {
        assert!(figure.is_number(), "{report}");
    }
    assert_eq!(report["protocol"]["learning"], "inductive");
    assert_eq!(report["protocol"]["labels_in_pretraining"], false);
    for file in [
        "config.toml",
        "invocation.json",
        "metrics.jsonl",
        "status.json",
        "results.json",
        "splits/splits.json",
    ] {
        assert!(run.join(file).exists(), "{file}");
    }

    // Evaluation from the checkpoint gives equal figures.
    let again = mpuc(&["eval", run.to_str().unwrap(), "--json"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    same_figures(&json(&again.stdout), &report);
}

#[test]
fn a_dry_run_says_what_would_be_trained() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let output = mpuc(&short_run(&run, &["--dry-run"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!run.exists(), "a dry run leaves nothing");
    let preview = json(&output.stdout);
    let arms = preview["arms"].as_array().unwrap();
    let mpuc = arms.iter().find(|arm| arm["arm"] == "mpuc").unwrap();
    let networks = mpuc["networks"].as_object().unwrap();
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["faces", "landmarks", "projection", "voice"]);
    let sum: u64 = networks.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(mpuc["parameters"].as_u64(), Some(sum));
    assert!((mpuc["chance_loss"].as_f64().unwrap() - 7f64.ln()).abs() < 1e-9, "{mpuc}");
    let fusion = arms.iter().find(|arm| arm["arm"] == "late_fusion").unwrap();
    assert!((fusion["chance_loss"].as_f64().unwrap() - 8f64.ln()).abs() < 1e-9, "{fusion}");
}

#[test]
fn a_system_learns_one_batch_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let limits = ["--limit-train", "24", "--overfit-batches", "1"];
    let settings = ["--set", "training.epochs=40", "--set", "arms=[mpuc]"];
    let output = mpuc(&short_run(&run, &[&limits[..], &settings].concat()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = json(&output.stdout);
    assert_eq!(report["protocol"]["limit_train"], 24);
    assert_eq!(report["protocol"]["overfit_batches"], 1);
    let splits: Value =
        serde_json::from_slice(&std::fs::read(run.join("splits/splits.json")).unwrap()).unwrap();
    assert_eq!(splits[0]["train"].as_array().unwrap().len(), 24);
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<&Value> = records.iter().filter(|record| record["step"].is_null()).collect();
    assert_eq!((epochs.len(), records.len()), (40, 80), "one step in each epoch");
    let first = &records[0];
    assert!(first["parts"]["voice to faces"].is_number(), "{first}");
    let last = epochs[39];
    assert!(
        last["loss"].as_f64().unwrap() < first["loss"].as_f64().unwrap() - 1.5,
        "{first} {last}"
    );
}

#[test]
fn no_actor_is_in_two_parts() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings =
        ["--set", "data.run_folds=3", "--set", "training.epochs=1", "--set", "arms=[mpuc]"];
    let output = mpuc(&short_run(&run, &settings));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let splits: Value =
        serde_json::from_slice(&std::fs::read(run.join("splits/splits.json")).unwrap()).unwrap();
    for fold in splits.as_array().unwrap() {
        let actors = |part: &str| {
            let ids = fold[part].as_array().unwrap().iter();
            ids.map(|id| id.as_str().unwrap().rsplit('-').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let (train, test) = (actors("train"), actors("test"));
        assert!(!test.is_empty() && train.iter().all(|actor| !test.contains(actor)), "{fold}");
    }
}

#[test]
fn missing_modalities_are_masked() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("world");
    copy_tree(world(), &copy);
    // Without a quarter of the landmarks and a few voices.
    let mut removed = 0;
    for (number, file) in files(&copy).into_iter().enumerate() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if (name.ends_with(".csv") && name.starts_with("01-") && number % 4 == 0)
            || (name.ends_with(".wav") && number % 16 == 0)
        {
            std::fs::remove_file(&file).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 10, "{removed}");
    let run = folder.path().join("run");
    let mut arguments = short_run(&run, &["--set", "arms=[single, mpuc]"]);
    arguments[2] = copy.to_str().unwrap();
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("have no landmarks"), "{}", text(&output.stderr));
    assert!(json(&output.stdout)["arms"]["mpuc"]["loss_last"].as_f64().unwrap().is_finite());
}

/// The figures of every arm, without their durations.
fn same_figures(again: &Value, report: &Value) {
    let figures = |report: &Value| {
        let mut arms = report["arms"].as_object().unwrap().clone();
        arms.values_mut().for_each(|arm| drop(arm.as_object_mut().unwrap().remove("seconds")));
        arms
    };
    assert_eq!(figures(again), figures(report));
}

pub fn files(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

pub fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

#[test]
fn gradcheck_lists_every_op() {
    let output = mpuc(&["gradcheck", "--cases", "2", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = json(&output.stdout);
    let ops = report["ops"].as_array().unwrap();
    assert!(ops.len() >= 25, "{}", ops.len());
    for op in ops {
        assert!(op["worst_relative_error"].as_f64().unwrap() < 1e-6, "{op}");
        assert_eq!(op["findings"], 0, "{op}");
        assert!(op["cases"].as_u64().unwrap() > 0, "{op}");
    }
}

#[test]
fn a_step_allocates_nothing_new_after_warm_up() {
    let output =
        mpuc(&["bench", "model", "--only", "voice", "--batch", "2,3", "--repeats", "2", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = json(&output.stdout);
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 6, "{report}");
    for result in results {
        assert_eq!(result["fresh_allocations"], 0, "{result}");
        for name in ["median_s", "min_s", "gflops_per_s", "gb_per_s", "of_floor"] {
            assert!(result[name].as_f64().unwrap() > 0.0, "{name}: {result}");
        }
        assert_eq!(result["reps"], 2);
    }
    // Only on systems that report it.
    if let Some(peak) = results[0]["peak_bytes"].as_f64() {
        assert!(peak > 1e6, "{report}");
    }
}

#[test]
fn benches_are_held_against_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    let bench = |more: &[&str]| {
        let ops = ["bench", "ops", "--only", "mean", "--only", "layernorm", "--repeats", "1"];
        mpuc(&[&ops, more].concat())
    };
    let first = bench(&["--json"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let mut report = json(&first.stdout);
    assert_eq!(report["results"].as_array().unwrap().len(), 4, "{report}");
    let mut against = |medians: [f64; 2]| {
        for (result, median) in report["results"].as_array_mut().unwrap().iter_mut().zip(medians) {
            result["median_s"] = median.into();
        }
        report["results"][2]["case"] = "mean/gone".into();
        report["results"][3]["median_s"] = 1e6.into();
        std::fs::write(&file, report.to_string()).unwrap();
        bench(&["--baseline", file.to_str().unwrap(), "--fail-above", "1.5", "--markdown"])
    };
    let faster = against([1e6, 1e6]);
    assert!(faster.status.success(), "{}", text(&faster.stderr));
    assert!(text(&faster.stdout).contains("| x baseline |"), "{}", text(&faster.stdout));
    let said = text(&faster.stderr);
    assert!(said.contains("mean/gone: in ") && said.contains(": not in "), "{said}");
    let slower = against([1e6, 1e-12]);
    assert_eq!(slower.status.code(), Some(5), "{}", text(&slower.stderr));
    assert!(text(&slower.stderr).contains("1 of 4 cases"), "{}", text(&slower.stderr));
}

#[test]
fn reading_is_measured() {
    let output = mpuc(&["bench", "data", "--only", "mel/paper-48000", "--repeats", "1", "--csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split(',').collect()).collect();
    let at = lines[0].iter().position(|&name| name == "times_realtime").unwrap();
    assert_eq!((lines.len(), lines[1][0]), (2, "mel/paper-48000"));
    assert!(lines[1][at].parse::<f64>().unwrap() > 0.0, "{printed}");
    let listed = text(&mpuc(&["bench", "data", "--list"]).stdout);
    assert!(listed.lines().any(|line| line == "loader/b32"), "{listed}");
}
