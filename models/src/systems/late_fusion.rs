//! Late fusion, trained end to end with labels: a classifier on the backbones' concatenated features, or the mean of the
//! scores of a classifier for each modality.

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System};
use crate::heads::{ClassifierSettings, Prediction};
use crate::targets::Task;
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`LateFusion`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LateFusionSettings {
    /// What is fused.
    pub fusion: Fusion,
    /// The classifier, or that of each modality.
    pub head: ClassifierSettings,
}

/// What late fusion fuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// Features: one classifier reads all of them. A missing modality is zeros.
    #[default]
    Concat,
    /// Scores (Padi et al. 2022): each modality has a classifier and a loss of its own, and the prediction is the mean of
    /// the probabilities of the modalities that a sample has; of attributes the mean of the numbers.
    ScoreMean,
}

/// Encoders and a classifier on their concatenated features, or one for each.
#[derive(Debug, Clone)]
pub struct LateFusion {
    encoders: Encoders,
    names: Vec<String>,
    /// One, or one for each modality.
    heads: Vec<Prediction>,
    fusion: Fusion,
    task: Task,
}

impl Definition for LateFusion {
    const NAME: &'static str = "late_fusion";
    type Settings = LateFusionSettings;

    fn check(settings: &LateFusionSettings) -> std::result::Result<(), Refusal> {
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(_: &LateFusionSettings) -> Needs {
        Needs { labels: true, head: true, ..Needs::default() }
    }

    /// Makes `{modality}.*` and `head.*`; with [`Fusion::ScoreMean`] `head.{modality}.*`.
    fn new(settings: &LateFusionSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let task = parts.task(Self::NAME)?.clone();
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let widths = encoders.widths();
        let mut inside = scope.sub("head");
        let heads = match settings.fusion {
            Fusion::Concat => {
                let width = widths.iter().sum();
                vec![Prediction::from_settings(&settings.head, inside, width, &task)?]
            }
            Fusion::ScoreMean => {
                let head = |(encoder, width): (&EncoderSettings, usize)| {
                    let scope = inside.sub(&encoder.name);
                    Prediction::from_settings(&settings.head, scope, width, &task)
                };
                parts.encoders.iter().zip(widths).map(head).collect::<Result<_>>()?
            }
        };
        let names = parts.encoders.iter().map(|encoder| encoder.name.clone()).collect();
        Ok(LateFusion { encoders, names, heads, fusion: settings.fusion, task })
    }
}

impl System for LateFusion {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = self.encoders.forward(pass, batch)?;
        let logits = match self.fusion {
            Fusion::Concat => {
                let filled = features.iter().zip(&batch.modalities).map(|(f, input)| input.fill(f));
                let filled: Vec<Tensor> = filled.collect::<Result<_>>()?;
                let joined = Tensor::concat(&filled.iter().collect::<Vec<_>>(), 1)?;
                self.heads[0].forward(pass, &joined)?
            }
            Fusion::ScoreMean => self.mean_score(pass, batch, &features)?,
        };
        Ok(Outputs { features, logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        if self.fusion == Fusion::Concat {
            return self.task.loss_of(Self::NAME, &self.outputs(pass, batch)?, batch);
        }
        let features = self.encoders.forward(pass, batch)?;
        let mut losses: Vec<Tensor> = Vec::new();
        for (modality, (head, features)) in self.heads.iter().zip(&features).enumerate() {
            let rows = batch.rows_with(modality);
            let logits = head.forward(pass, features)?;
            losses.push(match rows.is_empty() {
                true => logits.sum(&[0, 1])?.affine(0.0, 0.0)?,
                false => self.task.loss(&logits, &batch.labels_of(Self::NAME, &rows)?)?,
            });
        }
        Loss::sum(&losses, &self.names)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        Some(self.task.chance_loss()? * self.heads.len() as f64)
    }
}

impl LateFusion {
    /// Logits `[N, outputs]` of the mean probabilities of the modalities that a sample has; of attributes the mean numbers.
    fn mean_score(&self, pass: &Pass<'_>, batch: &Batch, features: &[Tensor]) -> Result<Tensor> {
        let rows = batch.rows();
        let counts: Vec<usize> = (0..rows)
            .map(|row| batch.modalities.iter().filter(|input| input.has(row)).count())
            .collect();
        let mut mean: Option<Tensor> = None;
        for ((head, features), input) in self.heads.iter().zip(features).zip(&batch.modalities) {
            let logits = head.forward(pass, features)?;
            let scores = match self.task {
                Task::OneOf(_) => logits.softmax()?,
                Task::EachOf(_) => logits.activation(kernels::ops::Activation::Sigmoid)?,
                Task::Attributes(_) => logits,
            };
            let spread =
                input.rows.as_ref().map_or(Ok(scores.clone()), |to| scores.embedding(to))?;
            let share =
                |row: usize| f64::from(u8::from(input.has(row))) / counts[row].max(1) as f64;
            let shares: Vec<f64> = (0..rows).map(share).collect();
            let shares = Tensor::from_slice(&shares, &[rows, 1])?.to(pass.dtype())?;
            let term = spread.multiply(&shares.on(pass.device())?)?;
            mean = Some(mean.map_or(Ok(term.clone()), |mean| mean.add(&term))?);
        }
        let mean = mean.ok_or_else(|| refuse("got no modalities; it needs at least 1"))?;
        // Softmax and sigmoid of these logits are the mean again.
        let logarithm = |scores: &Tensor| scores.clamp(1e-12, 1.0)?.log();
        match self.task {
            Task::OneOf(_) => logarithm(&mean),
            Task::EachOf(_) => logarithm(&mean)?.subtract(&logarithm(&mean.affine(-1.0, 1.0)?)?),
            Task::Attributes(_) => Ok(mean),
        }
    }
}

fn refuse(what: &str) -> Error {
    Error::Model { model: LateFusion::NAME.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::Input;
    use engine::{DType, Parameters};

    /// Two modalities and three samples, of which the second lacks the first modality.
    fn batch(labels: Tensor) -> Result<Batch> {
        let numbers: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 11) - 5.0).collect();
        let some = Input {
            rows: Some(Tensor::from_slice(&[0u32, 0, 1], &[3])?),
            present: Some(vec![1, 0, 1]),
            ..Input::new(Tensor::from_slice(&numbers[..24], &[2, 4, 3])?)
        };
        let all = Input::new(Tensor::from_slice(&numbers[..60], &[3, 5, 4])?);
        Ok(Batch {
            modalities: vec![some, all],
            labels: Some(labels),
            groups: None,
            samples: 3,
            views: 1,
        })
    }

