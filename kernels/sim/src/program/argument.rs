//! Arguments of a kernel as the command line gives them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::element::Element;
use crate::failure::Failure;

/// An argument: the value of one parameter, or the fields of a struct.
#[derive(Debug, Clone)]
pub struct Argument {
    /// As it was given.
    pub text: String,
    /// One value, or a struct's fields.
    pub fields: Vec<Value>,
}

/// A value of a parameter or a field.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number.
    Number(Element, Vec<u8>),
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// The address of a new allocation.
    Buffer(Element, Contents),
}

/// The contents of a buffer before the run.
#[derive(Debug, Clone)]
pub enum Contents {
    /// So many uninitialised elements.
    Unset(usize),
    /// So many elements of one value.
    Filled(usize, Vec<u8>),
    /// 0, 1, 2 and so on.
    Range(usize),
    /// Random numbers of a seed.
    Random(usize, u64),
    /// The bytes of a file.
    File(PathBuf),
}

/// What an argument may be.
pub const FORMS: &str = "TYPE:NUMBER, bytes:HEX, buffer:TYPE:COUNT, buffer:TYPE:COUNT=NUMBER, \
     buffer:TYPE:COUNT=range, buffer:TYPE:COUNT=random:SEED or buffer:TYPE=@FILE";

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Argument, String> {
        let fields = text.split(',').map(value).collect::<Result<_, _>>()?;
        Ok(Argument { text: text.to_owned(), fields })
    }
}

fn value(text: &str) -> Result<Value, String> {
    let (kind, rest) =
        text.split_once(':').ok_or_else(|| format!("got `{text}`, expected {FORMS}"))?;
    match kind {
        "buffer" => buffer(rest),
        "bytes" => hex(rest).map(Value::Bytes),
        _ => {
            let element = element(kind)?;
            Ok(Value::Number(element, element.encode(rest)?))
        }
    }
}

fn element(name: &str) -> Result<Element, String> {
    Element::named(name)
        .ok_or_else(|| format!("got the type `{name}`, expected one of {}", Element::names()))
}

/// A buffer without `buffer:`.
fn buffer(text: &str) -> Result<Value, String> {
    let (shape, fill) = match text.split_once('=') {
        Some((shape, fill)) => (shape, Some(fill)),
        None => (text, None),
    };
    if let Some(file) = fill.and_then(|fill| fill.strip_prefix('@')) {
        if shape.contains(':') {
            let what = "the file gives the number of elements; write buffer:TYPE=@FILE";
            return Err(format!("got buffer:{text}, but {what}"));
        }
        return Ok(Value::Buffer(element(shape)?, Contents::File(file.into())));
    }
    let (name, count) = shape
        .split_once(':')
        .ok_or_else(|| format!("got buffer:{text} without a count, expected {FORMS}"))?;
    let element = element(name)?;
    let count: usize =
        count.parse().map_err(|_| format!("got the count `{count}`, expected a whole number"))?;
    // An allocation of the simulator is smaller than 64 GiB.
    if count.checked_mul(element.bytes()).is_none_or(|bytes| bytes >= 1 << 36) {
        return Err(format!("got {count} elements, expected less than 64 GiB"));
    }
    let contents = match fill {
        None => Contents::Unset(count),
        Some("range") => Contents::Range(count),
        Some(fill) => match fill.strip_prefix("random:") {
            Some(seed) => Contents::Random(
                count,
                seed.parse().map_err(|_| format!("got the seed `{seed}`, expected an integer"))?,
            ),
            None => Contents::Filled(count, element.encode(fill)?),
        },
    };
    Ok(Value::Buffer(element, contents))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let fail = || format!("got bytes:{text}, expected two hexadecimal digits for each byte");
    if text.is_empty()
        || !text.len().is_multiple_of(2)
        || !text.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return Err(fail());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| fail()))
        .collect()
}

impl Contents {
    /// The number of elements and their bytes; `None` for uninitialised ones.
    pub fn load(&self, element: Element) -> Result<(usize, Option<Vec<u8>>), Failure> {
        Ok(match self {
            Contents::Unset(count) => (*count, None),
            Contents::Filled(count, bytes) => (*count, Some(bytes.repeat(*count))),
            Contents::Range(count) => {
                (*count, Some((0..*count).flat_map(|index| element.index(index)).collect()))
            }
            Contents::Random(count, seed) => {
                let bits = |index: usize| mixed(seed ^ mixed(index as u64));
                let all = (0..*count).flat_map(|index| element.random(bits(index)));
                (*count, Some(all.collect()))
            }
            Contents::File(path) => {
                let bytes = read(path)?;
                if !bytes.len().is_multiple_of(element.bytes()) {
                    return Err(Failure::data(format!(
                        "{}: got {} bytes, expected a multiple of the {} bytes of {}",
                        path.display(),
                        bytes.len(),
                        element.bytes(),
                        element.name()
                    )));
                }
                (bytes.len() / element.bytes(), Some(bytes))
            }
        })
    }
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io("read", path, &error))
}

/// Mixes the bits of a number (the finaliser of splitmix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
