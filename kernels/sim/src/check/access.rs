//! Kinds of accesses, as far as races depend on them.

/// The kind of an access. Its bits fit the records of shadow memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Access(u8);

const WRITES: u8 = 1;
const STRONG: u8 = 2;
/// Strong with the scope of the device.
const DEVICE: u8 = 4;
/// A plain read whose value a compare-and-swap of the kernel checks.
const GUESS: u8 = 8;
/// Of a strong access, the base-2 logarithm of its bytes: two bits.
const SIZE: u32 = 4;
/// A read-modify-write.
const UPDATE: u8 = 64;

impl Access {
    /// A plain read.
    pub const READ: Access = Access(0);
    /// A plain write.
    pub const WRITE: Access = Access(WRITES);
    /// A plain read whose value a compare-and-swap of the kernel checks.
    pub const GUESS: Access = Access(GUESS);

    /// A volatile, relaxed or acquiring read of some bytes.
    pub fn strong_read(device: bool, bytes: u32) -> Access {
        let scope = if device { DEVICE } else { 0 };
        Access(STRONG | scope | (bytes.trailing_zeros() as u8) << SIZE)
    }

    /// A volatile, relaxed or releasing write of some bytes.
    pub fn strong_write(device: bool, bytes: u32) -> Access {
        Access(Access::strong_read(device, bytes).0 | WRITES)
    }

    /// A read-modify-write of some bytes.
    pub fn update(device: bool, bytes: u32) -> Access {
        Access(Access::strong_write(device, bytes).0 | UPDATE)
    }

    #[inline(always)]
    pub fn writes(self) -> bool {
        self.0 & WRITES != 0
    }

    #[inline(always)]
    pub fn is_strong(self) -> bool {
        self.0 & STRONG != 0
    }

    /// Whether it is strong with the scope of the device.
    pub fn is_wide(self) -> bool {
        self.0 & DEVICE != 0
    }

    pub fn is_guess(self) -> bool {
        self.0 & GUESS != 0
    }

    /// Whether two unordered accesses of the same bytes may race: one of them writes, and they are not morally strong
    /// (both strong, of the same size, each in the other's scope).
    #[inline]
    pub fn conflicts(self, other: Access, same_block: bool) -> bool {
        (self.0 | other.0) & WRITES != 0 && !self.morally_strong(other, same_block)
    }

    /// Whether two accesses are morally strong: both strong, of the same size, each in the other's scope.
    pub fn morally_strong(self, other: Access, same_block: bool) -> bool {
        let both = self.0 & other.0;
        both & STRONG != 0
            && (same_block || both & DEVICE != 0)
            && (self.0 ^ other.0) >> SIZE & 3 == 0
    }

    /// Whether this read-modify-write observes the write before it, and stands for it from then on: what comes after
    /// this comes after that write too, and what races with one races with the other.
    pub fn follows(self, write: Access, same_block: bool) -> bool {
        self.0 & UPDATE != 0
            && write.writes()
            && (self.0 ^ write.0) & !UPDATE == 0
            && self.morally_strong(write, same_block)
    }

    /// Whether a strong read of this kind observes a write.
    pub fn observes(self, write: Access, same_block: bool) -> bool {
        !self.writes() && write.writes() && self.morally_strong(write, same_block)
    }

    /// Whether every access that races with `other` also races with `self`.
    pub fn covers(self, other: Access) -> bool {
        (self.0 ^ other.0) & !UPDATE == 0
            || !self.is_strong() && !self.is_guess() && (self.writes() || !other.writes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_morally_strong_accesses_do_not_conflict() {
        let atomic = |device, bytes| Access::strong_write(device, bytes);
        let volatile = Access::strong_read(true, 4);
        let table = [
            (Access::READ, Access::READ, false, false),
            (Access::READ, Access::WRITE, true, true),
            (Access::READ, atomic(true, 4), true, true),
            (volatile, atomic(true, 4), false, false),
            (volatile, Access::WRITE, false, true),
            (volatile, Access::READ, false, false),
            (atomic(true, 4), atomic(true, 8), false, true),
            (atomic(false, 4), atomic(true, 4), true, false),
            (atomic(false, 4), atomic(true, 4), false, true),
            (atomic(false, 4), atomic(false, 4), false, true),
        ];
        for (a, b, same_block, expected) in table {
            assert_eq!(a.conflicts(b, same_block), expected, "{a:?} {b:?} {same_block}");
            assert_eq!(b.conflicts(a, same_block), expected, "{b:?} {a:?} {same_block}");
        }
    }

    #[test]
    fn a_plain_access_covers_a_strong_one() {
        assert!(Access::READ.covers(Access::strong_read(true, 4)));
        assert!(!Access::strong_read(true, 4).covers(Access::READ));
        assert!(!Access::READ.covers(Access::WRITE));
        assert!(Access::WRITE.covers(Access::READ));
    }
}
