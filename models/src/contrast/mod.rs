//! Contrastive losses between the embeddings of modalities: MPUC's, and those it is compared with.

mod adversary;
mod columns;
mod distances;
mod settings;

pub use adversary::{Adversary, AdversarySettings};
pub use columns::{Columns, PairRows};
pub use distances::{Squares, adaptive_triplet, m2fnet, siglip, triplet};
pub use settings::*;

use crate::systems::{Batch, Loss, LossParts, Parts};
use crate::targets::Task;
use engine::profile::{self, Part};
use engine::{Constants, Error, Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::info_nce::{self, Reduction};
use kernels::ops::{InfoNce, Matmul};

/// The largest scale of CLIP's loss.
const CLIP_SCALE: f64 = 100.0;

/// A contrastive loss with its learned numbers, for modalities of these names.
#[derive(Debug, Clone)]
pub struct Contrast {
    settings: ContrastiveSettings,
    names: Vec<String>,
    /// The weight of each ordered pair, `[M, M]`; 0 on the diagonal, unless positives within a modality count.
    weights: Vec<f64>,
    /// The logarithm of the scale, and the bias.
    learned: [Option<ParameterId>; 2],
    squares: Constants<(bool, usize)>,
}

/// The embeddings of a batch, and which rows of it each modality has.
struct Embedded<'a> {
    raw: &'a [Tensor],
    unit: Vec<Tensor>,
    /// By modality, the rows of the first view.
    rows: Vec<Vec<usize>>,
    /// The label of each sample, where positives are by label.
    labels: Option<Vec<Vec<f64>>>,
}

/// The masks of pairs with the same rows.
struct Masks {
    within: bool,
    rows: Vec<usize>,
    columns: Option<Columns>,
}

impl Contrast {
    /// Makes `scale` and `bias`, where they are learned.
    ///
    /// # Errors
    /// When a weight names no pair, all weights are 0, or positives by label get a task without classes or labels.
    pub fn new(
        settings: &ContrastiveSettings,
        parts: Parts<'_>,
        system: &'static str,
        mut scope: Scope<'_>,
    ) -> Result<Self> {
        let refuse = |what: String| Err(Error::Model { model: system.into(), what });
        let within = settings.positives == Positives::Label;
        if within && matches!(parts.task(system)?, Task::Attributes(_)) {
            return refuse("got attributes, but loss.positives = \"label\" compares classes or labels; use \"own\"".into());
        }
        let names: Vec<String> = parts.encoders.iter().map(|e| e.name.clone()).collect();
        let count = names.len();
        let name = |at: usize| pair_name(&names, at / count, at % count);
        let pairs = || (0..count * count).filter(|at| within || at / count != at % count);
        let mut weights = vec![0.0; count * count];
        pairs().for_each(|at| weights[at] = 1.0);
        for (pair, weight) in &settings.pair_weights {
            let Some(at) = pairs().find(|&at| name(at) == *pair) else {
                let known: Vec<String> = pairs().map(name).collect();
                return refuse(format!(
                    "loss.pair_weights names `{pair}`, which is no pair; the pairs are {}",
                    known.join(", ")
                ));
            };
            weights[at] = *weight;
        }
        if weights.iter().sum::<f64>() == 0.0 {
            return refuse(
                "loss.pair_weights gives every pair 0; give at least one pair a weight".into(),
            );
        }
        let initial = match settings.kind {
            LossKind::Clip => [Some(-settings.temperature.ln()), None],
            LossKind::Siglip => [Some(settings.siglip.scale.ln()), Some(settings.siglip.bias)],
            _ => [None, None],
        };
        let mut learn = |name: &str, initial: Option<f64>| {
            let initial = initial.filter(|_| settings.learned);
            initial.map(|initial| scope.parameter(name, &[1], Init::Constant(initial))).transpose()
        };
        let learned = [learn("scale", initial[0])?, learn("bias", initial[1])?];
        let settings = settings.clone();
        Ok(Contrast { settings, names, weights, learned, squares: Constants::default() })
    }

