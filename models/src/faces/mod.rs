//! Faces in images: detection (MTCNN), tracking of one face through a clip, and 68 landmarks of a face.
//!
//! Images are host arrays of RGB bytes; the networks run on the engine.

mod boxes;
mod detector;
mod follow;
mod networks;
mod picture;
pub mod points;

pub use boxes::{FaceBox, Overlap, suppress};
pub use detector::{Detector, DetectorSettings, Face};
pub use follow::{FollowSettings, Follower, Sighting, Square, steady};
pub use networks::{Stage, onet, pnet, rnet};
pub use picture::{Picture, Region, Sums};
pub use points::PointNet;
