//! Recomputation: tensors that are cheaper to compute again in the backward pass than to keep until then.

use super::{Storage, Tensor};
use crate::profile::{self, Scope};
use crate::{DType, Result};
use kernels::Shape;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Recomputes a tensor's numbers, to the same bits, from kept buffers.
pub(super) struct Again {
    make: Box<dyn Fn() -> Result<Tensor> + Send + Sync>,
    /// Its place in the model, for a profile.
    scope: Scope,
    made: Mutex<Made>,
}

/// The computed numbers and the pending reads of them.
#[derive(Default)]
struct Made {
    /// The numbers, while a tensor holds them.
    numbers: Weak<Storage>,
    /// The numbers, after the first read until the last one.
    held: Option<Arc<Storage>>,
    /// The number of pending reads.
    readers: usize,
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}

/// A tensor kept for one read in the backward pass.
#[derive(Debug)]
pub(crate) enum Kept {
    /// The numbers.
    Numbers(Tensor),
    /// A function that computes them.
    Again(Reader),
}

/// A pending read of a recomputed tensor in the backward pass; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    again: Arc<Again>,
    dtype: DType,
    shape: Shape,
}

impl Tensor {
    /// On a device that [recomputes](crate::Device::recomputes), does not keep the tensor for the backward pass: `make`
    /// must compute it again, to the same bits, from tensors that it holds as [`kept`](Tensor::kept).
    pub(crate) fn recompute_with(
        mut self,
        make: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        if !self.device().recomputes() {
            return self;
        }
        let made = Made { numbers: Arc::downgrade(&self.buffer), ..Made::default() };
        self.again = Some(Arc::new(Again {
            make: Box::new(make),
            scope: Scope::current(),
            made: Mutex::new(made),
        }));
        self
    }

    /// The tensor for one read in the backward pass.
    pub(crate) fn kept(&self) -> Kept {
        let Some(again) = &self.again else { return Kept::Numbers(self.detached()) };
        again.made().readers += 1;
        Kept::Again(Reader { again: Arc::clone(again), dtype: self.dtype, shape: self.shape })
    }
}

impl Again {
    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut made = self.again.made();
        made.readers -= 1;
        if made.readers == 0 {
            made.held = None;
        }
    }
}

impl Kept {
    /// The numbers.
    pub(crate) fn get(&self) -> Result<Tensor> {
        let Reader { again, dtype, shape } = match self {
            Kept::Numbers(tensor) => return Ok(tensor.clone()),
            Kept::Again(reader) => reader,
        };
        let mut made = again.made();
        let buffer = match made.held.take().or_else(|| made.numbers.upgrade()) {
            Some(buffer) => buffer,
            // Recomputation does not count as work of the step.
            None => profile::again(again.scope, || (again.make)())?.buffer,
        };
        made.numbers = Arc::downgrade(&buffer);
        made.held = (made.readers > 1).then(|| Arc::clone(&buffer));
        Ok(Tensor { shape: *shape, dtype: *dtype, buffer, place: None, again: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Tape};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The gradient of the mean of x⁸, through y = x² and z = y², and how often y was recomputed.
    fn gradient(again: bool) -> Result<(Vec<f64>, usize)> {
        let tape = Tape::new();
        let x = tape.leaf(&Tensor::from_slice(&[1.0f32, -2.0, 3.0], &[3])?);
        let mut y = x.multiply(&x)?;
        let count = Arc::new(AtomicUsize::new(0));
        if again {
            let (x, count) = (x.detached(), Arc::clone(&count));
            y = y.recompute_with(move || {
                count.fetch_add(1, Ordering::Relaxed);
                x.multiply(&x)
            });
        }
        let z = y.multiply(&y)?;
        let buffer = Arc::downgrade(&y.buffer);
        drop(y);
        assert_eq!(buffer.upgrade().is_none(), again, "kept exactly if not recomputed");
        let loss = z.mse(&Tensor::zeros(&[3], DType::F32))?;
        let gradients = tape.backward(&loss)?;
        let gradient = gradients.get(&x).map_or(Ok(Vec::new()), Tensor::to_vec)?;
        Ok((gradient, count.load(Ordering::Relaxed)))
    }

    /// The second read follows the drop of the first reader, and nothing is computed twice.
    #[test]
    fn numbers_are_held_until_the_last_has_read_them() -> Result<()> {
        let x = Tensor::from_slice(&[1.0f32, -2.0], &[2])?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let kept = x.kept();
        let y = x.multiply(&x)?.recompute_with(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let x = kept.get()?;
            x.multiply(&x)
        });
        let (first, second, numbers) = (y.kept(), y.kept(), y.to_vec()?);
        drop(y);
        assert_eq!(first.get()?.to_vec()?, numbers);
        drop(first);
        let last = second.get()?;
        assert_eq!((last.to_vec()?, count.load(Ordering::Relaxed)), (numbers, 1));
        assert_eq!(Arc::strong_count(&last.buffer), 1, "only the last reader has them");
        Ok(())
    }

    #[test]
    fn numbers_made_again_give_the_same_gradients() -> Result<()> {
        let (kept, _) = gradient(false)?;
        let (made, times) = gradient(true)?;
        assert_eq!((kept, times), (made, 1));
        Ok(())
    }
}
