//! Loads, stores and atomics of a warp.

use super::Machine;
use super::blame::{report_fault, report_race, report_unwritten};
use super::traffic::Traffic;
use crate::check::{Access, Checker, Clash, Moment};
use crate::instruction::{Address, Atomic, Base, Element, Operation, Slot, Space, Strong};
use crate::lanes::{LANES, Registers};
use crate::memory::{Allocation, Fault, LOCAL_WINDOW, Memory, SHARED_WINDOW};

/// The lanes of a mask.
pub(super) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}

/// Which memory an access goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Global(u32),
    Shared,
    Local,
}

/// A checked place in memory.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    pub region: Region,
    pub allocation: &'m Allocation,
    pub offset: usize,
}

/// The memories that a thread sees.
#[derive(Clone, Copy)]
pub(super) struct View<'m> {
    pub memory: &'m Memory,
    pub shared: &'m Allocation,
    pub local: &'m Allocation,
    pub local_bytes: usize,
}

impl<'m> View<'m> {
    /// The place of `bytes` bytes at an address of a thread.
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
        Ok(Place { region: Region::Global(id), allocation, offset: offset as usize })
    }

    /// The place in shared memory or in a thread's part of local memory.
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
    match address.base {
        Base::None => [offset; LANES],
        Base::Long(slot) => {
            registers.longs[usize::from(slot)].map(|base| base.wrapping_add(offset))
        }
        Base::Word(slot) => registers.words[usize::from(slot)]
            .map(|base| u64::from(base.wrapping_add(address.offset as u32))),
    }
}

/// The bits of a lane's register.
#[inline(always)]
fn get(registers: &Registers, slot: Slot, lane: usize) -> u64 {
    match slot {
        Slot::Half(slot) | Slot::Word(slot) => u64::from(registers.words[usize::from(slot)][lane]),
        Slot::Long(slot) => registers.longs[usize::from(slot)][lane],
        Slot::Sink => 0,
    }
}

/// Sets a lane's register to an element, extended to the register's width.
#[inline(always)]
fn set(registers: &mut Registers, slot: Slot, lane: usize, element: Element, bits: u64) {
    let bits = if element.signed {
        let cut = 64 - 8 * element.bytes;
        ((bits << cut) as i64 >> cut) as u64
    } else {
        bits
    };
    match slot {
        Slot::Half(slot) => registers.words[usize::from(slot)][lane] = u32::from(bits as u16),
        Slot::Word(slot) => registers.words[usize::from(slot)][lane] = bits as u32,
        Slot::Long(slot) => registers.longs[usize::from(slot)][lane] = bits,
        Slot::Sink => {}
    }
}

