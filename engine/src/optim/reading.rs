//! The loss and gradient norm of an update, read without stopping the GPU.

use crate::device::gpu_error;
use crate::{Error, Result};
use kernels::gpu::{self, Block, Verdict};
use std::sync::Arc;

/// The results of one update.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The loss before the update.
    pub loss: f64,
    /// The L2 norm of all gradients together.
    pub gradient_norm: f64,
    /// The elements of each [watched](crate::Outcome::watching) tensor, in the order in which they were added.
    pub watched: Vec<Vec<f64>>,
}

/// The pending results of an update. On the CPU they are known at once.
///
/// Wait for a reading after the next step was launched, so that the GPU always has work. Do not drop a reading: if its
/// loss was not finite, no later update changes anything, and only the reading returns the error.
#[derive(Debug)]
pub struct Reading(State);

#[derive(Debug)]
enum State {
    Known(Figures),
    Late(Late),
}

/// A reading whose copy from a GPU was started.
#[derive(Debug)]
struct Late {
    reading: gpu::Reading,
    update: u64,
    names: Arc<[String]>,
    /// The number of elements of each watched tensor; they follow the verdict.
    watched: Vec<usize>,
    latch: Arc<Block>,
}

impl Reading {
    pub(super) fn known(figures: Figures) -> Self {
        Reading(State::Known(figures))
    }

    /// A reading of a verdict, followed by the f32 elements of each watched tensor.
    pub(super) fn late(
        reading: gpu::Reading,
        update: u64,
        names: Arc<[String]>,
        watched: Vec<usize>,
        latch: Arc<Block>,
    ) -> Self {
        Reading(State::Late(Late { reading, update, names, watched, latch }))
    }

    /// Whether [`wait`](Self::wait) returns at once.
    pub fn is_known(&self) -> bool {
        matches!(self.0, State::Known(_))
    }

    /// Waits for the update; returns its figures.
    ///
    /// # Errors
    /// When the loss or a gradient of this update, or of an earlier one whose reading is still pending, was not finite:
    /// this update then changed nothing. When work on the GPU failed.
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

/// Opens a latch after all earlier work of the device.
pub(super) fn open(latch: &Block) -> Result<()> {
    let driver = latch.device().driver();
    driver.fill(latch.pointer().0, 0, Verdict::LATCH).map_err(gpu_error)
}
