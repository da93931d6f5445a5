use super::columns::HEADERLESS;
use super::*;
use proptest::prelude::*;

/// A CSV with `leading` columns, then 2-D and 3-D points; point p of frame t is (100 t + p, -p).
fn csv(leading: &[&str], frames: &[(f32, f32)], padded: bool) -> String {
    let mut names: Vec<String> = leading.iter().map(|s| s.to_string()).collect();
    for prefix in ["x_", "y_", "X_", "Y_", "Z_"] {
        names.extend((0..POINTS).map(|p| format!("{prefix}{p}")));
    }
    let mut text = names.join(if padded { ", " } else { "," }) + "\r\n";
    for (t, &(confidence, success)) in frames.iter().enumerate() {
        let mut row: Vec<String> = leading
            .iter()
            .map(|&name| match name {
                "timestamp" => format!("{:.3}", t as f32 / 30.0),
                "confidence" => confidence.to_string(),
                "success" => success.to_string(),
                _ => "0".into(),
            })
            .collect();
        row.extend((0..POINTS).map(|p| (100 * t + p).to_string()));
        row.extend((0..POINTS).map(|p| format!("-{p}")));
        row.extend((0..3 * POINTS).map(|i| format!("{i}.5")));
        text += &(row.join(", ") + "\n");
    }
    text
}

fn track(text: &str, coordinates: Coordinates) -> Result<Track> {
    parse(Path::new("clip.csv"), text.as_bytes(), coordinates)
}

#[test]
fn columns_are_found_by_name_in_any_layout() {
    for leading in [
        &["frame", "timestamp", "confidence"][..],
        &["frame", "face_id", "timestamp", "confidence", "success"],
        &["gaze_0_x", "success", "timestamp"],
    ] {
        let found = track(&csv(leading, &[(0.9, 1.0); 4], true), Coordinates::Image).unwrap();
        assert_eq!(found.frames.shape(), [4, 68, 2]);
        assert_eq!(found.frames.data()[(2 * 68 + 5) * 2..][..2], [205.0, -5.0]);
        assert!((found.rate.unwrap() - 30.0).abs() < 1.0);
        let space = track(&csv(leading, &[(0.9, 1.0); 2], false), Coordinates::Space).unwrap();
        assert_eq!(space.frames.data()[3..6], [1.5, 69.5, 137.5]);
    }
}

#[test]
fn a_face_is_followed_when_its_number_changes_and_held_among_others() {
    let leading = ["frame", "face_id", "timestamp", "confidence", "success"];
    let text = csv(&leading, &[(0.9, 1.0); 5], false);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let faced = |line: &str, face: u8| line.replacen("0, 0, ", &format!("0, {face}, "), 1);
    // Another face beside the first one in frame 1, two others alone in frame 3, and the first under a new number in 4.
    let beside = faced(&lines[2], 1).replace("105", "999");
    lines[4] = faced(&lines[4], 1);
    lines[5] = faced(&lines[5], 3);
    lines.insert(5, faced(&lines[4].replacen("0, 1, ", "0, 0, ", 1), 2));
    lines.insert(2, beside);
    let found = track(&lines.join("\n"), Coordinates::Image).unwrap();
    let fifths: Vec<f32> = found.frames.data().chunks(2 * POINTS).map(|row| row[10]).collect();
    assert_eq!(fifths, [5.0, 105.0, 205.0, 205.0, 405.0]);
    assert_eq!(found.held, 1);
}

/// The header of OpenFace 2.1's `-2Dfp -3Dfp -pdmparams -pose -aus -gaze` after these leading columns.
fn whole_header(leading: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = leading.iter().map(|name| name.to_string()).collect();
    names.extend(
        ["gaze_0_x", "gaze_0_y", "gaze_0_z", "gaze_1_x", "gaze_1_y", "gaze_1_z"].map(Into::into),
    );
    names.extend(["gaze_angle_x", "gaze_angle_y"].map(Into::into));
    for (prefix, count) in ["eye_lmk_x_", "eye_lmk_y_", "eye_lmk_X_", "eye_lmk_Y_", "eye_lmk_Z_"]
        .map(|prefix| (prefix, 56))
        .into_iter()
        .chain([("pose_T", 3), ("pose_R", 3)])
        .chain(["x_", "y_", "X_", "Y_", "Z_"].map(|prefix| (prefix, POINTS)))
        .chain([("p_rigid_", 6), ("p_", 34), ("AU_r_", 17), ("AU_c_", 18)])
    {
        names.extend((0..count).map(|number| format!("{prefix}{number}")));
    }
    names
}

