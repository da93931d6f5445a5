//! Initial weights of networks, from files.

use crate::config::Config;
use crate::failure::{Failure, Kind, Result};
use crate::progress::Progress;
use data::formats::weights::Weights;
use engine::{DType, Parameters};
use models::backbones::{Backbone, BackboneSettings, R2Plus1dSettings};
use models::weights::{Match, Source, load};
use std::collections::BTreeMap;

/// The last layer. It is not loaded, because the file's predicts other classes.
const OUTPUT: &str = "fc.";

/// The weight files of all modalities that have one.
pub struct Pretrained {
    networks: Vec<Network>,
}

struct Network {
    modality: String,
    weights: Weights,
    matched: Match,
}

impl Pretrained {
    /// Opens the files and finds each network's parameters in its file.
    ///
    /// # Errors
    /// When a file cannot be read, or is of another network.
    pub fn open(config: &Config, progress: &Progress) -> Result<Self> {
        let mut networks = Vec::new();
        for (modality, settings) in &config.modality {
            let Some(path) = &settings.weights else {
                if is_r2plus1d_18(&settings.backbone) {
                    progress.line(format_args!(
                        "{modality} starts at random; the paper starts it from Kinetics-400's weights: set \
                         modality.{modality}.weights to torchvision's file of r2plus1d_18"
                    ));
                }
                continue;
            };
            let weights = Weights::open(path)?;
            let matched = matched(&weights, &settings.backbone)?;
            let lacks = lacking(&matched);
            if let Some(first) = lacks.first() {
                let message = format!(
                    "{}: is no file of modality.{modality}.backbone: {} of its {} parameters are missing or of another \
                     shape, `{first}` among them",
                    path.display(),
                    lacks.len(),
                    lacks.len() + matched.found.len(),
                );
                return Err(Failure::new(Kind::BadData, message).hint(format!(
                    "`mpuc weights inspect {} --network r2plus1d` lists them",
                    path.display()
                )));
            }
            progress.line(format_args!(
                "{modality} starts from {} ({} parameters, all but its last layer)",
                path.display(),
                matched.found.len()
            ));
            networks.push(Network { modality: modality.clone(), weights, matched });
        }
        Ok(Pretrained { networks })
    }

    /// Loads the weights into a system's parameters, for every modality for which `has` is true.
    ///
    /// # Errors
    /// When numbers cannot be read.
    pub fn load(&self, parameters: &mut Parameters, has: impl Fn(&str) -> bool) -> Result<()> {
        for Network { modality, weights, matched } in &self.networks {
            if !has(modality) {
                continue;
            }
            for (name, number) in &matched.found {
                let values = weights.values(&weights.entries()[*number])?;
                load(parameters, &format!("{modality}.{name}"), values.data())?;
            }
        }
        Ok(())
    }

    /// The name of each file and the beginning of its hash, by modality.
    pub fn stamp(&self) -> BTreeMap<String, String> {
        let stamp = |network: &Network| {
            let name = network.weights.path().file_name().unwrap_or_default().display();
            (network.modality.clone(), format!("{name} {}", network.weights.hash()))
        };
        self.networks.iter().map(stamp).collect()
    }
}

/// Whether a backbone has the sizes of torchvision's R(2+1)D-18.
fn is_r2plus1d_18(backbone: &BackboneSettings) -> bool {
    let BackboneSettings::R2plus1d(settings) = backbone else { return false };
    let R2Plus1dSettings { width, stem, blocks, .. } = R2Plus1dSettings::default();
    (settings.width, settings.stem, &settings.blocks) == (width, stem, &blocks)
}

/// Matches the parameters of a network with the tensors of a file.
///
/// # Errors
/// When the network cannot be built.
pub fn matched(weights: &Weights, network: &BackboneSettings) -> Result<Match> {
    let mut parameters = Parameters::new(DType::F32, 0);
    // No parameter depends on the size of a clip.
    Backbone::new(network, parameters.scope(), &[1, 1, 1, 3])?;
    let sources = weights.entries().iter();
    let sources = sources.map(|entry| Source { name: entry.name(), shape: entry.shape() });
    Ok(Match::new(&parameters, "", &sources.collect::<Vec<_>>()))
}

/// The network's parameters that the file lacks or has in another shape, without those of the last layer.
pub fn lacking(matched: &Match) -> Vec<&str> {
    let reshaped = matched.reshaped.iter().map(|reshaped| reshaped.name.as_str());
    let all = matched.missing.iter().map(String::as_str).chain(reshaped);
    all.filter(|name| !name.starts_with(OUTPUT)).collect()
}
