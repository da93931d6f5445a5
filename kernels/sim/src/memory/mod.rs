//! The device's global memory.

mod allocation;
mod pages;

pub(crate) use allocation::Allocation;
pub use pages::pattern;

use std::collections::HashMap;
use std::sync::Mutex;

use crate::check::Checker;
use crate::error::Error;
use crate::kernel::Shared;

/// Low bits of an address: the offset in an allocation. The bits above are its id.
const OFFSET_BITS: u32 = 36;
/// The first generic address of shared memory.
pub(crate) const SHARED_WINDOW: u64 = 1 << OFFSET_BITS;
/// The first generic address of local memory.
pub(crate) const LOCAL_WINDOW: u64 = 2 << OFFSET_BITS;
/// Ids below this one are windows.
const FIRST_ID: usize = 3;

/// The device's global memory: allocations that kernels and the host read and write.
///
/// The high bits of an address are the id of its allocation, so every access is checked against
/// exact bounds. Ids are never reused.
#[derive(Default)]
pub struct Memory {
    /// Allocations by id; `None` after free.
    slots: Vec<Option<Allocation>>,
    in_use: usize,
    /// Addresses of each module's variables.
    modules: HashMap<u64, Vec<u64>>,
    /// Race-detection records of checked runs.
    pub(crate) checker: Checker,
    /// The lock of 8-byte atomics, which change two words.
    pub(crate) long_atomics: Mutex<()>,
}

/// Why an address cannot be accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is outside every allocation.
    Outside(String),
    /// Its allocation was freed.
    Freed,
    /// It is not a multiple of the access's size.
    Misaligned,
}

impl Memory {
    /// Empty memory.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Allocates `bytes` uninitialised bytes and returns their address. The label appears in
    /// findings.
    ///
    /// # Panics
    /// If `bytes` is 64 GiB or more.
    pub fn allocate(&mut self, bytes: usize, label: &str) -> u64 {
        self.keep(bytes, || Allocation::new(bytes, label))
    }

    /// Allocates `bytes` bytes of which only the touched pages exist, and returns their address. Each
    /// word that was never written has the value of [`pattern`] of this seed at the word's index. Only
    /// for [`Mode::Values`](crate::Mode::Values).
    ///
    /// # Panics
    /// If `bytes` is 64 GiB or more.
    pub fn allocate_sparse(&mut self, bytes: usize, label: &str, seed: u64) -> u64 {
        self.keep(bytes, || Allocation::sparse(bytes, label, seed))
    }

    /// Index and value of every word that was written to the sparse allocation at `address`.
    ///
    /// # Errors
    /// [`Error::Address`] when no sparse allocation starts there.
    pub fn written(&self, address: u64) -> Result<Vec<(u64, u32)>, Error> {
        let (allocation, offset) = self.host("written", address, 0)?;
        let pages = allocation.pages().filter(|_| offset == 0).ok_or_else(|| {
            Error::Address(format!("written: no sparse allocation starts at {address:#x}"))
        })?;
        Ok(pages.changed())
    }

    /// Whether an allocation is sparse.
    pub(crate) fn is_sparse(&self) -> bool {
        self.slots.iter().flatten().any(|allocation| allocation.pages().is_some())
    }

    fn keep(&mut self, bytes: usize, make: impl FnOnce() -> Allocation) -> u64 {
        assert!(
            bytes < 1 << OFFSET_BITS,
            "got an allocation of {bytes} bytes; allocate less than 64 GiB"
        );
        if self.slots.is_empty() {
            self.slots.resize_with(FIRST_ID, || None);
        }
        let id = self.slots.len() as u64;
        self.slots.push(Some(make()));
        self.in_use += bytes;
        id << OFFSET_BITS
    }

    /// Frees the allocation that starts at `address`.
    ///
    /// # Errors
    /// [`Error::Address`] when no live allocation starts there.
    pub fn free(&mut self, address: u64) -> Result<(), Error> {
        let (id, offset) = split(address);
        match self.slots.get_mut(id as usize).and_then(|slot| slot.take_if(|_| offset == 0)) {
            Some(allocation) => {
                self.in_use -= allocation.bytes();
                self.checker.forget(id);
                Ok(())
            }
            None => Err(Error::Address(format!(
                "free: no live allocation starts at {address:#x}; free what allocate returned, once"
            ))),
        }
    }

