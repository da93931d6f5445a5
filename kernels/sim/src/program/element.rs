//! Types of numbers: how they are written on the command line, stored and printed.

use serde_json::{Value, json};

/// The type of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// An integer.
    Integer { bytes: usize, signed: bool },
    /// A floating-point number of 4 or 8 bytes.
    Float { bytes: usize },
}

/// The names of all types.
const NAMES: [(&str, Element); 10] = [
    ("u8", Element::Integer { bytes: 1, signed: false }),
    ("s8", Element::Integer { bytes: 1, signed: true }),
    ("u16", Element::Integer { bytes: 2, signed: false }),
    ("s16", Element::Integer { bytes: 2, signed: true }),
    ("u32", Element::Integer { bytes: 4, signed: false }),
    ("s32", Element::Integer { bytes: 4, signed: true }),
    ("u64", Element::Integer { bytes: 8, signed: false }),
    ("s64", Element::Integer { bytes: 8, signed: true }),
    ("f32", Element::Float { bytes: 4 }),
    ("f64", Element::Float { bytes: 8 }),
];

impl Element {
    /// The type of this name.
    pub fn named(name: &str) -> Option<Element> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, element)| *element)
    }

    /// All names, with commas.
    pub fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// The name of this type.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, element)| *element == self).map_or("?", |(name, _)| name)
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Element::Integer { bytes, .. } | Element::Float { bytes } => bytes,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Element::Float { .. })
    }

    /// The bytes of a number in decimal, or in hexadecimal after `0x`.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, String> {
        let fail = || format!("got `{text}`, expected a number of type {}", self.name());
        match self {
            Element::Float { bytes: 4 } => {
                text.parse::<f32>().map(|number| number.to_le_bytes().to_vec()).map_err(|_| fail())
            }
            Element::Float { .. } => {
                text.parse::<f64>().map(|number| number.to_le_bytes().to_vec()).map_err(|_| fail())
            }
            Element::Integer { bytes, signed } => {
                let number = match text.strip_prefix("0x") {
                    Some(digits) => i128::from_str_radix(digits, 16).map_err(|_| fail())?,
                    None => text.parse().map_err(|_| fail())?,
                };
                let bits = 8 * bytes as u32;
                let (least, most) = match signed {
                    true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                    false => (0, (1i128 << bits) - 1),
                };
                if !(least..=most).contains(&number) {
                    return Err(format!("{}, which is {least} to {most}", fail()));
                }
                Ok(number.to_le_bytes()[..bytes].to_vec())
            }
        }
    }

    /// The bytes of `index` as a number; an integer wraps.
    pub fn index(self, index: usize) -> Vec<u8> {
        match self {
            Element::Float { bytes: 4 } => (index as f32).to_le_bytes().to_vec(),
            Element::Float { .. } => (index as f64).to_le_bytes().to_vec(),
            Element::Integer { bytes, .. } => index.to_le_bytes()[..bytes].to_vec(),
        }
    }

    /// The bytes of a number made of 64 random bits: a float in -1..1, an integer of any value.
    pub fn random(self, bits: u64) -> Vec<u8> {
        match self {
            Element::Float { bytes: 4 } => {
                ((bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0).to_le_bytes().to_vec()
            }
            Element::Float { .. } => {
                ((bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0).to_le_bytes().to_vec()
            }
            Element::Integer { bytes, .. } => bits.to_le_bytes()[..bytes].to_vec(),
        }
    }

    /// A number as text.
    pub fn show(self, bytes: &[u8]) -> String {
        match self {
            Element::Float { bytes: 4 } => format!("{:?}", f32::from_bits(self.bits(bytes) as u32)),
            Element::Float { .. } => format!("{:?}", f64::from_bits(self.bits(bytes) as u64)),
            Element::Integer { .. } => self.bits(bytes).to_string(),
        }
    }

    /// A number as JSON: a float that is not finite as text.
    pub fn json(self, bytes: &[u8]) -> Value {
        let text = self.show(bytes);
        serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
    }

    /// The bits of a number, with its sign when it is a signed integer.
    fn bits(self, bytes: &[u8]) -> i128 {
        let mut wide = [0; 16];
        let signed = matches!(self, Element::Integer { signed: true, .. });
        if signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
            wide = [0xff; 16];
        }
        wide[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(wide)
    }
}
