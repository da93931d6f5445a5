//! `mpuc embed`: writes the frozen features of recordings.

use super::predict::{bundle_path, open};
use crate::Context;
use crate::bundle::Sample;
use crate::cli::{EmbedArgs, EmbedFormat};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use data::Array;
use data::formats::npy;
use engine::Tensor;
use engine::checkpoint::{Checkpoint, write_whole};
use models::evaluate::Rows;

/// Runs `mpuc embed`.
///
/// # Errors
/// 66 when the bundle or a file does not exist, 65 when a file is damaged, 2 when the format is not known, 74 when the
/// output cannot be written.
pub fn run(args: &EmbedArgs, context: &Context) -> Result<()> {
    // A missing run is reported before a wrong ending.
    bundle_path(&args.bundle)?;
    let ending = args.out.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let format = match (args.format, ending.as_str()) {
        (Some(format), _) => format,
        (None, "npy") => EmbedFormat::Npy,
        (None, "safetensors") => EmbedFormat::Safetensors,
        _ => {
            let message = format!("{}: the ending names no format", args.out.display());
            return Err(Failure::new(Kind::Usage, message)
                .hint("name a file that ends in .npy or .safetensors, or give --format"));
        }
    };
    let (bundle, samples) = open(&args.bundle, context)?;
    let files: Vec<Sample> = samples.iter().map(|(_, sample)| sample.clone()).collect();
    let ids: Vec<&str> = samples.iter().map(|(id, _)| id.as_str()).collect();
    let features = bundle.outputs(&files)?.features;
    // A table of its own for each modality, or one of all together.
    let joint = features.len() < bundle.modalities().count();
    let names = || bundle.modalities().map(|name| if joint { "joint" } else { name });
    match format {
        EmbedFormat::Npy => {
            let all = Rows::join(&features.iter().collect::<Vec<_>>());
            let shape = [all.len(), all.width];
            npy::write(&args.out, &Array::new(shape, all.values)?)?;
            let mut names = args.out.clone().into_os_string();
            names.push(".ids.json");
            let text = serde_json::to_vec_pretty(&ids).unwrap_or_default();
            write_whole(names.as_ref(), &text)?;
        }
        EmbedFormat::Safetensors => {
            let mut tensors = Checkpoint::new();
            for (name, rows) in names().zip(&features) {
                tensors.insert(name, Tensor::from_slice(&rows.values, &[rows.len(), rows.width])?);
            }
            tensors.set("ids", &ids)?;
            tensors.set("protocol", &bundle.description.protocol)?;
            tensors.save(&args.out)?;
        }
    }
    let widths: Vec<String> =
        names().zip(&features).map(|(name, rows)| format!("{name} {}", rows.width)).collect();
    output::note(format_args!(
        "{}: {} samples, {} features",
        args.out.display(),
        ids.len(),
        widths.join(" + ")
    ));
    Ok(())
}
