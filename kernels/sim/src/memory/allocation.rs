//! One allocation: its bytes, and an initialised bit for each byte.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::pages::Pages;

/// Bytes, stored in words. Parallel blocks share them, so the words are atomic; on common
/// processors a relaxed atomic access is as fast as a plain one.
pub(crate) struct Allocation {
    label: String,
    bytes: usize,
    words: Box<[AtomicU32]>,
    /// A bit for each byte.
    initialised: Box<[AtomicU32]>,
    /// Of sparse memory, instead of words and bits.
    pages: Option<Box<Pages>>,
}

/// Words that are all zero. The system gives a large array its pages when they are first touched.
fn zeros(count: usize) -> Box<[AtomicU32]> {
    let words = Box::into_raw(vec![0u32; count].into_boxed_slice());
    // SAFETY: the box is not used any more, and `AtomicU32` has the size, alignment and values of `u32`.
    unsafe { Box::from_raw(words as *mut [AtomicU32]) }
}

impl Allocation {
    /// Uninitialised memory.
    pub fn new(bytes: usize, label: &str) -> Allocation {
        Allocation {
            label: label.to_owned(),
            bytes,
            words: zeros(bytes.div_ceil(4)),
            initialised: zeros(bytes.div_ceil(32)),
            pages: None,
        }
    }

    /// Sparse memory, which has the values of [`super::pages::pattern`].
    pub fn sparse(bytes: usize, label: &str, seed: u64) -> Allocation {
        let pages = Pages::new(bytes.div_ceil(4), seed);
        Allocation { bytes, pages: Some(Box::new(pages)), ..Allocation::new(0, label) }
    }

    /// The pages of sparse memory.
    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_deref()
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU32 {
        match &self.pages {
            None => &self.words[at],
            Some(pages) => pages.word(at),
        }
    }

    /// The bits of 32 bytes.
    #[inline(always)]
    fn bits(&self, at: usize) -> &AtomicU32 {
        match &self.pages {
            None => &self.initialised[at],
            Some(pages) => pages.written(at),
        }
    }

    /// Its name in findings.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an access is in bounds.
    #[inline(always)]
    pub fn holds(&self, offset: u64, bytes: u32) -> bool {
        offset + u64::from(bytes) <= self.bytes as u64
    }

    /// Marks all bytes as uninitialised, for a new block.
    pub fn reset(&mut self) {
        for bits in &mut self.initialised {
            *bits.get_mut() = 0;
        }
    }

    /// Reads a value of 1, 2, 4 or 8 bytes at a multiple of its size.
    #[inline(always)]
    pub fn read(&self, offset: usize, bytes: u32) -> u64 {
        let word = u64::from(self.word(offset / 4).load(Relaxed));
        match bytes {
            4 => word,
            8 => word | u64::from(self.word(offset / 4 + 1).load(Relaxed)) << 32,
            _ => word >> (8 * (offset % 4)) & ((1 << (8 * bytes)) - 1),
        }
    }

    /// Reads words at a multiple of 4; not of sparse memory.
    #[inline(always)]
    pub fn words<const N: usize>(&self, offset: u32) -> [u32; N] {
        let mut values = [0; N];
        let start = offset as usize / 4;
        for (value, word) in values.iter_mut().zip(&self.words[start..start + N]) {
            *value = word.load(Relaxed);
        }
        values
    }

    /// Writes 1, 2 or 4 words at a multiple of their size; not of sparse memory.
    #[inline(always)]
    pub fn set_words<const N: usize>(&self, offset: u32, values: [u32; N]) {
        let start = offset as usize / 4;
        for (word, value) in self.words[start..start + N].iter().zip(values) {
            word.store(value, Relaxed);
        }
        self.mark(offset as usize, 4 * N as u32);
    }

    /// Writes a value of 1, 2, 4 or 8 bytes at a multiple of its size.
    #[inline(always)]
    pub fn write(&self, offset: usize, bytes: u32, value: u64) {
        let word = self.word(offset / 4);
        match bytes {
            4 => word.store(value as u32, Relaxed),
            8 => {
                word.store(value as u32, Relaxed);
                self.word(offset / 4 + 1).store((value >> 32) as u32, Relaxed);
            }
            _ => {
                let shift = 8 * (offset % 4);
                let field = ((1u32 << (8 * bytes)) - 1) << shift;
                let value = (value as u32) << shift & field;
                // Another block may be writing the word's other bytes.
                let _ = word.fetch_update(Relaxed, Relaxed, |old| Some(old & !field | value));
            }
        }
        self.mark(offset, bytes);
    }

    /// Atomically replaces a word by a function of it and returns the old one.
    #[inline(always)]
    pub fn update_word(&self, offset: usize, f: impl Fn(u32) -> u32) -> u32 {
        let update = self.word(offset / 4).fetch_update(Relaxed, Relaxed, |old| Some(f(old)));
        match update {
            Ok(old) | Err(old) => old,
        }
    }

    /// Whether `bytes` bytes are initialised; at most 16, and not across a multiple of 32.
    #[inline(always)]
    pub fn is_initialised(&self, offset: usize, bytes: usize) -> bool {
        let bits = ((1u64 << bytes) - 1) << (offset % 32);
        let have = u64::from(self.bits(offset / 32).load(Relaxed));
        if bits >> 32 != 0 {
            let beyond = (offset / 32 + 1) * 32 >= self.bytes;
            let next = if beyond { 0 } else { self.bits(offset / 32 + 1).load(Relaxed) };
            return (have | u64::from(next) << 32) & bits == bits;
        }
        have & bits == bits
    }

    /// Marks bytes as initialised.
    #[inline(always)]
    fn mark(&self, offset: usize, bytes: u32) {
        let bits = ((1u32 << bytes) - 1) << (offset % 32);
        let have = self.bits(offset / 32);
        if have.load(Relaxed) & bits != bits {
            have.fetch_or(bits, Relaxed);
        }
    }

    /// Marks bytes as initialised or not, one by one.
    pub fn set_initialised(&self, offset: usize, bytes: usize, value: bool) {
        for at in offset..offset + bytes {
            let have = self.bits(at / 32);
            if value {
                have.fetch_or(1 << (at % 32), Relaxed);
            } else {
                have.fetch_and(!(1 << (at % 32)), Relaxed);
            }
        }
    }

    /// Writes any number of bytes at any offset in bounds.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let head = offset.wrapping_neg() % 4;
        let (head, rest) = bytes.split_at(head.min(bytes.len()));
        let mut at = offset;
        for &byte in head {
            self.write(at, 1, u64::from(byte));
            at += 1;
        }
        let (words, tail) = rest.as_chunks::<4>();
        for &word in words {
            self.write(at, 4, u64::from(u32::from_le_bytes(word)));
            at += 4;
        }
        for &byte in tail {
            self.write(at, 1, u64::from(byte));
            at += 1;
        }
    }

    /// Reads any number of bytes at any offset in bounds.
    pub fn read_bytes(&self, offset: usize, bytes: &mut [u8]) {
        let head = (offset.wrapping_neg() % 4).min(bytes.len());
        let (head, rest) = bytes.split_at_mut(head);
        let mut at = offset;
        for byte in head {
            *byte = self.read(at, 1) as u8;
            at += 1;
        }
        let (words, tail) = rest.as_chunks_mut::<4>();
        for word in words {
            *word = (self.read(at, 4) as u32).to_le_bytes();
            at += 4;
        }
        for byte in tail {
            *byte = self.read(at, 1) as u8;
            at += 1;
        }
    }
}
