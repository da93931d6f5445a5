//! Use of a run without its corpus: bundles, `predict` and `embed`.

use crate::world::{command, short_run, text, world};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The files of an actor's first performance in the world, by ending.
fn performance(root: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = walk(root)
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(ending) && name[2..].starts_with("-01-01-01-01-01-01")
        })
        .collect();
    found.sort();
    found.swap_remove(0)
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_run_predicts_without_its_corpus_and_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, cache) = (folder.path().join("corpus"), folder.path().join("cache"));
    for file in walk(world()) {
        let target = corpus.join(file.strip_prefix(world()).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
    let run = folder.path().join("run");
    let mpuc = |arguments: &[&str]| -> Output {
        command(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap()
    };
    // The arm `own` reads its voice in other windows, and mapped to 0 to 1.
    let own = "arm.own={ system = \"late_fusion\", modality.voice = { window = 20, evaluation_window = 30, standardise = \"range\" } }";
    let arms = ["--set", "arms=[mpuc, late_fusion, own]", "--set", own];
    let mut arguments = short_run(&run, &arms);
    arguments[2] = corpus.to_str().unwrap();
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));

    // The whole test part, each performance's files under one name.
    let splits = std::fs::read_to_string(run.join("splits/splits.json")).unwrap();
    let splits: Value = serde_json::from_str(&splits).unwrap();
    let mut held_out = Vec::new();
    for id in splits[0]["test"].as_array().unwrap() {
        let id = id.as_str().unwrap();
        for file in walk(&corpus) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if let Some(ending) = name.get(3..).and_then(|name| name.strip_prefix(id)) {
                let copy = folder.path().join(format!("{id}{ending}"));
                std::fs::copy(&file, &copy).unwrap();
                held_out.push(copy.to_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(held_out.len() % 3, 0, "{held_out:?}");

    // One clip under one name, and its voice under another.
    let clip = |ending: &str| folder.path().join(format!("clip.{ending}"));
    for ending in ["wav", "csv", "npy"] {
        std::fs::copy(performance(&corpus, ending), clip(ending)).unwrap();
    }
    let alone = folder.path().join("alone.wav");
    std::fs::copy(clip("wav"), &alone).unwrap();
    std::fs::remove_dir_all(&corpus).unwrap();
    std::fs::remove_dir_all(&cache).unwrap();

    let files: Vec<PathBuf> =
        ["wav", "csv", "npy"].map(clip).into_iter().chain([alone.clone()]).collect();
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let run = run.to_str().unwrap();
    let json = |more: &[&str]| -> Value {
        let output = mpuc(&[&["predict", run, "--json"], more, &files].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (arm, more) in [("mpuc", &[][..]), ("late_fusion", &["--arm", "late_fusion"])] {
        let report = json(more);
        assert_eq!(
            (&report["arm"], &report["seed"], &report["fold"]),
            (&arm.into(), &3.into(), &1.into())
        );
        let [whole, voice] = &report["samples"].as_array().unwrap()[..] else { panic!("{report}") };
        for sample in [whole, voice] {
            let probabilities = sample["probabilities"].as_object().unwrap();
            let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-5 && probabilities.len() == 8, "{sample}");
            let best = sample["predicted"][0].as_str().unwrap();
            assert!(probabilities.values().all(|p| p.as_f64() <= probabilities[best].as_f64()));
        }
        assert_eq!(whole["missing"].as_array().unwrap().len(), 0);
        assert_eq!(voice["missing"], serde_json::json!(["faces", "landmarks"]));
        assert_eq!(report["protocol"]["learning"], "inductive");
    }

    // Standardisers, windows, networks and head are those of the run: the test part's accuracy is the run's.
    let results = std::fs::read_to_string(Path::new(run).join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let held_out: Vec<&str> = held_out.iter().map(String::as_str).collect();
    for arm in ["mpuc", "late_fusion", "own"] {
        let output = mpuc(&[&["predict", run, "--json", "--arm", arm][..], &held_out].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let samples = report["samples"].as_array().unwrap();
        let right = |sample: &&Value| {
            let id = Path::new(sample["id"].as_str().unwrap()).file_name().unwrap();
            let code: usize = id.to_str().unwrap()[3..5].parse().unwrap();
            sample["predicted"][0] == data::corpora::ravdess::EMOTIONS[code - 1]
        };
        let accuracy = samples.iter().filter(right).count() as f64 / samples.len() as f64;
        let expected = results["arms"][arm]["score"]["mean"].as_f64().unwrap();
        assert!((accuracy - expected).abs() < 1e-9, "{arm}: {accuracy} and {expected}");
        let bundle = Path::new(run).join(format!("models/seed3-fold1-{arm}.safetensors"));
        let bundle = engine::checkpoint::Checkpoint::load(&bundle).unwrap();
        let bundle: Value = bundle.get("bundle").unwrap();
        let number = bundle["encoders"].as_array().unwrap().iter();
        let number = number.map(|e| e["name"].as_str()).position(|name| name == Some("voice"));
        let voice = &bundle["modalities"][number.unwrap()]["settings"];
        let wanted = if arm == "own" { (30, "range") } else { (120, "each") };
        assert_eq!(voice["evaluation_window"], wanted.0, "{arm}");
        assert_eq!(voice["standardise"], wanted.1, "{arm}");
    }

    let table = mpuc(&[&["predict", run][..], &files].concat());
    assert!(text(&table.stdout).contains("predicted"), "{}", text(&table.stdout));
    assert!(text(&table.stderr).contains("predicted without faces, landmarks"));

    // The features, side by side and by modality.
    let (npy, tensors) = (folder.path().join("all.npy"), folder.path().join("all.safetensors"));
    for out in [&npy, &tensors] {
        let output = mpuc(&[&["embed", run, "--out", out.to_str().unwrap()][..], &files].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let all = data::formats::npy::read(&npy).unwrap().into_f32().unwrap();
    let checkpoint = engine::checkpoint::Checkpoint::load(&tensors).unwrap();
    let widths: usize = checkpoint.tensors().map(|(_, tensor)| tensor.shape()[1]).sum();
    assert_eq!(all.shape(), [2, widths]);
    assert_eq!(checkpoint.tensors().count(), 3);
    let ids: Vec<String> = checkpoint.get("ids").unwrap();
    assert!(ids[0].ends_with("clip") && ids[1].ends_with("alone"), "{ids:?}");

    // Errors say what to do.
    let refused = |arguments: &[&str], code: i32, wanted: &str| {
        let output = mpuc(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(wanted), "{message}");
    };
    refused(&["predict", run, "nothing.wav"], 66, "nothing.wav: the file does not exist");
    refused(
        &["predict", run, "--arm", "clip", files[0]],
        66,
        "the arms are mpuc, late_fusion, own",
    );
    let odd = folder.path().join("clip.odd");
    std::fs::write(&odd, "?").unwrap();
    refused(&["predict", run, odd.to_str().unwrap()], 2, "write MODALITY=");
}
