//! Keyed random streams: numbers depend on the key (purpose and owner), not on the order of use.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a stream, part of its key. Each view has its own streams, so that a setting of one view does not change
/// the bytes of another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    ShapeModes = 1,
    Actor = 2,
    Performance = 3,
    Voice = 4,
    Face = 5,
    Portrait = 6,
    Appearance = 7,
    TrackerModes = 8,
    Words = 9,
    Sequences = 10,
    Facet = 11,
    Segments = 12,
    Mixing = 13,
    VoiceNuisance = 14,
    FacesNuisance = 15,
    VoiceAbsent = 16,
    LandmarksAbsent = 17,
    FacesAbsent = 18,
}

/// One stream of random numbers.
pub(super) struct Stream {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Stream {
    /// The stream of a purpose within a world, for one owner (an actor, or an actor and a clip).
    pub(super) fn new(world_seed: u64, purpose: Purpose, actor: u64, clip: u64) -> Self {
        let mut key = [0u8; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([world_seed, purpose as u64, actor, clip])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self { generator: ChaCha8Rng::from_seed(key), spare: None }
    }

    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.generator.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = core::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// Independent standard normals.
    pub(super) fn normals<const N: usize>(&mut self) -> [f64; N] {
        core::array::from_fn(|_| self.normal())
    }

    /// A Poisson count (Knuth), for small means.
    pub(super) fn poisson(&mut self, mean: f64) -> usize {
        let floor = libm::exp(-mean);
        let mut product = self.uniform();
        let mut count = 0;
        while product > floor {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// Near-normal noise with standard deviation 1 for long signals: the sum of four 16-bit uniforms, four times as fast.
    pub(super) fn hiss(&mut self) -> f32 {
        let word = self.generator.next_u64();
        let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        // Four uniforms of width 65536 have variance 4 * 65536^2 / 12.
        (sum as f32 - 131_070.0) * (1.0 / 37_837.2)
    }

    /// Eight uniform bytes.
    pub(super) fn bytes(&mut self) -> [u8; 8] {
        self.generator.next_u64().to_le_bytes()
    }
}