impl Machine<'_> {
    /// Runs a load, a store, an atomic or a fence for the lanes of a mask.
    pub(super) fn access(
        &mut self,
        memory: &Memory,
        warp: usize,
        pc: u32,
        mask: u32,
        operation: &Operation,
    ) {
        match operation {
            Operation::Parameter { base, offset, element, values } => {
                self.parameter(warp, pc, mask, (*base, *offset, *element), values);
            }
            Operation::Load { address, element, values, strong } => {
                self.load_or_store(
                    memory,
                    warp,
                    pc,
                    mask,
                    (address, *element, values, *strong),
                    true,
                );
            }
            Operation::Store { address, element, values, strong } => {
                self.load_or_store(
                    memory,
                    warp,
                    pc,
                    mask,
                    (address, *element, values, *strong),
                    false,
                );
            }
            Operation::Atomic(atomic) => self.atomic(memory, warp, pc, mask, atomic),
            _ => {
                if let Some(checker) = &mut self.checker {
                    for lane in lanes_of(mask) {
                        checker.order.fence((warp * LANES + lane) as u16);
                    }
                }
            }
        }
    }

    /// A load of one or several elements from the kernel's parameters.
    fn parameter(
        &mut self,
        warp: usize,
        pc: u32,
        mask: u32,
        (base, offset, element): (Base, i64, Element),
        values: &[Slot],
    ) {
        let site = self.site(warp, pc);
        let parameters = self.launch.parameters;
        let registers = &mut self.warps[warp].registers;
        let at = addresses(registers, &Address { space: Space::Generic, base, offset });
        let (bytes, each) = (element.bytes as usize * values.len(), element.bytes as usize);
        for lane in lanes_of(mask) {
            let start = usize::try_from(at[lane]).unwrap_or(usize::MAX);
            let Some(found) = start.checked_add(bytes).and_then(|end| parameters.get(start..end))
            else {
                let size = parameters.len();
                let what =
                    format!("{bytes} bytes at byte {start} of the parameters, which have {size}");
                report_fault(
                    &site,
                    &mut self.findings,
                    lane,
                    true,
                    element.bytes,
                    Fault::Outside(what),
                );
                continue;
            };
            for (&slot, found) in values.iter().zip(found.chunks(each)) {
                let mut bits = [0; 8];
                bits[..each].copy_from_slice(found);
                set(registers, slot, lane, element, u64::from_le_bytes(bits));
            }
        }
    }

    /// A load or store of one or several elements for each lane.
    fn load_or_store(
        &mut self,
        memory: &Memory,
        warp: usize,
        pc: u32,
        mask: u32,
        (address, element, values, strong): (&Address, Element, &[Slot], Strong),
        load: bool,
    ) {
        let site = self.site(warp, pc);
        let view = View {
            memory,
            shared: &self.shared,
            local: &self.local,
            local_bytes: self.kernel.local_bytes,
        };
        let registers = &mut self.warps[warp].registers;
        let at = addresses(registers, address);
        let bytes = element.bytes * values.len() as u32;
        let access = match (load, strong) {
            (true, Strong::Weak) => Access::Read,
            (true, _) => Access::StrongRead,
            (false, Strong::Weak) => Access::Write,
            (false, _) => Access::Atomic,
        };
        let mut traffic = Traffic::default();
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        for lane in lanes_of(mask) {
            let thread = warp * LANES + lane;
            let place = match view.find(address.space, at[lane], bytes, thread) {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, load, bytes, fault);
                    continue;
                }
            };
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                traffic.add(place, at[lane]);
                if load && !place.allocation.is_initialised(place.offset, bytes as usize) {
                    let pending = place.region == Region::Shared
                        && self.copies.iter().any(|copies| copies.covers(place.offset, bytes));
                    report_unwritten(&site, &mut self.findings, lane, place, bytes, pending);
                }
                if strong == Strong::Ordered && load {
                    checker.order.acquire(at[lane], thread as u16);
                } else if strong == Strong::Ordered {
                    checker.order.fence(thread as u16);
                }
                let clash = note(checker, moments, access, place, bytes, lane);
                if let Some(clash) = clash {
                    let same_value = || {
                        values.iter().enumerate().all(|(index, &slot)| {
                            let offset = place.offset + index * element.bytes as usize;
                            let ones = u64::MAX >> (64 - 8 * element.bytes);
                            place.allocation.read(offset, element.bytes)
                                == get(registers, slot, lane) & ones
                        })
                    };
                    if !(clash.write && clash.same_instruction && same_value()) {
                        let doing = if load { "read" } else { "write" };
                        report_race(&site, &mut self.findings, memory, lane, doing, place, clash);
                    }
                }
                if !load && strong != Strong::Weak {
                    checker.order.release(at[lane], thread as u16);
                }
            }
            for (index, &slot) in values.iter().enumerate() {
                let offset = place.offset + index * element.bytes as usize;
                match (load, slot, element.bytes) {
                    (true, Slot::Word(slot), 4) => {
                        let bits = place.allocation.read(offset, 4) as u32;
                        registers.words[usize::from(slot)][lane] = bits;
                    }
                    (true, ..) => {
                        let bits = place.allocation.read(offset, element.bytes);
                        set(registers, slot, lane, element, bits);
                    }
                    (false, ..) => {
                        place.allocation.write(offset, element.bytes, get(registers, slot, lane));
                    }
                }
            }
        }
        traffic.count(&mut self.tallies[pc as usize], bytes);
    }

    /// A read-modify-write for each lane, one lane after another.
    fn atomic(&mut self, memory: &Memory, warp: usize, pc: u32, mask: u32, atomic: &Atomic) {
        let site = self.site(warp, pc);
        let view = View {
            memory,
            shared: &self.shared,
            local: &self.local,
            local_bytes: self.kernel.local_bytes,
        };
        let registers = &mut self.warps[warp].registers;
        let at = addresses(registers, &atomic.address);
        let bytes = atomic.element.bytes;
        let mut traffic = Traffic::default();
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        for lane in lanes_of(mask) {
            let thread = warp * LANES + lane;
            let place = match view.find(atomic.address.space, at[lane], bytes, thread) {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, false, bytes, fault);
                    continue;
                }
            };
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                traffic.add(place, at[lane]);
                if !place.allocation.is_initialised(place.offset, bytes as usize) {
                    report_unwritten(&site, &mut self.findings, lane, place, bytes, false);
                }
                if let Some(clash) = note(checker, moments, Access::Atomic, place, bytes, lane) {
                    report_race(&site, &mut self.findings, memory, lane, "atomic", place, clash);
                }
                if atomic.ordered {
                    checker.order.fence(thread as u16);
                }
                if matches!(place.region, Region::Global(_)) {
                    checker.order.acquire(at[lane], thread as u16);
                    checker.order.release(at[lane], thread as u16);
                }
            }
            let b = get(registers, atomic.b, lane);
            let c = get(registers, atomic.c, lane);
            let f = atomic.operator.0;
            let old = if bytes == 4 {
                let (b, c) = (u64::from(b as u32), u64::from(c as u32));
                u64::from(
                    place
                        .allocation
                        .update_word(place.offset, |old| f(u64::from(old), b, c) as u32),
                )
            } else {
                // A poisoned lock only says that another block panicked.
                let _held = memory.long_atomics.lock().unwrap_or_else(|held| held.into_inner());
                let old = place.allocation.read(place.offset, 8);
                place.allocation.write(place.offset, 8, f(old, b, c));
                old
            };
            place.allocation.set_initialised(place.offset, bytes as usize, true);
            set(registers, atomic.d, lane, atomic.element, old);
        }
        traffic.count(&mut self.tallies[pc as usize], bytes);
    }
}

/// Notes an access of a lane in the checker's records. Local memory has one thread only.
#[inline(always)]
pub(super) fn note(
    checker: &mut Checker,
    moments: &Moments,
    access: Access,
    place: Place<'_>,
    bytes: u32,
    lane: usize,
) -> Option<Clash> {
    match place.region {
        Region::Global(id) => {
            let (order, shadow) = checker.global(id, place.allocation.bytes());
            shadow.access(order, &moments.global, access, place.offset, bytes, lane)
        }
        Region::Shared => {
            let Checker { order, shared, .. } = checker;
            shared.access(order, &moments.shared, access, place.offset, bytes, lane)
        }
        Region::Local => None,
    }
}

/// The time of a warp's instruction in both memories.
pub(super) struct Moments {
    global: Moment,
    shared: Moment,
}

impl Moments {
    /// The time now, for a warp.
    pub fn now(checker: &Checker, warp: usize) -> Moments {
        Moments {
            global: checker.order.moment(warp, false),
            shared: checker.order.moment(warp, true),
        }
    }
}
