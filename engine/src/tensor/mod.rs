//! Tensors: a shape, a type, a shared buffer, and perhaps a place on a tape.

mod apply;
mod operations;

pub use apply::Applied;

use crate::dtype::with_float;
use crate::pool::{self, Block};
use crate::tape::Place;
use crate::{DType, Element, Error, Result};
use half::bf16;
use kernels::Shape;
use std::fmt;
use std::sync::Arc;

/// A contiguous array of numbers, features last.
///
/// Cloning shares the buffer. A tensor without a place on a [`Tape`](crate::Tape) is a constant, and ops on
/// constants alone are inference: nothing is recorded or kept.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    buffer: Arc<Block>,
    place: Option<Place>,
}

impl Tensor {
    /// A tensor of unspecified content, for an op to write.
    pub(crate) fn uninitialised(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let buffer = Arc::new(pool::take(shape.count() * dtype.size()));
        Tensor { shape, dtype, buffer, place: None }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: &[usize], dtype: DType) -> Self {
        let mut tensor = Tensor::uninitialised(shape, dtype);
        tensor.bytes_mut().fill(0);
        tensor
    }

    /// A tensor with a copy of these numbers.
    ///
    /// # Errors
    /// When they do not fill the shape.
    pub fn from_slice<T: Element>(values: &[T], shape: &[usize]) -> Result<Self> {
        let mut tensor = Tensor::uninitialised(shape, T::DTYPE);
        if values.len() != tensor.count() {
            return Err(Error::Count {
                what: "Tensor::from_slice",
                got: values.len(),
                expected: tensor.shape,
            });
        }
        tensor.bytes_mut().copy_from_slice(bytemuck::cast_slice(values));
        Ok(tensor)
    }

    /// One number.
    pub fn scalar<T: Element>(value: T) -> Self {
        let mut tensor = Tensor::uninitialised(Shape::SCALAR, T::DTYPE);
        tensor.bytes_mut().copy_from_slice(bytemuck::bytes_of(&value));
        tensor
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// Its numbers.
    ///
    /// # Errors
    /// When they are of another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.expect_dtype("Tensor::as_slice", T::DTYPE)?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// Its numbers, to change them. A shared buffer is copied first, so that nobody else sees the change.
    ///
    /// # Errors
    /// When they are of another type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        self.expect_dtype("Tensor::as_mut_slice", T::DTYPE)?;
        if Arc::get_mut(&mut self.buffer).is_none() {
            let mut own = Tensor::uninitialised(self.shape, self.dtype);
            own.bytes_mut().copy_from_slice(self.bytes());
            *self = own;
        }
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// Its numbers as f64, whatever their type.
    pub fn to_vec(&self) -> Vec<f64> {
        match self.dtype {
            DType::F32 => self.cast::<f32>().iter().map(|&v| f64::from(v)).collect(),
            DType::F64 => self.cast::<f64>().to_vec(),
            DType::Bf16 => self.cast::<bf16>().iter().map(|v| v.to_f64()).collect(),
            DType::U32 => self.cast::<u32>().iter().map(|&v| f64::from(v)).collect(),
        }
    }

    /// The one number of a scalar.
    ///
    /// # Errors
    /// When there is more than one.
    pub fn item(&self) -> Result<f64> {
        match self.to_vec()[..] {
            [value] => Ok(value),
            _ => Err(Error::Count {
                what: "Tensor::item",
                got: self.count(),
                expected: Shape::SCALAR,
            }),
        }
    }

    /// The same numbers rounded to another type. The result is a constant: it has no place on a tape.
    pub fn to(&self, dtype: DType) -> Self {
        if dtype == self.dtype {
            return self.detached();
        }
        let values = self.to_vec();
        let mut out = Tensor::uninitialised(self.shape, dtype);
        match dtype {
            DType::F32 => out.fill_from(values.iter().map(|&v| v as f32)),
            DType::F64 => out.fill_from(values.iter().copied()),
            DType::Bf16 => out.fill_from(values.iter().map(|&v| bf16::from_f64(v))),
            DType::U32 => out.fill_from(values.iter().map(|&v| v as u32)),
        }
        out
    }

    fn fill_from<T: Element>(&mut self, values: impl Iterator<Item = T>) {
        for (to, from) in bytemuck::cast_slice_mut::<u8, T>(self.bytes_mut()).iter_mut().zip(values)
        {
            *to = from;
        }
    }

    /// The same numbers without a place on a tape: no gradient flows through it.
    pub fn detached(&self) -> Self {
        Tensor { place: None, ..self.clone() }
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(crate) fn placed(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same buffer under another shape of as many numbers.
    pub(crate) fn reshaped(&self, shape: Shape) -> Self {
        Tensor { shape, place: None, ..self.clone() }
    }

    pub(crate) fn expect_dtype(&self, what: &str, expected: DType) -> Result<()> {
        if self.dtype == expected {
            return Ok(());
        }
        Err(Error::DType { what: what.into(), got: self.dtype, expected })
    }

    /// The numbers, of a type the caller has checked.
    pub(crate) fn cast<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    /// The numbers of a tensor whose buffer nobody shares yet.
    pub(crate) fn cast_mut<T: Element>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The buffer's bytes, as the files hold them.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block holds at least as many initialised bytes, and is written only through `bytes_mut`.
        unsafe {
            std::slice::from_raw_parts(self.buffer.pointer(), self.count() * self.dtype.size())
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.count() * self.dtype.size();
        let block = Arc::get_mut(&mut self.buffer);
        debug_assert!(block.is_some(), "a shared buffer is never written");
        match block {
            // SAFETY: the block is as long, and this reference is the only one to it.
            Some(block) => unsafe { std::slice::from_raw_parts_mut(block.pointer(), bytes) },
            None => &mut [],
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = if self.place.is_some() { ", recorded" } else { "" };
        write!(f, "Tensor({} {}{recorded}", self.dtype, self.shape)?;
        if self.count() <= 8 {
            write!(f, ", {:?}", self.to_vec())?;
        }
        f.write_str(")")
    }
}

/// Adds `from` to `to`, number by number; both are f32 or both f64, of one shape.
pub(crate) fn accumulate(to: &mut Tensor, from: &Tensor) -> Result<()> {
    from.expect_dtype("gradient", to.dtype)?;
    with_float!(
        to.dtype,
        T => {
            let from = from.cast::<T>();
            kernels::cpu::parallel::rows(to.cast_mut::<T>(), 1, 2, |start, to| {
                let from = &from[start..start + to.len()];
                kernels::cpu::simd::vectorised(|| to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
            });
            Ok(())
        },
        Err(Error::Tape("only f32 and f64 tensors have gradients"))
    )
}
