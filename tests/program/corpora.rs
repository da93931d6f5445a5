//! Published corpora in the formats of their downloads, made from the tiny world.

use super::world::{mpuc, short_run, text, world};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

fn json(arguments: &[&str]) -> Value {
    let output = mpuc(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The world's recordings, landmarks and frames.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Packs the files with this ending into an archive, below a folder.
fn pack(archive: &Path, ending: &str) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(archive).unwrap());
    for file in files(world()).iter().filter(|file| name(file).ends_with(ending)) {
        let options = zip::write::SimpleFileOptions::default();
        let options = options.compression_method(zip::CompressionMethod::Stored);
        writer.start_file(format!("Actor/{}", name(file)), options).unwrap();
        writer.write_all(&std::fs::read(file).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn archives_train_to_the_same_numbers_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("RAVDESS");
    std::fs::create_dir(&packed).unwrap();
    pack(&packed.join("Audio_Speech_Actors_01-24.zip"), ".wav");
    pack(&packed.join("FacialTracking_Actors_01-24.zip"), ".csv");
    for file in files(world()).iter().filter(|file| name(file).ends_with(".npy")) {
        std::fs::copy(file, packed.join(name(file))).unwrap();
    }
    let settings = ["--set", "arms=[mpuc]", "--set", "training.epochs=1"];
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let mut arguments = short_run(&here, &settings);
    let unpacked = json(&arguments);
    arguments = short_run(&there, &settings);
    arguments[2] = packed.to_str().unwrap();
    let report = json(&arguments);
    for figure in ["loss_first", "loss_last", "retrieval"] {
        let of = |report: &Value| report["arms"]["mpuc"][figure].clone();
        assert_eq!(of(&report), of(&unpacked), "{figure}");
    }

    // The corpus is recognised as synthetic also in an archive, and is not in the paper's tables.
    assert_eq!(report["protocol"]["corpus"], "synthetic world");
    let tables = json(&["report", "--paper", "--json", there.to_str().unwrap()]);
    let own =
        |table: &Value| table["rows"].as_array().unwrap().iter().any(|row| !row["run"].is_null());
    assert!(!tables["tables"].as_array().unwrap().iter().any(own), "{tables}");
    assert!(
        tables["runs"][0]["left_out"].as_str().unwrap().contains("synthetic world"),
        "{tables}"
    );

    let checked = json(&["data", "check", packed.to_str().unwrap(), "--json"]);
    assert_eq!((&checked["samples"], &checked["files"]), (&96.into(), &288.into()));
    assert_eq!(checked["problems"].as_array().unwrap().len(), 0);
    // The copy has 96 of the published performances.
    assert_eq!(
        (&checked["census"][0]["found"], &checked["census"][0]["expected"]),
        (&96.into(), &1_440.into())
    );
    assert_eq!(checked["census"][0]["absent"].as_array().unwrap().len(), 1_344);

    let prepare =
        |path: &Path| json(&["data", "prepare", "--data", path.to_str().unwrap(), "--json"]);
    let prepared = prepare(&packed);
    assert_eq!((&prepared["features"], &prepared["computed"]), (&288.into(), &0.into()));
    assert!(prepared["clips_per_second"].as_f64().unwrap() > 1.0);
}

/// The videos of RAVDESS as published: an archive for each actor, each performance with and without sound.
#[test]
fn raw_videos_in_archives_train() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("RAVDESS");
    std::fs::create_dir(&root).unwrap();
    pack(&root.join("Audio_Speech_Actors_01-24.zip"), ".wav");
    pack(&root.join("FacialTracking_Actors_01-24.zip"), ".csv");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/video");
    let videos = ["b_frames.mp4", "baseline.mp4", "varying.mp4"]
        .map(|name| std::fs::read(fixtures.join(name)).unwrap());
    let archive = std::fs::File::create(root.join("Video_Speech_Actor_01.zip")).unwrap();
    let mut writer = zip::ZipWriter::new(archive);
    let recordings: Vec<PathBuf> =
        files(world()).into_iter().filter(|file| name(file).ends_with(".wav")).collect();
    for (number, recording) in recordings.iter().enumerate() {
        for medium in ["01", "02"] {
            let stem = name(recording).strip_prefix("03").unwrap().strip_suffix(".wav").unwrap();
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            writer.start_file(format!("Actor_01/{medium}{stem}.mp4"), options).unwrap();
            writer.write_all(&videos[number % videos.len()]).unwrap();
        }
    }
    writer.finish().unwrap();
    let out = folder.path().join("run");
    let mut arguments = short_run(&out, &["--set", "arms=[mpuc]", "--set", "training.epochs=1"]);
    arguments[2] = root.to_str().unwrap();
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["arms"]["mpuc"]["score"]["mean"].as_f64().unwrap() >= 0.0);
    assert!(text(&output.stderr).contains("have only a video (.mp4)"), "{}", text(&output.stderr));
}

