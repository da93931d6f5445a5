//! Launches, transfers, waits and new memory of a training step, counted without a GPU and compared with
//! `device_budget.csv`. Shapes and batch are the paper's.

use engine::{Counting, Counts, DType, Device, Parameters, Pass, Result, Tensor};
use models::backbones::*;
use models::contrast::{ContrastiveSettings, LossKind, Positives};
use models::systems::{
    Batch, CaeLr, CaeLrSettings, CclSettings, Definition, EncoderSettings, Encoders, Fusion, Input,
    LateFusionSettings, Loss, Masked, MaskedAttention, MaskedSettings, Mpuc, MpucSettings, Outputs,
    Parts, Phase, Plateau, SpeakerSettings, System, SystemSettings, Vavl, VavlSettings,
    VoiceToFace, VoiceToFaceSettings,
};
use models::targets::Task;
use models::train::{Trainer, TrainingSettings};
use std::collections::BTreeMap;

const SAMPLES: usize = 32;
/// Steps before the one that is counted: what is uploaded once is there then, and memory is warm.
const WARM: u64 = 3;
const BUDGET: &str = include_str!("device_budget.csv");
const HEADER: &str = "case,launches,copies,uploads,bytes up,downloads,bytes down,waits,fresh";

/// One network that learns to give its batch's labels.
#[derive(Debug)]
struct One(Encoders);

impl System for One {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        Ok(Outputs { features: self.0.forward(pass, batch)?, ..Outputs::default() })
    }

    fn phases(&self) -> Vec<Phase> {
        vec![Phase::whole()]
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let features = self.outputs(pass, batch)?.features.remove(0);
        let target = batch.labels.as_ref().ok_or(engine::Error::Tape("the batch has labels"))?;
        features.mse(target).map(Loss::from)
    }

    fn plateau(&self, _batch: usize) -> Option<Plateau> {
        None
    }
}

fn encoder(name: &str, backbone: BackboneSettings, input: &[usize]) -> EncoderSettings {
    EncoderSettings { name: name.into(), backbone, dropout: 0.1, input: input.to_vec() }
}

fn voice() -> EncoderSettings {
    encoder("voice", BackboneSettings::Tcn(TemporalConvNetSettings::default()), &[128, 80])
}

fn landmarks() -> EncoderSettings {
    encoder("landmarks", BackboneSettings::Stgcn(StgcnSettings::default()), &[90, 51, 2])
}

fn faces() -> EncoderSettings {
    let settings = BackboneSettings::R2plus1d(R2Plus1dSettings::default());
    encoder("faces", settings, &[8, 112, 112, 3])
}

fn text() -> EncoderSettings {
    let settings = BackboneSettings::TextTransformer(TextTransformerSettings::default());
    encoder("text", settings, &[30, 300])
}

/// The networks that the paper does not have.
fn others() -> Vec<EncoderSettings> {
    let graph = SpatialTemporalGraphNetSettings::default();
    vec![
        encoder("st_gcn", BackboneSettings::StGcn(graph), &[90, 68, 2]),
        encoder("strided_conv", BackboneSettings::StridedConv(Default::default()), &[128, 80]),
        conformer("conformer", &[150, 1024]),
        encoder("strided_clip", BackboneSettings::StridedClip(Default::default()), &[8, 48, 48, 1]),
    ]
}

/// VAVL's encoder of precomputed features.
fn conformer(name: &str, input: &[usize]) -> EncoderSettings {
    let settings = ConformerSettings { reduce: Some(50), ..ConformerSettings::default() };
    encoder(name, BackboneSettings::Conformer(settings), input)
}

fn tensor(shape: &[usize]) -> Result<Tensor> {
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 7) as f32).collect();
    Tensor::from_slice(&numbers, shape)
}

fn batch(encoders: &[EncoderSettings], labels: Option<Tensor>) -> Result<Batch> {
    let input = |encoder: &EncoderSettings| {
        let words = encoder.name == "text";
        let lengths = words.then(|| Tensor::from_slice(&[20u32; SAMPLES], &[SAMPLES]));
        Ok(Input {
            data: tensor(&[&[SAMPLES], &encoder.input[..]].concat())?,
            lengths: lengths.transpose()?,
            rows: None,
            present: None,
        })
    };
    let modalities = encoders.iter().map(input).collect::<Result<_>>()?;
    Ok(Batch { modalities, labels, groups: None, samples: SAMPLES, views: 1 })
}

