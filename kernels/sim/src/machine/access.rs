//! Loads, stores and atomics of a warp.

use super::Machine;
use super::blame::{report_fault, report_race, report_stale, report_unwritten};
use super::traffic::Traffic;
use super::view::{Moments, Place, Region, View, addresses, lanes_of, last_write, note};
use crate::check::{Access, Checker, Clash, Strong};
use crate::instruction::{
    Address, Atomic, Base, Element, Operation, Scope, Semantics, Slot, Space,
};
use crate::lanes::{LANES, Registers, Value};
use crate::memory::{Fault, Memory};

/// The bits of a lane's register.
#[inline(always)]
pub(super) fn get(registers: &Registers, slot: Slot, lane: usize) -> u64 {
    match slot {
        Slot::Half(slot) | Slot::Word(slot) => u64::from(registers.words[usize::from(slot)][lane]),
        Slot::Long(slot) => registers.longs[usize::from(slot)][lane],
        Slot::Sink => 0,
    }
}

/// Bits from at most 8 bytes.
fn bits_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// An element's bits, extended to 64.
#[inline(always)]
fn extended(element: Element, bits: u64) -> u64 {
    if element.signed {
        let cut = 64 - 8 * element.bytes;
        ((bits << cut) as i64 >> cut) as u64
    } else {
        bits
    }
}

/// Sets a lane's register to an element, extended to the register's width.
#[inline(always)]
pub(super) fn set(registers: &mut Registers, slot: Slot, lane: usize, element: Element, bits: u64) {
    let bits = extended(element, bits);
    match slot {
        Slot::Half(slot) => registers.words[usize::from(slot)][lane] = u32::from(bits as u16),
        Slot::Word(slot) => registers.words[usize::from(slot)][lane] = bits as u32,
        Slot::Long(slot) => registers.longs[usize::from(slot)][lane] = bits,
        Slot::Sink => {}
    }
}

/// Sets the register of all lanes of a mask to one element.
pub(super) fn set_all(
    registers: &mut Registers,
    slot: Slot,
    mask: u32,
    element: Element,
    bits: u64,
) {
    let bits = extended(element, bits);
    match slot {
        Slot::Half(slot) => u16::store(registers, slot, [bits as u16; LANES], mask),
        Slot::Word(slot) => u32::store(registers, slot, [bits as u32; LANES], mask),
        Slot::Long(slot) => u64::store(registers, slot, [bits; LANES], mask),
        Slot::Sink => {}
    }
}

/// The kind of a load or store.
fn access(load: bool, semantics: Semantics, bytes: u32) -> Access {
    match (semantics, load) {
        (Semantics::Guess, _) => Access::GUESS,
        (Semantics::Weak | Semantics::Stable, true) => Access::READ,
        (Semantics::Weak | Semantics::Stable, false) => Access::WRITE,
        (Semantics::Relaxed(scope) | Semantics::Ordered(scope), true) => {
            Access::strong_read(scope == Scope::Device, bytes)
        }
        (Semantics::Relaxed(scope) | Semantics::Ordered(scope), false) => {
            Access::strong_write(scope == Scope::Device, bytes)
        }
    }
}

