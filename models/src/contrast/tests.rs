use super::*;
use crate::systems::{EncoderSettings, Input};
use engine::{DType, Device, Parameters, Philox, Simulation};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["a", "b", "c"];
const WIDTH: usize = 6;

fn encoders() -> Vec<EncoderSettings> {
    NAMES.iter().map(|name| EncoderSettings::strided(name, &[1, 1])).collect()
}

fn batch(samples: usize, views: usize, present: Option<&[[u32; 6]]>) -> Result<Batch> {
    let input = |m: usize| Input {
        present: present.map(|flags| [&flags[m][..samples]; 2][..views].concat()),
        ..Input::new(Tensor::zeros(&[samples * views, 1], DType::F32))
    };
    Ok(Batch {
        modalities: (0..NAMES.len()).map(input).collect(),
        labels: None,
        groups: None,
        samples,
        views,
    })
}

/// The loss, its parts and the gradients of embeddings that are a fixed function of their position.
fn run(
    settings: &ContrastiveSettings,
    batch: &Batch,
    task: Option<&Task>,
    device: &Device,
) -> Result<(f64, BTreeMap<String, f64>, Vec<f64>)> {
    let encoders = encoders();
    let mut parameters = Parameters::new(DType::F32, 1);
    let parts = Parts::new(&encoders, task);
    let contrast = Contrast::new(settings, parts, "test", parameters.scope().sub("loss"))?;
    let shape = [batch.rows(), WIDTH];
    let mut make = |name: &&str| parameters.scope().parameter(name, &shape, Init::Normal(1.0));
    let ids: Vec<ParameterId> = NAMES.iter().map(&mut make).collect::<Result<_>>()?;
    parameters.move_to(device)?;
    let pass = Pass::train(&parameters, Philox::new(0, "none"));
    let embeddings = ids.iter().map(|&id| pass.get(id)).collect();
    let Loss { total, parts, .. } = contrast.loss(&pass, batch, embeddings)?;
    let parts = match parts {
        None => BTreeMap::new(),
        Some(LossParts { values, names }) => {
            let values = values.to_vec()?;
            names.into_iter().map(|(at, name)| (name, values[at])).collect()
        }
    };
    let value = total.item()?;
    let outcome = pass.backward(&total)?;
    let gradients =
        ids.iter().map(|&id| outcome.gradients.get(id).map_or(Ok(vec![]), Tensor::to_vec));
    let gradients: Vec<Vec<f64>> = gradients.collect::<Result<_>>()?;
    Ok((value, parts, gradients.concat()))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5 * (1.0 + a.abs())
}

const SOME: [[u32; 6]; 3] = [[1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0]];

#[test]
fn equal_weights_give_the_fused_loss() -> Result<()> {
    for denominator in
        [Denominator::ExcludePositive, Denominator::IncludePositive, Denominator::Authors]
    {
        for (reduction, present) in
            [(Reduction::Mean, None), (Reduction::Sum, None), (Reduction::Mean, Some(&SOME[..]))]
        {
            let fused = ContrastiveSettings { denominator, reduction, ..Default::default() };
            let pair_weights = BTreeMap::from([("b to a".to_owned(), 1.0)]);
            let composed = ContrastiveSettings { pair_weights, ..fused.clone() };
            let batch = batch(6, fused.views(), present)?;
            let (value, parts, gradients) = run(&fused, &batch, None, &Device::Cpu)?;
            let (other, other_parts, other_gradients) = run(&composed, &batch, None, &Device::Cpu)?;
            assert!(close(value, other), "{denominator:?}: {value} and {other}");
            assert_eq!(parts.len(), 6);
            assert!(parts.iter().all(|(name, part)| close(*part, other_parts[name])), "{parts:?}");
            let mut pairs = gradients.iter().zip(&other_gradients);
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5), "{denominator:?}");
        }
    }
    Ok(())
}