/// The counts of one warm step.
fn count(system: &dyn System, mut parameters: Parameters, batch: &Batch) -> Result<Counts> {
    let counting = Counting::default();
    parameters.move_to(&Device::counting(&counting))?;
    let settings = TrainingSettings {
        epochs: 1,
        batch: SAMPLES,
        optimizer: engine::optim::Rule::sgd(0.9, 1e-3),
        learning_rate: 1e-3,
        schedule: engine::schedule::Schedule::Constant,
        patience: None,
    };
    let mut trainer = Trainer::new(&settings, system, parameters, 0, WARM + 1)?;
    for _ in 0..WARM {
        trainer.step(system, batch)?;
    }
    let before = counting.counts();
    trainer.step(system, batch)?;
    Ok(counting.counts() - &before)
}

fn one(settings: EncoderSettings) -> Result<Counts> {
    let mut parameters = Parameters::new(DType::F32, 0);
    let encoders = Encoders::new(std::slice::from_ref(&settings), &mut parameters.scope())?;
    let labels = tensor(&[SAMPLES, encoders.widths()[0]])?;
    count(&One(encoders), parameters, &batch(&[settings], Some(labels))?)
}

fn mpuc(settings: &[EncoderSettings]) -> Result<Counts> {
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(settings, None);
    let system = Mpuc::new(&MpucSettings::default(), parts, parameters.scope())?;
    count(&system, parameters, &batch(settings, None)?)
}

fn vavl() -> Result<Counts> {
    let encoders = [conformer("audio", &[150, 1024]), conformer("video", &[90, 1408])];
    let task = Task::OneOf(6);
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, Some(&task));
    let system = Vavl::new(&VavlSettings::default(), parts, parameters.scope())?;
    let classes: Vec<u32> = (0..SAMPLES as u32).map(|sample| sample % 6).collect();
    let labels = Tensor::from_slice(&classes, &[SAMPLES])?;
    count(&system, parameters, &batch(&encoders, Some(labels))?)
}

fn cae_lr() -> Result<Counts> {
    let widths = [("text", 300), ("voice", 74), ("faces", 35)];
    let encoders = widths.map(|(name, width)| EncoderSettings::strided(name, &[20, width]));
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, None);
    let system = CaeLr::new(&CaeLrSettings::default(), parts, parameters.scope())?;
    count(&system, parameters, &batch(&encoders, None)?)
}

fn masked(attention: MaskedAttention, contrast: f64) -> Result<Counts> {
    let encoders = [voice(), landmarks(), text()];
    let mut parameters = Parameters::new(DType::F32, 0);
    let settings = MaskedSettings { attention, contrast, ..MaskedSettings::default() };
    let system = Masked::new(&settings, Parts::new(&encoders, None), parameters.scope())?;
    count(&system, parameters, &batch(&encoders, None)?)
}

fn voice_to_face() -> Result<Counts> {
    let encoders = [voice(), landmarks()];
    let mut parameters = Parameters::new(DType::F32, 0);
    let parts = Parts::new(&encoders, None);
    let system = VoiceToFace::new(&VoiceToFaceSettings::default(), parts, parameters.scope())?;
    count(&system, parameters, &batch(&encoders, None)?)
}

