//! The memory that training and evaluation need, without doing either: a step on a device that executes nothing.

use super::{Trainer, TrainingSettings};
use crate::systems::{Batch, EncoderSettings, Input, Parts, System, SystemSettings, Teacher};
use crate::targets::Task;
use engine::{Counting, DType, Device, Parameters, Pass, Result, Tensor};
use std::collections::BTreeMap;

/// The size of a system and of its work.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The parts of the system (the first word of its parameters' names) and the elements of each one's parameters,
    /// without padding.
    pub networks: BTreeMap<String, usize>,
    /// [`System::chance_loss`].
    pub chance_loss: Option<f64>,
    /// The most bytes of tensors at once: parameters, the optimiser's state, activations and gradients of a training
    /// step, or the activations of an evaluation batch, whichever is more.
    pub bytes: usize,
}

impl Estimate {
    /// The elements of all parameters.
    pub fn parameters(&self) -> usize {
        self.networks.values().fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// What evaluates a system: batches of `rows` samples of these shapes `[T, ..]`, one for each modality.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated<'a> {
    /// Samples of a batch.
    pub rows: usize,
    /// The shape of a sample of each modality.
    pub shapes: &'a [Vec<usize>],
}

/// Measures a training step and an evaluation batch. No tensor is allocated and no op runs: a model of any size is
/// measured in milliseconds. `gpu` selects how the backward pass uses memory: a GPU keeps what the CPU recomputes.
///
/// # Errors
/// When the system does not accept the settings, or a tensor has more elements than any memory.
pub fn estimate(
    system: &SystemSettings,
    parts: Parts<'_>,
    settings: &TrainingSettings,
    evaluated: Evaluated<'_>,
    gpu: bool,
) -> Result<Estimate> {
    let views = system.needs().views;
    let Parts { encoders, task, groups, .. } = parts;
    let device = Device::counting(&if gpu { Counting::default() } else { Counting::recomputing() });
    let mut parameters = Parameters::planned(DType::F32, &device);
    let system = system.build(parts, parameters.scope())?;
    parameters.freeze(&format!("{}.", Teacher::SCOPE));
    let mut networks: BTreeMap<String, usize> = BTreeMap::new();
    for id in parameters.ids() {
        let name = parameters.name(id).split('.').next().unwrap_or_default();
        let count = networks.entry(name.to_owned()).or_default();
        *count = count.saturating_add(parameters.logical(id).count());
    }
    let chance_loss = system.chance_loss(settings.batch);
    outputs(&*system, &parameters, evaluated, &device)?;
    if settings.epochs > 0 {
        let batch = batch(encoders, (task, groups), settings.batch, views, &device)?;
        let mut trainer = Trainer::new(settings, &*system, parameters, 0, 2)?;
        // The second step has the optimiser's state.
        for _ in 0..2 {
            trainer.step(&*system, &batch)?;
        }
        trainer.settle()?;
    }
    let bytes = device.gpu().map_or(0, |gpu| gpu.statistics().peak);
    Ok(Estimate { networks, chance_loss, bytes })
}

fn outputs(
    system: &dyn System,
    parameters: &Parameters,
    evaluated: Evaluated<'_>,
    device: &Device,
) -> Result<()> {
    let input = |shape: &Vec<usize>| {
        let shape = [&[evaluated.rows], &shape[..]].concat();
        Tensor::zeros_on(&shape, DType::F32, device)
    };
    let modalities = evaluated.shapes.iter().map(input).collect::<Result<_>>()?;
    system.outputs(&Pass::evaluate(parameters), &Batch::new(modalities))?;
    Ok(())
}

fn batch(
    encoders: &[EncoderSettings],
    (task, groups): (Option<&Task>, usize),
    samples: usize,
    views: usize,
    device: &Device,
) -> Result<Batch> {
    let input = |encoder: &EncoderSettings| {
        let shape = [&[samples.saturating_mul(views)], &encoder.input[..]].concat();
        Tensor::zeros_on(&shape, DType::F32, device).map(Input::new)
    };
    // On the CPU, as in training: losses read labels. They alternate, so that samples have others of the same label.
    let alternating = |classes: usize| {
        let number = |sample: usize| (sample % 2 % classes.max(1)) as u32;
        Tensor::from_slice(&(0..samples).map(number).collect::<Vec<u32>>(), &[samples])
    };
    let labels = task.map(|task| match task {
        Task::OneOf(classes) => alternating(*classes),
        Task::EachOf(_) | Task::Attributes(_) => {
            let width = task.outputs();
            let mark = |at: usize| (at / width % 2) as f32;
            let labels: Vec<f32> = (0..samples * width).map(mark).collect();
            Tensor::from_slice(&labels, &[samples, width])
        }
    });
    let modalities = encoders.iter().map(input).collect::<Result<_>>()?;
    let groups = (groups > 0).then(|| alternating(groups)).transpose()?;
    Ok(Batch { modalities, labels: labels.transpose()?, groups, samples, views })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::{BackboneSettings, TemporalConvNetSettings};
    use crate::systems::{Definition, Mpuc, MpucSettings};

    fn encoder(name: &str, steps: usize, width: usize) -> EncoderSettings {
        let settings =
            TemporalConvNetSettings { channels: width, hidden: width, ..Default::default() };
        EncoderSettings {
            name: name.into(),
            backbone: BackboneSettings::Tcn(settings),
            dropout: 0.1,
            input: vec![steps, 80],
        }
    }

    fn of(steps: usize, width: usize, batch: usize) -> Result<Estimate> {
        let encoders = [encoder("a", steps, width), encoder("b", steps, width)];
        let parts = Parts::new(&encoders, None);
        let settings = TrainingSettings { batch, ..TrainingSettings::default() };
        let shapes = [vec![steps, 80], vec![steps, 80]];
        let evaluated = Evaluated { rows: 2, shapes: &shapes };
        estimate(&SystemSettings::Mpuc(MpucSettings::default()), parts, &settings, evaluated, false)
    }

    #[test]
    fn an_estimate_has_the_parameters_of_the_system_and_grows_with_the_batch() -> Result<()> {
        let encoders = [encoder("a", 64, 32), encoder("b", 64, 32)];
        let parts = Parts::new(&encoders, None);
        let mut parameters = Parameters::new(DType::F32, 0);
        Mpuc::new(&MpucSettings::default(), parts, parameters.scope())?;
        let count: usize = parameters.ids().map(|id| parameters.logical(id).count()).sum();
        let (small, large) = (of(64, 32, 8)?, of(64, 32, 80)?);
        assert_eq!(small.parameters(), count);
        assert_eq!(Vec::from_iter(small.networks.keys()), ["a", "b", "projection"]);
        assert_eq!(small.chance_loss, Some(7f64.ln()));
        // Parameters, gradients and momentum, and 80 samples need at most ten times what 8 need.
        assert!(
            small.bytes > 3 * 4 * count && large.bytes > 3 * small.bytes,
            "{small:?} {large:?}"
        );
        assert!(large.bytes < 10 * small.bytes, "{small:?} {large:?}");
        Ok(())
    }

    /// Every value of a JSON tree that is a number, replaced by others.
    fn variants(value: &serde_json::Value) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        let mut inner = |key: &dyn Fn(&mut serde_json::Value) -> &mut serde_json::Value,
                         old: &serde_json::Value| {
            for new in variants(old) {
                let mut whole = value.clone();
                *key(&mut whole) = new;
                found.push(whole);
            }
        };
        match value {
            serde_json::Value::Object(map) => {
                map.iter().for_each(|(key, old)| inner(&|whole| &mut whole[key], old));
            }
            serde_json::Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, old)| inner(&|whole| &mut whole[at], old));
            }
            serde_json::Value::Number(_) => {
                let numbers = [
                    0.into(),
                    1.into(),
                    3.into(),
                    65_536.into(),
                    serde_json::json!(1e308),
                    serde_json::json!(-1.5),
                ];
                found.extend(numbers);
            }
            _ => {}
        }
        found
    }

    #[test]
    fn any_setting_of_a_network_is_measured_or_refused_without_a_panic() {
        let cases = [
            ("text_transformer", vec![30, 300]),
            ("r2plus1d", vec![8, 32, 32, 3]),
            ("stgcn", vec![90, 51, 2]),
            ("st_gcn", vec![90, 68, 2]),
            ("tcn", vec![64, 80]),
            ("strided_conv", vec![64, 80]),
            ("strided_clip", vec![8, 32, 32, 1]),
        ];
        let (mut measured, mut panics) = (0, Vec::new());
        for (kind, input) in cases {
            let default = serde_json::json!({ "kind": kind });
            let default: BackboneSettings = serde_json::from_value(default).unwrap();
            let variants = variants(&serde_json::to_value(default).unwrap());
            assert!(!variants.is_empty(), "{kind}");
            for variant in variants {
                let Ok(backbone) = serde_json::from_value::<BackboneSettings>(variant.clone())
                else {
                    continue;
                };
                for input in [[&[1], &input[1..]].concat(), [&[100_000], &input[1..]].concat()] {
                    let encoder = |name: &str| EncoderSettings {
                        name: name.into(),
                        backbone: backbone.clone(),
                        dropout: 0.1,
                        input: input.clone(),
                    };
                    let encoders = [encoder("a"), encoder("b")];
                    let parts = Parts::new(&encoders, None);
                    let shapes = [input.clone(), input.clone()];
                    let evaluated = Evaluated { rows: 2, shapes: &shapes };
                    let (system, settings) = (
                        SystemSettings::Mpuc(MpucSettings::default()),
                        TrainingSettings::default(),
                    );
                    let run = || estimate(&system, parts, &settings, evaluated, false).is_ok();
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                    match outcome {
                        Ok(fine) => measured += usize::from(fine),
                        Err(_) => panics.push(format!("{variant} on {input:?}")),
                    }
                }
            }
        }
        assert!(panics.is_empty(), "panics:\n{}", panics.join("\n"));
        assert!(measured > 50, "{measured}");
    }

    #[test]
    fn what_no_memory_can_hold_is_measured_or_refused_without_allocating_it() {
        let wide = of(64, 1 << 20, 32).unwrap();
        assert!(wide.bytes > 1 << 42, "{wide:?}");
        let long = of(1 << 24, 32, 32).unwrap();
        assert!(long.bytes > 1 << 40, "{long:?}");
        assert!(of(1 << 40, 32, 32).is_err());
        assert!(of(1 << 62, 32, 32).is_err());
    }
}
