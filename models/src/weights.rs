//! Loads PyTorch's weights into a network, by name.
//!
//! PyTorch has features first, this engine has them last: a convolution's `[out, in, taps..]` becomes
//! `[taps.., in, out]`, a linear layer's `[out, in]` becomes `[in, out]`.

use engine::{Error, ParameterId, Parameters, Result, Tensor};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The name and shape of a tensor in a file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name; all names of a file may have a common prefix.
    pub name: &'a str,
    /// The shape, features first.
    pub shape: &'a [usize],
}

/// A parameter whose tensor in the file has another shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reshaped {
    /// The parameter.
    pub name: String,
    /// The shape in the file.
    pub file: Vec<usize>,
    /// The shape that the network needs, in PyTorch's layout.
    pub network: Vec<usize>,
}

/// The match of a file's tensors to a network's parameters by name and shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The prefix of the names in the file.
    pub prefix: String,
    /// Parameters that the file has, with the index of their tensor.
    #[serde(skip)]
    pub found: Vec<(String, usize)>,
    /// Parameters that the file lacks.
    pub missing: Vec<String>,
    /// Tensors that are not a parameter of the network.
    pub extra: Vec<String>,
    /// Parameters that have another shape in the file.
    pub reshaped: Vec<Reshaped>,
}

/// The update counter of PyTorch's batch norm, which this engine does not need.
const COUNTS: &str = "num_batches_tracked";

impl Match {
    /// Finds the parameters whose names begin with `scope` (such as `face.`; empty for all) among a file's tensors.
    ///
    /// The names in the file may have a common prefix (`module.`, `state_dict.encoder.`): the one with which most of
    /// the network's names are found.
    pub fn new(parameters: &Parameters, scope: &str, sources: &[Source<'_>]) -> Self {
        let wanted = wanted(parameters, scope);
        let prefix = prefix(&wanted, sources);
        let by_name: HashMap<&str, usize> = sources
            .iter()
            .enumerate()
            .filter_map(|(number, source)| Some((source.name.strip_prefix(&prefix)?, number)))
            .collect();
        let mut matched = Match::default();
        let mut used = HashSet::new();
        for (name, id) in wanted {
            let Some(&number) = by_name.get(name) else {
                matched.missing.push(name.to_owned());
                continue;
            };
            used.insert(number);
            let (file, network) = (sources[number].shape, features_first(&parameters.logical(id)));
            if same(file, &network) {
                matched.found.push((name.to_owned(), number));
            } else {
                matched.reshaped.push(Reshaped {
                    name: name.to_owned(),
                    file: file.to_vec(),
                    network,
                });
            }
        }
        let extra = sources.iter().enumerate().filter(|(number, source)| {
            !used.contains(number) && source.name.rsplit('.').next() != Some(COUNTS)
        });
        matched.extra = extra.map(|(_, source)| source.name.to_owned()).collect();
        matched.prefix = prefix;
        matched
    }
}

/// Replaces a parameter's value by elements in PyTorch's layout.
///
/// # Errors
/// When there is no such parameter, or the number of elements differs.
pub fn load(parameters: &mut Parameters, name: &str, values: &[f32]) -> Result<()> {
    let missing = || Error::Parameter { name: name.into(), what: "not in the network".into() };
    let id = parameters.find(name).ok_or_else(missing)?;
    let shape = parameters.logical(id);
    if values.len() != shape.count() {
        return Err(Error::Count { what: "weights", got: values.len(), expected: shape });
    }
    parameters.import(id, &Tensor::from_slice(&features_last(values, &shape), &shape)?)
}

/// The network's parameters by name, without the scope.
fn wanted<'a>(parameters: &'a Parameters, scope: &str) -> BTreeMap<&'a str, ParameterId> {
    let named = |id| Some((parameters.name(id).strip_prefix(scope)?, id));
    parameters.ids().filter_map(named).collect()
}

