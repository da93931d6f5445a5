//! `mpuc faces` without weights, and with weights that detect a face everywhere: messages and files.

use super::world::{mpuc, text};
use std::io::Write;
use std::path::Path;

/// A safetensors file of zeros, except for some tensors.
fn weights(path: &Path, tensors: &[(&str, &[usize])], other: &[(&str, Vec<f32>)]) {
    let (mut header, mut numbers) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let count: usize = shape.iter().product();
        let given = other.iter().find(|(other, _)| other == name).map(|(_, given)| given.clone());
        let values = given.unwrap_or_else(|| vec![0.0f32; count]);
        assert_eq!(values.len(), count, "{name}");
        let start = numbers.len();
        numbers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [start, numbers.len()]
        });
        header.insert((*name).into(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &numbers].concat();
    std::fs::write(path, bytes).unwrap();
}

/// Frames of grey, [T, H, W, 3].
fn frames(path: &Path, shape: [usize; 4]) {
    let header = format!(
        "{{'descr': '|u1', 'fortran_order': False, 'shape': ({}, {}, {}, {}), }}",
        shape[0], shape[1], shape[2], shape[3]
    );
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..shape.iter().product()).map(|number| (number % 251) as u8));
    std::fs::write(path, bytes).unwrap();
}

/// Weights of the three detectors and of the points; the detectors find a face with logit `score` everywhere.
fn all_weights(folder: &Path, score: f32) {
    let detector = |name: &str, tensors: &[(&str, &[usize])], head: &str| {
        let path = folder.join(format!("{name}.safetensors"));
        weights(&path, tensors, &[(head, vec![-score, score])]);
    };
    detector(
        "pnet",
        &[
            ("conv1.weight", &[10, 3, 3, 3]),
            ("conv1.bias", &[10]),
            ("prelu1.weight", &[10]),
            ("conv2.weight", &[16, 10, 3, 3]),
            ("conv2.bias", &[16]),
            ("prelu2.weight", &[16]),
            ("conv3.weight", &[32, 16, 3, 3]),
            ("conv3.bias", &[32]),
            ("prelu3.weight", &[32]),
            ("conv4_1.weight", &[2, 32, 1, 1]),
            ("conv4_1.bias", &[2]),
            ("conv4_2.weight", &[4, 32, 1, 1]),
            ("conv4_2.bias", &[4]),
        ],
        "conv4_1.bias",
    );
    detector(
        "rnet",
        &[
            ("conv1.weight", &[28, 3, 3, 3]),
            ("conv1.bias", &[28]),
            ("prelu1.weight", &[28]),
            ("conv2.weight", &[48, 28, 3, 3]),
            ("conv2.bias", &[48]),
            ("prelu2.weight", &[48]),
            ("conv3.weight", &[64, 48, 2, 2]),
            ("conv3.bias", &[64]),
            ("prelu3.weight", &[64]),
            ("dense4.weight", &[128, 576]),
            ("dense4.bias", &[128]),
            ("prelu4.weight", &[128]),
            ("dense5_1.weight", &[2, 128]),
            ("dense5_1.bias", &[2]),
            ("dense5_2.weight", &[4, 128]),
            ("dense5_2.bias", &[4]),
        ],
        "dense5_1.bias",
    );
    detector(
        "onet",
        &[
            ("conv1.weight", &[32, 3, 3, 3]),
            ("conv1.bias", &[32]),
            ("prelu1.weight", &[32]),
            ("conv2.weight", &[64, 32, 3, 3]),
            ("conv2.bias", &[64]),
            ("prelu2.weight", &[64]),
            ("conv3.weight", &[64, 64, 3, 3]),
            ("conv3.bias", &[64]),
            ("prelu3.weight", &[64]),
            ("conv4.weight", &[128, 64, 2, 2]),
            ("conv4.bias", &[128]),
            ("prelu4.weight", &[128]),
            ("dense5.weight", &[256, 1152]),
            ("dense5.bias", &[256]),
            ("prelu5.weight", &[256]),
            ("dense6_1.weight", &[2, 256]),
            ("dense6_1.bias", &[2]),
            ("dense6_2.weight", &[4, 256]),
            ("dense6_2.bias", &[4]),
            ("dense6_3.weight", &[10, 256]),
            ("dense6_3.bias", &[10]),
        ],
        "dense6_1.bias",
    );
    points(&folder.join("face_landmark_68_model.safetensors"));
}