    /// The loss of embeddings `[N, D]` of all modalities; rows without the modality are not read.
    ///
    /// # Errors
    /// When the shapes do not match, or labels are needed and absent.
    pub fn loss(&self, pass: &Pass<'_>, batch: &Batch, embeddings: Vec<Tensor>) -> Result<Loss> {
        let ContrastiveSettings { kind, positives, pair_weights, .. } = &self.settings;
        let fused = *kind == LossKind::Pairs && *positives == Positives::Own;
        let loss = || match fused && pair_weights.is_empty() {
            true => self.fused(batch, &embeddings),
            false => self.composed(pass, batch, &embeddings),
        };
        let (total, parts) = profile::span("loss", Part::Forward, loss)?;
        Ok(Loss { total, parts, embeddings })
    }

    /// The loss in one op.
    fn fused(&self, batch: &Batch, embeddings: &[Tensor]) -> Result<(Tensor, Option<LossParts>)> {
        let presence = batch.presence()?;
        let op = InfoNce {
            temperature: self.settings.temperature,
            denominator: match self.settings.denominator {
                Denominator::ExcludePositive => info_nce::Denominator::ExcludePositive,
                Denominator::IncludePositive => info_nce::Denominator::IncludePositive,
                Denominator::Authors => info_nce::Denominator::Authors { half: true },
            },
            reduction: self.settings.reduction,
            masked: presence.is_some(),
        };
        let inputs: Vec<&Tensor> = embeddings.iter().collect();
        let indices: Vec<&Tensor> = presence.iter().collect();
        let mut applied = Tensor::apply(op, &inputs, &indices)?;
        let count = self.names.len();
        let pairs = (0..count * count).filter(|at| at / count != at % count);
        let names = pairs.map(|at| (at, pair_name(&self.names, at / count, at % count))).collect();
        let parts = applied.saved.pop().map(|values| LossParts { values, names });
        Ok((applied.output, parts))
    }

    /// The loss from tensor primitives: the weighted mean over the ordered pairs with at least 2 common samples.
    fn composed(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        embeddings: &[Tensor],
    ) -> Result<(Tensor, Option<LossParts>)> {
        let embedded = self.embedded(batch, embeddings)?;
        let count = self.names.len();
        let mut found: Vec<(usize, usize, Tensor)> = Vec::new();
        let mut masks = Vec::new();
        for m in 0..count {
            for n in m..count {
                let directions = [(m, n), (n, m)];
                let directions = if m == n { &directions[..1] } else { &directions };
                if directions.iter().all(|&(from, to)| self.weights[from * count + to] == 0.0) {
                    continue;
                }
                let both = |row: &usize| embedded.rows[n].contains(row);
                let rows: Vec<usize> = embedded.rows[m].iter().copied().filter(both).collect();
                if rows.len() >= 2 {
                    found.extend(self.pair(pass, batch, &embedded, [m, n], &rows, &mut masks)?);
                }
            }
        }
        let weight = |m: usize, n: usize| self.weights[m * count + n];
        let sum: f64 = found.iter().map(|(m, n, _)| weight(*m, *n)).sum();
        let share = |m, n| if sum > 0.0 { weight(m, n) / sum } else { 0.0 };
        // A modality in no pair has gradients of 0.
        let idle = (0..count).filter(|m| !found.iter().any(|(a, b, _)| a == m || b == m));
        let idle = idle.map(|m| embeddings[m].sum(&[0, 1])?.affine(0.0, 0.0));
        let terms = found.iter().map(|(m, n, loss)| loss.affine(share(*m, *n), 0.0));
        let mut total: Option<Tensor> = None;
        for term in terms.chain(idle) {
            let term = term?;
            total = Some(total.map_or(Ok(term.clone()), |sum| sum.add(&term))?);
        }
        let total = total.ok_or(Error::Tape("a contrastive loss needs at least one modality"))?;
        let total = if found.is_empty() { self.with_learned(pass, total)? } else { total };
        Ok((total, self.parts(&found)?))
    }

