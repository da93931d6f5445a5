//! Spans of masked steps.

use crate::systems::Refusal;
use engine::Philox;
use serde::{Deserialize, Serialize};

/// How spans of steps are drawn; the defaults are MEmoBERT's `mixed`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanSettings {
    /// The least and greatest share of the steps to mask; each sequence draws its share in between. Overlapping spans mask
    /// less.
    pub ratio: [f64; 2],
    /// The least and greatest number of steps of a span; all spans of a sequence have the same.
    pub length: [usize; 2],
}

impl Default for SpanSettings {
    fn default() -> Self {
        SpanSettings { ratio: [0.1, 0.9], length: [1, 5] }
    }
}

impl SpanSettings {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let ([low, high], [short, long]) = (self.ratio, self.length);
        if !(0.0 < low && low <= high && high <= 1.0) {
            let why = format!("is [{low}, {high}]; give two ascending shares above 0, at most 1");
            return Err(Refusal::new("spans.ratio", why));
        }
        if !(0 < short && short <= long) {
            let why = format!("is [{short}, {long}]; give two ascending lengths of at least 1");
            return Err(Refusal::new("spans.length", why));
        }
        Ok(())
    }

    /// For each of the `steps` steps of a sequence, whether it is masked: steps × ratio / length spans with different
    /// starts, which may overlap. As in MEmoBERT's code a span ends at least 2 steps before the end. At least 1 step is
    /// masked: where no span fits, a random one.
    pub fn draw(&self, steps: usize, random: Philox) -> Vec<bool> {
        let ([low, high], [short, long]) = (self.ratio, self.length);
        let ratio = low + (high - low) * random.uniform(0);
        let length = short + random.below(1, long - short + 1);
        let starts = random.at(0).permutation(steps.saturating_sub(length + 1));
        let spans = (steps as f64 * ratio / length as f64) as usize;
        let mut masked = vec![false; steps];
        for &start in starts.iter().take(spans) {
            masked[start..start + length].fill(true);
        }
        if steps > 0 && spans.min(starts.len()) == 0 {
            masked[random.below(2, steps)] = true;
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spans_have_their_share_and_length(
            steps in 1usize..200, low in 0.01f64..1.0, more in 0.0f64..1.0,
            short in 1usize..6, longer in 0usize..6, seed in any::<u64>(),
        ) {
            let high = (low + more).min(1.0);
            let settings = SpanSettings { ratio: [low, high], length: [short, short + longer] };
            prop_assert!(settings.check().is_ok());
            let masked = settings.draw(steps, Philox::new(seed, "spans"));
            prop_assert_eq!(masked.len(), steps);
            prop_assert_eq!(&masked, &settings.draw(steps, Philox::new(seed, "spans")));
            let count = masked.iter().filter(|&&masked| masked).count();
            prop_assert!(count >= 1 && count as f64 <= (steps as f64 * high).max(1.0), "{count}");
            // One step alone where no span fits; otherwise runs of whole spans, which leave the last two steps.
            let runs = masked.split(|&masked| !masked).map(<[bool]>::len).filter(|&run| run > 0);
            let whole = runs.clone().all(|run| run >= short);
            prop_assert!(count == 1 || whole && !masked[steps - 1] && !masked[steps - 2], "{masked:?}");
            // Without overlaps the share is at least that of the lowest ratio, less one span.
            if longer == 0 && short == 1 && steps > 2 {
                let least = ((steps as f64 * low) as usize).min(steps - 2);
                prop_assert!(count >= least, "{count} of {steps}, at least {least}");
            }
        }
    }

    #[test]
    fn the_mean_share_is_that_of_the_ratio() {
        let settings = SpanSettings { ratio: [0.3, 0.3], length: [1, 1] };
        let draw = |seed| settings.draw(50, Philox::new(seed, "spans"));
        let starts: Vec<usize> =
            (0..400).flat_map(|seed| (0..50).filter(move |&t| draw(seed)[t])).collect();
        assert_eq!(starts.len(), 400 * 15);
        // Every step but the last two is masked about equally often.
        let counts: Vec<usize> =
            (0..50).map(|t| starts.iter().filter(|&&s| s == t).count()).collect();
        assert!(counts[..48].iter().all(|count| (80..170).contains(count)), "{counts:?}");
        assert_eq!(counts[48..], [0, 0]);
    }

    #[test]
    fn spans_that_cannot_be_are_refused() {
        let refused = |ratio, length| SpanSettings { ratio, length }.check().unwrap_err().key;
        assert_eq!(refused([0.0, 0.5], [1, 2]), "spans.ratio");
        assert_eq!(refused([0.5, 0.4], [1, 2]), "spans.ratio");
        assert_eq!(refused([f64::NAN, 0.4], [1, 2]), "spans.ratio");
        assert_eq!(refused([0.1, 0.4], [0, 2]), "spans.length");
        assert_eq!(refused([0.1, 0.4], [3, 2]), "spans.length");
    }
}
