use super::*;
use crate::corpus::Label;

fn manifest(text: &str, overrides: &[(&str, FeatureKind)]) -> Result<Manifest> {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a.wav", "b.wav", "a.npy"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("frames")).unwrap();
    let path = folder.path().join("m.csv");
    std::fs::write(&path, text).unwrap();
    read(&path, &overrides.iter().map(|(name, kind)| (name.to_string(), *kind)).collect())
}

#[test]
fn rows_become_samples() {
    let text = "id,label,group,voice,face,words\nx,10,anna,a.wav,,\"text: Hi, you\"\ny,9,,b.wav,a.npy,\nz,,anna,,a.npy,text:no\n";
    let found = manifest(text, &[("face", FeatureKind::Clip)]).unwrap();
    assert_eq!(found.kinds, [FeatureKind::Voice, FeatureKind::Clip, FeatureKind::Words]);
    let corpus = &found.corpus;
    assert_eq!(
        (corpus.modalities.join(" "), corpus.classes.join(" ")),
        ("voice face words".into(), "9 10".into())
    );
    let labels: Vec<_> = corpus.samples.iter().map(|s| s.label).collect();
    assert_eq!(labels, [Some(Label::One(1)), Some(Label::One(0)), None]);
    assert_eq!(corpus.samples[0].files[2], Some(Source::Text("Hi, you".into())));
    assert_eq!(corpus.missing(), [1, 1, 1]);
    assert_eq!((corpus.samples[1].group.clone(), corpus.notices.len()), (None, 3));
    assert_eq!(manifest("voice\na.wav\nb.wav\n", &[]).unwrap().corpus.samples[1].id, "2");
}

#[test]
fn several_labels_parts_and_folders_of_pictures() {
    let text =
        "part,labels,voice\ntrain,sad;happy,a.wav\nvalid,-,b.wav\ntest, sad ,a.wav\n,,b.wav\n";
    let corpus = manifest(text, &[]).unwrap().corpus;
    assert_eq!(corpus.classes, ["happy", "sad"]);
    let labels: Vec<_> = corpus.samples.iter().map(|s| s.label).collect();
    assert_eq!(labels, [Some(Label::Each(3)), Some(Label::Each(0)), Some(Label::Each(2)), None]);
    let parts: Vec<_> = corpus.samples.iter().map(|s| s.part).collect();
    assert_eq!(parts, [Some(Part::Train), Some(Part::Validation), Some(Part::Test), None]);
    let found = manifest("voice,faces\na.wav,frames\n", &[]).unwrap();
    assert_eq!(found.kinds, [FeatureKind::Voice, FeatureKind::Clip]);
}

#[test]
fn errors_name_the_file_and_the_line() {
    let message = |text: &str| manifest(text, &[]).unwrap_err().to_string();
    for (text, wanted) in [
        ("voice\n", "m.csv: is taken for a manifest (CSV) and has no rows"),
        ("", "m.csv:1: is empty"),
        (",,\n\n", "m.csv:1: is empty"),
        ("voice\n\n\n,\na.wav\nnone.wav\n", "m.csv: line 6: `voice` names"),
        ("voice;x\na.wav\n", "m.csv:2: 1 cells where the header has 2; add or remove `;`"),
        (
            "x,voice\n\"a.wav,a.wav\nb.wav,b.wav\n",
            "m.csv:2: 1 cells where the header has 2; close the quote",
        ),
        ("id,voice\nx,a.wav\nx,b.wav\n", "m.csv:3: duplicate id `x`, first in line 2"),
        ("voice\na.wav\nnone.wav\n", "m.csv: line 3: `voice` names"),
        ("voice,voice\na.wav,b.wav\n", "m.csv:1:2: there are two columns `voice`"),
        ("voice,,x\na.wav,b.wav,\n", "m.csv:1:2: the column has no name"),
        ("sep=;\nid;x;voice\nx;;a.wav\n", "m.csv:2:2: the column `x` is empty in every row"),
        ("id,voice\nx,a.wav,b\n", "m.csv:2: 3 cells where the header has 2"),
        ("id,label\nx,1\n", "m.csv:1: has no column for a modality"),
        ("id,voice\nx,a.ogg\n", "m.csv:2:2: cannot tell what `a.ogg` is"),
        ("voice\na.wav\nframes\n", "m.csv: line 3: `voice` names"),
        ("part,voice\ntrain,a.wav\ndev2,b.wav\n", "m.csv:3:1: unknown part `dev2`"),
        ("labels,voice\na;,a.wav\n", "m.csv:2:1: a name is missing"),
        ("label,labels,voice\na,a,a.wav\n", "m.csv:1:2: `labels` beside `label`"),
    ] {
        assert!(message(text).contains(wanted), "{}", message(text));
    }
    let other = manifest("voice\na.wav\n", &[("faces", FeatureKind::Clip)]);
    assert_eq!(
        other.unwrap().kinds,
        [FeatureKind::Voice],
        "kinds of other columns are passed over"
    );
}