    /// The total of a batch without pairs, with gradients of 0 for learned numbers.
    fn with_learned(&self, pass: &Pass<'_>, total: Tensor) -> Result<Tensor> {
        let learned = self.learned.iter().flatten();
        learned
            .into_iter()
            .try_fold(total, |total, &id| total.add(&pass.get(id).affine(0.0, 0.0)?.sum(&[0])?))
    }

    fn parts(&self, found: &[(usize, usize, Tensor)]) -> Result<Option<LossParts>> {
        let values = found.iter().map(|(_, _, loss)| loss.detached().reshape(&[1]));
        let values: Vec<Tensor> = values.collect::<Result<_>>()?;
        if values.is_empty() {
            return Ok(None);
        }
        let values = Tensor::concat(&values.iter().collect::<Vec<_>>(), 0)?;
        let names = found.iter().enumerate();
        let names = names.map(|(at, (m, n, _))| (at, pair_name(&self.names, *m, *n))).collect();
        Ok(Some(LossParts { values, names }))
    }

    fn embedded<'a>(&self, batch: &Batch, raw: &'a [Tensor]) -> Result<Embedded<'a>> {
        let rows = (0..raw.len()).map(|m| {
            (0..batch.samples).filter(|&row| batch.modalities[m].has(row)).collect::<Vec<_>>()
        });
        let labels = match self.settings.positives {
            Positives::Own => None,
            Positives::Label => {
                let all: Vec<usize> = (0..batch.rows()).collect();
                let labels = batch.labels_of("contrastive loss", &all)?;
                let width = labels.count() / batch.samples;
                Some(labels.to_vec()?.chunks(width).map(<[f64]>::to_vec).collect())
            }
        };
        let unit = raw.iter().map(unit).collect::<Result<_>>()?;
        Ok(Embedded { raw, unit, rows: rows.collect(), labels })
    }

    /// The losses of both directions of a pair on rows that have both modalities; one direction within a modality.
    fn pair(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        embedded: &Embedded<'_>,
        [m, n]: [usize; 2],
        rows: &[usize],
        masks: &mut Vec<Masks>,
    ) -> Result<Vec<(usize, usize, Tensor)>> {
        let views = 0..batch.views;
        let all = views.flat_map(|view| rows.iter().map(move |row| view * batch.samples + row));
        let all: Vec<u32> = all.map(|row| row as u32).collect();
        let whole = all.len() == batch.rows();
        let index = match whole {
            true => None,
            false => Some(Tensor::from_slice(&all, &[all.len()])?.on(pass.device())?),
        };
        let pick = |x: &Tensor| index.as_ref().map_or(Ok(x.clone()), |index| x.embedding(index));
        let [a, b] = [pick(&embedded.unit[m])?, pick(&embedded.unit[n])?];
        let cosines = a.matmul(Matmul::TRANSPOSE_RIGHT, &b)?;
        let mut directions = vec![(m, n, cosines.clone(), [&a, &b])];
        if m != n {
            directions.push((n, m, cosines.permute(&[1, 0])?, [&b, &a]));
        }
        let mut found = Vec::new();
        for (from, to, cosines, unit) in directions {
            let loss = match self.settings.kind {
                LossKind::Pairs | LossKind::Clip => {
                    let columns = self.columns(pass, embedded, rows, all.len(), m == n, masks)?;
                    let Some(columns) = columns else { continue };
                    columns.loss(&self.scaled(pass, &cosines)?)?
                }
                LossKind::Siglip => {
                    let logits = self.scaled(pass, &cosines)?;
                    self.reduced(&siglip(&logits, &self.squares(pass, all.len(), whole)?)?)?
                }
                LossKind::Triplet => {
                    let squares = self.squares(pass, all.len(), whole)?;
                    self.reduced(&triplet(&cosines, &squares, &self.settings.triplet)?)?
                }
                LossKind::M2fnetPrinted | LossKind::M2fnetConstant => {
                    let raw = [pick(&embedded.raw[from])?, pick(&embedded.raw[to])?];
                    let constant = self.settings.kind == LossKind::M2fnetConstant;
                    m2fnet(
                        unit,
                        [&raw[0], &raw[1]],
                        &self.squares(pass, all.len(), whole)?,
                        constant,
                    )?
                }
            };
            found.push((from, to, loss));
        }
        Ok(found)
    }

    /// The mean or the sum of the losses of anchors `[R]`.
    fn reduced(&self, anchors: &Tensor) -> Result<Tensor> {
        match self.settings.reduction {
            Reduction::Mean => anchors.mean(&[0]),
            Reduction::Sum => anchors.sum(&[0]),
        }
    }

    /// The masks of a pair of modalities on these rows, made once for a batch.
    fn columns(
        &self,
        pass: &Pass<'_>,
        embedded: &Embedded<'_>,
        rows: &[usize],
        count: usize,
        within: bool,
        masks: &mut Vec<Masks>,
    ) -> Result<Option<Columns>> {
        if let Some(known) = masks.iter().find(|m| m.within == within && m.rows == rows) {
            return Ok(known.columns.clone());
        }
        let labels = embedded.labels.as_ref();
        let labels: Option<Vec<&[f64]>> =
            labels.map(|labels| rows.iter().map(|&row| labels[row].as_slice()).collect());
        let mut settings = self.settings.clone();
        if settings.kind == LossKind::Clip {
            settings.denominator = Denominator::IncludePositive;
        }
        let pair = PairRows { count, labels: labels.as_deref(), within };
        let columns = Columns::new(&settings, pair, pass.dtype(), pass.device())?;
        masks.push(Masks { within, rows: rows.to_vec(), columns: columns.clone() });
        Ok(columns)
    }

    /// Logits of cosines: with the fixed temperature, or the learned scale and bias.
    fn scaled(&self, pass: &Pass<'_>, cosines: &Tensor) -> Result<Tensor> {
        let SiglipSettings { scale, bias } = self.settings.siglip;
        let [learned_scale, learned_bias] = self.learned.map(|id| id.map(|id| pass.get(id)));
        let scaled = match (learned_scale, self.settings.kind) {
            (Some(scale), LossKind::Clip) => {
                let most = CLIP_SCALE.ln();
                cosines.multiply(&scale.clamp(-most, most)?.exp()?)?
            }
            (Some(scale), _) => cosines.multiply(&scale.exp()?)?,
            (None, LossKind::Siglip) => cosines.affine(scale, bias)?,
            (None, _) => cosines.affine(1.0 / self.settings.temperature, 0.0)?,
        };
        learned_bias.map_or(Ok(scaled.clone()), |bias| scaled.add(&bias))
    }

    /// The matrices of `rows` rows, kept for a whole batch.
    fn squares(&self, pass: &Pass<'_>, rows: usize, keep: bool) -> Result<Squares> {
        let make = |own: bool| -> Result<Tensor> {
            let value = |at: usize| f64::from(u8::from((at / rows == at % rows) == own));
            let values: Vec<f64> = (0..rows * rows).map(value).collect();
            Tensor::from_slice(&values, &[rows, rows])?.to(pass.dtype())?.on(pass.device())
        };
        let get = |own: bool| match keep {
            true => pass.constant(&self.squares, (own, rows), || make(own)),
            false => make(own),
        };
        Ok(Squares { own: get(true)?, others: get(false)? })
    }
}

/// Embeddings `[N, D]` divided by their norms; 0 stays 0.
///
/// # Errors
/// When they have other axes.
pub fn unit(embeddings: &Tensor) -> Result<Tensor> {
    let squares = embeddings.square()?.sum_keeping(&[1])?;
    embeddings.divide(&squares.affine(1.0, 1e-24)?.sqrt()?)
}

fn pair_name(names: &[String], from: usize, to: usize) -> String {
    format!("{} to {}", names[from], names[to])
}

#[cfg(test)]
mod tests;
