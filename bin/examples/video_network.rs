//! What R(2+1)D-18 makes of a video with weights that PyTorch saved: its 400 outputs for eight frames, which are written
//! as `clip.npy` beside `outputs.npy` for others to do the same. `tests/pytorch/weights` holds it against torchvision.
//!
//! `cargo run --release -p mpuc --example video_network -- r2plus1d_18-91a641e6.pth VIDEO.mp4 FOLDER`

use data::Array;
use data::features::clip::{ClipSettings, KINETICS_MEAN, KINETICS_STD, frame_indices};
use data::formats::npy;
use data::formats::weights::Weights;
use engine::{DType, Parameters, Pass, Tensor};
use models::backbones::{R2Plus1d, R2Plus1dSettings};
use models::weights::{Match, Source, load};
use std::error::Error;
use std::path::Path;

/// Classes of Kinetics-400.
const CLASSES: usize = 400;
const FRAMES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, video, folder] = arguments.as_slice() else {
        return Err("usage: video_network WEIGHTS VIDEO FOLDER".into());
    };
    let (frames, _) = ClipSettings::default().read(Path::new(video))?;
    let &[length, height, width, channels] = frames.shape() else {
        return Err("a clip has four axes".into());
    };
    let picked = frame_indices(0, length, FRAMES);
    let size = height * width * channels;
    let pixels = picked.iter().flat_map(|frame| &frames.data()[frame * size..][..size]);
    let clip: Vec<f32> = pixels
        .enumerate()
        .map(|(at, &pixel)| {
            let colour = at % channels;
            (f32::from(pixel) / 255.0 - KINETICS_MEAN[colour]) / KINETICS_STD[colour]
        })
        .collect();
    let shape = [1, FRAMES, height, width, channels];

    let mut parameters = Parameters::new(DType::F32, 0);
    let settings = R2Plus1dSettings { features: CLASSES, ..R2Plus1dSettings::default() };
    let network = R2Plus1d::new(&settings, parameters.scope(), &shape[1..])?;
    let weights = Weights::open(Path::new(weights))?;
    let entries = weights.entries();
    let sources = entries.iter().map(|entry| Source { name: entry.name(), shape: entry.shape() });
    let matched = Match::new(&parameters, "", &sources.collect::<Vec<_>>());
    println!(
        "{} parameters found, {} missing, {} of another shape",
        matched.found.len(),
        matched.missing.len(),
        matched.reshaped.len()
    );
    for (name, number) in &matched.found {
        load(&mut parameters, name, weights.values(&entries[*number])?.data())?;
    }
    let outputs = network
        .forward(&Pass::evaluate(&parameters), &Tensor::from_slice(&clip, &shape)?, None)?
        .to_vec()?;
    let folder = Path::new(folder);
    npy::write(&folder.join("clip.npy"), &Array::new(shape, clip)?)?;
    npy::write(&folder.join("outputs.npy"), &Array::new([1, CLASSES], outputs)?)?;
    Ok(())
}
