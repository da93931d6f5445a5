//! The parameters and running statistics of a model, by name.
//!
//! A model's structs hold [`ParameterId`]s. The values are in [`Parameters`], where the optimiser changes them and a
//! checkpoint saves them.

use crate::dtype::with_float;
use crate::{DType, Device, Error, Philox, Result, Tensor};
use kernels::{Float, Shape};
use std::collections::HashMap;

/// The most parameters of a model: a setting of its depth is wrong before their names fill the memory.
const MOST: usize = 20_000;

/// The index of a parameter in its [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) usize);

/// The kind of a parameter, which determines what changes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changed by the optimiser.
    Trainable,
    /// Not changed.
    Frozen,
    /// A running statistic, changed by the forward passes of training.
    Statistic,
}

/// The initial value of a parameter. Random values are a function of the seed and the parameter's name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// One value for all elements.
    Constant(f64),
    /// Uniform in ±bound.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

impl Init {
    /// PyTorch's default for linear and convolution layers, weights and biases: uniform in ±1/√fan_in.
    pub fn fan_in(fan_in: usize) -> Self {
        Init::Uniform(1.0 / (fan_in as f64).sqrt())
    }

    /// He et al. 2015 for ReLU: normal with standard deviation √(2/fan_out), as in torchvision's video networks.
    pub fn kaiming_fan_out(fan_out: usize) -> Self {
        Init::Normal((2.0 / fan_out as f64).sqrt())
    }

    /// Glorot & Bengio 2010: uniform in ±√(6/(fan_in + fan_out)).
    pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Self {
        Init::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt())
    }
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    value: Tensor,
    kind: Kind,
    logical: Shape,
}

/// The parameters of a model, in the order of their creation.
#[derive(Debug, Clone)]
pub struct Parameters {
    entries: Vec<Entry>,
    by_name: HashMap<String, ParameterId>,
    dtype: DType,
    seed: u64,
    device: Device,
    /// Whether values are not stored: see [`Parameters::planned`].
    planned: bool,
}

impl Parameters {
    /// An empty set, for parameters of this element type; initial values are functions of this seed.
    pub fn new(dtype: DType, seed: u64) -> Self {
        let device = Device::Cpu;
        Parameters {
            entries: Vec::new(),
            by_name: HashMap::new(),
            dtype,
            seed,
            device,
            planned: false,
        }
    }

    /// An empty set whose parameters are created on a device without values. With a [counting](Device::counting) device a
    /// model of any size can be measured.
    pub fn planned(dtype: DType, device: &Device) -> Self {
        Parameters { device: device.clone(), planned: true, ..Parameters::new(dtype, 0) }
    }

    /// Moves all parameters to a device, on which passes over them then run.
    ///
    /// # Errors
    /// When the device has not enough memory or fails, or does not support their type.
    pub fn move_to(&mut self, device: &Device) -> Result<()> {
        for entry in &mut self.entries {
            entry.value = entry.value.on(device)?;
        }
        self.device = device.clone();
        Ok(())
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The root scope, which adds no prefix to names.
    pub fn scope(&mut self) -> Scope<'_> {
        Scope { parameters: self, prefix: String::new() }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// All parameters, in the order of their creation.
    pub fn ids(&self) -> impl Iterator<Item = ParameterId> + use<> {
        (0..self.entries.len()).map(ParameterId)
    }

    /// The trainable parameters.
    pub fn trainable(&self) -> impl Iterator<Item = ParameterId> {
        self.ids().filter(|&id| self.kind(id) == Kind::Trainable)
    }

    /// Finds a parameter by its full name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.by_name.get(name).copied()
    }

    /// A parameter's name.
    pub fn name(&self, id: ParameterId) -> &str {
        &self.entries[id.0].name
    }

    /// A parameter's stored value, padded channels included.
    pub fn value(&self, id: ParameterId) -> &Tensor {
        &self.entries[id.0].value
    }

    /// A parameter's stored value, mutable. Padded channels must stay zero.
    pub fn value_mut(&mut self, id: ParameterId) -> &mut Tensor {
        &mut self.entries[id.0].value
    }

