//! A made-up world in RAVDESS's tree, names and formats (or CMU-MOSEI's), with known true factors.
//!
//! Every clip is one performance of one emotion by one actor. A performance has an affect (arousal, valence,
//! dominance, tension, novelty) shared by its three views:
//!
//! - voice: glottal pulses through moving formants; affect bends pitch, energy, rate, tilt and breath ([`voice`]);
//! - landmarks: 68 points moved by action units, with the voice's jaw, blinks, head drift and tracker noise ([`landmarks`]);
//! - face: a small shaded portrait over the same points, with cues the points lack: flush, gloss, gaze, furrows ([`portrait`]).
//!
//! A world seed fixes the actors; every actor and every clip has random streams of its own, so clips may be made in
//! any order, on any number of threads, or only in part, and come out with the same bytes.
//!
//! Where espeak-ng is installed, it may speak RAVDESS's two statements in place of the formants; jaw and brows then move
//! with what it said ([`spoken`]).
//!
//! The same people also come in CMU-MOSEI's shape, as `.csd` files ([`segments`]).

mod actor;
mod canvas;
mod clip_id;
mod error;
mod espeak;
mod filter;
mod generate;
mod landmarks;
mod performance;
mod portrait;
mod prosody;
mod random;
mod segments;
mod settings;
mod spoken;
mod tables;
mod template;
mod vocabulary;
mod voice;
mod world;
mod write;

#[cfg(all(test, unix))]
mod speech_tests;
#[cfg(test)]
mod tests;

pub use clip_id::ClipId;
pub use error::SynthError;
pub use generate::{FORMAT_VERSION, Progress, Summary, generate, generate_segments};
pub use landmarks::LandmarkFrame;
pub use settings::{Shape, Voice, WorldSettings};
pub use tables::{ACTION_UNITS, AFFECT, EMOTIONS};
pub use world::{Clip, Factors, World};
#[cfg(test)]
pub(crate) use write::openface_names;
