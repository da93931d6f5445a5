//! Messages of the findings of accesses.

use super::site::{Site, coordinates};
use super::view::{Bounds, Place, Region};
use crate::check::{Access, Clash};
use crate::lanes::LANES;
use crate::memory::Fault;
use crate::report::{Findings, Kind};

/// Reports an access outside live allocations or a misaligned one.
#[cold]
pub(super) fn report_fault(
    site: &Site<'_>,
    findings: &mut Findings,
    lane: usize,
    load: bool,
    bytes: u32,
    fault: Fault,
) {
    let doing = if load { "read" } else { "write" };
    match fault {
        Fault::Outside(what) => site.report(findings, lane, Kind::OutOfBounds, || {
            format!("{doing} of {what}; guard the index")
        }),
        Fault::Freed => site.report(findings, lane, Kind::Freed, || {
            format!("{doing} of {bytes} bytes of a freed allocation")
        }),
        Fault::Misaligned => site.report(findings, lane, Kind::Misaligned, || {
            format!("{doing} of {bytes} bytes at an address that is not a multiple of {bytes}")
        }),
    }
}

/// Reports a read of uninitialised bytes.
#[cold]
pub(super) fn report_unwritten(
    site: &Site<'_>,
    findings: &mut Findings,
    lane: usize,
    place: Place<'_>,
    bytes: u32,
    pending: bool,
) {
    let place = named(site, place);
    if pending {
        site.report(findings, lane, Kind::AsyncPending, || {
            format!(
                "read of {bytes} bytes at {place}, which a pending cp.async will \
                 write; wait for its group first"
            )
        });
    } else {
        site.report(findings, lane, Kind::Uninitialised, || {
            format!("read of {bytes} uninitialised bytes at {place}")
        });
    }
}

/// Reports a non-coherent read of bytes that the launch has written.
#[cold]
pub(super) fn report_stale(
    site: &Site<'_>,
    findings: &mut Findings,
    lane: usize,
    place: Place<'_>,
    bytes: u32,
) {
    let place = named(site, place);
    site.report(findings, lane, Kind::StaleRead, || {
        format!(
            "non-coherent read of {bytes} bytes at {place}, which this launch has written, so \
             that a cache may give the old value; use a plain load: no __ldg, no `const __restrict__`"
        )
    });
}

/// Reports a data race: two unordered accesses.
#[cold]
pub(super) fn report_race(
    site: &Site<'_>,
    findings: &mut Findings,
    lane: usize,
    access: Access,
    place: Place<'_>,
    clash: Clash,
) {
    let both = [access, clash.access];
    let strong = both.iter().any(|access| access.is_strong());
    let kind = if clash.same_instruction {
        Kind::LaneRace
    } else if strong && both.iter().any(|access| access.is_guess()) {
        Kind::GuessRace
    } else if place.region == Region::Shared {
        Kind::SharedRace
    } else {
        Kind::GlobalRace
    };
    site.report(findings, lane, kind, || {
        let thread = coordinates(u32::from(clash.thread), site.block_size);
        let block = coordinates(clash.block, site.grid);
        let here = block == site.block;
        let other = if here {
            format!("thread {thread:?}")
        } else {
            format!("thread {thread:?} of block {block:?}")
        };
        format!(
            "{} at {}, {} {other} {}",
            doing(access),
            named(site, place),
            match (clash.access.writes(), clash.access.is_strong()) {
                (true, true) => "unordered with the atomic or strong write of",
                (true, false) => "which was written by",
                (false, true) => "unordered with the strong read of",
                (false, false) => "which was read by",
            },
            advice(site, access, &clash, here)
        )
    });
}

/// A place in words: its offset and its allocation, or its array in shared memory.
fn named(site: &Site<'_>, place: Place<'_>) -> String {
    let (offset, allocation) = (place.offset, place.allocation);
    match Bounds::around(site.kernel, allocation.bytes(), offset) {
        Some(array) if place.region == Region::Shared => {
            format!("byte {} of `{}`", offset - array.start, array.name)
        }
        _ => format!("byte {offset} of `{}`", allocation.label()),
    }
}

/// An access in words.
fn doing(access: Access) -> &'static str {
    match (access.writes(), access.is_strong()) {
        (true, true) => "atomic or strong write",
        (true, false) => "write",
        (false, true) => "strong read",
        (false, false) => "read",
    }
}

/// What orders two accesses, or why they are not ordered.
fn advice(site: &Site<'_>, access: Access, clash: &Clash, here: bool) -> &'static str {
    let both_strong = access.is_strong() && clash.access.is_strong();
    match (here, both_strong) {
        _ if clash.same_instruction => {
            "in the same instruction, with another value; let one thread write, or use an atomic"
        }
        _ if clash.lacks_fence => {
            "behind a release that was observed but not acquired; add __threadfence() after the read of the flag, or \
             read it with acquire order"
        }
        (false, true) if !access.is_wide() || !clash.access.is_wide() => {
            "with block scope in another block; use device scope (.gpu)"
        }
        (_, true) => "with another size; use one size for all atomics of an address",
        (true, false) if usize::from(clash.thread) / LANES == site.warp => {
            "with no barrier in between; add __syncwarp() or __syncthreads()"
        }
        (true, false) => "with no barrier in between; add __syncthreads()",
        (false, false) => {
            "with no synchronisation between the blocks; use an atomic, or a fence and a flag"
        }
    }
}
