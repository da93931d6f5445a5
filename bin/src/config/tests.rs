//! Layers, sources, suggestions.

use super::super::table::{Source, join};
use super::super::{Layers, Resolved, presets, save};
use super::*;

fn resolve(preset: &str, set: &[&str]) -> Result<Resolved> {
    let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
    Resolved::new(&Layers { preset: Some(preset), set: &set, ..Layers::default() })
}

fn refused(preset: &str, set: &[&str]) -> String {
    match resolve(preset, set) {
        Ok(_) => panic!("{set:?} was taken"),
        Err(failure) => failure.to_string(),
    }
}

/// Every leaf with its value.
fn leaves(table: &Table, prefix: &str, all: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => leaves(inner, &join(prefix, key), all),
            _ => all.push((join(prefix, key), value.clone())),
        }
    }
}

#[test]
fn every_preset_can_be_read() -> Result<()> {
    for preset in presets::names() {
        let resolved = resolve(preset, &[])?;
        assert_eq!(resolved.preset, preset);
    }
    Ok(())
}

#[test]
fn every_leaf_can_be_set_and_remembers_who_set_it() -> Result<()> {
    // The other presets have the same keys as one of these.
    for preset in ["world", "paper"] {
        let resolved = resolve(preset, &[])?;
        let mut all = Vec::new();
        leaves(&save::to_table(&resolved.config)?, "", &mut all);
        assert!(all.len() > 60, "{preset} has only {} leaves", all.len());
        for (key, value) in all {
            let again = resolve(preset, &[&format!("{key}={value}")])?;
            assert_eq!(again.config, resolved.config, "{preset} {key}={value}");
            assert_eq!(again.sources.get(&key), Some(&Source::Set), "{preset} {key}");
        }
    }
    Ok(())
}

#[test]
fn an_unknown_key_is_refused_at_every_level() -> Result<()> {
    let resolved = resolve("world", &[])?;
    let mut all = Vec::new();
    leaves(&save::to_table(&resolved.config)?, "", &mut all);
    for (key, _) in all {
        let misspelt = format!("{key}x");
        let message = refused("world", &[&format!("{misspelt}=1")]);
        assert!(
            message.contains(&format!("unknown key `{misspelt}` (--set)")),
            "{misspelt}: {message}"
        );
        assert!(message.contains(&format!("did you mean `{key}`?")), "{misspelt}: {message}");
    }
    Ok(())
}

#[test]
fn suggestions() {
    let message = refused("world", &["training.epoch=3"]);
    assert_eq!(
        message,
        "unknown key `training.epoch` (--set)\nhint: did you mean `training.epochs`?"
    );
    let message = refused("world", &["trainin.epochs=3"]);
    assert_eq!(message, "unknown key `trainin` (--set)\nhint: did you mean `training`?");
    let message = refused("world", &["temperature=0.1"]);
    // Every table that has such a key.
    assert!(message.starts_with("unknown key `temperature` (--set)\nhint: did you mean `system."));
    for key in ["`system.masked.temperature`", "`system.mpuc.loss.temperature`"] {
        assert!(message.contains(key), "{message}");
    }
    let message = refused("world", &["modality.voic.window=3"]);
    assert_eq!(
        message,
        "unknown modality `modality.voic` (--set)\nhint: did you mean `modality.voice`?"
    );
    let message = refused("world", &["sampling.sampler=unifrom"]);
    assert!(
        message.starts_with(
            "`sampling.sampler` cannot be `unifrom` (--set)\nhint: did you mean `uniform`?"
        ),
        "{message}"
    );
    let message = refused("world", &["training.optimizer.kind=adan"]);
    assert!(message.starts_with("`training.optimizer.kind` cannot be `adan` (--set)"), "{message}");
    let message = refused("wrld", &[]);
    assert!(message.contains("did you mean `world`?"), "{message}");
    let message = refused("world", &["training.patence="]);
    assert!(message.contains("did you mean `training.patience`?"), "{message}");
    assert!(refused("world", &["training"]).contains("there is no `=`"));
}

