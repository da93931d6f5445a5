//! `mpuc faces`.

use crate::device::Choice;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `mpuc faces`.
#[derive(Debug, Args)]
#[command(
    long_about = "Detect and track the face in each video, and write the files that the other commands read: NAME.npy, \
        face crops [T, 112, 112, 3]; NAME.csv, 68 points for each frame in OpenFace's format; and NAME.png, a contact \
        sheet of frames with box and points for visual inspection. NAME.faces.json summarises the result. A video is \
        skipped if its results exist and were made from the same video, weights and settings.\n\n\
        MTCNN detects the face, and face-api's network finds its 68 points; both run on mpuc's engine. Their published \
        weights are not part of mpuc: pnet.pt, rnet.pt and onet.pt of facenet-pytorch, and \
        face_landmark_68_model-weights_manifest.json of face-api with the file that it names.",
    after_help = "\
Examples:
  mpuc faces talk.mp4 --weights weights --out faces
  mpuc faces RAVDESS --weights mtcnn --weights face-api --out RAVDESS
      Writes crops and points into RAVDESS's folders, where `mpuc train` reads them.
  mpuc faces clips --weights weights --out faces --gaps mask --json > faces.json

Frames without a face have success 0 in the CSV and the points of the last face. Of several faces the largest one is
tracked."
)]
pub struct FacesArgs {
    /// Videos, .npy files of frames [T, H, W, 3], folders of pictures (the frames of one clip), folders of these, and
    /// .zip archives of videos.
    #[arg(value_name = "VIDEO_OR_FOLDER", required = true)]
    pub inputs: Vec<PathBuf>,
    /// A folder with weights; may be given several times.
    #[arg(long, value_name = "DIR", required = true)]
    pub weights: Vec<PathBuf>,
    /// The folder to write to. Results of videos below an input folder have the same subfolders in it, those of
    /// videos in an archive the subfolders that they have in the archive.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The side of a crop, relative to the longer side of the face's box.
    #[arg(long, value_name = "X", default_value_t = 1.3)]
    pub margin: f32,
    /// The content of crops in frames without a face.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Gaps::Hold)]
    pub gaps: Gaps,
    /// The smallest face to detect, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(12..))]
    pub min_face: u16,
    /// Frames between detections in the whole frame, while a face is tracked.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub look_every: u16,
    /// Frames per second of .npy files and folders of pictures, which have no frame rate.
    #[arg(long, value_name = "FPS", default_value_t = 30.0)]
    pub rate: f64,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks every
    /// access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// Compute all results again, even those that exist.
    #[arg(long)]
    pub fresh: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The content of crops in frames without a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gaps {
    /// The square interpolated between the last face and the next.
    Hold,
    /// Black.
    Mask,
}
