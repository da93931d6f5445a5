//! Asynchronous copies from a device.

use super::{Device, Fetch, Pointer, Result};

/// A started copy from a device to the host; [`wait`](Self::wait) gives its bytes.
#[derive(Debug)]
pub struct Reading {
    device: Device,
    fetch: Option<Fetch>,
    bytes: usize,
}

impl Device {
    /// Starts to copy bytes from the device. Later work may overwrite their memory, since it runs after the copy.
    ///
    /// # Errors
    /// When the copy cannot start.
    pub fn read(&self, from: Pointer, bytes: usize) -> Result<Reading> {
        let fetch = Some(self.driver().fetch(from.0, bytes)?);
        Ok(Reading { device: self.clone(), fetch, bytes })
    }
}

impl Reading {
    /// The source device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits for all work before the copy and for the copy; returns the bytes.
    ///
    /// # Errors
    /// When that work failed.
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
            // A drop cannot return an error; a later call reports the failure again.
            let _ = self.device.driver().collect(fetch, &mut []);
        }
    }
}