#[test]
fn whole_files_of_each_layout_are_read_by_name_and_without_header_by_position() {
    for (width, leading) in [
        (712, &["frame", "timestamp", "confidence"][..]),
        (713, &["frame", "timestamp", "confidence", "success"]),
        (714, &["frame", "face_id", "timestamp", "confidence", "success"]),
    ] {
        let names = whole_header(leading);
        assert_eq!(names.len(), width);
        let row = |time: usize| -> String {
            let value = |(column, name): (usize, &String)| match name.as_str() {
                "frame" | "face_id" => "0".to_owned(),
                "timestamp" => format!("{:.3}", time as f64 / 29.97),
                "confidence" | "success" => "1".to_owned(),
                _ => (1_000 * time + column).to_string(),
            };
            names.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
        };
        let first = names.iter().position(|name| name == "x_0").unwrap();
        let rows = [row(0), row(1), row(2)].join("\n");
        let with_header = track(&format!("{}\r\n{rows}\n", names.join(", ")), Coordinates::Image);
        let with_header = with_header.unwrap();
        let point = &with_header.frames.data()[68 * 2 + 9 * 2..][..2];
        assert_eq!(point, [(1_000 + first + 9) as f32, (1_000 + first + 68 + 9) as f32]);
        assert!((with_header.rate.unwrap() - 30.0).abs() < 1.0);
        assert_eq!(track(&rows, Coordinates::Image).unwrap(), with_header, "{width} columns");
    }
}

#[test]
fn frames_without_a_face_hold_the_last_good_one() {
    let frames = [(0.9, 0.0), (0.9, 1.0), (0.1, 0.0), (0.1, 1.0)];
    let firsts = |leading: &[&str]| {
        let found = track(&csv(leading, &frames, false), Coordinates::Image).unwrap();
        let firsts: Vec<f32> = found.frames.data().chunks(136).map(|frame| frame[0]).collect();
        (firsts, found.held)
    };
    assert_eq!(firsts(&["success"]), (vec![100.0, 100.0, 100.0, 300.0], 2));
    assert_eq!(firsts(&["confidence"]), (vec![0.0, 100.0, 100.0, 100.0], 2));
    let none = track(&csv(&["success"], &[(1.0, 0.0); 3], false), Coordinates::Image);
    assert!(none.unwrap_err().to_string().contains("no frame with a face (3 rows)"));
}

#[test]
fn positions_serve_only_where_there_is_no_header() {
    for (width, first) in HEADERLESS {
        let row: Vec<String> =
            (0..width).map(|c| if c < 5 { "1".into() } else { c.to_string() }).collect();
        let found = track(&row.join(","), Coordinates::Image).unwrap();
        assert_eq!(found.frames.data()[..2], [first as f32, (first + POINTS) as f32]);
    }
    let message = track("1,2,3\n", Coordinates::Image).unwrap_err().to_string();
    assert!(message.starts_with("clip.csv:1: no header row, and 3 columns"), "{message}");
}

#[test]
fn errors_name_file_line_and_column() {
    let message = track("frame, AU01_r\n0, 1\n", Coordinates::Image).unwrap_err().to_string();
    assert!(message.contains("no column `x_0`") && message.contains("frame, AU01_r"), "{message}");
    let good = csv(&["frame"], &[(1.0, 1.0); 2], false);
    let cut = &good[..good.len() - 30];
    assert!(track(cut, Coordinates::Image).unwrap_err().to_string().starts_with("clip.csv:3: 3"));
    let wrong = good.replacen("101,", "1o1,", 1);
    let message = track(&wrong, Coordinates::Image).unwrap_err().to_string();
    assert!(message.starts_with("clip.csv:3:3: `1o1` is no number"), "{message}");
}