#[test]
fn weights_are_those_of_a_mean() -> Result<()> {
    let weights = [("a to b", 3.0), ("c to a", 0.0)];
    let pair_weights: BTreeMap<String, f64> =
        weights.iter().map(|(pair, weight)| ((*pair).to_owned(), *weight)).collect();
    let settings = ContrastiveSettings { pair_weights, ..Default::default() };
    let (value, parts, _) = run(&settings, &batch(5, 1, None)?, None, &Device::Cpu)?;
    let weight =
        |name: &str| weights.iter().find(|(pair, _)| *pair == name).map_or(1.0, |(_, w)| *w);
    let expected = parts.iter().map(|(name, part)| weight(name) * part).sum::<f64>() / 7.0;
    assert!(close(value, expected), "{value} and {expected}: {parts:?}");
    Ok(())
}

#[test]
fn equal_embeddings_have_the_chance_loss() -> Result<()> {
    // Each class twice at least, so that each anchor has a positive within its modality.
    let labels = Tensor::from_slice(&[0u32, 1, 0, 1, 1], &[5])?;
    for (kind, positives) in [
        (LossKind::Pairs, Positives::Own),
        (LossKind::Pairs, Positives::Label),
        (LossKind::Clip, Positives::Own),
        (LossKind::Triplet, Positives::Own),
    ] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let denominator = Denominator::IncludePositive;
            let settings = ContrastiveSettings {
                kind,
                positives,
                reduction,
                denominator,
                ..Default::default()
            };
            let task = Task::OneOf(3);
            let encoders = encoders();
            let mut parameters = Parameters::new(DType::F64, 0);
            let parts = Parts::new(&encoders, Some(&task));
            let contrast = Contrast::new(&settings, parts, "test", parameters.scope())?;
            let batch = Batch { labels: Some(labels.clone()), ..batch(5, 1, None)? };
            let equal = Tensor::from_slice(&[0.5f64; 5 * WIDTH], &[5, WIDTH])?;
            let pass = Pass::evaluate(&parameters);
            let loss = contrast.loss(&pass, &batch, vec![equal; 3])?.total.item()?;
            let chance = settings.chance(5, 3).unwrap_or(f64::NAN);
            assert!((loss - chance).abs() < 1e-9, "{kind:?} {positives:?}: {loss}, {chance}");
        }
    }
    Ok(())
}

/// With equal embeddings the logits are constant, and a learned bias takes the loss to the least value of any constant.
#[test]
fn the_best_bias_gives_the_chance_loss_of_the_sigmoid_loss() -> Result<()> {
    let settings = |bias| ContrastiveSettings {
        kind: LossKind::Siglip,
        learned: false,
        siglip: SiglipSettings { scale: 1.0, bias },
        ..Default::default()
    };
    let equal = Tensor::from_slice(&[0.5f64; 5 * WIDTH], &[5, WIDTH])?;
    let value = |bias: f64| -> Result<f64> {
        let encoders = encoders();
        let mut parameters = Parameters::new(DType::F64, 0);
        let parts = Parts::new(&encoders, None);
        let contrast = Contrast::new(&settings(bias), parts, "test", parameters.scope())?;
        let embeddings = vec![equal.clone(); 3];
        contrast.loss(&Pass::evaluate(&parameters), &batch(5, 1, None)?, embeddings)?.total.item()
    };
    let learned = ContrastiveSettings { learned: true, ..settings(0.0) };
    let chance = learned.chance(5, 3).unwrap_or(f64::NAN);
    // A share of 1/5 positives: the logit ln(1/4), of which the cosine gives 1.
    let best = 0.25f64.ln() - 1.0;
    assert!((value(best)? - chance).abs() < 1e-9, "{} and {chance}", value(best)?);
    assert!(value(best - 0.1)? > chance && value(best + 0.1)? > chance);
    assert_eq!(settings(0.0).chance(5, 3), None);
    Ok(())
}

