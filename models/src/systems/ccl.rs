//! CCL: compositional contrastive learning (Chen et al. 2021). The network of one modality, the student, learns with labels
//! from the frozen networks of other modalities, its teachers.

mod losses;

pub use losses::{Likeness, divergence, jeffreys, nce};

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System, Teacher};
use crate::contrast::unit;
use crate::heads::{ClassifierSettings, Prediction};
use crate::targets::Task;
use engine::nn::Linear;
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`Ccl`]; the temperature's default is the authors' for an audio teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CclSettings {
    /// The modality whose network is trained and evaluated.
    pub student: String,
    /// The modalities of the teachers; if empty, all others.
    pub teachers: Vec<String>,
    /// What the student learns from besides the labels.
    pub distillation: Distillation,
    /// The divisor of the cosine similarities.
    pub nce_temperature: f64,
    /// The student's classifier.
    pub head: ClassifierSettings,
}

/// What the student learns from besides the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distillation {
    /// Nothing: the labels alone. It needs no teacher.
    None,
    /// The probabilities of the teacher's own head: their Kullback-Leibler divergence from the student's (Hinton et al.
    /// 2015, temperature 1).
    Logits,
    /// The teachers' features, and their compositions with the student's.
    Ccl,
}

impl Default for CclSettings {
    fn default() -> Self {
        CclSettings {
            student: "faces".into(),
            teachers: Vec::new(),
            distillation: Distillation::Ccl,
            nce_temperature: 0.5,
            head: ClassifierSettings::default(),
        }
    }
}

/// The student's network and classifier, the frozen teacher, and a composer for each of its modalities.
///
/// With features v of the student and t of a teacher, the composition is c = t + W [t̂ ; v̂] + b, where a hat is the division
/// by the norm. The student minimises the cross entropy of its logits and w Σ (S(v, c) + S(v, t) + J(v, c)) with w one over
/// the number of teachers, a composer the cross entropy of its own logits and S(v, c) + S(c, t) + J(v, c), where
/// S(x, y) = [`nce`](x, y) + nce(y, x) and J is [`jeffreys`] of the logits. No gradient of the student's loss reaches a
/// composer, and none of a composer's the student.
#[derive(Debug)]
pub struct Ccl {
    student: usize,
    encoder: Encoders,
    head: Prediction,
    teacher: Option<Teacher>,
    composers: Vec<Composer>,
    names: Vec<String>,
    distillation: Distillation,
    temperature: f64,
    task: Task,
}

/// The composer of one teacher.
#[derive(Debug, Clone)]
struct Composer {
    /// The teacher's modality.
    modality: usize,
    map: Linear,
    head: Linear,
}

impl Definition for Ccl {
    const NAME: &'static str = "ccl";
    type Settings = CclSettings;