proptest! {
    #[test]
    fn damage_never_panics(cut in 0usize..4000, at in 0usize..4000, byte: u8) {
        let mut bytes = csv(&["timestamp", "confidence"], &[(1.0, 1.0); 2], false).into_bytes();
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(value) = bytes.get_mut(at) { *value = byte; }
        let _ = parse(Path::new("clip.csv"), &bytes, Coordinates::Space);
    }
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.csv");
    let row = |t: usize, success: bool| Row {
        time: t as f64 / 25.0,
        confidence: 0.75,
        success,
        points: std::array::from_fn(|p| [(t * 100 + p) as f32 + 0.25, -(p as f32)]),
    };
    let rows = [row(0, false), row(1, true), row(2, false), row(3, true)];
    write(&path, &rows).unwrap();
    let track = read(&path, Coordinates::Image).unwrap();
    assert_eq!((track.frames.shape(), track.held), (&[4, POINTS, 2][..], 2));
    assert!((track.rate.unwrap() - 25.0).abs() < 1e-3);
    // Frames without a face hold the others.
    for (frame, t) in track.frames.data().chunks_exact(2 * POINTS).zip([1, 1, 1, 3]) {
        let expected: Vec<f32> = row(t, true).points.into_iter().flatten().collect();
        assert_eq!(frame, expected);
    }
}

/// A row for [`table`]: frame, face, seconds, confidence, success, and the x of point 0 (`None` for no number).
type Faced = (u32, u32, f64, f64, u8, Option<f64>);

/// A CSV with these rows; point p is at (x + p, p).
fn table(rows: &[Faced], separator: &str, missing: &str) -> String {
    let mut names: Vec<String> =
        ["frame", "face_id", "timestamp", "confidence", "success"].map(str::to_owned).to_vec();
    for axis in ["x", "y"] {
        names.extend((0..POINTS).map(|p| format!("{axis}_{p}")));
    }
    let mut text = names.join(separator) + "\n";
    for (frame, face, time, confidence, success, x) in rows {
        let mut cells: Vec<String> =
            vec![frame.to_string(), face.to_string(), format!("{time:.3}")];
        cells.extend([format!("{confidence:.3}"), success.to_string()]);
        let point =
            |value: f64| x.map_or(missing.to_owned(), |x| format!("{:.1}", value * x.signum()));
        cells.extend((0..POINTS).map(|p| point(x.unwrap_or(0.0).abs() + p as f64)));
        cells.extend((0..POINTS).map(|p| point(p as f64)));
        text += &(cells.join(separator) + "\n");
    }
    text
}

/// The x of point 0 in each frame.
fn firsts(track: &Track) -> Vec<f32> {
    track.frames.data().chunks(2 * POINTS).map(|frame| frame[0]).collect()
}

fn face(frame: u32, face: u32, confidence: f64, x: f64) -> Faced {
    (frame, face, f64::from(frame - 1) / 30.0, confidence, 1, Some(x))
}

#[test]
fn gaps_and_a_late_start_are_held_by_frame_number() {
    let rows: Vec<Faced> = [3, 4, 5, 9, 10].map(|k| face(k, 0, 0.98, f64::from(k))).to_vec();
    let found = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
    assert_eq!(firsts(&found), [3.0, 3.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0, 9.0, 10.0]);
    assert_eq!((found.held, found.notes.len()), (5, 2), "{:?}", found.notes);
    assert!((found.rate.unwrap() - 30.0).abs() < 0.1, "{:?}", found.rate);
    // Rows in another order, and a file that is sorted by face.
    let mut rows = rows;
    rows.extend([3, 4, 5].map(|k| face(k, 1, 0.3, 500.0)));
    rows.rotate_left(2);
    let sorted = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
    assert_eq!(sorted.frames, found.frames);
}

#[test]
fn the_most_confident_face_is_followed_and_others_are_noted() {
    let rows: Vec<Faced> = (1..=30)
        .flat_map(|k| [face(k, 0, 0.4, f64::from(k)), face(k, 1, 0.98, f64::from(1000 + k))])
        .collect();
    let found = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
    assert_eq!(firsts(&found), (1..=30).map(|k| (1000 + k) as f32).collect::<Vec<_>>());
    assert_eq!(found.held, 0);
    assert_eq!(
        found.notes,
        [
            "shows 2 faces: face_id 1, the most confident, is followed; 30 rows of face_id 0 are left out"
        ]
    );
    // A passer-by who is surer of being a face, but for three frames alone.
    let passed = |k: u32| (5..8).contains(&k).then(|| face(k, 7, 1.0, 900.0));
    let rows: Vec<Faced> =
        (1..=30).flat_map(|k| [Some(face(k, 0, 0.9, f64::from(k))), passed(k)]).flatten().collect();
    let found = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
    assert_eq!(firsts(&found), (1..=30).map(|k| k as f32).collect::<Vec<_>>());
}