#[test]
fn crema_d_is_read_by_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("CREMA-D");
    std::fs::create_dir_all(root.join("AudioWAV")).unwrap();
    let sentences =
        ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"];
    let emotions = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"];
    // Files of one performance have all but the first two digits in common.
    for file in files(world()) {
        let Some((stem, ending)) = name(&file).split_once('.') else { continue };
        let codes: Vec<usize> = stem.split('-').filter_map(|code| code.parse().ok()).collect();
        let &[_, _, emotion, intensity, statement, repetition, actor] = codes.as_slice() else {
            continue;
        };
        if emotion > 6 {
            continue;
        }
        let sentence = sentences[4 * (intensity - 1) + 2 * (statement - 1) + repetition - 1];
        let to = format!("{}_{sentence}_{}_XX.{ending}", 1_000 + actor, emotions[emotion - 1]);
        std::fs::copy(&file, root.join("AudioWAV").join(to)).unwrap();
    }
    let path = root.to_str().unwrap();
    let checked = json(&["data", "check", path, "--format", "crema_d", "--json"]);
    assert_eq!(
        (&checked["format"], &checked["census"][0]["expected"]),
        (&"crema_d".into(), &7_442.into())
    );
    assert_eq!(checked["problems"].as_array().unwrap().len(), 0, "{}", checked["problems"]);
    let out = folder.path().join("run");
    let mut arguments = short_run(
        &out,
        &["--set", "data.format=crema_d", "--set", "arms=[mpuc]", "--set", "training.epochs=1"],
    );
    arguments[2] = path;
    let report = json(&arguments);
    assert!(report["arms"]["mpuc"]["score"]["mean"].as_f64().unwrap() >= 0.0);
    let output = mpuc(&[
        "train",
        "--data",
        path,
        "--set",
        "data.format=crema_d",
        "--set",
        "data.vocal=song",
    ]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
}

/// The recordings in a folder for each class, and in it one for each speaker.
#[test]
fn folders_of_classes_train_to_the_numbers_of_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("corpus");
    let mut rows = std::collections::BTreeMap::new();
    for file in files(world()) {
        let Some((stem, ending)) = name(&file).split_once('.') else { continue };
        // Files of one performance have all but the first two digits in common.
        let [_, _, emotion, .., actor] = stem.split('-').collect::<Vec<_>>()[..] else { continue };
        let class = ["", "calm", "anger"].get(emotion.parse::<usize>().unwrap() % 3).unwrap();
        if class.is_empty() || ending == "npy" {
            continue;
        }
        let to = root.join(class).join(actor);
        std::fs::create_dir_all(&to).unwrap();
        let to = to.join(format!("{}.{ending}", &stem[3..]));
        std::fs::copy(&file, &to).unwrap();
        let cell = to.display().to_string();
        rows.entry((class, actor.to_owned(), stem[3..].to_owned()))
            .or_insert_with(std::collections::BTreeMap::new)
            .insert(ending.to_owned(), cell);
    }
    // Modalities in the order of the configuration, which random windows follow.
    let mut table = String::from("id,label,group,landmarks,voice\n");
    for ((class, actor, stem), files) in &rows {
        let (wav, csv) = (&files["wav"], &files["csv"]);
        table += &format!("{class}/{actor}/{stem},{class},{actor},{csv},{wav}\n");
    }
    let manifest = folder.path().join("table.csv");
    std::fs::write(&manifest, table).unwrap();
    let checked = json(&["data", "check", root.to_str().unwrap(), "--json"]);
    assert_eq!((&checked["format"], &checked["samples"]), (&"folders".into(), &rows.len().into()));
    assert_eq!(checked["problems"].as_array().unwrap().len(), 0, "{}", checked["problems"]);
    let train = |path: &Path, format: &str, out: &str| {
        let format = format!("data.format={format}");
        let out = folder.path().join(out);
        let settings = [
            "--set",
            &format,
            "--set",
            "arms=[mpuc]",
            "--set",
            "training.epochs=1",
            "--set",
            "modality.faces=",
        ];
        let mut arguments = short_run(&out, &settings);
        arguments[2] = path.to_str().unwrap();
        json(&arguments)
    };
    let (folders, table) = (train(&root, "folders", "here"), train(&manifest, "manifest", "there"));
    for figure in ["loss_first", "loss_last", "retrieval", "score"] {
        let of = |report: &Value| report["arms"]["mpuc"][figure].clone();
        assert_eq!(of(&folders), of(&table), "{figure}");
    }
}

