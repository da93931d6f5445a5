//! Numbers that are cheaper to compute again than to keep: what a backward pass reads of them is made when it is read.

use super::{Storage, Tensor};
use crate::Result;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How to compute a tensor's numbers again, to the same bits, from tensors that are kept anyway.
pub(super) struct Again {
    make: Box<dyn Fn() -> Result<Tensor> + Send + Sync>,
    /// The numbers, as long as somebody has them.
    made: Mutex<Weak<Storage>>,
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}

/// What the tape keeps of a tensor for the backward pass.
#[derive(Debug)]
pub(super) enum Kept {
    /// Its numbers.
    Numbers(Tensor),
    /// How to compute them, and a tensor that has all but the numbers.
    Again(Arc<Again>, crate::DType, kernels::Shape),
}

impl Tensor {
    /// The tensor, whose numbers a tape does not keep for the backward pass: `make` computes them again, to the same
    /// bits, from tensors that it shares.
    pub(crate) fn made_again_by(
        mut self,
        make: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let made = Mutex::new(Arc::downgrade(&self.buffer));
        self.again = Some(Arc::new(Again { make: Box::new(make), made }));
        self
    }

    /// What is to be kept for the backward pass.
    pub(super) fn kept(self) -> Kept {
        match self.again {
            Some(again) => Kept::Again(again, self.dtype, self.shape),
            None => Kept::Numbers(self),
        }
    }
}

impl Kept {
    /// The numbers.
    pub(super) fn get(self) -> Result<Tensor> {
        let (again, dtype, shape) = match self {
            Kept::Numbers(tensor) => return Ok(tensor),
            Kept::Again(again, dtype, shape) => (again, dtype, shape),
        };
        let mut made = again.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = made.upgrade() {
            return Ok(Tensor { shape, dtype, buffer, place: None, again: None });
        }
        // The work of a step is what its ops cost once.
        let (tensor, _) = crate::work::count(|| (again.make)());
        let tensor = tensor?;
        *made = Arc::downgrade(&tensor.buffer);
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Tape};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The gradient of the mean of x⁸, through x² = y and y² = z, and how often y was computed again.
    fn gradient(again: bool) -> Result<(Vec<f64>, usize)> {
        let tape = Tape::new();
        let x = tape.leaf(&Tensor::from_slice(&[1.0f32, -2.0, 3.0], &[3])?);
        let mut y = x.multiply(&x)?;
        let count = Arc::new(AtomicUsize::new(0));
        if again {
            let (x, count) = (x.detached(), Arc::clone(&count));
            y = y.made_again_by(move || {
                count.fetch_add(1, Ordering::Relaxed);
                x.multiply(&x)
            });
        }
        let z = y.multiply(&y)?;
        let buffer = Arc::downgrade(&y.buffer);
        drop(y);
        assert_eq!(buffer.upgrade().is_none(), again, "the tape keeps the numbers or does not");
        let loss = z.mse(&Tensor::zeros(&[3], DType::F32))?;
        let gradients = tape.backward(&loss)?;
        let gradient = gradients.get(&x).map_or(Ok(Vec::new()), Tensor::to_vec)?;
        Ok((gradient, count.load(Ordering::Relaxed)))
    }

    #[test]
    fn numbers_made_again_give_the_same_gradients() -> Result<()> {
        let (kept, _) = gradient(false)?;
        let (made, times) = gradient(true)?;
        assert_eq!((kept, times), (made, 1));
        Ok(())
    }
}
