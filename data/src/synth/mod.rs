//! The synthetic world: a corpus with known true factors, in the files and names of RAVDESS or CMU-MOSEI.
//!
//! Every clip is one performance of one emotion by one actor. A performance has an affect (arousal, valence, dominance,
//! tension, novelty) that its three views share:
//!
//! - voice: glottal pulses through moving formants; affect changes pitch, energy, rate, tilt and breath ([`voice`]);
//! - landmarks: 68 points moved by action units and the voice's jaw, with blinks, head motion and tracker noise
//!   ([`landmarks`]);
//! - face: a small shaded portrait over the same points, with cues that points lack: flush, gloss, gaze, furrows
//!   ([`portrait`]).
//!
//! The seed of the world determines the actors. Every actor and every clip has its own random streams, so the bytes of a
//! clip do not depend on the order, the number of threads, or the other clips.
//!
//! If espeak-ng is installed, it can synthesise RAVDESS's two statements instead; jaw and brows then
//! follow its audio ([`spoken`]). The same actors can also be written as `.csd` files like CMU-MOSEI's ([`segments`]).

mod actor;
mod aside;
pub mod attributes;
mod canvas;
pub mod checksums;
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
mod segment_settings;
mod segments;
mod sequences;
mod settings;
mod spoken;
mod tables;
mod template;
mod vocabulary;
mod voice;
mod world;
mod write;

#[cfg(test)]
mod segment_tests;
#[cfg(all(test, unix))]
mod speech_tests;
#[cfg(test)]
mod tests;

pub use clip_id::ClipId;
pub use error::SynthError;
pub use generate::{Progress, Summary, generate, generate_segments};
pub use landmarks::LandmarkFrame;
pub use segment_settings::SegmentSettings;
pub use settings::{Shape, Voice, WorldSettings};
pub use tables::{ACTION_UNITS, AFFECT, EMOTIONS};
pub use world::{Clip, Factors, World};
#[cfg(test)]
pub(crate) use write::openface_names;
