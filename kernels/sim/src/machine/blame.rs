//! Messages of the findings of accesses.

use super::site::{Site, coordinates};
use super::view::{Place, Region};
use crate::check::Clash;
use crate::lanes::LANES;
use crate::memory::{Fault, Memory};
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
    let (offset, label) = (place.offset, place.allocation.label());
    if pending {
        site.report(findings, lane, Kind::AsyncPending, || {
            format!(
                "read of {bytes} bytes at byte {offset} of {label}, which a pending cp.async will \
                 write; wait for its group first"
            )
        });
    } else {
        site.report(findings, lane, Kind::Uninitialised, || {
            format!("read of {bytes} uninitialised bytes at byte {offset} of `{label}`")
        });
    }
}

/// Reports a data race: two unordered accesses.
#[cold]
pub(super) fn report_race(
    site: &Site<'_>,
    findings: &mut Findings,
    memory: &Memory,
    lane: usize,
    doing: &str,
    place: Place<'_>,
    clash: Clash,
) {
    let shared = place.region == Region::Shared;
    let kind = if shared { Kind::SharedRace } else { Kind::GlobalRace };
    site.report(findings, lane, kind, || {
        let label = match place.region {
            Region::Global(id) => memory.label(id),
            _ => place.allocation.label(),
        };
        let thread = coordinates(u32::from(clash.thread), site.block_size);
        let block = coordinates(clash.block, site.grid);
        let other = if block == site.block {
            format!("thread {thread:?}")
        } else {
            format!("thread {thread:?} of block {block:?}")
        };
        let did = if clash.write { "wrote" } else { "read" };
        let advice = match (block == site.block, clash.same_instruction) {
            (_, true) => "in the same instruction; let one thread write, or use an atomic",
            (true, _) if usize::from(clash.thread) / LANES == site.warp => {
                "with no barrier in between; add __syncwarp() or __syncthreads()"
            }
            (true, _) => "with no barrier in between; add __syncthreads()",
            (false, _) => {
                "with no synchronisation between the blocks; use an atomic, or a fence and a flag"
            }
        };
        format!("{doing} at byte {} of `{label}`, which {other} {did} {advice}", place.offset)
    });
}
