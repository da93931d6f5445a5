//! The arguments of kernels: small `repr(C)` structs, passed by value, that hold addresses.

use bytemuck::{Pod, Zeroable};

/// An address in a device's memory; 0 where an optional buffer is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Pointer(pub u64);

impl Pointer {
    /// No buffer.
    pub const NULL: Pointer = Pointer(0);

    /// The address `bytes` bytes after this one.
    pub fn offset(self, bytes: usize) -> Pointer {
        Pointer(self.0 + bytes as u64)
    }
}