    /// A parameter's kind.
    pub fn kind(&self, id: ParameterId) -> Kind {
        self.entries[id.0].kind
    }

    /// A parameter's shape without padding, as in the literature and in files.
    pub fn logical(&self, id: ParameterId) -> Shape {
        self.entries[id.0].logical
    }

    /// The number of trainable elements, without padding.
    pub fn count(&self) -> usize {
        self.ids()
            .filter(|&id| self.kind(id) != Kind::Statistic)
            .map(|id| self.logical(id).count())
            .sum()
    }

    /// Freezes every trainable parameter whose name starts with `prefix`; returns their number.
    pub fn freeze(&mut self, prefix: &str) -> usize {
        let matching = self
            .entries
            .iter_mut()
            .filter(|e| e.kind == Kind::Trainable && e.name.starts_with(prefix));
        matching.map(|entry| entry.kind = Kind::Frozen).count()
    }

    /// A parameter's value on the CPU, in its logical shape, without padding.
    ///
    /// # Errors
    /// When earlier work on the GPU failed.
    pub fn export(&self, id: ParameterId) -> Result<Tensor> {
        let entry = &self.entries[id.0];
        Ok(crop(&entry.value.on(&Device::Cpu)?, entry.logical))
    }

    /// Replaces a parameter's value by one of its logical shape; padding stays zero.
    ///
    /// # Errors
    /// When the shape is not the parameter's logical shape.
    pub fn import(&mut self, id: ParameterId, value: &Tensor) -> Result<()> {
        let entry = &mut self.entries[id.0];
        if value.shape() != entry.logical {
            return Err(Error::Parameter {
                name: entry.name.clone(),
                what: format!(
                    "got shape {}, expected {}; was the file made by another configuration?",
                    value.shape(),
                    entry.logical
                ),
            });
        }
        let value = value.to(entry.value.dtype())?.on(&Device::Cpu)?;
        entry.value = pad(&value, entry.value.shape()).on(&self.device)?;
        Ok(())
    }

    fn insert(
        &mut self,
        name: String,
        kind: Kind,
        logical: Shape,
        stored: Shape,
        init: Init,
    ) -> Result<ParameterId> {
        if self.by_name.contains_key(&name) {
            return Err(Error::Parameter {
                name,
                what: "the name is in use; give each layer its own scope".into(),
            });
        }
        if self.entries.len() >= MOST {
            let what = format!("is one of more than {MOST} parameters; use fewer layers");
            return Err(Error::Parameter { name, what });
        }
        let elements = stored.iter().try_fold(self.dtype.size(), |all, &n| all.checked_mul(n));
        if elements.is_none_or(|bytes| bytes > isize::MAX as usize) {
            let what = format!("has the shape {logical}, more elements than any memory");
            return Err(Error::Parameter { name, what });
        }
        if self.planned {
            let value = Tensor::zeros_on(&stored, self.dtype, &self.device)?;
            return Ok(self.add(Entry { name, value, kind, logical }));
        }
        let random = Philox::new(self.seed, &format!("init {name}"));
        let number = |i: usize| match init {
            Init::Constant(value) => value,
            Init::Uniform(bound) => bound * (2.0 * random.uniform(i as u64) - 1.0),
            Init::Normal(deviation) => deviation * random.normal(i as u64),
        };
        let mut value = Tensor::uninitialised(logical, self.dtype);
        with_float!(
            self.dtype,
            T => value.cast_mut::<T>().iter_mut().enumerate().for_each(|(i, v)| *v = T::from_f64(number(i))),
            return Err(Error::DType { what: name, got: self.dtype, expected: DType::F32 })
        );
        let value = pad(&value, stored);
        Ok(self.add(Entry { name, value, kind, logical }))
    }

    fn add(&mut self, entry: Entry) -> ParameterId {
        let id = ParameterId(self.entries.len());
        self.by_name.insert(entry.name.clone(), id);
        self.entries.push(entry);
        id
    }
}

/// A scope that creates parameters and prefixes their names.
#[derive(Debug)]
pub struct Scope<'a> {
    parameters: &'a mut Parameters,
    prefix: String,
}