#[test]
fn wrong_types_name_the_key() {
    let message = refused("world", &["training.epochs=many"]);
    assert!(
        message.contains(
            "`training.epochs`: expected a whole number, 0 or more, got the text \"many\""
        ) && message.contains("--set"),
        "{message}"
    );
    let message = refused("world", &["training.optimizer.weight_decay=much"]);
    assert!(
        message.contains("`training.optimizer.weight_decay`: expected a number, got"),
        "{message}"
    );
    let message = refused("world", &["modality.voice.feature.measure=powr"]);
    assert!(message.contains("`modality.voice.feature.measure` cannot be `powr`"), "{message}");
    let message = refused("world", &["data.folds=-3"]);
    assert!(message.contains("`data.folds`"), "{message}");
    let message = refused("world", &["seeds.first=1"]);
    assert!(message.contains("`seeds` is a value, not a table"), "{message}");
}

const TEMPERATURE: &str = "system.mpuc.loss.temperature=.1";

#[test]
fn values_are_read_as_people_write_them() -> Result<()> {
    let config = resolve("world", &["seeds=3,4", TEMPERATURE, "training.learning_rate=1"])?.config;
    assert_eq!(
        (config.seeds, config.system.mpuc.loss.temperature, config.training.learning_rate),
        (vec![3, 4], 0.1, 1.0)
    );
    let config =
        resolve("world", &["arms=[untrained, mpuc]", "data.path=2024", "data.cache="])?.config;
    assert_eq!((config.arms.len(), config.data.path), (2, std::path::PathBuf::from("2024")));
    let config = resolve("world", &["arms=[mpuc]", "modality.faces="])?.config;
    assert_eq!((config.arms.len(), config.modality.len()), (1, 2));
    Ok(())
}

#[test]
fn optional_values_come_and_go() -> Result<()> {
    let set = ["training.patience=5", "data.validation=next_fold"];
    assert_eq!(resolve("world", &set)?.config.training.patience, Some(5));
    let gone = [set[0], set[1], "training.patience="];
    assert_eq!(resolve("world", &gone)?.config.training.patience, None);
    assert_eq!(resolve("world", &["modality.faces.pick="])?.config.modality["faces"].pick, None);
    Ok(())
}

#[test]
fn another_kind_starts_anew() -> Result<()> {
    let set = [
        "training.optimizer.kind=sgd",
        "training.optimizer.momentum=0.9",
        "training.optimizer.weight_decay=0",
    ];
    assert_eq!(
        resolve("world", &set)?.config.training.optimizer,
        engine::optim::Rule::sgd(0.9, 0.0)
    );
    let message = refused("world", &set[..2]);
    assert!(message.contains("`training.optimizer.weight_decay` is missing"), "{message}");
    // The same kind again changes nothing.
    let same = resolve("world", &["training.optimizer.kind=adam"])?;
    assert_eq!(same.config, resolve("world", &[])?.config);
    Ok(())
}

