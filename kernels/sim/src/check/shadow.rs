//! Shadow memory: the last accesses of each part of an allocation.

use std::collections::HashMap;

use super::access::Access;
use super::order::{Moment, Order};
use super::record::{Clash, Entry, Record};
use super::rows::{Rows, WORDS};

/// The most accesses of one record that are kept besides the record's own, in a precise launch.
const MOST: usize = 16;

/// Records of one allocation: one for each 4-byte word; narrower after the first narrower access.
#[derive(Default)]
pub(crate) struct Shadow {
    records: Vec<Record>,
    bytes: usize,
    /// Base-2 logarithm of the bytes of a record.
    shift: u32,
    /// Unordered accesses that have no room in their record.
    more: HashMap<usize, Vec<Entry>>,
    /// Of shared memory, what neighbouring records have in common.
    rows: Rows,
}

impl Shadow {
    /// Records of memory without any access.
    pub fn new(bytes: usize) -> Shadow {
        let records = vec![Record::default(); bytes.div_ceil(4)];
        Shadow { records, bytes, shift: 2, more: HashMap::new(), rows: Rows::default() }
    }

    /// Starts anew with shared memory of `bytes` bytes.
    pub fn restart(&mut self, bytes: usize) {
        self.records.clear();
        self.records.resize(bytes.div_ceil(4), Record::default());
        self.more.clear();
        self.rows.restart(self.records.len());
        (self.bytes, self.shift) = (bytes, 2);
    }

    /// Splits records to the size of an access.
    #[cold]
    fn split(&mut self, shift: u32) {
        let parts = 1 << (self.shift - shift);
        self.records =
            self.records.iter().flat_map(|record| std::iter::repeat_n(*record, parts)).collect();
        let more = std::mem::take(&mut self.more);
        for (at, list) in more {
            self.more.extend((at * parts..(at + 1) * parts).map(|part| (part, list.clone())));
        }
        self.shift = shift;
        self.rows.restart(0);
    }

    /// The records of some bytes.
    #[inline(always)]
    fn range(&mut self, offset: usize, bytes: u32) -> std::ops::Range<usize> {
        debug_assert!(offset + bytes as usize <= self.bytes);
        if bytes < 1 << self.shift {
            self.split(bytes.trailing_zeros());
        }
        let first = offset >> self.shift;
        first..first + (bytes as usize >> self.shift)
    }

    /// The time of the last write of these bytes; 0 when there was none.
    pub fn last_write(&mut self, offset: usize, bytes: u32) -> u32 {
        let range = self.range(offset, bytes);
        self.records[range].iter().map(Record::write_time).max().unwrap_or(0)
    }

    /// Records an access of lane `lane` of the warp of `moment` and returns the first earlier access that races with
    /// it. Shared memory has records of one block alone.
    #[inline(always)]
    pub fn access(
        &mut self,
        order: &Order,
        moment: &Moment,
        access: Access,
        (offset, bytes): (usize, u32),
        lane: usize,
    ) -> Option<Clash> {
        let mut clash = None;
        let range = self.range(offset, bytes);
        self.rows.forget(&range);
        for at in range {
            let record = &mut self.records[at];
            let found = if access == Access::WRITE && record.is_past(moment) {
                record.set_write(moment, access, lane);
                None
            } else {
                let found = self.clash(order, moment, access, at, lane);
                self.note(order, moment, access, at, lane);
                found
            };
            clash = clash.or(found);
        }
        clash
    }

    /// The first access of a record that races with one of a lane now.
    fn clash(
        &self,
        order: &Order,
        moment: &Moment,
        access: Access,
        at: usize,
        lane: usize,
    ) -> Option<Clash> {
        let record = &self.records[at];
        let entries = record.entries();
        let more = if record.has_more() { self.more.get(&at).map(Vec::as_slice) } else { None };
        let all = || entries.iter().chain(more.into_iter().flatten());
        let now = (order, moment);
        all()
            .filter_map(|entry| Some((entry, entry.clash(now, access, lane)?)))
            .find(|(entry, _)| !entry.is_observed(all(), now, lane))
            .map(|(_, clash)| clash)
    }