/// Records a strong access of a lane, with what it observes and releases.
fn strong_access(
    checker: &mut Checker,
    moments: &Moments,
    access: Access,
    (place, bytes): (Place<'_>, u32),
    lane: usize,
    strong: Strong,
) -> Option<Clash> {
    if place.region == Region::Local {
        return None;
    }
    let last = last_write(checker, place, bytes);
    let moment = &moments.global;
    checker.order.synchronise(place.key(moment.block), moment.thread(lane), strong, last);
    note(checker, moments, access, place, bytes, lane)
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
            Operation::Load { address, element, values, semantics } => {
                let operands = (address, *element, values.as_slice(), *semantics);
                let bytes = element.bytes * values.len() as u32;
                self.measure((warp, pc), mask, address, bytes, true);
                self.load_or_store(memory, warp, pc, mask, operands, true);
            }
            Operation::Store { address, element, values, semantics } => {
                let operands = (address, *element, values.as_slice(), *semantics);
                let bytes = element.bytes * values.len() as u32;
                self.measure((warp, pc), mask, address, bytes, false);
                self.load_or_store(memory, warp, pc, mask, operands, false);
            }
            Operation::Atomic(atomic) => {
                self.measure((warp, pc), mask, &atomic.address, atomic.element.bytes, false);
                self.atomic(memory, warp, pc, mask, atomic);
            }
            Operation::Fence(fencing) => {
                if let Some(checker) = &mut self.checker {
                    for lane in lanes_of(mask) {
                        checker.order.fence((warp * LANES + lane) as u16, *fencing);
                    }
                }
            }
            _ => {}
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
        let registers = &mut self.here.warps[warp].registers;
        let at =
            addresses(registers, &Address { space: Space::Generic, base, offset, array: None });
        let (bytes, each) = (element.bytes as usize * values.len(), element.bytes as usize);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes);
        if let (Base::None, Some(found)) = (base, parameters.get(start..end)) {
            for (&slot, found) in values.iter().zip(found.chunks(each)) {
                set_all(registers, slot, mask, element, bits_of(found));
            }
            return;
        }
        for lane in lanes_of(mask) {
            let start = usize::try_from(at[lane]).unwrap_or(usize::MAX);
            let Some(found) = start.checked_add(bytes).and_then(|end| parameters.get(start..end))
            else {
                let size = parameters.len();
                let what = format!(
                    "{bytes} bytes at byte {start} of the parameters, which have {size} bytes"
                );
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
                set(registers, slot, lane, element, bits_of(found));
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
        (address, element, values, semantics): (&Address, Element, &[Slot], Semantics),
        load: bool,
    ) {
        let site = self.site(warp, pc);
        let own = (&self.here.shared, &self.here.local);
        let view = View::new(memory, own, self.kernel, address);
        let registers = &mut self.here.warps[warp].registers;
        let at = addresses(registers, address);
        let bytes = element.bytes * values.len() as u32;
        let access = access(load, semantics, element.bytes);
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        let span = view.span(address.space, &at, (mask, bytes), warp);
        if let Some(span) = &span {
            let mut clean = true;
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                let pattern = span.pattern(&mut self.patterns[pc as usize]);
                span.count(pattern, &mut self.tallies[pc as usize]);
                let stable = semantics == Semantics::Stable;
                clean = span.note(checker, moments, (access, stable), pattern);
            }
            if clean && load {
                span.load(registers, element, values);
                return;
            }
            if clean {
                span.store(registers, element, values);
                return;
            }
        }
        let mut traffic = Traffic::default();
        for lane in lanes_of(mask) {
            let thread = warp * LANES + lane;
            let place = match &span {
                Some(span) => Ok(span.place(lane)),
                None => view.find(address.space, at[lane], bytes, thread),
            };
            let place = match place {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, load, bytes, fault);
                    for &slot in values.iter().filter(|_| load) {
                        set(registers, slot, lane, element, 0);
                    }
                    continue;
                }
            };
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                if span.is_none() {
                    traffic.add(place, at[lane]);
                }
                if load && !place.allocation.is_initialised(place.offset, bytes as usize) {
                    let pending = place.region == Region::Shared
                        && self.here.copies.iter().any(|copies| copies.covers(place.offset, bytes));
                    report_unwritten(&site, &mut self.findings, lane, place, bytes, pending);
                }
                if semantics == Semantics::Stable
                    && last_write(checker, place, bytes) > moments.global.launch
                {
                    report_stale(&site, &mut self.findings, lane, place, bytes);
                }
                let clash = match semantics {
                    Semantics::Relaxed(scope) | Semantics::Ordered(scope) => {
                        let ordered = matches!(semantics, Semantics::Ordered(_));
                        let (acquires, releases) = (load && ordered, !load && ordered);
                        let (reads, writes) = (load, !load);
                        let strong = Strong { scope, reads, writes, acquires, releases };
                        strong_access(checker, moments, access, (place, bytes), lane, strong)
                    }
                    _ => note(checker, moments, access, place, bytes, lane),
                };
                if let Some(clash) = clash {
                    let same_value = || {
                        values.iter().enumerate().all(|(index, &slot)| {
                            let offset = place.offset + index * element.bytes as usize;
                            let ones = u64::MAX >> (64 - 8 * element.bytes);
                            place.allocation.read(offset, element.bytes)
                                == get(registers, slot, lane) & ones
                        })
                    };
                    if !(clash.same_instruction && same_value()) {
                        report_race(&site, &mut self.findings, lane, access, place, clash);
                    }
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
        let own = (&self.here.shared, &self.here.local);
        let view = View::new(memory, own, self.kernel, &atomic.address);
        let registers = &mut self.here.warps[warp].registers;
        let at = addresses(registers, &atomic.address);
        let bytes = atomic.element.bytes;
        let access = Access::update(atomic.scope == Scope::Device, bytes);
        let mut traffic = Traffic::default();
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        for lane in lanes_of(mask) {
            let thread = warp * LANES + lane;
            let place = match view.find(atomic.address.space, at[lane], bytes, thread) {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, false, bytes, fault);
                    set(registers, atomic.d, lane, atomic.element, 0);
                    continue;
                }
            };
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                traffic.add(place, at[lane]);
                if !place.allocation.is_initialised(place.offset, bytes as usize) {
                    report_unwritten(&site, &mut self.findings, lane, place, bytes, false);
                }
                let &Atomic { scope, acquires, releases, .. } = atomic;
                let strong = Strong { scope, reads: true, writes: true, acquires, releases };
                let at = (place, bytes);
                if let Some(clash) = strong_access(checker, moments, access, at, lane, strong) {
                    report_race(&site, &mut self.findings, lane, access, place, clash);
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
                // The lock is poisoned when another block panicked; the data is still valid.
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