#[test]
fn files_lie_between_presets_and_flags() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("my.toml");
    std::fs::write(&path, "base = \"world\"\n[training]\nepochs = 5\nbatch = 16\n")?;
    let set = ["training.batch=8".to_owned()];
    let flags = vec![("--seeds", "seeds", Value::Array(vec![Value::Integer(9)]))];
    let resolved = Resolved::new(&Layers { preset: None, file: Some(&path), set: &set, flags })?;
    let config = &resolved.config;
    assert_eq!(
        (config.training.epochs, config.training.batch, &config.seeds[..]),
        (5, 8, &[9][..])
    );
    let source = |key: &str| resolved.sources[key].to_string();
    assert_eq!(source("training.epochs"), format!("{}:3", path.display()));
    assert_eq!((source("training.batch"), source("seeds")), ("--set".into(), "--seeds".into()));
    assert_eq!((source("data.folds"), resolved.preset.as_str()), ("preset world".into(), "world"));

    std::fs::write(&path, "[training]\nepoch = 5\n")?;
    let layers = Layers { file: Some(&path), ..Layers::default() };
    let message = Resolved::new(&layers).map(|_| ()).unwrap_err().to_string();
    assert!(
        message.contains(&format!("unknown key `training.epoch` ({}:2)", path.display())),
        "{message}"
    );

    std::fs::write(&path, "[training]\nepochs = = 5\n")?;
    let message = Resolved::new(&layers).map(|_| ()).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}:2", path.display())), "{message}");
    Ok(())
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (set, key) in [
        (&["seeds=[]"][..], "`seeds`"),
        (&["data.run_folds=4"], "`data.run_folds`"),
        (&["data.folds=4"], "`data.folds`"),
        (&["modality.faces.pick=31"], "`modality.faces.pick`"),
        (&["modality.voice.dropout=1"], "`modality.voice.dropout`"),
        (&["system.mpuc.loss.temperature=0"], "`system.mpuc.loss.temperature`"),
        (&["arm.mpuc.settings.loss.temperature=0"], "`arm.mpuc.settings.loss.temperature`"),
        (&["arm.late_fusion.training.batch=1"], "`arm.late_fusion.training.batch`"),
        (&["arm.mpuc.system=mpcu"], "`arm.mpuc.system`"),
        (&["arm.mpuc.modalities=[voice, smell]"], "`arm.mpuc.modalities`"),
        (&["arms=[mpuc, unimodel]"], "`arms`"),
        (&["arms=[single]"], "`arm.single.features`"),
        (&["arms=[]"], "`arms`"),
        (
            &["arms=[mpuc, untrained]", "arm.mpuc.teacher=untrained", "arm.untrained.teacher=mpuc"],
            "`arm.mpuc.teacher`",
        ),
        (&["baseline=nobody"], "`baseline`"),
        (&["training.patience=3"], "`training.patience`"),
        (&["training.batch=1"], "`training.batch`"),
        (&["modality.faces=", "modality.voice="], "`modality`"),
    ] {
        let message = refused("world", set);
        assert!(message.contains(key), "{set:?}: {message}");
    }
}

