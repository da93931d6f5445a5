//! The memories that a thread can access, and locations in them.

use crate::check::{Access, Checker, Clash, Moment};
use crate::instruction::{Address, Base, Space};
use crate::kernel::Kernel;
use crate::lanes::{LANES, Registers};
use crate::memory::{Allocation, Fault, LOCAL_WINDOW, Memory, SHARED_WINDOW};
use crate::parse::Array;

/// The lanes of a mask.
pub(super) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}

/// The memory of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Global(u32),
    Shared,
    Local,
}

/// A location in memory, in bounds and aligned.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    pub region: Region,
    pub allocation: &'m Allocation,
    pub offset: usize,
}

impl Place<'_> {
    /// Its key for messages between threads of the running block, or of all blocks.
    pub fn key(&self, block: u32) -> (u64, usize) {
        match self.region {
            Region::Global(id) => (u64::from(id), self.offset),
            Region::Shared | Region::Local => (1 << 32 | u64::from(block), self.offset),
        }
    }
}

/// The memories that a thread can access.
#[derive(Clone, Copy)]
pub(super) struct View<'m> {
    pub memory: &'m Memory,
    pub shared: &'m Allocation,
    pub local: &'m Allocation,
    pub local_bytes: usize,
    kernel: &'m Kernel,
    /// The array that an access to shared memory must stay in.
    pub array: Option<Bounds<'m>>,
}

/// An array in shared memory: its name and its offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'m> {
    pub name: &'m str,
    pub start: usize,
    pub end: usize,
}

impl<'m> Bounds<'m> {
    /// The bounds of an array, where `bytes` is the size of shared memory.
    fn of(array: &'m Array, bytes: usize) -> Bounds<'m> {
        let end = array.bytes.map_or(bytes, |bytes| array.start + bytes);
        Bounds { name: &array.name, start: array.start, end }
    }

    /// The array of a kernel that an offset in shared memory lies in.
    pub fn around(kernel: &'m Kernel, bytes: usize, offset: usize) -> Option<Bounds<'m>> {
        let bounds = kernel.arrays.iter().map(|array| Bounds::of(array, bytes));
        bounds.into_iter().find(|bounds| (bounds.start..bounds.end).contains(&offset))
    }
}

impl<'m> View<'m> {
    /// The memories that an access of a block's threads may mean.
    pub fn new(
        memory: &'m Memory,
        (shared, local): (&'m Allocation, &'m Allocation),
        kernel: &'m Kernel,
        address: &Address,
    ) -> View<'m> {
        let array = address.array.and_then(|at| kernel.arrays.get(usize::from(at)));
        let array = array.map(|array| Bounds::of(array, shared.bytes()));
        View { memory, shared, local, local_bytes: kernel.local_bytes, kernel, array }
    }

    /// What is wrong with an access to an array that lies outside it.
    #[cold]
    fn outside(&self, array: Bounds<'_>, offset: usize, bytes: u32) -> Fault {
        let (size, at) = (array.end - array.start, offset as i64 - array.start as i64);
        let name = array.name;
        let inside = match Bounds::around(self.kernel, self.shared.bytes(), offset) {
            Some(other) if other.name != name => format!(", inside `{}`", other.name),
            _ => String::new(),
        };
        Fault::Outside(format!(
            "{bytes} bytes at byte {at} of `{name}`, which has {size} bytes{inside}"
        ))
    }

    /// The location of `bytes` bytes at an address of a thread.
    #[inline(always)]
    pub fn find(
        &self,
        space: Space,
        address: u64,
        bytes: u32,
        thread: usize,
    ) -> Result<Place<'m>, Fault> {
        match space {
            Space::Global => self.global(address, bytes),
            Space::Shared => self.window(Region::Shared, address, bytes, thread),
            Space::Local => self.window(Region::Local, address, bytes, thread),
            Space::Generic => match address {
                LOCAL_WINDOW.. if address >> 36 == LOCAL_WINDOW >> 36 => {
                    self.window(Region::Local, address - LOCAL_WINDOW, bytes, thread)
                }
                SHARED_WINDOW..LOCAL_WINDOW => {
                    self.window(Region::Shared, address - SHARED_WINDOW, bytes, thread)
                }
                _ => self.global(address, bytes),
            },
        }
    }

