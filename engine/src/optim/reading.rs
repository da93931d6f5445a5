//! What an update came to, read without holding up the GPU.

use crate::device::gpu_error;
use crate::{Error, Result};
use kernels::gpu::{self, Block, Verdict};
use std::sync::Arc;

/// What an update came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The loss before the update.
    pub loss: f64,
    /// The Euclidean norm of all gradients together.
    pub gradient_norm: f64,
    /// The numbers of what was [watched](crate::Outcome::watching), in the order it was asked for.
    pub watched: Vec<Vec<f64>>,
}

/// The figures of an update: known at once on the CPU, on their way from a GPU.
///
/// Wait for a reading after the next step was launched, so that the GPU always has work. Do not drop a reading: if its loss
/// was not finite, no later update changes anything, and only the reading returns the error.
#[derive(Debug)]
pub struct Reading(State);

#[derive(Debug)]
enum State {
    Known(Figures),
    Late(Late),
}

/// A reading that is under way.
#[derive(Debug)]
struct Late {
    reading: gpu::Reading,
    update: u64,
    names: Arc<[String]>,
    /// How many numbers of each watched tensor follow the verdict.
    watched: Vec<usize>,
    latch: Arc<Block>,
}

impl Reading {
    pub(super) fn known(figures: Figures) -> Self {
        Reading(State::Known(figures))
    }

    /// Of a verdict, followed by the f32 of each watched tensor.
    pub(super) fn late(
        reading: gpu::Reading,
        update: u64,
        names: Arc<[String]>,
        watched: Vec<usize>,
        latch: Arc<Block>,
    ) -> Self {
        Reading(State::Late(Late { reading, update, names, watched, latch }))
    }

    /// Whether the figures are known already, and waiting costs nothing.
    pub fn is_known(&self) -> bool {
        matches!(self.0, State::Known(_))
    }

    /// The figures, once the update is done.
    ///
    /// # Errors
    /// When the loss or a gradient was not finite, of this update or of one before it whose reading was not waited for
    /// yet: the update changed nothing. When work on the GPU failed.
    pub fn wait(self) -> Result<Figures> {
        match self.0 {
            State::Known(figures) => Ok(figures),
            State::Late(late) => late.wait(),
        }
    }
}

impl Late {
    fn wait(self) -> Result<Figures> {
        let Late { reading, update, names, watched, latch } = self;
        let bytes = reading.wait().map_err(gpu_error)?;
        let (verdict, mut rest) = bytes.split_at(size_of::<Verdict>());
        let verdict: Verdict = bytemuck::pod_read_unaligned(verdict);
        if verdict.culprit != 0 {
            if verdict.update == update as i64 {
                open(&latch)?;
            }
            let what = match usize::try_from(verdict.culprit - 2).ok().and_then(|i| names.get(i)) {
                Some(name) => format!("the gradient of {name}"),
                None => "the loss".into(),
            };
            return Err(Error::NotFinite { what, update: verdict.update as u64 });
        }
        let mut take = |count: usize| {
            let (numbers, more) = rest.split_at(4 * count);
            rest = more;
            let number = |bytes: &[u8]| f64::from(bytemuck::pod_read_unaligned::<f32>(bytes));
            numbers.chunks(4).map(number).collect()
        };
        Ok(Figures {
            loss: verdict.loss,
            gradient_norm: verdict.square.sqrt(),
            watched: watched.into_iter().map(&mut take).collect(),
        })
    }
}

/// Opens a latch, in the order of the device's work.
pub(super) fn open(latch: &Block) -> Result<()> {
    let driver = latch.device().driver();
    driver.fill(latch.pointer().0, 0, Verdict::LATCH).map_err(gpu_error)
}