    fn check(settings: &CclSettings) -> std::result::Result<(), Refusal> {
        if settings.teachers.contains(&settings.student) {
            let why = format!("names the student, `{}`; name other modalities", settings.student);
            return Err(Refusal::new("teachers", why));
        }
        Refusal::positive("nce_temperature", settings.nce_temperature)?;
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(settings: &CclSettings) -> Needs {
        let teaches = settings.distillation == Distillation::Ccl;
        Needs {
            labels: true,
            head: true,
            anchor: Some(settings.student.clone()),
            modalities: if teaches { 2 } else { 1 }..=usize::MAX,
            ..Needs::default()
        }
    }

    /// Makes `{student}.*`, `head.*`, and with teachers `composer.{modality}.*` and `teacher.*`.
    fn new(settings: &CclSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let CclSettings { distillation, nce_temperature: temperature, .. } = *settings;
        let task = parts.task(Self::NAME)?.clone();
        let Task::OneOf(classes) = task else {
            return Err(refuse("got several labels or attributes, expected one class for each sample; use late_fusion".into()));
        };
        let place = |name: &String| {
            parts.encoders.iter().position(|encoder| encoder.name == *name).ok_or_else(|| {
                let known: Vec<&str> = parts.encoders.iter().map(|e| e.name.as_str()).collect();
                refuse(format!(
                    "got no modality `{name}`; set student and teachers to some of {}",
                    known.join(", ")
                ))
            })
        };
        let student = place(&settings.student)?;
        let others = (0..parts.encoders.len()).filter(|&m| m != student);
        let teachers = match (distillation, settings.teachers.is_empty()) {
            (Distillation::Ccl, true) => others.collect(),
            (Distillation::Ccl, false) => {
                settings.teachers.iter().map(place).collect::<Result<Vec<usize>>>()?
            }
            _ => Vec::new(),
        };
        let encoder = Encoders::new(&parts.encoders[student..=student], &mut scope)?;
        let width = encoder.widths()[0];
        let head = Prediction::from_settings(&settings.head, scope.sub("head"), width, &task)?;
        if distillation == Distillation::Logits
            && parts.teacher.is_some_and(|teacher| !teacher.needs().head)
        {
            return Err(refuse("got a teacher without a head, but distillation = \"logits\" needs its logits; name an arm of late_fusion, or use \"ccl\"".into()));
        }
        let has = distillation != Distillation::None;
        let teacher = has.then(|| parts.teacher(Self::NAME, &mut scope)).transpose()?;
        let mut inside = scope.sub("composer");
        let composer = |&modality: &usize| {
            let EncoderSettings { name, .. } = &parts.encoders[modality];
            let mut inside = inside.sub(name);
            let map = Linear::new(inside.sub("map"), 2 * width, width)?;
            Ok(Composer { modality, map, head: Linear::new(inside.sub("head"), width, classes)? })
        };
        let composers = teachers.iter().map(composer).collect::<Result<_>>()?;
        let names = parts.encoders.iter().map(|encoder| encoder.name.clone()).collect();
        Ok(Ccl {
            student,
            encoder,
            head,
            teacher,
            composers,
            names,
            distillation,
            temperature,
            task,
        })
    }
}

impl System for Ccl {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = batch.modalities[self.student].fill(&self.features(pass, batch)?)?;
        let logits = self.head.forward(pass, &features)?;
        Ok(Outputs { joint: Some(features), logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let rows = batch.rows_with(self.student);
        let features = self.features(pass, batch)?;
        let logits = self.head.forward(pass, &features)?;
        let (mut losses, mut names) = (Vec::new(), vec!["classes".to_owned()]);
        losses.push(match rows.is_empty() {
            true => logits.sum(&[0, 1])?.affine(0.0, 0.0)?,
            false => self.task.loss(&logits, &batch.labels_of(Self::NAME, &rows)?)?,
        });
        let taught = self.teacher.as_ref().map(|teacher| teacher.outputs(pass, batch));
        let Some(taught) = taught.transpose()?.filter(|_| !rows.is_empty()) else {
            return Loss::sum(&losses, &names);
        };
        if self.distillation == Distillation::Logits {
            let wanted =
                taught.logits.ok_or_else(|| refuse("got a teacher without logits".into()))?;
            losses.push(divergence(&select(&wanted, batch.rows(), &rows)?, &logits)?);
            names.push("distillation".into());
        }
        let share = 1.0 / self.composers.len().max(1) as f64;
        for composer in &self.composers {
            let student = Student { rows: &rows, features: &features, logits: &logits };
            let [own, composed] =
                self.compose(pass, batch, composer, &student, &taught.features)?;
            losses.extend([own.affine(share, 0.0)?, composed]);
            let name = &self.names[composer.modality];
            names.extend([name.clone(), format!("{name} composer")]);
        }
        Loss::sum(&losses, &names)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        let alone = self.distillation == Distillation::None;
        self.task.chance_loss().filter(|_| alone)
    }
}

/// The student's outputs for the rows of the batch that have its modality.
struct Student<'a> {
    rows: &'a [usize],
    features: &'a Tensor,
    logits: &'a Tensor,
}

impl Ccl {
    /// The student's features `[R, C]` for the rows that have its modality.
    fn features(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Tensor> {
        let alone =
            Batch { modalities: vec![batch.modalities[self.student].clone()], ..batch.clone() };
        Ok(self.encoder.forward(pass, &alone)?.remove(0))
    }

    /// The losses of the student and of a composer on the rows that have both modalities; 0 if there are none.
    fn compose(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        composer: &Composer,
        student: &Student<'_>,
        taught: &[Tensor],
    ) -> Result<[Tensor; 2]> {
        let name = &self.names[composer.modality];
        let Some(teacher) = taught.get(composer.modality) else {
            return Err(refuse(format!(
                "got a teacher without features of `{name}`; name an arm whose system has features of each modality"
            )));
        };
        let [here, there] = [student.features, teacher].map(|x| x.shape().features());
        if here != there {
            return Err(refuse(format!(
                "got {here} features of `{}` and {there} of `{name}`, expected equal numbers; set their backbones",
                self.names[self.student]
            )));
        }
        let with = batch.rows_with(composer.modality);
        let both: Vec<usize> =
            student.rows.iter().copied().filter(|row| with.contains(row)).collect();
        // Without a common row one pair of rows gives gradients, times 0.
        let none = both.is_empty();
        let places = |of: &[usize]| match none {
            true => vec![0],
            false => both.iter().filter_map(|row| of.binary_search(row).ok()).collect(),
        };
        let [mine, theirs] = [places(student.rows), places(&with)];
        let pick = |x: &Tensor, places: &[usize]| select(x, x.shape()[0], places);
        let v = pick(student.features, &mine)?;
        let logits = pick(student.logits, &mine)?;
        let t = pick(teacher, &theirs)?;
        let [v_fixed, logits_fixed] = [v.detached(), logits.detached()];
        let pair = Tensor::concat(&[&unit(&t)?, &unit(&v_fixed)?], 1)?;
        let c = composer.map.forward(pass, &pair)?.add(&t)?;
        let composed = composer.head.forward(pass, &c)?;
        let rows = if none { student.rows[..1].to_vec() } else { both };
        let labels = batch.labels_of(Self::NAME, &rows)?;
        let likeness = Likeness::new(&labels.to_vec()?, pass.dtype(), pass.device())?;
        let both_ways = |x: &Tensor, y: &Tensor| {
            nce(x, y, self.temperature, &likeness)?.add(&nce(y, x, self.temperature, &likeness)?)
        };
        let own = both_ways(&v, &c.detached())?
            .add(&both_ways(&v, &t)?)?
            .add(&jeffreys(&logits, &composed.detached())?)?;
        let others = self
            .task
            .loss(&composed, &labels)?
            .add(&both_ways(&v_fixed, &c)?)?
            .add(&both_ways(&c, &t)?)?
            .add(&jeffreys(&logits_fixed, &composed)?)?;
        let factor = if none { 0.0 } else { 1.0 };
        Ok([own.affine(factor, 0.0)?, others.affine(factor, 0.0)?])
    }
}

/// These rows of `[rows, C]`; the tensor itself if they are all.
fn select(x: &Tensor, rows: usize, places: &[usize]) -> Result<Tensor> {
    if places.len() == rows {
        return Ok(x.clone());
    }
    let places: Vec<u32> = places.iter().map(|&place| place as u32).collect();
    x.embedding(&Tensor::from_slice(&places, &[places.len()])?)
}

fn refuse(what: String) -> Error {
    Error::Model { model: Ccl::NAME.into(), what }
}