    #[inline(always)]
    fn global(&self, address: u64, bytes: u32) -> Result<Place<'m>, Fault> {
        let (id, allocation, offset) = self.memory.find(address, bytes)?;
        Ok(Place { region: Region::Global(id), allocation, offset })
    }

    /// The location in shared memory or in a thread's part of local memory.
    #[inline(always)]
    fn window(
        &self,
        region: Region,
        offset: u64,
        bytes: u32,
        thread: usize,
    ) -> Result<Place<'m>, Fault> {
        let (allocation, size, base) = if region == Region::Shared {
            (self.shared, self.shared.bytes(), 0)
        } else {
            (self.local, self.local_bytes, thread * self.local_bytes)
        };
        if offset >= 1 << 32 || offset + u64::from(bytes) > size as u64 {
            return Err(Fault::Outside(format!(
                "{bytes} bytes at byte {} of {}, which has {size} bytes",
                offset as i32,
                allocation.label()
            )));
        }
        if let (Region::Shared, Some(array)) = (region, self.array)
            && !(array.start <= offset as usize && offset as usize + bytes as usize <= array.end)
        {
            return Err(self.outside(array, offset as usize, bytes));
        }
        if offset & u64::from(bytes - 1) != 0 {
            return Err(Fault::Misaligned);
        }
        Ok(Place { region, allocation, offset: base + offset as usize })
    }
}

/// The addresses that lanes access.
#[inline(always)]
pub(super) fn addresses(registers: &Registers, address: &Address) -> [u64; LANES] {
    let offset = address.offset as u64;
    let mut at = [offset; LANES];
    match address.base {
        Base::None => {}
        Base::Long(slot) => {
            for (at, base) in at.iter_mut().zip(&registers.longs[usize::from(slot)]) {
                *at = at.wrapping_add(*base);
            }
        }
        Base::Word(slot) => {
            for (at, base) in at.iter_mut().zip(&registers.words[usize::from(slot)]) {
                *at = u64::from(base.wrapping_add(offset as u32));
            }
        }
    }
    at
}

/// Records an access of a lane and returns an earlier one that races with it. Local memory belongs to one thread, so it
/// needs no record.
#[inline(always)]
pub(super) fn note(
    checker: &mut Checker,
    moments: &Moments,
    access: Access,
    place: Place<'_>,
    bytes: u32,
    lane: usize,
) -> Option<Clash> {
    let at = (place.offset, bytes);
    match place.region {
        Region::Global(id) => {
            let (order, shadow) = checker.global(id, place.allocation.bytes());
            shadow.access(order, &moments.global, access, at, lane)
        }
        Region::Shared => {
            let Checker { order, shared, .. } = checker;
            shared.access(order, &moments.shared, access, at, lane)
        }
        Region::Local => None,
    }
}

/// The time of the last write of a place; 0 when there was none.
pub(super) fn last_write(checker: &mut Checker, place: Place<'_>, bytes: u32) -> u32 {
    match place.region {
        Region::Global(id) => {
            checker.global(id, place.allocation.bytes()).1.last_write(place.offset, bytes)
        }
        Region::Shared => checker.shared.last_write(place.offset, bytes),
        Region::Local => 0,
    }
}

/// The race-detection bounds of a warp's instruction in both memories.
pub(super) struct Moments {
    pub global: Moment,
    pub shared: Moment,
}

impl Moments {
    /// The current bounds of a warp.
    pub fn now(checker: &Checker, warp: usize) -> Moments {
        Moments {
            global: checker.order.moment(warp, false),
            shared: checker.order.moment(warp, true),
        }
    }
}
