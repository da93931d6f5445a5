//! Counts the work of ops for benches: the sum of [`Op::cost`](kernels::Op::cost) of every op that runs.

use kernels::op::Cost;
use std::cell::Cell;

thread_local! {
    /// The cost of this thread's ops inside [`count`]; `None` outside.
    static COUNT: Cell<Option<Cost>> = const { Cell::new(None) };
}

/// Runs the body and returns its result and the cost of all ops that it runs on this thread: forward passes, and
/// backward passes of tapes.
pub fn count<T>(body: impl FnOnce() -> T) -> (T, Cost) {
    let before = COUNT.replace(Some(Cost::default()));
    let value = body();
    let cost = COUNT.replace(before).unwrap_or_default();
    (value, cost)
}

pub(crate) fn forward(cost: impl FnOnce() -> Cost) {
    add(|sum| {
        let cost = cost();
        sum.forward_flops += cost.forward_flops;
        sum.forward_bytes += cost.forward_bytes;
    });
}

pub(crate) fn backward(cost: impl FnOnce() -> Cost) {
    add(|sum| {
        let cost = cost();
        sum.backward_flops += cost.backward_flops;
        sum.backward_bytes += cost.backward_bytes;
    });
}

fn add(more: impl FnOnce(&mut Cost)) {
    if let Some(mut sum) = COUNT.get() {
        more(&mut sum);
        COUNT.set(Some(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Tape, Tensor};

    #[test]
    fn only_what_was_asked_for_is_counted() -> crate::Result<()> {
        let tape = Tape::new();
        let x = tape.leaf(&Tensor::zeros(&[4, 3], DType::F32));
        let weight = tape.leaf(&Tensor::zeros(&[3, 2], DType::F32));
        let (loss, cost) = count(|| -> crate::Result<_> {
            x.linear(&weight, None, false)?.mse(&Tensor::zeros(&[4, 2], DType::F32))
        });
        let loss = loss?;
        assert!(cost.forward_flops >= 48.0 && cost.backward_flops == 0.0, "{cost:?}");
        let (_, cost) = count(|| tape.backward(&loss));
        assert!(cost.backward_flops >= 96.0 && cost.forward_flops == 0.0, "{cost:?}");
        Ok(())
    }
}
