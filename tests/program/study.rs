//! `mpuc study`: cells, kills, jobs, merging, shared networks, and what is refused before anything is trained.

use super::world::{command, text};
use engine::checkpoint::Checkpoint;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const STUDY: &str = r#"
base = "smoke"
arms = ["untrained", "mpuc", "late_fusion"]
baseline = "mpuc"
seeds = [0, 1]
[data]
world = { actors = 6, clips_per_actor = 16, face_size = 16 }
[training]
epochs = 1
[arm.late_fusion.training]
epochs = 1
[missing]
shares = [0.0, 0.5, 1.0]
neighbours = [1, 3]
[study]
title = "Two worlds"
units = { key = "data.world.seed", values = [31, 32] }
plot = "data.missing.voice"
[[study.conditions]]
name = "all"
[[study.conditions]]
name = "half"
title = "half without voice"
settings = { data.missing.voice = 0.5 }
"#;

fn study(folder: &Path) -> PathBuf {
    let path = folder.join("two.toml");
    std::fs::write(&path, STUDY).unwrap();
    path
}

fn arguments(study: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = vec!["study".into(), study.display().to_string()];
    all.extend(["--out".into(), out.display().to_string(), "--device".into(), "cpu".into()]);
    all.extend(more.iter().map(|&word| word.to_owned()));
    all
}

fn mpuc(arguments: &[String]) -> Output {
    start(arguments).output().unwrap()
}