#[test]
fn blank_rows_are_skipped_and_counted() {
    let text = "id,label,voice\nx,1,a.wav\n,,\n\n , ,\ny,2,b.wav\n,,,,\n\n";
    let found = manifest(text, &[]).unwrap().corpus;
    let ids: Vec<&str> = found.samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids, ["x", "y"]);
    assert_eq!(found.notices, ["3 blank rows are skipped"]);
}

#[test]
fn other_separators_marks_and_line_ends_give_the_same_corpus() {
    let plain = "id,labels,voice,words\nx,sad,a.wav,text:so\ny,happy,b.wav,\n";
    let expected = |text: &str| {
        let corpus = manifest(text, &[]).unwrap().corpus;
        let file = |file: &Option<Source>| {
            file.as_ref().map(|file| file.path().file_name().unwrap().to_owned())
        };
        let row = |sample: &Sample| {
            let files: Vec<_> = sample.files.iter().map(file).collect();
            (sample.id.clone(), sample.label, files)
        };
        (corpus.modalities.clone(), corpus.samples.iter().map(row).collect::<Vec<_>>())
    };
    for (name, text) in [
        ("semicolons", plain.replace(',', ";")),
        ("tabs", plain.replace(',', "\t")),
        ("bars", plain.replace(',', "|")),
        (
            "a quoted header",
            plain.replacen("id,labels,voice,words", "\"id\",\"labels\",\"voice\",\"words\"", 1),
        ),
        ("a byte-order mark", format!("\u{feff}{plain}")),
        ("a byte-order mark and quotes", format!("\u{feff}\"id\"{}", &plain[2..])),
        ("CR LF", plain.replace('\n', "\r\n")),
        ("CR", plain.replace('\n', "\r")),
        ("empty columns at the right", plain.replace('\n', ",,\n")),
        ("Excel's line", format!("sep=;\r\n{}", plain.replace(',', ";"))),
        ("blank lines first", format!("\n,,,\n{plain}")),
    ] {
        assert_eq!(expected(&text), expected(plain), "{name}");
    }
}

#[test]
fn what_is_not_utf8_is_named_with_its_cell() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    // The manifest's own name may be anything.
    let path = folder.path().join(OsStr::from_bytes(b"caf\xe9.csv"));
    std::fs::write(&path, b"id,voice\nx,a.wav\ny,caf\xe9.wav\n").unwrap();
    let error = read(&path, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains(".csv:3:2: is not UTF-8 text; save the file as UTF-8"), "{error}");
    std::fs::write(&path, b"\xff\xfei\0d\0").unwrap();
    let error = read(&path, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("is UTF-16 text"), "{error}");
    std::fs::write(folder.path().join("a.wav"), "").unwrap();
    std::fs::write(&path, "id,voice\nx,a.wav\n").unwrap();
    assert_eq!(read(&path, &BTreeMap::new()).unwrap().corpus.samples.len(), 1);
}
