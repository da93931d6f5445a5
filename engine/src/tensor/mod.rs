//! Tensors: a shape, an element type, a shared buffer and optionally a node on a tape.

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

/// A contiguous row-major array of numbers on the CPU or a GPU. The last axis is the features.
///
/// An op runs on the device of its inputs; if one is on a GPU, inputs on the CPU are copied to it.
/// [`on`](Tensor::on) copies a tensor to a device.
///
/// A clone shares the buffer. A tensor that is not on a [`Tape`](crate::Tape) is a constant; an op whose inputs are
/// all constants is not recorded.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    buffer: Arc<Storage>,
    place: Option<Place>,
    /// Recomputes the numbers, if that is cheaper than keeping them.
    again: Option<Arc<again::Again>>,
}

impl Tensor {
    /// An uninitialised tensor on the CPU. Every element must be written.
    pub(crate) fn uninitialised(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let buffer = Arc::new(Storage::on_cpu(shape.count() * dtype.size()));
        Tensor { shape, dtype, buffer, place: None, again: None }
    }

    /// An uninitialised tensor on a device. Every element must be written.
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

    /// A tensor of zeros on a device.
    ///
    /// # Errors
    /// When the device has not enough memory or fails, or when the elements do not fit into the address space.
    pub fn zeros_on(shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let bytes = shape.iter().try_fold(dtype.size(), |bytes, &extent| bytes.checked_mul(extent));
        let Some(bytes) = bytes.filter(|&bytes| bytes <= isize::MAX as usize) else {
            let what = format!("a tensor of shape {shape:?} has more elements than any memory");
            return Err(Error::Model { model: "tensor".into(), what });
        };
        let Some(gpu) = device.gpu() else { return Ok(Tensor::zeros(shape, dtype)) };
        let zeros = Tensor::uninitialised_on(shape, dtype, device)?;
        gpu.driver().fill(zeros.pointer().0, 0, bytes).map_err(gpu_error)?;
        Ok(zeros)
    }

    /// A tensor of ones with the shape, type and device of another.
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

    /// A tensor that holds a copy of these numbers, in row-major order.
    ///
    /// # Errors
    /// When their count is not that of the shape.
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

    /// A tensor of no axes that holds one number.
    pub fn scalar<T: Element>(value: T) -> Self {
        let mut tensor = Tensor::uninitialised(Shape::SCALAR, T::DTYPE);
        tensor.bytes_mut().copy_from_slice(bytemuck::bytes_of(&value));
        tensor
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.gpu().map_or(Device::Cpu, |gpu| Device::Gpu(gpu.clone()))
    }

    /// The tensor's GPU; `None` on the CPU.
    pub(crate) fn gpu(&self) -> Option<&gpu::Device> {
        self.buffer.gpu()
    }

    /// The address on its GPU; null on the CPU.
    pub(crate) fn pointer(&self) -> Pointer {
        self.buffer.pointer()
    }

    /// The tensor on a device: a clone if it is there already, otherwise a copy, which is a constant (not on a tape).
    ///
    /// # Errors
    /// When the device is out of memory or fails, or does not support the element type.
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

    /// Moves the tensor to a device, into a buffer that no other tensor shares, so that it can be changed in place.
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

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// The elements, in row-major order.
    ///
    /// # Errors
    /// When they have another type, or are on a GPU.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.expect_dtype("Tensor::as_slice", T::DTYPE)?;
        Ok(bytemuck::cast_slice(self.bytes()?))
    }

    /// The elements, mutable. A shared buffer is copied first, so clones do not change.
    ///
    /// # Errors
    /// When they have another type, or are on a GPU.
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

    /// The elements as f64, from any type and device.
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

    /// The number of a tensor with one element, as f64.
    ///
    /// # Errors
    /// When the tensor does not have exactly one element, or work on a GPU failed.
    pub fn item(&self) -> Result<f64> {
        if self.count() != 1 {
            let what = "Tensor::item";
            return Err(Error::Count { what, got: self.count(), expected: Shape::SCALAR });
        }
        Ok(self.to_vec()?[0])
    }

    /// The tensor as a constant of another element type, with rounding. It is on the CPU, unless the type is unchanged.
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

    /// The tensor as a constant: it shares the buffer but is not on a tape, so it gets no gradient.
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

    /// The same buffer with another shape of equal count.
    pub(crate) fn reshaped(&self, shape: Shape) -> Self {
        Tensor { shape, place: None, again: None, ..self.clone() }
    }

    pub(crate) fn expect_dtype(&self, what: &str, expected: DType) -> Result<()> {
        if self.dtype == expected {
            return Ok(());
        }
        Err(Error::DType { what: what.into(), got: self.dtype, expected })
    }

    /// The elements. The caller must check the type and the device.
    pub(crate) fn cast<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(self.host_bytes())
    }

    /// The elements of a tensor whose buffer is not shared.
    pub(crate) fn cast_mut<T: Element>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The bytes of the elements, as in checkpoint files.
    ///
    /// # Errors
    /// When the tensor is on a GPU.
    pub fn bytes(&self) -> Result<&[u8]> {
        if self.gpu().is_some() {
            return Err(Error::Place { device: self.device() });
        }
        Ok(self.host_bytes())
    }

    /// The bytes of a tensor on the CPU.
    pub(crate) fn host_bytes(&self) -> &[u8] {
        debug_assert!(self.gpu().is_none(), "the caller must copy the tensor to the CPU");
        &self.buffer.bytes()[..self.length()]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.length();
        let storage = Arc::get_mut(&mut self.buffer);
        debug_assert!(storage.is_some(), "a shared buffer must not be written");
        storage.map_or(&mut [], |storage| &mut storage.bytes_mut()[..length])
    }

    /// The length of the elements in bytes.
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

/// to += from, elementwise. Both must have the same shape and the type f32 or f64.
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
