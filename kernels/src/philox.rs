//! Philox 4x32-10 (Salmon et al., SC 2011): random numbers that are a function of a key and a counter.
//!
//! There is no sequential state, so neither the number of threads nor a resumed run changes the numbers.

/// A stream of random numbers, identified by seed and purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    stream: [u32; 2],
}

impl Philox {
    /// The stream of a seed for one purpose, such as `"dropout"`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a of the purpose, so that purposes need no numbers.
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Philox { key: halves(seed), stream: halves(name) }
    }

    /// A substream of this stream, for example of an epoch, a sample or a step.
    pub fn at(self, number: u64) -> Self {
        let [a, b, c, d] =
            block(self.key, [self.stream[0], self.stream[1], number as u32, (number >> 32) as u32]);
        Philox { key: [self.key[0] ^ a, self.key[1] ^ b], stream: [c, d] }
    }

    /// Four random words for a counter.
    #[inline(always)]
    pub fn words(&self, counter: u64) -> [u32; 4] {
        block(self.key, [self.stream[0], self.stream[1], counter as u32, (counter >> 32) as u32])
    }

    /// The words of the N counters from `counter` on: word w of counter i is the low half of `[w][i]`. The high
    /// halves are unspecified: without narrowing in between it takes half of the time.
    #[inline(always)]
    pub fn words_of<const N: usize>(&self, counter: u64) -> [[u64; N]; 4] {
        const LOW: u64 = u32::MAX as u64;
        let counters: [u64; N] = std::array::from_fn(|i| counter.wrapping_add(i as u64));
        let mut key = self.key;
        let [mut a, mut b] = self.stream.map(|word| [u64::from(word); N]);
        let mut c = counters.map(|counter| counter & LOW);
        let mut d = counters.map(|counter| counter >> 32);
        for _ in 0..10 {
            for i in 0..N {
                let first = (a[i] & LOW) * 0xD251_1F53;
                let second = (c[i] & LOW) * 0xCD9E_8D57;
                a[i] = (second >> 32) ^ b[i] ^ u64::from(key[0]);
                b[i] = second;
                c[i] = (first >> 32) ^ d[i] ^ u64::from(key[1]);
                d[i] = first;
            }
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        [a, b, c, d]
    }

    /// A random word for a counter.
    pub fn word(&self, counter: u64) -> u32 {
        self.words(counter / 4)[(counter % 4) as usize]
    }

    /// A random number for a counter: uniform in [0, 1), with 53 bits.
    pub fn uniform(&self, counter: u64) -> f64 {
        let [a, b, ..] = self.words(counter);
        ((u64::from(a) << 32 | u64::from(b)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A random number for a counter: normal with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&self, counter: u64) -> f64 {
        let [a, b, c, d] = self.words(counter);
        // In (0, 1], so that the logarithm is finite.
        let u = (((u64::from(a) << 32 | u64::from(b)) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let v = ((u64::from(c) << 32 | u64::from(d)) >> 11) as f64 / (1u64 << 53) as f64;
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A uniform integer below `bound`, with a bias of at most one part in 2^32.
    pub fn below(&self, counter: u64, bound: usize) -> usize {
        let [a, b, ..] = self.words(counter);
        let wide = u64::from(a) << 32 | u64::from(b);
        ((u128::from(wide) * bound as u128) >> 64) as usize
    }

    /// The numbers `0..count` in random order (Fisher and Yates).
    pub fn permutation(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, self.below(i as u64, i + 1));
        }
        order
    }

    /// The four words that identify the stream, for a kernel's arguments.
    pub fn name(&self) -> [u32; 4] {
        [self.key[0], self.key[1], self.stream[0], self.stream[1]]
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[inline(always)]
fn block(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from the Random123 distribution.
    #[test]
    fn known_answers() {
        assert_eq!(block([0, 0], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            block([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
    }

    #[test]
    fn words_side_by_side_are_those_one_by_one() {
        let stream = Philox::new(7, "test");
        let start = (1 << 32) - 3;
        let words = stream.words_of::<8>(start);
        for i in 0..8 {
            assert_eq!(words.map(|w| w[i] as u32), stream.words(start + i as u64));
        }
    }

    #[test]
    fn moments() {
        let stream = Philox::new(7, "test");
        let n = 100_000;
        let mean = (0..n).map(|i| stream.normal(i)).sum::<f64>() / n as f64;
        let square = (0..n).map(|i| stream.normal(i).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (square - 1.0).abs() < 0.02, "{mean} {square}");
        assert!((0..n).all(|i| (0.0..1.0).contains(&stream.uniform(i))));
    }

    #[test]
    fn permutations_hold_every_number_once() {
        let mut order = Philox::new(1, "order").at(3).permutation(257);
        assert_ne!(order, (0..257).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..257).collect::<Vec<_>>());
    }

    #[test]
    fn streams_differ() {
        let base = Philox::new(1, "a");
        assert_ne!(base.word(0), Philox::new(1, "b").word(0));
        assert_ne!(base.word(0), Philox::new(2, "a").word(0));
        assert_ne!(base.at(0).word(0), base.at(1).word(0));
        assert_ne!(base.at(0).at(1).word(0), base.at(1).at(0).word(0));
    }
}
