//! Loads the face networks with their published weights.

use crate::failure::{Failure, Kind, Result};
use data::formats::weights::Weights;
use engine::{DType, Device, Parameters};
use models::faces::{Detector, DetectorSettings, PointNet};
use models::weights::{Match, Source, load};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The accepted endings of each MTCNN network's file.
const DETECTORS: [&str; 3] = ["pt", "pth", "safetensors"];
const POINTS: [&str; 2] =
    ["face_landmark_68_model-weights_manifest.json", "face_landmark_68_model.safetensors"];

/// The face networks with their weights.
pub struct Networks {
    pub detector: Detector,
    pub points: PointNet,
    pub parameters: Parameters,
    /// The file of each network: name and the first digits of its hash.
    pub files: BTreeMap<String, File>,
}

/// A file of weights.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    name: String,
    hash: String,
}

impl Networks {
    /// Reads the weights from these folders.
    ///
    /// # Errors
    /// Exit code 66 when a file is missing, 65 when one is of another network.
    pub fn open(folders: &[PathBuf], settings: DetectorSettings, device: &Device) -> Result<Self> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let detector = Detector::new(parameters.scope(), settings)?;
        let points = PointNet::new(&mut parameters.scope(), "points")?;
        let mut files = BTreeMap::new();
        for network in Detector::NETWORKS {
            let names: Vec<String> =
                DETECTORS.iter().map(|ending| format!("{network}.{ending}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let weights = find(folders, &names, "facenet-pytorch has it in its folder `data`")?;
            fill(&mut parameters, network, &weights)?;
            files.insert(network.to_owned(), stamp(&weights));
        }
        let weights = find(folders, &POINTS, "face-api has it in its folder `weights` or `model`")?;
        let entries = weights.entries();
        let mut unreadable = None;
        let loaded = points.load(&mut parameters, |name| {
            let entry = entries.iter().find(|entry| entry.name() == name)?;
            weights.values(entry).map(|v| v.into_parts()).map_err(|e| unreadable = Some(e)).ok()
        });
        if let Some(error) = unreadable {
            return Err(error.into());
        }
        loaded.map_err(|error| other_network(weights.path(), "face-api's 68 points", error))?;
        files.insert("points".to_owned(), stamp(&weights));
        parameters.move_to(device)?;
        Ok(Networks { detector, points, parameters, files })
    }
}

/// Loads the weights of one MTCNN network.
fn fill(parameters: &mut Parameters, network: &str, weights: &Weights) -> Result<()> {
    let entries = weights.entries();
    let sources: Vec<Source<'_>> =
        entries.iter().map(|entry| Source { name: entry.name(), shape: entry.shape() }).collect();
    let scope = format!("{network}.");
    let matched = Match::new(parameters, &scope, &sources);
    let reshaped = matched.reshaped.iter().map(|reshaped| &reshaped.name);
    let lacking: Vec<&String> = matched.missing.iter().chain(reshaped).collect();
    if let Some(first) = lacking.first() {
        let why = format!(
            "{} of its {} parameters are missing or have another shape, for example `{first}`",
            lacking.len(),
            lacking.len() + matched.found.len()
        );
        return Err(other_network(weights.path(), &format!("MTCNN's {network}"), why));
    }
    for (name, number) in &matched.found {
        let values = weights.values(&entries[*number])?;
        load(parameters, &format!("{scope}{name}"), values.data())?;
    }
    Ok(())
}

fn other_network(path: &Path, network: &str, why: impl std::fmt::Display) -> Failure {
    let message = format!("{}: does not have the weights of {network}: {why}", path.display());
    Failure::new(Kind::BadData, message)
        .hint(format_args!("`mpuc weights inspect {}` lists its tensors", path.display()))
}

/// Reads the first of these files that is in one of the folders.
fn find(folders: &[PathBuf], names: &[&str], whence: &str) -> Result<Weights> {
    let all = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    if let Some(path) = all.into_iter().find(|path| path.is_file()) {
        return Ok(Weights::open(&path)?);
    }
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let message = format!("{}: found none of {}", folders.join(", "), names.join(", "));
    Err(Failure::new(Kind::MissingData, message)
        .hint(format_args!("{whence}; put the weights into a folder and name it with --weights")))
}

fn stamp(weights: &Weights) -> File {
    let name = weights.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    File { name, hash: weights.hash() }
}