    /// The logits of the fusion, and for each modality those of its own head.
    fn logits(task: &Task, batch: &Batch) -> Result<[Vec<f64>; 3]> {
        let encoders =
            [EncoderSettings::strided("a", &[4, 3]), EncoderSettings::strided("b", &[5, 4])];
        let mut parameters = Parameters::new(DType::F64, 3);
        let settings = LateFusionSettings { fusion: Fusion::ScoreMean, ..Default::default() };
        let parts = Parts::new(&encoders, Some(task));
        let system = LateFusion::new(&settings, parts, parameters.scope())?;
        let pass = Pass::evaluate(&parameters);
        let features = system.encoders.forward(&pass, batch)?;
        let own = |modality: usize| system.heads[modality].forward(&pass, &features[modality]);
        let fused = system.outputs(&pass, batch)?.logits;
        let fused = fused.ok_or(Error::Tape("late fusion has logits"))?;
        assert!(system.loss(&pass, batch, 0)?.total.item()?.is_finite());
        Ok([fused.to_vec()?, own(0)?.to_vec()?, own(1)?.to_vec()?])
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn scores_are_averaged_over_the_modalities_that_a_sample_has() -> Result<()> {
        let marks = Tensor::from_slice(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2])?;
        let [fused, a, b] = logits(&Task::EachOf(vec![1.0, 2.0]), &batch(marks.clone())?)?;
        for label in 0..2 {
            let mean = |a: f64, b: f64| 0.5 * (sigmoid(a) + sigmoid(b));
            let expected =
                [mean(a[label], b[label]), sigmoid(b[2 + label]), mean(a[2 + label], b[4 + label])];
            for (row, expected) in expected.into_iter().enumerate() {
                let found = sigmoid(fused[row * 2 + label]);
                assert!((found - expected).abs() < 1e-9, "{row}: {found}, {expected}");
            }
        }
        let [fused, a, b] = logits(&Task::Attributes(2), &batch(marks)?)?;
        for number in 0..2 {
            let expected = [
                0.5 * (a[number] + b[number]),
                b[2 + number],
                0.5 * (a[2 + number] + b[4 + number]),
            ];
            for (row, expected) in expected.into_iter().enumerate() {
                assert!((fused[row * 2 + number] - expected).abs() < 1e-12);
            }
        }
        Ok(())
    }
}
