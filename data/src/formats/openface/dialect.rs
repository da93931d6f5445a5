//! How a table is written: its separator, quotes, decimal mark, line ends, and what stands for a number that is none.

use memchr::{memchr, memchr2_iter};

/// Separators that are recognised, the first that the first line has; names and numbers have none of them but the comma.
const SEPARATORS: [u8; 4] = [b';', b'\t', b'|', b','];
/// What writers put where a number is missing, in lower case.
const MISSING: [&str; 8] = ["", "na", "n/a", "#n/a", "<na>", "null", "none", "-"];

/// The writing of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub separator: u8,
}

impl Dialect {
    /// The dialect of a table whose first line is `first`.
    pub fn of(first: &[u8]) -> Self {
        let has = |separator: &&u8| memchr(**separator, first).is_some();
        Self { separator: SEPARATORS.iter().find(has).copied().unwrap_or(b',') }
    }

    /// The positions of the separators in `line` that are not inside quotes.
    pub fn ends<'a>(self, line: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let mut quoted = false;
        memchr2_iter(self.separator, b'"', line).filter(move |&at| {
            let quote = line[at] == b'"';
            quoted ^= quote;
            !quote && !quoted
        })
    }

    /// The cells of `line` without quotes and surrounding blanks.
    pub fn cells(self, line: &str) -> Vec<&str> {
        let mut cells = Vec::new();
        let mut from = 0;
        for end in self.ends(line.as_bytes()) {
            cells.push(bare(&line[from..end]));
            from = end + 1;
        }
        cells.push(bare(&line[from..]));
        cells
    }

    /// The number in a cell: NaN for a missing one and for what Windows writes (`1.#IND`, `-nan(ind)`); `None` when it is
    /// no number. A comma is the decimal mark unless it is the separator of a cell without quotes.
    pub fn number(self, cell: &[u8]) -> Option<f64> {
        let text = bare(std::str::from_utf8(cell).ok()?);
        text.parse().ok().or_else(|| decimal_comma(text)).or_else(|| not_a_number(text))
    }
}

/// A cell without surrounding blanks and quotes.
fn bare(cell: &str) -> &str {
    let cell = cell.trim();
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    inner.map_or(cell, str::trim)
}

fn decimal_comma(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once(',')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = fraction.find(['e', 'E']).unwrap_or(fraction.len());
    let plain = digits(whole.trim_start_matches(['-', '+'])) && digits(&fraction[..exponent]);
    plain.then(|| format!("{whole}.{fraction}").parse().ok()).flatten()
}

fn not_a_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    let in_brackets = |rest: &str| rest.is_empty() || rest.starts_with('(') && rest.ends_with(')');
    let windows = || {
        let (digits, kind) = unsigned.split_once('#')?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit() || b".,".contains(&byte));
        let known = ["ind", "qnan", "snan", "inf", "nan", "io", "j", "r"];
        (number && known.iter().any(|known| kind.starts_with(known))).then_some(())
    };
    let none = MISSING.contains(&lower.as_str())
        || unsigned.strip_prefix("nan").is_some_and(in_brackets)
        || windows().is_some();
    none.then_some(f64::NAN)
}

/// The lines that are not blank, without line ends, with their numbers from 1. Lines end in LF, CR LF, or CR.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let end = if memchr(b'\n', bytes).is_some() { b'\n' } else { b'\r' };
    let mut rest = Some(bytes);
    let mut number = 0;
    std::iter::from_fn(move || {
        let now = rest?;
        number += 1;
        let (line, after) = match memchr(end, now) {
            Some(end) => (&now[..end], Some(&now[end + 1..])),
            None => (now, None),
        };
        rest = after;
        Some((number, line.strip_suffix(b"\r").unwrap_or(line)))
    })
    .filter(|(_, line)| !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_and_tables_write_for_no_number_is_nan() {
        let comma = Dialect { separator: b',' };
        for text in [
            "-nan(ind)",
            "-1.#IND",
            "1.#IND00",
            "1.#QNAN",
            "#QNAN",
            "-1.#INF",
            "1,#QNAN",
            "nan(snan)",
            "-NaN",
            "NA",
            "",
            " ",
            "\"\"",
            "#N/A",
            "NULL",
            "-1.#J",
        ] {
            assert!(comma.number(text.as_bytes()).is_some_and(f64::is_nan), "{text}");
        }
        for text in ["1o1", "#", "1.#", "1.#IDN", "nano", "nan(", "--", "1,2,3", "1.234,5", "0x10"]
        {
            assert_eq!(comma.number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_with_either_decimal_mark_and_in_quotes() {
        let semicolon = Dialect { separator: b';' };
        for (text, number) in
            [("0,033", 0.033), ("-1,5e2", -150.0), (" \"2,25\" ", 2.25), ("3.5", 3.5), (",5", 0.5)]
        {
            assert_eq!(semicolon.number(text.as_bytes()), Some(number), "{text}");
        }
    }

    #[test]
    fn separators_in_quotes_separate_nothing() {
        let dialect = Dialect::of(b"\"1,5\",2");
        assert_eq!(dialect.cells("\"1,5\",2, \"x\" "), ["1,5", "2", "x"]);
        assert_eq!(Dialect::of(b"1;0;0,000").separator, b';');
        assert_eq!(Dialect::of(b"1\t0,5").separator, b'\t');
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for text in ["a\n\nb\n", "a\r\n\r\nb\r\n", "a\r\rb"] {
            let found: Vec<_> = lines(text.as_bytes()).collect();
            assert_eq!(found, [(1, &b"a"[..]), (3, &b"b"[..])], "{text:?}");
        }
    }
}
