//! Tensors: a shape, a type, a shared buffer, and perhaps a place on a tape.

mod again;
mod apply;
mod operations;
mod storage;

pub(crate) use again::Kept;
pub use apply::Applied;

use crate::device::gpu_error;
use crate::dtype::with_float;
use crate::tape::Place;
use crate::{DType, Device, Element, Error, Result};
use half::bf16;
use kernels::Shape;
use kernels::gpu::{self, Pointer};
use std::fmt;
use std::sync::Arc;
use storage::Storage;

/// A contiguous array of numbers, features last.
///
/// It lies in the processor's memory or on a GPU ([`on`](Tensor::on) moves it); an op runs where its inputs lie, and
/// brings those that lie in the processor's memory to the GPU of the others.
///
/// Cloning shares the buffer. A tensor without a place on a [`Tape`](crate::Tape) is a constant, and ops on
/// constants alone are inference: nothing is recorded or kept.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    buffer: Arc<Storage>,
    place: Option<Place>,
    /// How to compute the numbers again, where that is cheaper than keeping them.
    again: Option<Arc<again::Again>>,
}

impl Tensor {
    /// A tensor of unspecified content on the CPU, for an op to write.
    pub(crate) fn uninitialised(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let buffer = Arc::new(Storage::on_cpu(shape.count() * dtype.size()));
        Tensor { shape, dtype, buffer, place: None, again: None }
    }

    /// The same on a device.
    pub(crate) fn uninitialised_on(
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let Device::Gpu(gpu) = device else { return Ok(Tensor::uninitialised(shape, dtype)) };
        let shape = shape.into();
        let buffer = Arc::new(Storage::on_gpu(gpu, shape.count() * dtype.size())?);
        Ok(Tensor { shape, dtype, buffer, place: None, again: None })
    }

    /// A tensor of zeros.
    pub fn zeros(shape: &[usize], dtype: DType) -> Self {
        let mut tensor = Tensor::uninitialised(shape, dtype);
        tensor.bytes_mut().fill(0);
        tensor
    }

    /// Ones of another tensor's shape and type, where that lies.
    pub(crate) fn ones(like: &Tensor) -> Result<Self> {
        let ones = Tensor::uninitialised_on(like.shape, like.dtype, &like.device())?;
        match ones.gpu() {
            Some(gpu) => gpu.set(ones.pointer(), ones.count(), 1.0).map_err(gpu_error)?,
            None => {
                return Tensor::from_slice(&vec![1.0; like.count()], &like.shape)?.to(like.dtype);
            }
        }
        Ok(ones)
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

    /// Where it lies.
    pub fn device(&self) -> Device {
        self.gpu().map_or(Device::Cpu, |gpu| Device::Gpu(gpu.clone()))
    }

    /// The GPU it lies on, if it does.
    pub(crate) fn gpu(&self) -> Option<&gpu::Device> {
        self.buffer.gpu()
    }

    /// Where it lies on its GPU.
    pub(crate) fn pointer(&self) -> Pointer {
        self.buffer.pointer()
    }

    /// The same numbers on a device. Where they move, the result is a constant: it has no place on a tape.
    ///
    /// # Errors
    /// When the device has no room or fails, or the numbers are of a type its kernels do not take.
    pub fn on(&self, device: &Device) -> Result<Self> {
        match (self.gpu(), device) {
            (None, Device::Cpu) => Ok(self.clone()),
            (Some(here), Device::Gpu(there)) if here.is(there) => Ok(self.clone()),
            (None, Device::Gpu(gpu)) => {
                if !matches!(self.dtype, DType::F32 | DType::U32) {
                    let what = format!("a tensor on {device}");
                    return Err(Error::DType { what, got: self.dtype, expected: DType::F32 });
                }
                let moved = Tensor::uninitialised_on(self.shape, self.dtype, device)?;
                if self.count() > 0 {
                    gpu.driver().upload(moved.pointer().0, self.host_bytes()).map_err(gpu_error)?;
                }
                Ok(moved)
            }
            (Some(gpu), _) => {
                let mut host = Tensor::uninitialised(self.shape, self.dtype);
                gpu.download(self.pointer(), host.bytes_mut()).map_err(gpu_error)?;
                host.on(device)
            }
        }
    }

    /// Makes it lie on a device in a buffer that nobody shares, to be changed there.
    pub(crate) fn make_own(&mut self, device: &Device) -> Result<()> {
        *self = self.on(device)?.detached();
        if Arc::strong_count(&self.buffer) > 1
            && let Some(gpu) = device.gpu()
        {
            let own = Tensor::uninitialised_on(self.shape, self.dtype, device)?;
            let (to, from) = (own.pointer().0, self.pointer().0);
            gpu.driver().copy(to, from, self.length()).map_err(gpu_error)?;
            *self = own;
        }
        Ok(())
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// Its numbers.
    ///
    /// # Errors
    /// When they are of another type, or on a GPU.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.expect_dtype("Tensor::as_slice", T::DTYPE)?;
        Ok(bytemuck::cast_slice(self.bytes()?))
    }

    /// Its numbers, to change them. A shared buffer is copied first, so that nobody else sees the change.
    ///
    /// # Errors
    /// When they are of another type, or on a GPU.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        self.expect_dtype("Tensor::as_mut_slice", T::DTYPE)?;
        let bytes = self.bytes()?;
        if Arc::strong_count(&self.buffer) > 1 {
            let mut own = Tensor::uninitialised(self.shape, self.dtype);
            own.bytes_mut().copy_from_slice(bytes);
            *self = own;
        }
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// Its numbers as f64, whatever their type and wherever they lie.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn to_vec(&self) -> Result<Vec<f64>> {
        let host = self.on(&Device::Cpu)?;
        Ok(match self.dtype {
            DType::F32 => host.cast::<f32>().iter().map(|&v| f64::from(v)).collect(),
            DType::F64 => host.cast::<f64>().to_vec(),
            DType::Bf16 => host.cast::<bf16>().iter().map(|v| v.to_f64()).collect(),
            DType::U32 => host.cast::<u32>().iter().map(|&v| f64::from(v)).collect(),
        })
    }

