//! Numbers on their way from a device: copied while it goes on working.

use super::{Device, Fetch, Pointer, Result};

/// Bytes of a device at one moment of its work, to be waited for later.
#[derive(Debug)]
pub struct Reading {
    device: Device,
    fetch: Option<Fetch>,
    bytes: usize,
}

impl Device {
    /// Starts to copy bytes from the device. Their memory may be used again at once: all work is done in its order.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn read(&self, from: Pointer, bytes: usize) -> Result<Reading> {
        let fetch = Some(self.driver().fetch(from.0, bytes)?);
        Ok(Reading { device: self.clone(), fetch, bytes })
    }
}

impl Reading {
    /// The device that is read.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The bytes, once everything launched before the reading is done.
    ///
    /// # Errors
    /// When some of that failed.
    pub fn wait(mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        match self.fetch.take() {
            Some(fetch) => self.device.driver().collect(fetch, &mut bytes).map(|()| bytes),
            None => Ok(bytes),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            // Nobody is left to hear of a failure, which stays and comes up again.
            let _ = self.device.driver().collect(fetch, &mut []);
        }
    }
}
