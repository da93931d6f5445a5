//! The samples of batches and the windows of samples, as functions of the seed.

use engine::Philox;
use serde::{Deserialize, Serialize};

/// The sampling of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Every sample at most once in an epoch, in random order.
    Uniform,
    /// [`Uniform`](Self::Uniform), but all samples of a batch are of one group (one actor), so that contrastive losses
    /// cannot use differences between groups. Reads group ids, not labels.
    WithinGroup,
    /// Every class with equal probability, with replacement, as in the authors' code. Reads labels.
    ClassBalanced,
}

impl Sampler {
    /// Whether the sampler reads labels; training is then not self-supervised.
    pub fn uses_labels(self) -> bool {
        self == Sampler::ClassBalanced
    }

    /// The batches of an epoch, as positions in `groups` and `labels`. Every batch is whole; the samples that are left
    /// over are not in this epoch.
    pub fn batches(
        self,
        groups: &[usize],
        labels: &[usize],
        size: usize,
        seed: u64,
        epoch: u64,
    ) -> Vec<Vec<usize>> {
        let random = Philox::new(seed, "sampler").at(epoch);
        let count = groups.len();
        match self {
            Sampler::Uniform => chunks(&random.permutation(count), size),
            Sampler::WithinGroup => {
                let mut members: Vec<Vec<usize>> =
                    vec![Vec::new(); groups.iter().max().map_or(0, |m| m + 1)];
                random.permutation(count).into_iter().for_each(|i| members[groups[i]].push(i));
                let batches: Vec<Vec<usize>> =
                    members.iter().flat_map(|group| chunks(group, size)).collect();
                let order = random.at(1).permutation(batches.len());
                order.into_iter().map(|i| batches[i].clone()).collect()
            }
            Sampler::ClassBalanced => {
                let mut members: Vec<Vec<usize>> =
                    vec![Vec::new(); labels.iter().max().map_or(0, |m| m + 1)];
                labels.iter().enumerate().for_each(|(i, &label)| members[label].push(i));
                members.retain(|class| !class.is_empty());
                let draw = |i: usize| {
                    let class = &members[random.below(2 * i as u64, members.len())];
                    class[random.below(2 * i as u64 + 1, class.len())]
                };
                chunks(&(0..count).map(draw).collect::<Vec<_>>(), size)
            }
        }
    }
}

fn chunks(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    order.chunks_exact(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// The start of a window as a fraction, in [0, 1), of the possible starts. All modalities have the same start, so that
/// they stay synchronous, unless `independent`.
pub fn window_start(
    seed: u64,
    epoch: u64,
    sample: usize,
    view: usize,
    modality: usize,
    independent: bool,
) -> f64 {
    let modality = if independent { modality as u64 + 1 } else { 0 };
    Philox::new(seed, "window").at(epoch).at(sample as u64).at(view as u64).uniform(modality)
}

/// Augmentation: random offsets, constant over the frames of a sample, in units of the standardised features. They
/// hide constants of a recording channel or a pose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Standard deviation of one offset for all features of a sample: the level of a spectrogram, the light of a clip.
    pub level: f64,
    /// Standard deviation of one offset for each feature of a sample: the position of a landmark.
    pub offset: f64,
}

impl Augmentation {
    /// Adds the offsets to a sample `[frames, features]`.
    pub fn apply(&self, frames: &mut [f32], features: usize, random: Philox) {
        if *self == Augmentation::default() {
            return;
        }
        let level = self.level * random.normal(0);
        let offsets: Vec<f32> = (0..features)
            .map(|i| (level + self.offset * random.normal(1 + i as u64)) as f32)
            .collect();
        for frame in frames.chunks_mut(features) {
            frame.iter_mut().zip(&offsets).for_each(|(v, o)| *v += o);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn uniform_takes_every_sample_at_most_once() {
        let batches = Sampler::Uniform.batches(&[0; 100], &[0; 100], 32, 1, 0);
        assert_eq!(batches.len(), 3);
        assert_eq!(batches.iter().flatten().collect::<HashSet<_>>().len(), 96);
        assert_ne!(batches, Sampler::Uniform.batches(&[0; 100], &[0; 100], 32, 1, 1));
        assert_eq!(batches, Sampler::Uniform.batches(&[0; 100], &[0; 100], 32, 1, 0));
    }

    #[test]
    fn within_group_never_mixes() {
        let groups: Vec<usize> = (0..100).map(|i| i % 3).collect();
        let batches = Sampler::WithinGroup.batches(&groups, &[0; 100], 8, 1, 0);
        assert_eq!(batches.len(), 12);
        assert!(batches.iter().all(|b| b.iter().all(|&i| groups[i] == groups[b[0]])));
    }

    #[test]
    fn class_balanced_evens_out() {
        let labels: Vec<usize> = (0..1000).map(|i| usize::from(i % 10 == 0)).collect();
        let batches = Sampler::ClassBalanced.batches(&[0; 1000], &labels, 50, 1, 0);
        let rare = batches.iter().flatten().filter(|&&i| labels[i] == 1).count();
        assert!((400..600).contains(&rare), "{rare}");
    }

    #[test]
    fn windows_are_in_step_unless_asked_otherwise() {
        assert_eq!(window_start(1, 2, 3, 0, 0, false), window_start(1, 2, 3, 0, 1, false));
        assert_ne!(window_start(1, 2, 3, 0, 0, true), window_start(1, 2, 3, 0, 1, true));
        assert_ne!(window_start(1, 2, 3, 0, 0, true), window_start(1, 2, 3, 1, 0, true));
    }
}