fn start(arguments: &[String]) -> Command {
    command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The report without what times and commits change.
fn figures(out: &Path) -> Value {
    let mut report: Value =
        serde_json::from_slice(&std::fs::read(out.join("study.json")).unwrap()).unwrap();
    report["seconds"] = Value::Null;
    for condition in report["conditions"].as_array_mut().unwrap() {
        for arm in condition["arms"].as_object_mut().unwrap().values_mut() {
            arm["seconds"] = Value::Null;
        }
    }
    report
}

#[test]
fn killed_and_split_studies_give_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = study(folder.path());
    let whole = folder.path().join("whole");
    let output = mpuc(&arguments(&file, &whole, &[]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for wanted in
        ["Two worlds: all", "half without voice", "95 % interval", "without voice", "cross-modal"]
    {
        assert!(printed.contains(wanted), "no {wanted} in\n{printed}");
    }
    let expected = figures(&whole);
    assert_eq!(expected["cells"], serde_json::json!([8, 8]));
    let mpuc_arm = &expected["conditions"][0]["arms"]["mpuc"];
    assert_eq!((mpuc_arm["n"].as_u64(), mpuc_arm["labels"].as_str()), (Some(2), Some("none")));
    assert_eq!(expected["conditions"][0]["arms"]["late_fusion"]["labels"], "labels");
    for name in [
        "missing-all.svg",
        "missing-all.png",
        "conditions.svg",
        "conditions.png",
        "study.md",
        "study.html",
    ] {
        assert!(whole.join(name).exists(), "{name}");
    }

    // Killed again and again.
    let killed = folder.path().join("killed");
    let random = engine::Philox::new(5, "kills of a study");
    for kill in 0..20 {
        let mut child = start(&arguments(&file, &killed, &[]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + (900.0 * random.uniform(kill)) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = mpuc(&arguments(&file, &killed, &[]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(figures(&killed), expected);

    // Two jobs, merged by a third command.
    let split = folder.path().join("split");
    for job in ["1/2", "2/2"] {
        let output = mpuc(&arguments(&file, &split, &["--job", job]));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let output = mpuc(&arguments(&file, &split, &["--print"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(figures(&split), expected);
    // Two processes at once.
    let parallel = folder.path().join("parallel");
    let output = mpuc(&arguments(&file, &parallel, &["--jobs", "2"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(figures(&parallel), expected);

    // A document with the tables; a second time nothing has moved.
    let readme = folder.path().join("README.md");
    std::fs::write(&readme, "a\n<!-- study two -->\n<!-- end of study -->\nb\n").unwrap();
    let into = ["--into", readme.to_str().unwrap()];
    assert!(mpuc(&arguments(&file, &whole, &into)).status.success());
    let output = mpuc(&arguments(&file, &whole, &into));
    assert!(output.status.success() && !text(&output.stderr).contains("moved"));
    let document = std::fs::read_to_string(&readme).unwrap();
    assert!(document.starts_with("a\n") && document.contains("| MPUC |"), "{document}");
    let moved = document.replacen("| none |", "| some |", 1);
    std::fs::write(&readme, moved).unwrap();
    let output = mpuc(&arguments(&file, &whole, &into));
    assert!(text(&output.stderr).contains("moved: "), "{}", text(&output.stderr));

    // Two processes in one cell: the second leaves it to the first.
    std::fs::remove_file(whole.join("cells/all/31/seed0-fold1/results.json")).unwrap();
    let lock = std::fs::File::options()
        .write(true)
        .open(whole.join("cells/all/31/seed0-fold1/.lock"))
        .unwrap();
    lock.lock().unwrap();
    let output = mpuc(&arguments(&file, &whole, &[]));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("other processes work in 1 cell"));
}

const SHARED: &str = r#"
base = "smoke"
arms = ["mpuc", "late_fusion"]
baseline = "mpuc"
[data]
world = { actors = 6, clips_per_actor = 16, face_size = 16 }
[study]
units = { key = "data.world.seed", values = [31] }
"#;

/// A condition of [`SHARED`].
fn condition(name: &str) -> &'static str {
    match name {
        "few" => "[[study.conditions]]\nname = \"few\"\nsettings = { data.labelled = 3 }\n",
        "short" => "[[study.conditions]]\nname = \"short\"\nsettings = { training.epochs = 1 }\n",
        _ => "[[study.conditions]]\nname = \"all\"\n",
    }
}

#[test]
fn cells_share_networks_and_the_figures_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &Path, conditions: &[&str], more: &[&str]| -> Value {
        let file = out.with_extension("toml");
        let conditions: String = conditions.iter().copied().map(condition).collect();
        std::fs::write(&file, format!("{SHARED}{conditions}")).unwrap();
        let output = mpuc(&arguments(&file, out, more));
        assert!(output.status.success(), "{}", text(&output.stderr));
        figures(out)["conditions"].clone()
    };
    let cell = |out: &Path, condition: &str| out.join(format!("cells/{condition}/31/seed0-fold1"));
    let metrics = |out: &Path, condition: &str| -> Vec<Value> {
        let path = cell(out, condition).join("metrics.jsonl");
        let lines = std::fs::read_to_string(path).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of = |records: &[Value], arm: &str| -> Vec<Value> {
        let stage = format!("seed0-fold1-{arm}");
        records.iter().filter(|record| record["stage"] == *stage).cloned().collect()
    };
    let network = |out: &Path, condition: &str| {
        std::fs::read(cell(out, condition).join("checkpoints/seed0-fold1-mpuc.safetensors"))
            .unwrap()
    };
    let apart: Vec<Value> = ["all", "few", "short"]
        .map(|name| run(&folder.path().join(format!("alone-{name}")), &[name], &[])[0].clone())
        .into();
    let out = folder.path().join("together");
    let together = run(&out, &["all", "few", "short"], &["--jobs", "2"]);
    assert_eq!(together.as_array().unwrap(), &apart);

    // What reads no labels was trained once; what reads them, or for another time, was trained.
    let few = metrics(&out, "few");
    let taken = of(&few, "mpuc");
    assert_eq!(taken.len(), 1, "{taken:?}");
    let from = taken[0]["taken_from"].as_str().unwrap();
    assert!(Path::new(from).ends_with("cells/all/31/seed0-fold1"), "{from}");
    assert_eq!(network(&out, "few"), network(&out, "all"));
    for records in [of(&few, "late_fusion"), of(&metrics(&out, "short"), "mpuc")] {
        assert!(records.iter().all(|record| record["taken_from"].is_null()), "{records:?}");
        assert!(records.iter().any(|record| record["loss"].is_number()));
    }

    // A donor that is damaged costs time alone.
    let donor = cell(&out, "all").join("checkpoints/seed0-fold1-mpuc.safetensors");
    let mut bytes = std::fs::read(&donor).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&donor, bytes).unwrap();
    std::fs::remove_dir_all(cell(&out, "few")).unwrap();
    let output = mpuc(&arguments(&out.with_extension("toml"), &out, &[]));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("is damaged"), "{said}");
    assert_eq!(figures(&out)["conditions"].as_array().unwrap(), &apart);
    assert!(of(&metrics(&out, "few"), "mpuc").iter().all(|r| r["taken_from"].is_null()));

    // A donor that still trains has checkpoints, and none bears the key.
    let long = folder.path().join("long");
    let file = out.with_extension("toml");
    let forever = ["--set", "training.epochs=1000000"];
    let mut child = start(&arguments(&file, &long, &forever))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = cell(&long, "all").join("checkpoints/seed0-fold1-mpuc.safetensors");
    while !path.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (unfinished, _) = Checkpoint::load_or_previous(&path).unwrap();
    assert!(unfinished.get::<String>("training_key").is_err());

    // Everything anew: the first cell trains, the next takes its networks.
    let again = run(&out, &["all", "few", "short"], &["--fresh"]);
    assert_eq!(again.as_array().unwrap(), &apart);
    assert!(of(&metrics(&out, "all"), "mpuc").iter().all(|r| r["taken_from"].is_null()));
    assert_eq!(of(&metrics(&out, "few"), "mpuc").len(), 1);
}

#[test]
fn what_cannot_work_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let path = folder.path().join("wrong.toml");
    let small =
        "base = \"smoke\"\n[data]\nworld = { actors = 6, clips_per_actor = 16, face_size = 16 }\n";
    for (more, code, wanted) in [
        ("", 78, "no table `study`"),
        ("[study]\nunits = { key = \"data.world.seed\", values = [] }\n", 78, "study.units.values"),
        ("[study]\n[arm.mpuc]\nsystem = \"mpu\"\n", 78, "mpuc"),
        ("[study]\n[arm.mpuc]\nmodalities = [\"voice\"]\n", 78, "at least 2"),
        ("[study]\n[missing]\nshares = [2.0]\n", 78, "missing.shares"),
        // Condition `late` cannot work: found before `early` is trained.
        (
            "[[study.conditions]]\nname = \"early\"\n[[study.conditions]]\nname = \"late\"\nsettings = { training.batch = 1000 }\n",
            78,
            "condition late",
        ),
    ] {
        std::fs::write(&path, format!("{small}{more}")).unwrap();
        let output = mpuc(&arguments(&path, &out, &[]));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more}: {said}");
        assert!(said.contains(wanted), "{more}: {said}");
        assert!(!out.join("cells").exists(), "{more}: something was trained");
    }
    let output = mpuc(&["study".to_owned(), "no-such".to_owned()]);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output.stderr));
    // A study given to `train`.
    std::fs::write(&path, format!("{small}[study]\n")).unwrap();
    let output = mpuc(&["train".to_owned(), "--config".into(), path.display().to_string()]);
    assert!(text(&output.stderr).contains("mpuc study"), "{}", text(&output.stderr));
}

#[test]
fn one_command_writes_every_table_of_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("README.md");
    let all = |more: &[&str]| -> Output {
        let mut words = vec!["study", "all", "--device", "cpu", "--out"];
        words.push(folder.path().to_str().unwrap());
        for setting in [
            "arms=[untrained, factors]",
            "seeds=[0]",
            "data.run_folds=2",
            "data.world={ actors = 6, clips_per_actor = 16, face_size = 16 }",
            "probe.epochs=2",
        ] {
            words.extend(["--set", setting]);
        }
        command(&[&words, more].concat()).output().unwrap()
    };
    let into = ["--into", document.to_str().unwrap()];
    let refused = |more: &[&str], code: i32, wanted: &str| {
        let output = all(more);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused(&[], 2, "needs --into");
    std::fs::write(&document, "<!-- study mine -->\nmy own\n<!-- end of study -->\n").unwrap();
    refused(&into, 65, "has no section of a built-in study");
    let before = std::fs::read_to_string(&document).unwrap();
    std::fs::write(&document, before + "<!-- study world -->\n<!-- end of study -->\n").unwrap();
    refused(&[&into[..], &["--print"]].concat(), 75, "study world");
    let output = all(&into);
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("the section of `mine` is left"), "{said}");
    assert!(folder.path().join("study-world/study.json").exists());
    let written = std::fs::read_to_string(&document).unwrap();
    assert!(written.starts_with("<!-- study mine -->\nmy own\n"), "{written}");
    assert!(
        written.contains("| true factors |") && written.contains("deviations are over folds"),
        "{written}"
    );
    // A second time nothing is trained and nothing has moved; then one figure has.
    let print = [&into[..], &["--print", "--json"]].concat();
    let output = all(&print);
    let said = text(&output.stderr);
    assert!(output.status.success() && !said.contains("moved"), "{said}");
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports["world"]["cells"], serde_json::json!([2, 2]));
    std::fs::write(&document, written.replacen("| none |", "| some |", 1)).unwrap();
    let said = text(&all(&print).stderr);
    assert!(said.contains("moved: ") && said.contains("some is now none"), "{said}");
}