/// The network of the points, which places all of them in the middle.
fn points(path: &Path) {
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut inputs = 3;
    for (block, outputs) in [32, 64, 128, 256].into_iter().enumerate() {
        for conv in 0..4 {
            let at = format!("dense{block}/conv{conv}");
            if (block, conv) == (0, 0) {
                tensors.push((format!("{at}/filters"), vec![3, 3, inputs, outputs]));
            } else {
                tensors.push((format!("{at}/depthwise_filter"), vec![3, 3, inputs, 1]));
                tensors.push((format!("{at}/pointwise_filter"), vec![1, 1, inputs, outputs]));
            }
            tensors.push((format!("{at}/bias"), vec![outputs]));
            inputs = outputs;
        }
    }
    tensors.push(("fc/weights".into(), vec![256, 136]));
    tensors.push(("fc/bias".into(), vec![136]));
    let tensors: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    weights(path, &tensors, &[("fc/bias", vec![0.5; 136])]);
}

fn run(arguments: &[&Path], more: &[&str]) -> std::process::Output {
    let [input, weights, out] = arguments else { panic!("three paths") };
    let mut all = vec!["faces", input.to_str().unwrap(), "--weights", weights.to_str().unwrap()];
    all.extend(["--out", out.to_str().unwrap(), "--device", "cpu"]);
    all.extend(more);
    mpuc(&all)
}

#[test]
fn missing_and_wrong_weights_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, out) = (folder.path().join("clip.npy"), folder.path().join("out"));
    frames(&clip, [1, 16, 16, 3]);
    let refused = |code: i32, parts: &[&str]| {
        let output = run(&[&clip, folder.path(), &out], &[]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
        assert!(!out.exists(), "nothing is written");
    };
    refused(66, &["found none of pnet.pt", "facenet-pytorch", "--weights"]);
    all_weights(folder.path(), 3.0);
    std::fs::rename(folder.path().join("rnet.safetensors"), folder.path().join("kept")).unwrap();
    std::fs::copy(folder.path().join("onet.safetensors"), folder.path().join("rnet.safetensors"))
        .unwrap();
    refused(
        65,
        &["rnet.safetensors: does not have the weights of MTCNN's rnet", "weights inspect"],
    );
    std::fs::rename(folder.path().join("kept"), folder.path().join("rnet.safetensors")).unwrap();
    std::fs::copy(
        folder.path().join("onet.safetensors"),
        folder.path().join("face_landmark_68_model.safetensors"),
    )
    .unwrap();
    refused(65, &["face_landmark_68_model.safetensors", "dense0/conv0/filters"]);
    std::fs::remove_file(folder.path().join("face_landmark_68_model.safetensors")).unwrap();
    refused(66, &["found none of face_landmark_68_model-weights_manifest.json", "face-api"]);
}