#[test]
fn songs_train_with_the_emotions_that_are_sung() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("RAVDESS");
    std::fs::create_dir(&root).unwrap();
    for file in files(world()) {
        // Medium, 01 for speech, emotion, of which 07 and 08 are never sung.
        let Some((medium, rest)) = name(&file).split_once("-01-") else { continue };
        if !rest.starts_with("07") && !rest.starts_with("08") {
            std::fs::copy(&file, root.join(format!("{medium}-02-{rest}"))).unwrap();
        }
    }
    let out = folder.path().join("run");
    let song = ["--set", "data.vocal=song", "--set", "arms=[mpuc]", "--set", "training.epochs=1"];
    let mut arguments = short_run(&out, &song);
    arguments[2] = root.to_str().unwrap();
    let output = mpuc(&arguments);
    let message = text(&output.stderr);
    assert!(output.status.success(), "{message}");
    assert!(message.contains("no sample is disgust or surprised"), "{message}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["arms"]["mpuc"]["confusion"]["counts"].as_array().map(Vec::len),
        Some(6),
        "{report}"
    );
}

/// MESM's cut of CMU-MOSEI, as data/README.md makes a manifest of it: pictures of a segment in a folder, any number of
/// emotions, the corpus's own parts.
#[test]
fn a_manifest_of_several_labels_and_folders_of_pictures_trains() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from("id,group,part,labels,landmarks,faces\n");
    let landmarks: Vec<PathBuf> =
        files(world()).into_iter().filter(|file| name(file).ends_with(".csv")).collect();
    for (number, landmarks) in landmarks.iter().take(20).enumerate() {
        let frames = folder.path().join(format!("segment_{number}"));
        std::fs::create_dir(&frames).unwrap();
        for frame in 0..3 {
            let file = std::fs::File::create(frames.join(format!("image_{frame}.png"))).unwrap();
            let mut encoder = png::Encoder::new(file, 24, 16);
            encoder.set_color(png::ColorType::Rgb);
            let pixels: Vec<u8> = (0..24 * 16 * 3).map(|p| (p * (number + frame)) as u8).collect();
            encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        }
        let part = ["train", "train", "train", "valid", "test"][number / 2 % 5];
        let labels = ["sad;fear", "-", "happy"][number % 3];
        let row = format!("{number},video {},{part},{labels}", number / 2);
        table += &format!("{row},{},segment_{number}\n", landmarks.display());
    }
    let manifest = folder.path().join("mesm.csv");
    std::fs::write(&manifest, &table).unwrap();
    let configuration = folder.path().join("mesm.toml");
    let text = format!(
        "base = \"mosei_smoke\"\narms = [\"mpuc\"]\n[data]\npath = {manifest:?}\nformat = \"manifest\"\n[modality.faces]\n\
         feature = {{ kind = \"clip\", height = 8, width = 8, frames_per_second = 2.0 }}\nwindow = 2\n\
         evaluation_window = 3\nbackbone = {{ kind = \"r2plus1d\", width = 4, stem = 4, blocks = [1, 1, 1, 1] }}\n"
    );
    std::fs::write(&configuration, text).unwrap();
    let out = folder.path().join("run");
    let train = ["train", "--config", configuration.to_str().unwrap(), "--json", "--out"];
    let report = json(&[&train[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(report["protocol"]["protocol"], "standard");
    assert_eq!(report["figure"], "weighted_accuracy", "{report}");
    assert_eq!(report["arms"]["mpuc"]["emotions"].as_array().map(Vec::len), Some(3), "{report}");

    // A speaker in two parts would leak from one into the other.
    std::fs::write(&manifest, table.replace("4,video 2,train", "4,video 2,test")).unwrap();
    let output = mpuc(&[&train[..], &[folder.path().join("again").to_str().unwrap()]].concat());
    let message = super::world::text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(message.contains("both are of the group video 2"), "{message}");
}