impl Scope<'_> {
    /// A scope inside this one, whose names start with `prefix.name.`.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Scope { parameters: self.parameters, prefix }
    }

    /// Makes a trainable parameter.
    ///
    /// # Errors
    /// When the name is in use.
    pub fn parameter(&mut self, name: &str, shape: &[usize], init: Init) -> Result<ParameterId> {
        self.padded(name, shape, shape, init)
    }

    /// Makes a trainable parameter whose stored shape is larger than its logical shape. The padding is zero and has
    /// zero gradient as long as all layers pad their channels in the same way.
    ///
    /// # Errors
    /// When the name is in use.
    pub fn padded(
        &mut self,
        name: &str,
        logical: &[usize],
        stored: &[usize],
        init: Init,
    ) -> Result<ParameterId> {
        let name = format!("{}{name}", self.prefix);
        self.parameters.insert(name, Kind::Trainable, logical.into(), stored.into(), init)
    }

    /// Makes a running statistic, which forward passes of training change.
    ///
    /// # Errors
    /// When the name is in use.
    pub fn statistic(
        &mut self,
        name: &str,
        logical: &[usize],
        stored: &[usize],
        init: f64,
    ) -> Result<ParameterId> {
        let name = format!("{}{name}", self.prefix);
        self.parameters.insert(
            name,
            Kind::Statistic,
            logical.into(),
            stored.into(),
            Init::Constant(init),
        )
    }
}

/// The part of a tensor that starts at 0 on every axis and has this shape.
fn crop(tensor: &Tensor, shape: Shape) -> Tensor {
    if tensor.shape() == shape {
        return tensor.detached();
    }
    let mut out = Tensor::zeros(&shape, tensor.dtype());
    copy_corner(tensor, &mut out, shape);
    out
}

/// Pads a tensor with zeros at the end of every axis.
fn pad(tensor: &Tensor, shape: Shape) -> Tensor {
    if tensor.shape() == shape {
        return tensor.detached();
    }
    let mut out = Tensor::zeros(&shape, tensor.dtype());
    copy_corner(tensor, &mut out, tensor.shape());
    out
}

fn copy_corner(from: &Tensor, to: &mut Tensor, corner: Shape) {
    let source_bytes = from.host_bytes();
    let size = from.dtype().size();
    let (from_shape, to_shape) = (from.shape(), to.shape());
    let row = corner.features() * size;
    for number in 0..corner.rows() {
        let (mut rest, mut from_row, mut to_row) = (number, 0, 0);
        let (mut from_step, mut to_step) = (1, 1);
        for axis in (0..corner.len().saturating_sub(1)).rev() {
            let at = rest % corner[axis];
            rest /= corner[axis];
            from_row += at * from_step;
            to_row += at * to_step;
            from_step *= from_shape[axis];
            to_step *= to_shape[axis];
        }
        let source = from_row * from_shape.features() * size;
        let target = to_row * to_shape.features() * size;
        to.bytes_mut()[target..target + row].copy_from_slice(&source_bytes[source..source + row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stays_outside() -> Result<()> {
        let mut parameters = Parameters::new(DType::F32, 3);
        let id = parameters.scope().sub("a").padded("w", &[2, 3], &[2, 4], Init::Normal(1.0))?;
        assert_eq!(parameters.name(id), "a.w");
        assert_eq!(parameters.count(), 6);
        let stored = parameters.value(id).to_vec()?;
        assert_eq!((stored[3], stored[7]), (0.0, 0.0));
        let export = parameters.export(id)?;
        assert_eq!(
            export.to_vec()?,
            [stored[0], stored[1], stored[2], stored[4], stored[5], stored[6]]
        );
        parameters.import(id, &export)?;
        assert_eq!(parameters.value(id).to_vec()?, stored);
        assert!(parameters.import(id, &Tensor::zeros(&[2, 4], DType::F32)).is_err());
        assert!(parameters.scope().sub("a").parameter("w", &[1], Init::Constant(0.0)).is_err());
        Ok(())
    }
}