/// The prefix of most of the wanted names; the shortest if there are several.
fn prefix(wanted: &BTreeMap<&str, ParameterId>, sources: &[Source<'_>]) -> String {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources {
        let dots = source.name.match_indices('.').map(|(at, _)| at + 1);
        for start in std::iter::once(0).chain(dots) {
            if wanted.contains_key(&source.name[start..]) {
                *votes.entry(&source.name[..start]).or_default() += 1;
            }
        }
    }
    let best = votes.into_iter().min_by_key(|(prefix, count)| (usize::MAX - count, prefix.len()));
    best.map_or(String::new(), |(prefix, _)| prefix.to_owned())
}

/// Whether a shape in the file matches a parameter. A 2-D convolution matches a 3-D one with a depth of 1.
fn same(file: &[usize], network: &[usize]) -> bool {
    let planar = match (file, network) {
        ([f_out, f_in, f @ ..], [out, inputs, 1, taps @ ..]) if taps.len() == 2 => {
            (f_out, f_in, f) == (out, inputs, taps)
        }
        _ => false,
    };
    planar || file == network
}

/// The shape of a parameter in PyTorch's layout.
fn features_first(shape: &[usize]) -> Vec<usize> {
    match shape {
        [taps @ .., inputs, outputs] => [&[*outputs, *inputs], taps].concat(),
        _ => shape.to_vec(),
    }
}

/// Converts elements from PyTorch's layout to that of a parameter of this shape.
fn features_last(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [taps @ .., inputs, outputs] = shape else {
        return values.to_vec();
    };
    let taps: usize = taps.iter().product();
    let mut turned = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(taps.max(1)).enumerate() {
        let (output, input) = (row / inputs, row % inputs);
        for (tap, &value) in values.iter().enumerate() {
            turned[(tap * inputs + input) * outputs + output] = value;
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{DType, Init};

    fn parameters() -> Result<Parameters> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let mut scope = parameters.scope();
        let mut face = scope.sub("face");
        face.sub("stem").parameter("weight", &[1, 2, 3, 2], Init::Constant(0.0))?;
        face.sub("stem").parameter("bias", &[2], Init::Constant(0.0))?;
        face.sub("fc").parameter("weight", &[2, 4], Init::Constant(0.0))?;
        face.sub("other").parameter("bias", &[2], Init::Constant(0.0))?;
        Ok(parameters)
    }

    #[test]
    fn names_are_found_behind_a_prefix_and_layouts_turned() -> Result<()> {
        let mut parameters = parameters()?;
        let sources: [(&str, &[usize]); 6] = [
            ("state.module.stem.weight", &[2, 3, 1, 2]),
            ("state.module.stem.bias", &[2]),
            ("state.module.stem.num_batches_tracked", &[]),
            ("state.module.fc.weight", &[400, 2]),
            ("fc.weight", &[4, 2]),
            ("optimizer.step", &[1]),
        ];
        let sources = sources.map(|(name, shape)| Source { name, shape });
        let matched = Match::new(&parameters, "face.", &sources);
        assert_eq!(matched.prefix, "state.module.");
        assert_eq!(matched.found, [("stem.bias".into(), 1), ("stem.weight".into(), 0)]);
        assert_eq!(matched.missing, ["other.bias"]);
        assert_eq!(matched.extra, ["fc.weight", "optimizer.step"]);
        let fc = Reshaped { name: "fc.weight".into(), file: vec![400, 2], network: vec![4, 2] };
        assert_eq!(matched.reshaped, [fc]);
        let numbers: Vec<f32> = (0..12).map(|v| v as f32).collect();
        load(&mut parameters, "face.stem.weight", &numbers)?;
        load(&mut parameters, "face.stem.bias", &[7.0, 8.0])?;
        assert!(load(&mut parameters, "face.stem.bias", &[7.0]).is_err());
        assert!(load(&mut parameters, "face.nothing", &[7.0]).is_err());
        let value = |name: &str| -> Result<Vec<f64>> {
            parameters.value(parameters.find(name).unwrap()).to_vec()
        };
        // [out, in, 1, 2] to [1, 2, in, out]: number 6·out + 2·in + tap.
        let expected = [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0];
        assert_eq!(value("face.stem.weight")?, expected);
        assert_eq!(value("face.stem.bias")?, [7.0, 8.0]);
        assert_eq!(value("face.fc.weight")?, [0.0; 8]);
        Ok(())
    }
}
