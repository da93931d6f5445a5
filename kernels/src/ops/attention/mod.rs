//! Multi-head scaled dot-product attention with key padding mask and dropout of the weights.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::philox::Philox;
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// softmax(scale · Q Kᵀ) V for each sample and head (Vaswani et al. 2017, equation 1). The matrix of weights is never
/// stored: the backward pass recomputes it from the log-sum-exps (Dao et al. 2022).
///
/// Inputs: queries `[N, Tq, H E]`, keys `[N, Tk, H E]`, values `[N, Tk, H E]`; head h has features
/// h E .. (h+1) E. If `masked`, the index input `lengths` `[N]` is the number of valid keys of each sample, from the
/// first; a length above Tk means Tk, and a sample of length 0 gives zeros.
///
/// Output: `[N, Tq, H E]`. Saved: the log-sum-exps of the logits `[N, H, Tq]` (0 for a sample of length 0).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// H; it must divide the features.
    pub heads: usize,
    /// The factor of the dot products; `None` means 1 / √E.
    pub scale: Option<f64>,
    /// The probability that a weight is dropped after the softmax, in [0, 1); the others are divided by 1 - dropout.
    /// Use 0 outside of training.
    pub dropout: f64,
    /// The random words of dropout; use another stream for each layer and step. Weight (n, h, i, j) is dropped where
    /// word `((n H + h) Tq + i) · 4⌈Tk/4⌉ + j` is below dropout · 2³².
    pub stream: Philox,
    /// Whether the index input `lengths` is given.
    pub masked: bool,
}

impl Attention {
    /// Attention with scale 1 / √E, without dropout and mask.
    pub fn new(heads: usize) -> Self {
        let stream = Philox::new(0, "attention");
        Attention { heads, scale: None, dropout: 0.0, stream, masked: false }
    }

    fn scale(&self, head: usize) -> f64 {
        self.scale.unwrap_or(1.0 / (head as f64).sqrt())
    }
}

impl Op for Attention {
    const NAME: &'static str = "attention";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 3)?;
        let (queries, keys) = (inputs[0], inputs[1]);
        expect::rank(Self::NAME, "queries: reshape them to [N, Tq, H E]", queries, 3)?;
        let features = queries[2];
        let divides = self.heads > 0 && features > 0 && features.is_multiple_of(self.heads);
        expect::setting(Self::NAME, divides, || {
            format!(
                "got {} heads for queries {queries}; choose a divisor of {features}",
                self.heads
            )
        })?;
        if keys.len() != 3 || keys[0] != queries[0] || keys[2] != features {
            return Err(Error::Shape {
                op: Self::NAME,
                what: "keys: give as many samples and features as the queries have".into(),
                got: keys,
                expected: format!("[{}, Tk, {features}]", queries[0]),
            });
        }
        expect::shape(Self::NAME, "values: give one for each key", inputs[2], &keys)?;
        expect::setting(Self::NAME, (0.0..1.0).contains(&self.dropout), || {
            format!("got dropout {}; give one in [0, 1)", self.dropout)
        })?;
        let expected: &[Shape] = if self.masked { &[Shape::from([queries[0]])] } else { &[] };
        expect::setting(Self::NAME, indices == expected, || {
            format!(
                "got index inputs {indices:?}, expected {expected:?}; give `lengths` [N] if and only if `masked` is set"
            )
        })?;
        Ok(Plan::saving(queries, vec![Shape::from([queries[0], self.heads, queries[1]])]))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS.and_output()
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        cpu::backward(self, call);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let (queries, keys) = (inputs[0].count() as f64, inputs[1].count() as f64);
        let products = queries * inputs[1][1] as f64;
        let weights = (inputs[0].rows() * self.heads * inputs[1][1]) as f64;
        Cost {
            forward_flops: 4.0 * products + 5.0 * weights,
            backward_flops: 10.0 * products + 8.0 * weights,
            forward_bytes: 4.0 * (2.0 * queries + 2.0 * keys),
            backward_bytes: 4.0 * (4.0 * queries + 4.0 * keys),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |op, n, tq, tk, features| {
            Case::new(op, &[&[n, tq, features], &[n, tk, features], &[n, tk, features]])
        };
        let masked = |op: Self| Attention { masked: true, ..op };
        let stream = Philox::new(3, "attention cases");
        let drop = Attention { dropout: 0.4, stream, ..Attention::new(2) };
        let fixed = |case: Case<Self>, i: usize| {
            let shape = case.inputs[i].shape;
            case.input(i, Input::constant(&shape, Values::Normal))
        };
        vec![
            case(Attention::new(2), 2, 5, 5, 6),
            case(Attention::new(1), 1, 1, 1, 1),
            // Queries of another sequence than the keys; more rows than a tile.
            case(Attention::new(1), 1, 35, 3, 4),
            case(Attention { scale: Some(0.7), ..Attention::new(5) }, 1, 3, 41, 20),
            // A full sample, a short one, an empty one, and a length above Tk.
            case(masked(Attention::new(2)), 4, 3, 4, 4).index(&[4], vec![4, 2, 0, 9]),
            case(drop, 2, 4, 7, 6),
            case(masked(drop), 2, 6, 9, 4).index(&[2], vec![5, 9]),
            fixed(fixed(case(drop, 1, 3, 5, 4), 0), 2),
            fixed(case(Attention::new(1), 1, 3, 5, 4), 1),
            // Several tiles of queries, of keys and of features.
            case(masked(Attention { dropout: 0.2, ..drop }), 1, 70, 131, 132)
                .index(&[1], vec![129]),
            // One key.
            case(masked(drop), 2, 3, 2, 6).index(&[2], vec![1, 1]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let sizes = (1usize..3, 1usize..9, 1usize..9, 1usize..4, 1usize..19);
        let settings = (
            proptest::option::of(0.1f64..1.0),
            prop_oneof![Just(0.0), 0.1f64..0.7],
            proptest::option::of(any::<u32>()),
            any::<u64>(),
        );
        (sizes, settings)
            .prop_map(|((n, tq, tk, heads, head), (scale, dropout, lengths, seed))| {
                let stream = Philox::new(seed, "attention cases");
                let masked = lengths.is_some();
                let op = Attention { heads, scale, dropout, stream, masked };
                let features = heads * head;
                let case =
                    Case::new(op, &[&[n, tq, features], &[n, tk, features], &[n, tk, features]]);
                match lengths {
                    None => case,
                    Some(bits) => {
                        let length = |i| bits.rotate_left(7 * i) % (tk as u32 + 2);
                        case.index(&[n], (0..n as u32).map(length).collect())
                    }
                }
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests;
