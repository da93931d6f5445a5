//! Networks of other runs, the donors: a run takes them in place of a training that reads the same.

use super::{PreparedData, Session};
use crate::config::Arm;
use crate::failure::Result;
use data::folds::Split;
use engine::checkpoint::Checkpoint;
use models::systems::Needs;
use std::path::PathBuf;

/// The entry of the key in the checkpoint of a finished training.
const ENTRY: &str = "training_key";

/// Everything that the training of an arm's networks reads.
pub struct TrainingInputs<'a> {
    /// The session.
    pub session: &'a Session<'a>,
    /// The data.
    pub prepared: &'a PreparedData,
    /// The split of the trial: standardisers are measured over its training part.
    pub split: &'a Split,
    /// The arm.
    pub arm: &'a Arm,
    /// What its system needs.
    pub needs: &'a Needs,
    /// The samples that it learns from, and those of the validation loss.
    pub samples: [&'a [usize]; 2],
    /// The seed.
    pub seed: u64,
}

impl TrainingInputs<'_> {
    /// A hash of all of it: trainings with equal keys give equal bits. Labels are a part of it only if training reads
    /// them. `None` if features are not in the cache, whose entries identify them.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn key(&self) -> Result<Option<String>> {
        let TrainingInputs { session, prepared, split, arm, needs, samples, seed } = self;
        let resolved = session.resolved;
        let labels = resolved.reads_labels(arm);
        let instructions = kernels::cpu::simd::level();
        let mut hasher = blake3::Hasher::new();
        // Another version, processor or device may round in another way.
        let program = (env!("CARGO_PKG_VERSION"), option_env!("MPUC_COMMIT"), instructions);
        let place = (program, session.device.to_string());
        let settings = (resolved.hash_of_training(arm)?, prepared.pretrained.stamp(), seed);
        hasher
            .update(format!("{place:?} {settings:?} {needs:?} {:?}\n", prepared.names).as_bytes());
        for part in [&split.train[..], samples[0], samples[1]] {
            if !prepared.hash_samples(part, labels, &mut hasher) {
                return Ok(None);
            }
        }
        Ok(Some(hasher.finalize().to_hex()[..32].to_owned()))
    }
}

/// Writes the key of a finished training into its checkpoint.
///
/// # Errors
/// None in practice.
pub fn write_key(checkpoint: &mut Checkpoint, key: &str) -> Result<()> {
    Ok(checkpoint.set(ENTRY, &key)?)
}

/// The first of the session's donors with a checkpoint of this name, e.g. `seed0-fold1-mpuc`, whose training was finished
/// and has this key. A damaged checkpoint is passed over.
pub fn find(session: &Session<'_>, name: &str, key: &str) -> Option<(PathBuf, Checkpoint)> {
    for donor in session.donors {
        let path = donor.join(super::stage::checkpoint_file(name));
        match Checkpoint::load(&path) {
            Ok(found) if found.get::<String>(ENTRY).is_ok_and(|own| own == key) => {
                return Some((donor.clone(), found));
            }
            Err(damage @ engine::Error::Corrupt { .. }) => {
                session.progress.warn(format_args!("{damage}; {name} takes nothing from it"));
            }
            // Another training, one that is not finished, or none.
            _ => {}
        }
    }
    None
}