#[test]
fn a_batch_without_pairs_has_no_loss_and_no_gradient() -> Result<()> {
    let none = [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]];
    for kind in [LossKind::Clip, LossKind::Siglip, LossKind::Triplet, LossKind::M2fnetPrinted] {
        let settings = ContrastiveSettings { kind, ..Default::default() };
        let batch = batch(6, 1, Some(&none))?;
        let (value, parts, gradients) = run(&settings, &batch, None, &Device::Cpu)?;
        assert_eq!((value, parts.len()), (0.0, 0));
        assert!(gradients.iter().all(|gradient| *gradient == 0.0));
    }
    Ok(())
}

#[test]
fn a_simulated_gpu_gives_the_losses_of_the_cpu() -> Result<()> {
    let device = Device::simulated(Simulation::CHECKED);
    let labels = Tensor::from_slice(&[0u32, 1, 0, 1, 1, 0], &[6])?;
    let batch = Batch { labels: Some(labels), ..batch(6, 1, Some(&SOME))? };
    let label = ContrastiveSettings { positives: Positives::Label, ..Default::default() };
    let kinds = [LossKind::Clip, LossKind::Siglip, LossKind::Triplet, LossKind::M2fnetPrinted];
    let others = kinds.map(|kind| ContrastiveSettings { kind, ..Default::default() });
    for settings in others.into_iter().chain([label]) {
        let task = Task::OneOf(2);
        let (here, _, gradients) = run(&settings, &batch, Some(&task), &Device::Cpu)?;
        let (there, _, others) = run(&settings, &batch, Some(&task), &device)?;
        assert!(close(here, there), "{:?}: {here} and {there}", settings.kind);
        let largest = gradients.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
        let mut pairs = gradients.iter().zip(&others);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-4 * largest), "{:?}", settings.kind);
    }
    Ok(())
}

#[test]
fn wrong_settings_are_refused() {
    let refused = |settings: ContrastiveSettings, key: &str| {
        assert_eq!(settings.check().map_err(|refusal| refusal.key), Err(key), "{settings:?}");
    };
    let base = ContrastiveSettings::default();
    let label = ContrastiveSettings { positives: Positives::Label, ..base.clone() };
    refused(ContrastiveSettings { kind: LossKind::Clip, ..label.clone() }, "loss.positives");
    let authors = ContrastiveSettings { denominator: Denominator::Authors, ..base.clone() };
    refused(ContrastiveSettings { kind: LossKind::Siglip, ..authors.clone() }, "loss.denominator");
    refused(ContrastiveSettings { positives: Positives::Label, ..authors }, "loss.denominator");
    let sum = ContrastiveSettings { reduction: Reduction::Sum, ..base.clone() };
    refused(ContrastiveSettings { kind: LossKind::M2fnetPrinted, ..sum }, "loss.reduction");
    let weights = |pair: &str, weight| ContrastiveSettings {
        pair_weights: BTreeMap::from([(pair.to_owned(), weight)]),
        ..base.clone()
    };
    refused(weights("a to b", -1.0), "loss.pair_weights");

    let new = |settings: &ContrastiveSettings, task: Option<&Task>, names: &[EncoderSettings]| {
        let mut parameters = Parameters::new(DType::F32, 0);
        let made = Contrast::new(settings, Parts::new(names, task), "mpuc", parameters.scope());
        made.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let two = &encoders()[..2];
    let unknown = new(&weights("a to a", 2.0), None, two);
    assert!(
        unknown.ends_with("names `a to a`, which is no pair; the pairs are a to b, b to a"),
        "{unknown}"
    );
    let mut none = weights("a to b", 0.0);
    none.pair_weights.insert("b to a".into(), 0.0);
    assert!(new(&none, None, two).contains("every pair 0"));
    assert!(new(&label, Some(&Task::Attributes(2)), two).contains("got attributes"));
    assert!(new(&label, None, two).contains("needs labels"));
    assert_eq!(new(&label, Some(&Task::OneOf(2)), two), "");
}
