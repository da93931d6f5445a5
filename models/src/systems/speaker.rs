//! Speaker transfer: networks that classify the training groups (actors), frozen and probed for emotions (after Padi et
//! al. 2022). A negative control: it shows how much of a score the identity of the speaker gives.

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts};
use super::{Refusal, System};
use crate::heads::{ClassifierSettings, Prediction};
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of [`Speaker`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeakerSettings {
    /// The classifier of each modality.
    pub head: ClassifierSettings,
}

/// Encoders, each with a classifier of the training groups. It reads no labels.
#[derive(Debug, Clone)]
pub struct Speaker {
    encoders: Encoders,
    names: Vec<String>,
    heads: Vec<Prediction>,
    groups: usize,
}

impl Definition for Speaker {
    const NAME: &'static str = "speaker";
    type Settings = SpeakerSettings;

    fn check(settings: &SpeakerSettings) -> std::result::Result<(), Refusal> {
        Refusal::dropout("head.dropout", settings.head.dropout)
    }

    fn needs(_: &SpeakerSettings) -> Needs {
        Needs { groups: true, ..Needs::default() }
    }

    /// Makes `{modality}.*` and `head.{modality}.*`.
    fn new(settings: &SpeakerSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let groups = parts.groups;
        if groups < 2 {
            let what = format!(
                "got {groups} groups of training samples, expected at least 2; leave the system out"
            );
            return Err(Error::Model { model: Self::NAME.into(), what });
        }
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let mut inside = scope.sub("head");
        let head = |(encoder, width): (&EncoderSettings, usize)| {
            let ClassifierSettings { hidden, dropout } = settings.head;
            Prediction::new(inside.sub(&encoder.name), width, hidden, groups, dropout)
        };
        let heads =
            parts.encoders.iter().zip(encoders.widths()).map(head).collect::<Result<_>>()?;
        let names = parts.encoders.iter().map(|encoder| encoder.name.clone()).collect();
        Ok(Speaker { encoders, names, heads, groups })
    }
}

impl System for Speaker {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        Ok(Outputs { features: self.encoders.forward(pass, batch)?, ..Outputs::default() })
    }

    /// The sum over modalities of the cross entropy of the groups.
    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let features = self.encoders.forward(pass, batch)?;
        let each = self.heads.iter().zip(&features).enumerate();
        let each = each.map(|(modality, (head, features))| {
            let logits = head.forward(pass, features)?;
            let rows = batch.rows_with(modality);
            match rows.is_empty() {
                true => logits.sum(&[0, 1])?.affine(0.0, 0.0),
                false => logits.cross_entropy(&batch.groups_of(Self::NAME, &rows)?),
            }
        });
        let losses: Vec<Tensor> = each.collect::<Result<_>>()?;
        Loss::sum(&losses, &self.names)
    }

    fn chance_loss(&self, _batch: usize) -> Option<f64> {
        Some((self.groups as f64).ln() * self.heads.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{DType, Parameters};

    #[test]
    fn groups_are_needed() -> Result<()> {
        let encoders = [EncoderSettings::strided("voice", &[6, 3])];
        let new = |groups: usize, parameters: &mut Parameters| {
            let parts = Parts { groups, ..Parts::new(&encoders, None) };
            Speaker::new(&SpeakerSettings::default(), parts, parameters.scope())
        };
        let one = new(1, &mut Parameters::new(DType::F32, 0));
        assert!(one.is_err_and(|error| error.to_string().contains("got 1 groups")));

        let mut parameters = Parameters::new(DType::F32, 0);
        let system = new(4, &mut parameters)?;
        let pass = Pass::evaluate(&parameters);
        let mut batch = Batch::new(vec![Tensor::zeros(&[3, 6, 3], DType::F32)]);
        let held_out = system.loss(&pass, &batch, 0);
        assert!(held_out.is_err_and(|error| error.to_string().contains("no training group")));
        batch.groups = Some(Tensor::from_slice(&[0u32, 3, 1], &[3])?);
        assert!(system.loss(&pass, &batch, 0)?.total.item()? > 0.0);
        assert_eq!(system.chance_loss(3), Some(4f64.ln()));
        Ok(())
    }
}
