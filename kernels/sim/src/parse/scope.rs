//! Names declared in a pair of braces.

use std::collections::HashMap;

use crate::error::Error;
use crate::kernel::{Bank, Register};

/// The names of one pair of braces: registers, singly and as prefixes with a count, and variables.
#[derive(Default)]
pub(super) struct Scope {
    single: HashMap<String, Register>,
    ranges: HashMap<String, (Register, usize)>,
    /// Variables by name: their names among the body's symbols.
    names: HashMap<String, String>,
}

impl Scope {
    /// Declares a variable.
    pub fn name(&mut self, name: &str, unique: String) {
        self.names.insert(name.to_owned(), unique);
    }

    /// `.reg .b32 %r<19>;` and `.reg .pred p, q;`.
    pub fn declare_registers(
        &mut self,
        banks: &mut [usize; 3],
        text: &str,
        line: usize,
    ) -> Result<(), Error> {
        let fail = |what: String| Error::Parse { line, what };
        let (class, names) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
        let (bank, counter) = match class {
            ".pred" => (Bank::Predicate, 2),
            ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => (Bank::Half, 0),
            ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => (Bank::Word, 0),
            ".b64" | ".u64" | ".s64" | ".f64" => (Bank::Long, 1),
            _ => return Err(fail(format!("registers of type `{class}` are not supported"))),
        };
        for name in names.split(',').map(str::trim) {
            let first = banks[counter];
            let slot = u16::try_from(first)
                .map_err(|_| fail("got more than 65536 registers".to_owned()))?;
            let register = Register { bank, slot };
            if let Some((prefix, count)) = name.strip_suffix('>').and_then(|n| n.split_once('<')) {
                let count: usize =
                    count.parse().map_err(|_| fail(format!("`{name}` has no register count")))?;
                banks[counter] += count;
                self.ranges.insert(prefix.to_owned(), (register, count));
            } else {
                banks[counter] += 1;
                self.single.insert(name.to_owned(), register);
            }
        }
        if banks[counter] > usize::from(u16::MAX) {
            return Err(fail("got more than 65535 registers of one size".to_owned()));
        }
        Ok(())
    }
}

/// Finds a register by name in the innermost scope that declares it.
pub(super) fn find(scopes: &[Scope], name: &str) -> Option<Register> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (prefix, number) = name.split_at(name.len() - digits);
    scopes.iter().rev().find_map(|scope| {
        scope.single.get(name).copied().or_else(|| {
            let &(first, count) = scope.ranges.get(prefix)?;
            let number: usize = number.parse().ok().filter(|&number| number < count)?;
            Some(Register { slot: first.slot + number as u16, ..first })
        })
    })
}

/// The name among the body's symbols of a variable in the innermost scope that declares it.
pub(super) fn variable<'s>(scopes: &'s [Scope], name: &str) -> Option<&'s String> {
    scopes.iter().rev().find_map(|scope| scope.names.get(name))
}
