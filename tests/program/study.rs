//! `mpuc study`: cells, kills, jobs, merging, and what is refused before anything is trained.

use super::world::{command, text};
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