#[test]
fn results_are_written_once_and_made_anew_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, clips, out) =
        (folder.path().join("weights"), folder.path().join("clips"), folder.path().join("out"));
    std::fs::create_dir_all(clips.join("Actor_01")).unwrap();
    std::fs::create_dir(&weights).unwrap();
    all_weights(&weights, 3.0);
    frames(&clips.join("Actor_01/a.b.npy"), [5, 40, 40, 3]);
    let report = |more: &[&str]| -> serde_json::Value {
        let output = run(&[&clips, &weights, &out], &[&["--json", "--rate", "25"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = report(&[]);
    let line = &first["clips"][0];
    assert_eq!(
        (&line["frames"], &line["with_face"], &line["kept"]),
        (&5.into(), &5.into(), &false.into())
    );
    let confidence = line["confidence"].as_f64().unwrap();
    // The softmax of -3 and 3.
    assert!((confidence - 0.997_527).abs() < 1e-4, "{confidence}");
    let result = |ending: &str| out.join("Actor_01").join(format!("a.b.{ending}"));
    let crops = std::fs::read(result("npy")).unwrap();
    assert_eq!(crops.len(), 128 + 5 * 112 * 112 * 3);
    let csv = std::fs::read_to_string(result("csv")).unwrap();
    assert!(csv.starts_with("frame, timestamp, confidence, success, x_0, x_1"), "{csv}");
    assert_eq!(csv.lines().count(), 6);
    assert!(csv.lines().nth(2).unwrap().starts_with("2, 0.040, 0.998, 1, "), "{csv}");
    assert!(std::fs::read(result("png")).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(report(&[])["clips"][0]["kept"], true);
    assert_eq!(report(&["--fresh"])["clips"][0]["kept"], false);
    assert_eq!(report(&["--margin", "1.5"])["clips"][0]["kept"], false);
    assert_ne!(std::fs::read(result("npy")).unwrap(), crops);
    // Without a face no result remains, and a message says so.
    all_weights(&weights, -3.0);
    let output = run(&[&clips, &weights, &out], &[]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("no face in any of its 5 frames"));
    assert!(!result("npy").exists() && !result("csv").exists() && result("faces.json").exists());
}

#[test]
fn videos_that_cannot_be_read_do_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, clips, out) =
        (folder.path().join("weights"), folder.path().join("clips"), folder.path().join("out"));
    std::fs::create_dir(&clips).unwrap();
    std::fs::create_dir(&weights).unwrap();
    all_weights(&weights, 3.0);
    std::fs::write(clips.join("a.mp4"), b"this is no video").unwrap();
    frames(&clips.join("b.npy"), [2, 20, 3, 3]);
    frames(&clips.join("c.npy"), [2, 24, 24, 3]);
    let output = run(&[&clips, &weights, &out], &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{message}");
    assert!(message.contains("a.mp4") && message.contains("1 of 3 videos failed"), "{message}");
    assert!(out.join("c.npy").exists() && !out.join("a.npy").exists());
    // A picture too small for any face has none.
    assert!(message.contains("b.npy: no face"), "{message}");
    let twice = mpuc(&[
        "faces",
        clips.join("c.npy").to_str().unwrap(),
        clips.join("c.npy").to_str().unwrap(),
        "--weights",
        weights.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(twice.status.code(), Some(2), "{}", text(&twice.stderr));
    let over = run(&[&clips.join("c.npy"), &weights, &clips], &[]);
    assert!(text(&over.stderr).contains("would overwrite it"), "{}", text(&over.stderr));
}

#[test]
fn a_folder_of_pictures_is_a_clip_and_sheets_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, clips) = (folder.path().join("weights"), folder.path().join("clips"));
    std::fs::create_dir_all(clips.join("some.one")).unwrap();
    std::fs::create_dir(&weights).unwrap();
    all_weights(&weights, 3.0);
    let picture = |name: &str, side: u32| {
        let file = std::fs::File::create(clips.join("some.one").join(name)).unwrap();
        let mut encoder = png::Encoder::new(file, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        let pixels: Vec<u8> = (0..side * side).map(|number| (number % 251) as u8).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    };
    for name in ["image_2.png", "image_10.png", "image_1.png"] {
        picture(name, 40);
    }
    // The results are beside the pictures: they must not be read as further pictures.
    let report = || -> serde_json::Value {
        let output = run(&[&clips, &weights, &clips], &["--json", "--rate", "2"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for kept in [false, true] {
        let all = &report()["clips"];
        assert_eq!((all.as_array().unwrap().len(), &all[0]["frames"]), (1, &3.into()));
        assert_eq!(all[0]["kept"], kept);
    }
    let csv = std::fs::read_to_string(clips.join("some.one.csv")).unwrap();
    assert!(csv.lines().nth(3).unwrap().starts_with("3, 1.000, "), "{csv}");
    let out = folder.path().join("out");
    let output = run(&[&clips.join("some.one/."), &weights, &out], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.join("some.one.npy").is_file());
    // Twice into the folder of the pictures: the sheet is not a picture of the clip.
    let inside = clips.join("some.one");
    for _ in 0..2 {
        let output = run(&[&inside, &weights, &inside], &["--fresh", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["clips"][0]["frames"], 3);
    }
    picture("image_3.png", 24);
    let output = run(&[&clips, &weights, &clips], &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{message}");
    assert!(message.contains("image_3.png: is 24x24"), "{message}");
}

/// RAVDESS as published: an archive for each actor, each performance with and without sound.
#[test]
fn videos_in_archives_have_results_where_they_would_stand_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, root) = (folder.path().join("weights"), folder.path().join("RAVDESS"));
    std::fs::create_dir(&weights).unwrap();
    all_weights(&weights, 3.0);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/video");
    let video = std::fs::read(fixtures.join("baseline.mp4")).unwrap();
    let (with_sound, silent) = ("01-01-01-01-01-01-02", "02-01-01-01-01-01-02");
    let other = "02-01-01-01-01-02-02";
    std::fs::create_dir_all(root.join("Actor_02")).unwrap();
    let archive = root.join("Video_Speech_Actor_02.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    for stem in [with_sound, silent, other] {
        let options = zip::write::SimpleFileOptions::default();
        let options = options.compression_method(zip::CompressionMethod::Stored);
        writer.start_file(format!("Actor_02/{stem}.mp4"), options).unwrap();
        writer.write_all(&video).unwrap();
    }
    writer.finish().unwrap();
    // One archive is also unpacked.
    std::fs::write(root.join("Actor_02").join(with_sound).with_extension("mp4"), &video).unwrap();
    for kept in [false, true] {
        let output = run(&[&root, &weights, &root], &["--json"]);
        let messages = text(&output.stderr);
        assert!(output.status.success(), "{messages}");
        assert!(messages.contains("1 videos without sound are skipped"), "{messages}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let clips = report["clips"].as_array().unwrap();
        let of =
            |place: &str| clips.iter().find(|clip| clip["path"].as_str().unwrap().ends_with(place));
        let unpacked = of(&format!("RAVDESS/Actor_02/{with_sound}.mp4")).unwrap();
        let packed = of(&format!("Video_Speech_Actor_02.zip/Actor_02/{other}.mp4")).unwrap();
        assert_eq!(
            (clips.len(), &unpacked["kept"], &packed["kept"]),
            (2, &kept.into(), &kept.into())
        );
        assert!(packed["frames"].as_u64().unwrap() > 1);
        for stem in [with_sound, other] {
            for ending in ["npy", "csv", "png", "faces.json"] {
                assert!(root.join("Actor_02").join(format!("{stem}.{ending}")).is_file());
            }
        }
    }
    // The archive as input, with the videos one after another instead of in parallel, gives the same bytes.
    let out = folder.path().join("out");
    let output = run(&[&archive, &weights, &out], &["--threads", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for ending in ["npy", "csv", "png"] {
        let of = |folder: &Path| {
            std::fs::read(folder.join("Actor_02").join(format!("{other}.{ending}"))).unwrap()
        };
        assert!(of(&out) == of(&root), "{ending}");
    }
    std::fs::write(root.join("Audio.zip"), "PK").unwrap();
    let output = run(&[&root, &weights, &out], &[]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("Audio.zip: "), "{}", text(&output.stderr));
}
