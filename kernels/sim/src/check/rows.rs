//! A summary of shared memory by rows of 32 words, so that a warp need not look at each word that two others have read.

use super::order::Moment;
use super::record::Record;

/// Words of a row.
pub(super) const WORDS: usize = 32;

/// What all records of a row have in common.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// Every record has plain reads of these two warps, and no other access but its last write.
    readers: (u16, u16),
    /// The earliest of these reads; 0: the records have nothing in common.
    since: u32,
    /// The latest write.
    written: u32,
}

/// The rows of a block's shared memory.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    /// Starts anew, with rows for a number of records.
    pub fn restart(&mut self, records: usize) {
        self.0.clear();
        self.0.resize(records / WORDS, Row::default());
    }

    /// Forgets what the records from one to another have in common; they are in one row or in two.
    #[inline(always)]
    pub fn forget(&mut self, records: &std::ops::Range<usize>) {
        for record in [records.start, records.end - 1] {
            if let Some(row) = self.0.get_mut(record / WORDS) {
                row.since = 0;
            }
        }
    }

    /// Whether a plain read of these records by a warp needs no check and no record: all writes happen before, and two
    /// unordered readers of other warps stand for it.
    #[inline(always)]
    pub fn stand_for(&self, moment: &Moment, records: &std::ops::Range<usize>) -> bool {
        let stands = |row: &Row| {
            row.since != 0
                && !moment.surely_before(row.since, moment.block)
                && moment.surely_before(row.written, moment.block)
                && row.readers.0 != moment.warp
                && row.readers.1 != moment.warp
        };
        let rows = self.0.get(records.start / WORDS..records.end / WORDS);
        rows.is_some_and(|rows| rows.iter().all(stands))
    }

    /// Finds what the records of some rows have in common, after a plain read of all of them by a warp.
    #[inline(never)]
    pub fn find(&mut self, moment: &Moment, all: &[Record], records: std::ops::Range<usize>) {
        for row in records.start / WORDS..records.end / WORDS {
            let records = &all[row * WORDS..(row + 1) * WORDS];
            let Some(found) = self.0.get_mut(row) else { return };
            found.since = 0;
            let Some(readers) = records[0].readers(moment) else { continue };
            let (mut since, mut written) = (u32::MAX, 0);
            let alike = records.iter().all(|record| {
                let Some((first, second, earliest)) = record.readers(moment) else { return false };
                since = since.min(earliest);
                written = written.max(record.write_time());
                (first, second) == (readers.0, readers.1)
            });
            if alike {
                *found = Row { readers: (readers.0, readers.1), since, written };
            }
        }
    }
}
