//! Arms, which a run compares: each trains a system, or probes features.

use super::explain::refused;
use super::nearest::among;
use super::over::{self, ArmModality};
use super::table::Builder;
use super::{Config, ValidationPart};
use crate::failure::Result;
use models::backbones::BackboneSettings;
use models::evaluate::ProbeSettings;
use models::systems::{Refusal, SystemSettings};
use models::train::TrainingSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Table;

/// The value of `features` that names the synthetic world's true factors.
pub const FACTORS: &str = "factors";

/// `[arm.NAME]`: one row of a run's table, as the configuration writes it.
///
/// An arm has either `system`, which it trains, or `features`, which it takes from another arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArmConfig {
    /// Its name in tables; default: the arm's name.
    pub title: Option<String>,
    /// The system that it trains.
    pub system: Option<String>,
    /// Instead of a system: the arm whose frozen networks it uses, or `factors`, the synthetic world's true factors.
    pub features: Option<String>,
    /// The arm whose trained networks its system takes, frozen.
    pub teacher: Option<String>,
    /// The modalities that it is trained on, or whose features it probes; default: all.
    #[serde(skip_serializing_if = "Modalities::is_all")]
    pub modalities: Modalities,
    /// Which samples' modalities stand together in training.
    #[serde(skip_serializing_if = "Pairing::is_own")]
    pub pairing: Pairing,
    /// Maximum of epochs; default: `training.epochs`. With 0 the networks keep their initial weights, and only batch-norm
    /// statistics are measured.
    pub epochs: Option<u64>,
    /// How it is evaluated; default: by the system's own head if it has one, otherwise by a probe.
    pub evaluation: Option<EvaluationKind>,
    /// Settings of the system that differ from `[system.NAME]`.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub settings: Table,
    /// By modality, settings of its backbone that differ from `[modality.NAME.backbone]`; another `kind` replaces it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backbones: BTreeMap<String, Table>,
    /// By modality, its other settings that differ from `[modality.NAME]`: windows, padding, standardisation, augmentation
    /// and dropout.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modality: BTreeMap<String, Table>,
    /// Settings of training that differ from `[training]`.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub training: Table,
    /// Settings of the probe that differ from `[probe]`.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub probe: Table,
}

/// Which modalities an arm has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Modalities {
    /// All modalities of the data.
    #[default]
    #[serde(skip)]
    All,
    /// The word `each`: one arm `NAME.MODALITY` for every modality alone.
    Word(EachWord),
    /// The modalities with these names.
    These(Vec<String>),
}

impl Modalities {
    fn is_all(&self) -> bool {
        *self == Modalities::All
    }
}

/// The word `each`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EachWord {
    /// One arm for every modality.
    Each,
}

/// Which samples' modalities stand together in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Modalities of the same sample are paired.
    #[default]
    Own,
    /// Each modality but one is permuted over the batch: a control whose pairs share nothing. The one is the first, or the
    /// student of `ccl`, which keeps its labels.
    Shuffled,
}

impl Pairing {
    fn is_own(&self) -> bool {
        *self == Pairing::Own
    }
}

/// How an arm is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationKind {
    /// A probe on frozen features.
    Probe,
    /// The system's own head.
    Head,
    /// A probe on frozen features with permuted labels: a control at chance level.
    PermutedLabels,
}

/// Where an arm's features come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It trains a system.
    System(SystemSettings),
    /// It takes the frozen networks of the arm of this name.
    Arm(String),
    /// The true factors.
    Factors,
}

/// An arm with all settings resolved. Its JSON, without what has no effect, is a part of the hash of its results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// Its name, also of its checkpoint and results.
    pub name: String,
    /// Its name in tables.
    #[serde(skip)]
    pub title: String,
    /// Where its features come from.
    pub origin: Origin,
    /// The arm whose trained networks its system takes, frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Its modalities; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modalities: Option<Vec<String>>,
    /// Its own backbones, by modality; others have the modality's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backbones: BTreeMap<String, BackboneSettings>,
    /// Its own windows, padding, standardisation, augmentation and dropout, by modality; others have the modality's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modality: BTreeMap<String, ArmModality>,
    /// Which samples' modalities stand together in training.
    #[serde(skip_serializing_if = "Pairing::is_own")]
    pub pairing: Pairing,
    /// How it is evaluated.
    pub evaluation: EvaluationKind,
    /// How its system is trained.
    pub training: TrainingSettings,
    /// How its probe is trained.
    pub probe: ProbeSettings,
    #[serde(skip)]
    each: bool,
}