    /// Records an access of a lane.
    fn note(&mut self, order: &Order, moment: &Moment, access: Access, at: usize, lane: usize) {
        let record = &mut self.records[at];
        if access == Access::WRITE {
            if record.has_more() {
                self.more.remove(&at);
            }
            record.set_write(moment, access, lane);
            return;
        }
        if !access.writes()
            && !record.has_more()
            && record.note_read(order, moment, access, 1 << lane)
        {
            return;
        }
        if !access.writes() && !moment.precise {
            record.replace_reader(moment, access, 1 << lane);
            return;
        }
        // What may still race with a later access stays.
        let mut list =
            if record.has_more() { self.more.remove(&at).unwrap_or_default() } else { Vec::new() };
        let [last, others @ ..] = record.entries();
        if access.writes() && !last.is_followed(moment, access) {
            list.push(last);
        }
        list.extend(others);
        list.retain(|entry| entry.outlives(order, moment, access, lane));
        if access.writes() {
            record.set_write(moment, access, lane);
        } else {
            list.push(Entry::new(moment, access, 1 << lane));
        }
        joined(&mut list);
        // Accesses of other blocks first: of the two that stay in the record one is then of another block.
        list.sort_by_key(|entry| entry.is_of_block(moment.block));
        let mut others = [Entry::default(); 2];
        let kept = list.len().min(2);
        others[..kept].copy_from_slice(&list[..kept]);
        list.drain(..kept);
        list.truncate(if moment.precise { MOST } else { 0 });
        record.set_others(others, !list.is_empty());
        if !list.is_empty() {
            self.more.insert(at, list);
        }
    }

    /// The records of whole rows of shared memory, if these bytes are whole rows.
    #[inline(always)]
    fn whole_rows(&self, offset: usize, bytes: usize) -> Option<std::ops::Range<usize>> {
        let row = WORDS << 2;
        let whole = self.shift == 2 && offset.is_multiple_of(row) && bytes.is_multiple_of(row);
        whole.then(|| offset >> 2..(offset + bytes) >> 2)
    }

    /// Whether a plain read of these bytes by one warp needs no check and no record.
    #[inline(always)]
    pub fn is_read_enough(&self, moment: &Moment, offset: usize, bytes: usize) -> bool {
        !moment.precise
            && self
                .whole_rows(offset, bytes)
                .is_some_and(|records| self.rows.stand_for(moment, &records))
    }

    /// Finds what records have in common, after a plain read of all these bytes by one warp.
    #[inline(always)]
    pub fn find_readers(&mut self, moment: &Moment, offset: usize, bytes: usize) {
        if let Some(records) = self.whole_rows(offset, bytes)
            && !moment.precise
        {
            self.rows.find(moment, &self.records, records);
        }
    }

    /// Records a plain read of one warp, given as offsets and the lanes that read them. False when it may race with an
    /// earlier write, or, for `stable` reads, with any write of this launch.
    #[inline(always)]
    pub fn read_groups(
        &mut self,
        order: &Order,
        moment: &Moment,
        (bytes, stable): (u32, bool),
        groups: impl Iterator<Item = (usize, u32)>,
    ) -> bool {
        for (offset, lanes) in groups {
            let range = self.range(offset, bytes);
            for record in &mut self.records[range] {
                if !record.is_read_past(order, moment, lanes)
                    || stable && record.write_time() > moment.launch
                {
                    return false;
                }
                if record.note_read(order, moment, Access::READ, lanes) {
                    continue;
                }
                if moment.precise {
                    return false;
                }
                record.replace_reader(moment, Access::READ, lanes);
            }
        }
        true
    }

    /// Records a plain write of one warp, given as distinct offsets and the lane that writes each. False, with nothing
    /// recorded, when it may race with an earlier access.
    #[inline(always)]
    pub fn write_groups(
        &mut self,
        moment: &Moment,
        bytes: u32,
        groups: impl Iterator<Item = (usize, u32)> + Clone,
    ) -> bool {
        for (offset, _) in groups.clone() {
            let range = self.range(offset, bytes);
            if !self.records[range].iter().all(|record| record.is_past(moment)) {
                return false;
            }
        }
        for (offset, lanes) in groups {
            let range = self.range(offset, bytes);
            self.rows.forget(&range);
            for record in &mut self.records[range] {
                record.set_write(moment, Access::WRITE, lanes.trailing_zeros() as usize);
            }
        }
        true
    }
}

/// Merges the lanes of entries of one warp instruction.
fn joined(list: &mut Vec<Entry>) {
    let mut at = 0;
    while at < list.len() {
        let entry = list[at];
        match list[..at].iter_mut().find(|other| other.is_joined_by(&entry)) {
            Some(other) => {
                other.add_lanes(&entry);
                list.remove(at);
            }
            None => at += 1,
        }
    }
}