/// Systems of small networks with labels and groups: the losses that are composed of several ops.
fn composed() -> Result<Vec<(String, Counts)>> {
    let encoders = ["a", "b", "c"].map(|name| EncoderSettings::strided(name, &[20, 30]));
    let task = Task::OneOf(6);
    let classes: Vec<u32> = (0..SAMPLES as u32).map(|sample| sample % 6).collect();
    let classes = Tensor::from_slice(&classes, &[SAMPLES])?;
    let batch = Batch { groups: Some(classes.clone()), ..batch(&encoders, Some(classes))? };
    let teacher = SystemSettings::LateFusion(LateFusionSettings::default());
    let parts = Parts { groups: 6, teacher: Some(&teacher), ..Parts::new(&encoders, Some(&task)) };
    let contrast = |kind, positives| {
        let loss = ContrastiveSettings { kind, positives, ..ContrastiveSettings::default() };
        SystemSettings::Mpuc(MpucSettings { loss, ..MpucSettings::default() })
    };
    let fusion = LateFusionSettings { fusion: Fusion::ScoreMean, ..Default::default() };
    let ccl = CclSettings { student: "a".into(), ..CclSettings::default() };
    let systems = [
        ("mpuc_label", contrast(LossKind::Pairs, Positives::Label)),
        ("mpuc_clip", contrast(LossKind::Clip, Positives::Own)),
        ("mpuc_siglip", contrast(LossKind::Siglip, Positives::Own)),
        ("mpuc_triplet", contrast(LossKind::Triplet, Positives::Own)),
        ("mpuc_m2fnet", contrast(LossKind::M2fnetPrinted, Positives::Own)),
        ("score_mean", SystemSettings::LateFusion(fusion)),
        ("speaker", SystemSettings::Speaker(SpeakerSettings::default())),
        ("ccl", SystemSettings::Ccl(ccl)),
    ];
    let measure = |(name, settings): (&str, SystemSettings)| {
        let mut parameters = Parameters::new(DType::F32, 0);
        let system = settings.build(parts, parameters.scope())?;
        parameters.freeze("teacher.");
        Ok((name.to_owned(), count(&*system, parameters, &batch)?))
    };
    systems.into_iter().map(measure).collect()
}

fn columns(counts: &Counts) -> [u64; 8] {
    let Counts { copies, uploads, uploaded, downloads, downloaded, waits, fresh, .. } = *counts;
    [counts.launches(), copies, uploads, uploaded, downloads, downloaded, waits, fresh]
}

#[test]
fn a_step_stays_within_its_budget() -> Result<()> {
    let mut found = Vec::new();
    for settings in [voice(), landmarks(), faces(), text()].into_iter().chain(others()) {
        found.push((settings.name.clone(), one(settings)?));
    }
    let paper = [voice(), landmarks(), faces()];
    found.push(("mpuc_paper".into(), mpuc(&paper)?));
    found.push(("mpuc_four".into(), mpuc(&[paper.as_slice(), &[text()]].concat())?));

    found.push(("vavl".into(), vavl()?));
    found.push(("cae_lr".into(), cae_lr()?));
    found.push(("masked".into(), masked(MaskedAttention::Joint, 0.0)?));
    found.push(("masked_both".into(), masked(MaskedAttention::Joint, 0.5)?));
    found.push(("masked_cross".into(), masked(MaskedAttention::Cross, 0.0)?));
    found.push(("voice_to_face".into(), voice_to_face()?));
    found.extend(composed()?);

    let line = |(case, counts): &(String, Counts)| {
        let cells = columns(counts).map(|number| number.to_string());
        format!("{case},{}", cells.join(","))
    };
    let table: Vec<String> = found.iter().map(line).collect();
    println!("{HEADER}\n{}", table.join("\n"));

    let mut lines = BUDGET.lines();
    assert_eq!(lines.next(), Some(HEADER));
    let budget: BTreeMap<&str, Vec<u64>> = lines
        .filter_map(|line| line.split_once(','))
        .map(|(case, cells)| (case, cells.split(',').map(|cell| cell.parse().unwrap()).collect()))
        .collect();
    let mut complaints = Vec::new();
    for (case, counts) in &found {
        let Some(allowed) = budget.get(case.as_str()) else {
            complaints.push(format!("{case}: not in the budget"));
            continue;
        };
        let names = HEADER.split(',').skip(1);
        for ((name, count), allowed) in names.zip(columns(counts)).zip(allowed) {
            if count > *allowed {
                complaints.push(format!("{case}: {count} {name}, {allowed} allowed"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}\n{HEADER}\n{}", complaints.join("\n"), table.join("\n"));
    Ok(())
}