impl Arm {
    /// The system that it trains, if it does.
    pub fn system(&self) -> Option<&SystemSettings> {
        match &self.origin {
            Origin::System(settings) => Some(settings),
            _ => None,
        }
    }

    /// The arms to run on data with these modalities: with `modalities = "each"` one for each of them, otherwise this
    /// arm alone.
    pub fn on(&self, modalities: &[String]) -> Vec<Arm> {
        if self.each {
            let alone = |modality: &String| Arm {
                name: format!("{}.{modality}", self.name),
                title: format!("{}, {modality} alone", self.title),
                modalities: Some(vec![modality.clone()]),
                each: false,
                ..self.clone()
            };
            return modalities.iter().map(alone).collect();
        }
        vec![self.clone()]
    }
}

/// The arms of a configuration, in the order of its list, complete and checked.
pub(super) fn resolve(builder: &Builder, config: &Config) -> Result<Vec<Arm>> {
    let refuse = |key: &str, why: String| refused(&builder.sources, key, &why);
    if config.arms.is_empty() {
        return Err(refuse("arms", "is empty; name at least one, e.g. [\"mpuc\"]".into()));
    }
    let mut arms: Vec<Arm> = Vec::new();
    for name in &config.arms {
        let Some(written) = config.arm.get(name) else {
            let known: Vec<&str> = config.arm.keys().map(String::as_str).collect();
            let failure = refuse("arms", format!("names `{name}`, and there is no [arm.{name}]"));
            return Err(failure.hint(among(name, &known)));
        };
        if arms.iter().any(|arm| arm.name == *name) {
            return Err(refuse("arms", format!("names `{name}` twice; each arm is run once")));
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let why = format!("has the arm `{name}`; use letters, digits, `_` and `-`");
            return Err(refuse("arm", why));
        }
        let arm = complete(builder, config, name, written)?;
        arms.push(arm);
    }
    for arm in &arms {
        let features = match &arm.origin {
            Origin::Arm(other) => Some(("features", other)),
            _ => None,
        };
        let teacher = arm.teacher.as_ref().map(|other| ("teacher", other));
        for (key, other) in features.into_iter().chain(teacher) {
            let trains = |arm: &&Arm| {
                let whole = arm.system().is_some() && !arm.each;
                arm.name == *other && whole && (key != "teacher" || arm.teacher.is_none())
            };
            if arm.name == *other || !arms.iter().any(|arm| trains(&arm)) {
                let alone = if key == "teacher" { " without a teacher of its own" } else { "" };
                let why = format!(
                    "is `{other}`, which is no other arm of `arms` that trains a system{alone}; add one to the list"
                );
                return Err(refuse(&format!("arm.{}.{key}", arm.name), why));
            }
        }
        let teacher = arms.iter().find(|other| Some(&other.name) == arm.teacher.as_ref());
        if let Some(teacher) = teacher.filter(|teacher| teacher.modality != arm.modality) {
            let (name, teacher) = (&arm.name, &teacher.name);
            let why = format!(
                "is `{teacher}`, whose networks read other windows or values: [arm.{name}.modality] and [arm.{teacher}.modality] differ"
            );
            let failure = refuse(&format!("arm.{name}.teacher"), why);
            return Err(failure.hint("give a student and its teacher the same ones, or none"));
        }
    }
    if let Some(baseline) = &config.baseline
        && !config.arm.contains_key(baseline)
    {
        let known: Vec<&str> = config.arm.keys().map(String::as_str).collect();
        let failure =
            refuse("baseline", format!("is `{baseline}`, and there is no [arm.{baseline}]"));
        return Err(failure.hint(among(baseline, &known)));
    }
    Ok(arms)
}

