//! Tensors that no step changes: graphs, positional encodings, masks.

use crate::{DType, Device, Pass, Result, Tensor};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Tensors that depend on a key alone, such as a shape. Each is made once, and uploaded to a device once.
///
/// A model holds them; [`Pass::constant`] gives one out. Clones share what was made. Nothing is ever dropped, so the
/// keys must be few.
pub struct Constants<K = ()> {
    made: Arc<Mutex<Vec<Made<K>>>>,
}

/// A constant for passes of a type on a device.
struct Made<K> {
    key: K,
    dtype: DType,
    tensor: Tensor,
}

impl<K> Default for Constants<K> {
    fn default() -> Self {
        Constants { made: Arc::default() }
    }
}

impl<K> Clone for Constants<K> {
    fn clone(&self) -> Self {
        Constants { made: Arc::clone(&self.made) }
    }
}

impl<K> fmt::Debug for Constants<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constants")
    }
}

impl<K: PartialEq> Constants<K> {
    fn get(
        &self,
        key: K,
        dtype: DType,
        device: &Device,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().find(|constant| {
            constant.key == key && constant.dtype == dtype && constant.tensor.device().is(device)
        });
        if let Some(found) = found {
            return Ok(found.tensor.clone());
        }
        let tensor = make()?.on(device)?.detached();
        made.push(Made { key, dtype, tensor: tensor.clone() });
        Ok(tensor)
    }
}

impl Pass<'_> {
    /// The constant of this key, where the parameters lie. `make` is called the first time that a pass of this type on
    /// this device asks; what it makes must depend on the key and the type of the pass alone.
    ///
    /// # Errors
    /// When `make` fails, or the device has no room.
    pub fn constant<K: PartialEq>(
        &self,
        constants: &Constants<K>,
        key: K,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        constants.get(key, self.dtype(), self.device(), make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counting, Parameters};

    #[test]
    fn constants_are_made_and_uploaded_once() -> Result<()> {
        let counting = Counting::default();
        let mut parameters = Parameters::new(DType::F32, 0);
        let constants = Constants::default();
        let ask = |parameters: &Parameters, key: usize| {
            let make = || Tensor::from_slice(&vec![1.0f32; key], &[key]);
            Pass::evaluate(parameters).constant(&constants.clone(), key, make)
        };
        assert_eq!(ask(&parameters, 2)?.to_vec()?, [1.0; 2]);
        parameters.move_to(&Device::counting(&counting))?;
        for key in [2, 3, 2, 3] {
            assert_eq!(ask(&parameters, key)?.count(), key);
        }
        assert_eq!(counting.counts().uploads, 2);
        let known = ask(&Parameters::new(DType::F32, 0), 2)?;
        assert!(known.device().is(&Device::Cpu));
        Ok(())
    }
}