#[test]
fn an_arm_has_what_it_says_and_else_what_all_have() -> Result<()> {
    let set = [
        "arms=[mpuc, clip, unimodal]",
        "arm.clip.system=mpuc",
        "arm.clip.settings.loss.denominator=include_positive",
        "arm.clip.training.epochs=3",
        "system.mpuc.loss.temperature=0.2",
    ];
    let resolved = resolve("world", &set)?;
    let [mpuc, clip, unimodal] = &resolved.arms[..] else { panic!("{:?}", resolved.arms) };
    let loss = |arm: &Arm| match arm.system() {
        Some(models::systems::SystemSettings::Mpuc(settings)) => settings.loss.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((loss(mpuc).temperature, loss(clip).temperature), (0.2, 0.2));
    assert_ne!(loss(mpuc).denominator, loss(clip).denominator);
    assert_eq!((mpuc.training.epochs, clip.training.epochs), (40, 3));
    assert_eq!(mpuc.training.batch, clip.training.batch);
    let names: Vec<String> =
        unimodal.on(&["voice".into(), "faces".into()]).into_iter().map(|arm| arm.name).collect();
    assert_eq!(names, ["unimodal.voice", "unimodal.faces"]);
    // Saved and read back, the arms are what they were.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.toml");
    resolved.save(&path)?;
    assert_eq!(Resolved::load(&path, "world")?.arms, resolved.arms);
    Ok(())
}

#[test]
fn an_arm_has_windows_and_standardisers_of_its_own() -> Result<()> {
    let set = [
        "arms=[mpuc, untrained]",
        "arm.mpuc.modality.voice={ window = 12, standardise = \"range\" }",
    ];
    let all = resolve("world", &[])?;
    let resolved = resolve("world", &set)?;
    let [mpuc, untrained] = &resolved.arms[..] else { panic!("{:?}", resolved.arms) };
    let voice = &resolved.config.modality["voice"];
    let own = mpuc.modality["voice"].over(voice);
    assert_eq!((own.window, own.evaluation_window), (12, voice.evaluation_window));
    assert_eq!(own.standardise, crate::config::Standardise::Range);
    assert_eq!((own.feature, own.pick), (voice.feature.clone(), voice.pick));
    assert!(mpuc.modality.len() == 1 && untrained.modality.is_empty());
    // The hash of results has them, and only where they differ.
    let hash = |resolved: &Resolved, name: &str| {
        resolved.hash_of(resolved.arms.iter().find(|arm| arm.name == name).unwrap())
    };
    assert_ne!(hash(&resolved, "mpuc")?, hash(&all, "mpuc")?);
    assert_eq!(hash(&resolved, "untrained")?, hash(&all, "untrained")?);
    let same = format!("arm.mpuc.modality.voice.window={}", voice.window);
    assert_eq!(hash(&resolve("world", &[&same])?, "mpuc")?, hash(&all, "mpuc")?);
    // Saved and read back, the arms are what they were.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.toml");
    resolved.save(&path)?;
    assert_eq!(Resolved::load(&path, "world")?.arms, resolved.arms);
    let teacher = "arm.late_fusion.modality.voice.window=12";
    for (set, wanted) in [
        (
            &["arm.mpuc.modality.voice.windw=3"][..],
            "did you mean `arm.mpuc.modality.voice.window`?",
        ),
        (&["arm.mpuc.modality.voice.window=0"], "`arm.mpuc.modality.voice.window` is 0"),
        (&["arm.mpuc.modality.voice.window=many"], "`arm.mpuc.modality.voice.window`: expected"),
        (&["arm.mpuc.modality.voice.dropout=1"], "`arm.mpuc.modality.voice.dropout`"),
        (&["arm.mpuc.modality.faces.window=3"], "`arm.mpuc.modality.faces` has windows with which"),
        (&["arm.mpuc.modality.faces.pick=3"], "`arm.mpuc.modality.faces.pick` cannot differ"),
        (&["arm.mpuc.modality.voice.backbone.width=8"], "arm.mpuc.backbones.voice"),
        (&["arm.mpuc.modality.voise.window=3"], "did you mean `voice`?"),
        (&["arms=[mpuc, single]", "arm.single.modality.voice.window=3"], "set arm.mpuc.modality"),
        (&["arms=[late_fusion, ccl]", teacher], "`arm.ccl.teacher` is `late_fusion`, whose"),
    ] {
        let message = refused("world", set);
        assert!(message.contains(wanted), "{set:?}: {message}");
    }
    let both = ["arms=[late_fusion, ccl]", teacher, "arm.ccl.modality.voice.window=12"];
    assert_eq!(resolve("world", &both)?.arms.len(), 2);
    Ok(())
}

/// The configuration of a run of the version before arms, word for word.
const EARLIER: &str = include_str!("earlier.toml");

#[test]
fn a_run_of_the_version_before_arms_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.toml");
    std::fs::write(&path, EARLIER)?;
    let earlier = Resolved::load(&path, "smoke")?;
    let names: Vec<&str> = earlier.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!(names, ["untrained", "single", "mpuc"]);
    assert_eq!(resolve("smoke", &[])?.difference(&earlier)?, None);
    // A file of the user's with the old keys is laid over a preset too.
    std::fs::write(
        &path,
        "base = \"world\"\ncontrols = [\"late_fusion_supervised\"]\n[loss]\ntemperature = 0.5\n",
    )?;
    let mine = Resolved::new(&Layers { file: Some(&path), ..Layers::default() })?;
    let names: Vec<&str> = mine.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!(names, ["mpuc", "late-fusion"]);
    assert_eq!(mine.config.system.mpuc.loss.temperature, 0.5);
    Ok(())
}

#[test]
fn the_format_is_that_of_the_data_unless_it_is_set() -> Result<()> {
    let folder =
        tempfile::tempdir().map_err(|error| Failure::io("make", "a folder".as_ref(), &error))?;
    let table = folder.path().join("mine.csv");
    std::fs::write(&table, "id,voice\n").map_err(|error| Failure::io("write", &table, &error))?;
    let path = format!("data.path={}", table.display());
    for preset in ["quick", "paper", "mosei"] {
        let resolved = resolve(preset, &[&path])?;
        assert_eq!(resolved.config.data.format.name(), "manifest", "{preset}");
        assert_eq!(resolved.sources.get("data.format"), Some(&Source::Recognised), "{preset}");
    }
    let by_hand = resolve("paper", &[&path, "data.format=folders"])?;
    assert_eq!(by_hand.config.data.format.name(), "folders");
    // Nothing is there, so that the preset's corpus is what is missing.
    let absent = resolve("mosei", &["data.path=/nonexistent/data"])?;
    assert_eq!(absent.config.data.format.name(), "mosei");
    Ok(())
}