    /// Writes bytes from the host.
    ///
    /// # Errors
    /// [`Error::Address`] when they are not in one live allocation.
    pub fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        let (allocation, offset) = self.host("write", to, bytes.len())?;
        allocation.write_bytes(offset, bytes);
        Ok(())
    }

    /// Reads bytes to the host, initialised or not.
    ///
    /// # Errors
    /// [`Error::Address`] when they are not in one live allocation.
    pub fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let (allocation, offset) = self.host("read", from, bytes.len())?;
        allocation.read_bytes(offset, bytes);
        Ok(())
    }

    /// Copies bytes inside the memory; uninitialised bytes stay uninitialised.
    ///
    /// # Errors
    /// [`Error::Address`] when source or target are not in one live allocation each.
    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        let mut values = vec![0; bytes];
        let (source, offset) = self.host("copy", from, bytes)?;
        source.read_bytes(offset, &mut values);
        let unset: Vec<usize> =
            (0..bytes).filter(|&at| !source.is_initialised(offset + at, 1)).collect();
        let (target, offset) = self.host("copy", to, bytes)?;
        target.write_bytes(offset, &values);
        for at in unset {
            target.set_initialised(offset + at, 1, false);
        }
        Ok(())
    }

    /// Sets bytes to one value.
    ///
    /// # Errors
    /// [`Error::Address`] when they are not in one live allocation.
    pub fn fill(&mut self, to: u64, value: u8, bytes: usize) -> Result<(), Error> {
        let (allocation, offset) = self.host("fill", to, bytes)?;
        allocation.write_bytes(offset, &vec![value; bytes]);
        Ok(())
    }

    /// Whether all of these bytes are initialised. False outside live allocations.
    pub fn initialised(&self, from: u64, bytes: usize) -> bool {
        self.host("initialised", from, bytes).is_ok_and(|(allocation, offset)| {
            (0..bytes)
                .step_by(4)
                .all(|at| allocation.is_initialised(offset + at, (bytes - at).min(4)))
        })
    }

    /// Bytes of all live allocations.
    pub fn bytes_in_use(&self) -> usize {
        self.in_use
    }

    /// The live allocation of a host access.
    fn host(&self, what: &str, address: u64, bytes: usize) -> Result<(&Allocation, usize), Error> {
        let (id, offset) = split(address);
        let allocation = self.slots.get(id as usize).and_then(Option::as_ref).ok_or_else(|| {
            Error::Address(format!("{what}: {address:#x} is in no live allocation"))
        })?;
        match (offset as usize).checked_add(bytes) {
            Some(end) if end <= allocation.bytes() => Ok((allocation, offset as usize)),
            _ => Err(Error::Address(format!(
                "{what}: {bytes} bytes at byte {offset} of `{}`, which has {} bytes",
                allocation.label(),
                allocation.bytes()
            ))),
        }
    }

    /// The allocation and offset of a kernel's access.
    #[inline(always)]
    pub(crate) fn find(
        &self,
        address: u64,
        bytes: u32,
    ) -> Result<(u32, &Allocation, usize), Fault> {
        let (id, offset) = split(address);
        let slot = self.slots.get(id as usize).and_then(Option::as_ref);
        match slot {
            Some(allocation) if allocation.holds(offset, bytes) => {
                if offset & u64::from(bytes - 1) == 0 {
                    Ok((id, allocation, offset as usize))
                } else {
                    Err(Fault::Misaligned)
                }
            }
            _ => Err(self.fault(id, offset, bytes)),
        }
    }

    /// The live allocation of an address, with its id.
    #[inline(always)]
    pub(crate) fn around(&self, address: u64) -> Option<(u32, &Allocation)> {
        let (id, _) = split(address);
        Some((id, self.slots.get(id as usize)?.as_ref()?))
    }

    /// The message of an access outside every allocation.
    #[cold]
    fn fault(&self, id: u32, offset: u64, bytes: u32) -> Fault {
        let live = |id: usize| self.slots.get(id).and_then(Option::as_ref);
        if let Some(allocation) = live(id as usize) {
            // An address just before an allocation has the previous id and an offset near the
            // maximum.
            let before = (1u64 << OFFSET_BITS) - offset;
            if before <= 1 << 32
                && let Some(next) = live(id as usize + 1)
            {
                return Fault::Outside(format!(
                    "{bytes} bytes that start {before} bytes before `{}`",
                    next.label()
                ));
            }
            return Fault::Outside(format!(
                "{bytes} bytes at byte {offset} of `{}`, which has {} bytes",
                allocation.label(),
                allocation.bytes()
            ));
        }
        if (FIRST_ID..self.slots.len()).contains(&(id as usize)) {
            return Fault::Freed;
        }
        Fault::Outside(format!(
            "{bytes} bytes at address {:#x}",
            u64::from(id) << OFFSET_BITS | offset
        ))
    }

    /// Allocates a module's variables at first use and returns their addresses.
    pub(crate) fn variables(&mut self, module: &Shared) -> Vec<u64> {
        if let Some(addresses) = self.modules.get(&module.id) {
            return addresses.clone();
        }
        let mut addresses = Vec::new();
        for variable in &module.variables {
            let address = self.allocate(variable.bytes, &variable.name);
            let mut initial = variable.initial.clone();
            initial.resize(variable.bytes, 0);
            if let Ok((allocation, offset)) = self.host("variable", address, initial.len()) {
                allocation.write_bytes(offset, &initial);
            }
            addresses.push(address);
        }
        self.modules.insert(module.id, addresses.clone());
        addresses
    }
}

/// An address's id and offset.
#[inline(always)]
fn split(address: u64) -> (u32, u64) {
    ((address >> OFFSET_BITS) as u32, address & ((1 << OFFSET_BITS) - 1))
}
