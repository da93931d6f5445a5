//! `mpuc faces`.

use crate::device::Choice;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `mpuc faces`.
#[derive(Debug, Args)]
#[command(
    long_about = "Find the face in each video, follow it, and write what the other commands read: NAME.npy, face crops \
        [T, 112, 112, 3]; NAME.csv, 68 points a frame as OpenFace writes them; and NAME.png, a sheet of frames with box \
        and points drawn, to be looked at. NAME.faces.json says what was found; a video whose results stand and were \
        made in the same way is passed over.\n\n\
        The face is found by MTCNN and its points by face-api's network of 68 points, both on mpuc's own engine. Their \
        published weights are not part of mpuc: pnet.pt, rnet.pt and onet.pt of facenet-pytorch, and \
        face_landmark_68_model-weights_manifest.json of face-api with the file that it names.",
    after_help = "\
Examples:
  mpuc faces talk.mp4 --weights weights --out faces
  mpuc faces RAVDESS --weights mtcnn --weights face-api --out RAVDESS
      Crops and points beside the videos, unpacked or not, where `mpuc train` looks for them.
  mpuc faces clips --weights weights --out faces --gaps mask --json > faces.json

Frames without a face have success 0 in the CSV, and the last face's points. Of several faces the largest is followed."
)]
pub struct FacesArgs {
    /// Videos, .npy files of frames [T, H, W, 3], folders of pictures (the frames of one clip), folders of these, and .zip
    /// archives of videos.
    #[arg(value_name = "VIDEO_OR_FOLDER", required = true)]
    pub inputs: Vec<PathBuf>,
    /// A folder with weights; may be given several times.
    #[arg(long, value_name = "DIR", required = true)]
    pub weights: Vec<PathBuf>,
    /// The folder to write to; videos below an input folder keep their place in it, those in an archive the one they would
    /// have if it were unpacked.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The side of a crop in those of the face's box.
    #[arg(long, value_name = "X", default_value_t = 1.3)]
    pub margin: f32,
    /// What crops show where no face was found.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Gaps::Hold)]
    pub gaps: Gaps,
    /// The smallest face looked for, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(12..))]
    pub min_face: u16,
    /// Frames from one look at the whole frame to the next, while a face is followed.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub look_every: u16,
    /// Frames a second of .npy files, which do not say.
    #[arg(long, value_name = "FPS", default_value_t = 30.0)]
    pub rate: f64,
    /// Where to compute: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks
    /// every access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// Make everything anew.
    #[arg(long)]
    pub fresh: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What crops show in frames without a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gaps {
    /// The place between the last face and the next.
    Hold,
    /// Black.
    Mask,
}