    /// The one number of a scalar.
    ///
    /// # Errors
    /// When there is more than one, or work on a GPU failed.
    pub fn item(&self) -> Result<f64> {
        if self.count() != 1 {
            let what = "Tensor::item";
            return Err(Error::Count { what, got: self.count(), expected: Shape::SCALAR });
        }
        Ok(self.to_vec()?[0])
    }

    /// The same numbers rounded to another type, in the processor's memory unless they are of that type already. The
    /// result is a constant: it has no place on a tape.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn to(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype {
            return Ok(self.detached());
        }
        let values = self.to_vec()?;
        let mut out = Tensor::uninitialised(self.shape, dtype);
        match dtype {
            DType::F32 => out.fill_from(values.iter().map(|&v| v as f32)),
            DType::F64 => out.fill_from(values.iter().copied()),
            DType::Bf16 => out.fill_from(values.iter().map(|&v| bf16::from_f64(v))),
            DType::U32 => out.fill_from(values.iter().map(|&v| v as u32)),
        }
        Ok(out)
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
        Tensor { shape, place: None, again: None, ..self.clone() }
    }

    pub(crate) fn expect_dtype(&self, what: &str, expected: DType) -> Result<()> {
        if self.dtype == expected {
            return Ok(());
        }
        Err(Error::DType { what: what.into(), got: self.dtype, expected })
    }

    /// The numbers, of a type and in a place the caller has checked.
    pub(crate) fn cast<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(self.host_bytes())
    }

    /// The numbers of a tensor whose buffer nobody shares yet.
    pub(crate) fn cast_mut<T: Element>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The buffer's bytes, as the files hold them.
    ///
    /// # Errors
    /// When they are on a GPU.
    pub fn bytes(&self) -> Result<&[u8]> {
        if self.gpu().is_some() {
            return Err(Error::Place { device: self.device() });
        }
        Ok(self.host_bytes())
    }

    /// The bytes of a tensor that lies in the processor's memory.
    pub(crate) fn host_bytes(&self) -> &[u8] {
        debug_assert!(self.gpu().is_none(), "the caller has brought it over");
        &self.buffer.bytes()[..self.length()]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.length();
        let storage = Arc::get_mut(&mut self.buffer);
        debug_assert!(storage.is_some(), "a shared buffer is never written");
        storage.map_or(&mut [], |storage| &mut storage.bytes_mut()[..length])
    }

    /// The length of its buffer in bytes.
    fn length(&self) -> usize {
        self.count() * self.dtype.size()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = if self.place.is_some() { ", recorded" } else { "" };
        write!(f, "Tensor({} {}{recorded}", self.dtype, self.shape)?;
        match (self.gpu(), self.count()) {
            (Some(gpu), _) => write!(f, " on {}", gpu.description().name)?,
            (None, 0..=8) => write!(f, ", {:?}", self.to_vec().unwrap_or_default())?,
            (None, _) => {}
        }
        f.write_str(")")
    }
}

/// Adds `from` to `to`, number by number; both are f32 or both f64, of one shape.
pub(crate) fn accumulate(to: &mut Tensor, from: &Tensor) -> Result<()> {
    from.expect_dtype("gradient", to.dtype)?;
    if let Some(gpu) = to.gpu() {
        let from = from.on(&to.device())?;
        return gpu.accumulate(to.pointer(), from.pointer(), to.count()).map_err(gpu_error);
    }
    with_float!(
        to.dtype,
        T => {
            let from = from.cast::<T>();
            kernels::cpu::parallel::rows(to.cast_mut::<T>(), 1, 2, |start, to| {
                let from = &from[start..start + to.len()];
                kernels::cpu::simd::vectorised(#[inline(always)] || to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
            });
            Ok(())
        },
        Err(Error::DType { what: "a gradient".into(), got: to.dtype, expected: DType::F32 })
    )
}