#[test]
fn a_face_that_comes_back_under_another_number_is_followed_beside_others_by_its_place() {
    // The face at 100 is number 0, then 2; number 1 at 900 is beside it throughout.
    let rows: Vec<Faced> = (1..=20)
        .flat_map(|k| {
            let id = if k <= 10 { 0 } else { 2 };
            [face(k, id, 0.95, f64::from(100 + k)), face(k, 1, 0.6, 900.0)]
        })
        .collect();
    let found = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
    // Number 1 has the greatest sum, so it is the one that is followed.
    assert_eq!(firsts(&found), [900.0; 20]);
    let surer: Vec<Faced> = rows
        .iter()
        .map(|&(frame, id, time, confidence, success, x)| {
            (frame, id, time, if id == 1 { 0.3 } else { confidence }, success, x)
        })
        .collect();
    let found = track(&table(&surer, ", ", ""), Coordinates::Image).unwrap();
    assert_eq!(firsts(&found), (1..=20).map(|k| (100 + k) as f32).collect::<Vec<_>>());
    assert!(found.notes[0].contains("face_id 0, 2, the most confident"), "{:?}", found.notes);
}

#[test]
fn frames_that_windows_writes_without_numbers_are_held() {
    let row = |k: u32| match k {
        5 | 6 => (k, 0, f64::from(k - 1) / 30.0, 0.0, 0, None),
        _ => face(k, 0, 0.98, f64::from(k)),
    };
    let rows: Vec<Faced> = (1..=8).map(row).collect();
    for missing in ["-nan(ind)", "-1.#IND", "1.#QNAN", "#QNAN", "-nan", "", "NA"] {
        let found = track(&table(&rows, ", ", missing), Coordinates::Image).unwrap();
        assert_eq!(firsts(&found), [1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 7.0, 8.0], "{missing}");
        assert_eq!(found.held, 2);
    }
}

#[test]
fn other_separators_quotes_and_decimal_commas_give_the_same_track() {
    let rows: Vec<Faced> = (1..=6).map(|k| face(k, 0, 0.98, f64::from(k) + 0.5)).collect();
    let plain = table(&rows, ",", "");
    let expected = track(&plain, Coordinates::Image).unwrap();
    let quoted = |text: &str, separator: char| -> String {
        let quote = |line: &str| -> String {
            let cells: Vec<String> = line.split(separator).map(|c| format!("\"{c}\"")).collect();
            cells.join(&separator.to_string()) + "\n"
        };
        text.lines().map(quote).collect()
    };
    let german = table(&rows, ";", "").replace('.', ",");
    let headerless_quotes = plain.split_once('\n').map(|(head, _)| quoted(head, ',')).unwrap();
    for (name, text) in [
        ("semicolons", table(&rows, ";", "")),
        ("tabs", table(&rows, "\t", "")),
        ("bars", table(&rows, "|", "")),
        ("German", german.clone()),
        ("quotes", quoted(&plain, ',')),
        ("German in quotes", quoted(&german, ';')),
        ("a quoted header", headerless_quotes + plain.split_once('\n').unwrap().1),
        ("a byte-order mark and CR LF", format!("\u{feff}{}", plain.replace('\n', "\r\n"))),
        ("CR alone", plain.replace('\n', "\r")),
        ("a separator after the last column", plain.replace('\n', ",\n")),
        ("Excel's line", format!("sep=;\n{german}")),
    ] {
        assert_eq!(track(&text, Coordinates::Image).unwrap(), expected, "{name}");
    }
    let message = track("frame#x_0\n", Coordinates::Image).unwrap_err().to_string();
    assert!(message.contains("separated by `,`, `;`, `|` or a tab"), "{message}");
}

#[test]
fn rates_of_29_97_and_60_come_out_of_milliseconds() {
    for (rate, length) in [(29.97, 120), (60.0, 240)] {
        let row = |k: u32| (k, 0, f64::from(k - 1) / rate, 0.98, 1, Some(f64::from(k)));
        let rows: Vec<Faced> = (1..=length).map(row).collect();
        let found = track(&table(&rows, ", ", ""), Coordinates::Image).unwrap();
        assert!((found.rate.unwrap() - rate).abs() < 0.005, "{rate}: {:?}", found.rate);
    }
}