fn complete(builder: &Builder, config: &Config, name: &str, written: &ArmConfig) -> Result<Arm> {
    let key = |last: &str| format!("arm.{name}.{last}");
    let refuse = |last: &str, why: &str| refused(&builder.sources, &key(last), why);
    let unfit = |prefix: String, Refusal { key, why }: Refusal| {
        refused(&builder.sources, &format!("{prefix}.{key}"), &why)
    };
    let mut training =
        over::over(builder, "training", &written.training, &key("training"))?.0.training;
    if let Some(epochs) = written.epochs {
        training.epochs = epochs;
    }
    training.check().map_err(|refusal| {
        let own = written.training.contains_key(refusal.key);
        unfit(if own { key("training") } else { "training".into() }, refusal)
    })?;
    let backbones = over::backbones(builder, config, name, written)?;
    let mut modality = over::modalities(builder, config, name, written)?;
    let probe = over::over(builder, "probe", &written.probe, &key("probe"))?.0.probe;
    probe.check().map_err(|refusal| unfit("probe".into(), refusal))?;
    let patient = [
        ("training.patience", training.patience.is_some()),
        ("probe.patience", probe.patience.is_some()),
    ];
    for (key, patient) in patient {
        if patient && config.data.validation == ValidationPart::None {
            let why = "needs a validation part; set data.validation = \"next_fold\", or remove the patience";
            return Err(refused(&builder.sources, key, why));
        }
    }
    let origin = match (&written.system, &written.features) {
        (Some(system), None) => Origin::System(over::system(builder, system, written, name)?),
        (None, Some(features)) if features == FACTORS => Origin::Factors,
        (None, Some(features)) => Origin::Arm(features.clone()),
        _ => {
            let why = "must have either `system` or `features`";
            return Err(refused(&builder.sources, &format!("arm.{name}"), why));
        }
    };
    let needs = match &origin {
        Origin::System(settings) => Some(settings.needs()),
        _ => None,
    };
    let each = matches!(written.modalities, Modalities::Word(EachWord::Each));
    let modalities = match &written.modalities {
        Modalities::These(names) => {
            if let Some(unknown) = names.iter().find(|name| !config.modality.contains_key(*name)) {
                let why = format!("names `{unknown}`, and there is no [modality.{unknown}]");
                return Err(refuse("modalities", &why));
            }
            modality.retain(|modality, _| names.contains(modality));
            Some(names.clone())
        }
        _ => None,
    };
    if let Some(needs) = &needs {
        let count = match (each, &modalities) {
            (true, _) => 1,
            (false, Some(names)) => names.len(),
            (false, None) => config.modality.len(),
        };
        if !needs.modalities.contains(&count) {
            let (least, most) = (needs.modalities.start(), needs.modalities.end());
            let wanted = match (least, most) {
                (least, &usize::MAX) => format!("at least {least}"),
                (1, 1) => "exactly 1 (modalities = \"each\" makes an arm of each)".into(),
                (least, most) => format!("{least} to {most}"),
            };
            let why = format!("are {count}, and the system takes {wanted}");
            let at =
                if modalities.is_some() || each { key("modalities") } else { "modality".into() };
            return Err(refused(&builder.sources, &at, &why));
        }
    }
    let head = needs.as_ref().is_some_and(|needs| needs.head) && training.epochs > 0;
    let default = if head { EvaluationKind::Head } else { EvaluationKind::Probe };
    let evaluation = written.evaluation.unwrap_or(default);
    if evaluation == EvaluationKind::Head && !head {
        let why = "is `head`, and the arm trains no head; use `probe`";
        return Err(refuse("evaluation", why));
    }
    Ok(Arm {
        name: name.to_owned(),
        title: written.title.clone().unwrap_or_else(|| name.to_owned()),
        origin,
        teacher: written.teacher.clone(),
        modalities,
        backbones,
        modality,
        pairing: written.pairing,
        evaluation,
        training,
        probe,
        each,
    })
}
