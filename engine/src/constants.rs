//! Constant tensors of a model: graphs, positional encodings, masks.

use crate::{DType, Device, Pass, Result, Tensor};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A cache of tensors that depend on a key only, such as a shape. Each is created once for each device and type.
///
/// [`Pass::constant`] returns an entry. Clones share the entries. No entry is ever dropped, so use few keys.
pub struct Constants<K = ()> {
    made: Arc<Mutex<Vec<Made<K>>>>,
}

/// The entry of a key for passes of an element type on a device.
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
    /// The constant of this key, on the device of the parameters. The first call for a type and device calls `make`,
    /// whose result must depend only on the key and the element type of the pass.
    ///
    /// # Errors
    /// When `make` fails, or the device is out of memory.
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
