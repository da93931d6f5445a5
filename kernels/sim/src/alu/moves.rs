//! Moves, packing and selection by sign.

use super::{Form, Opcode, Type};
use crate::lanes::{Lanes, binary, lanes, quaternary, ternary, unary, unpack as unpack_shape};

/// Moves between registers of one size, address conversions and `slct`.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    match opcode.root {
        "mov" => {
            let kind = opcode.kind()?;
            let lanes = match kind.bytes() {
                2 => lanes!(unary, |a: u16| a),
                4 => lanes!(unary, |a: u32| a),
                8 => lanes!(unary, |a: u64| a),
                _ => return None,
            };
            Some(Form::same(lanes, kind, 1))
        }
        "slct" => {
            let (by, kind) = (opcode.kind()?, opcode.kind()?);
            opcode.take("ftz");
            let lanes = match (kind.bytes(), by) {
                (4, Type::S32) => {
                    lanes!(ternary, |a: u32, b: u32, c: i32| if c >= 0 { a } else { b })
                }
                (8, Type::S32) => {
                    lanes!(ternary, |a: u64, b: u64, c: i32| if c >= 0 { a } else { b })
                }
                (4, Type::F32) => {
                    lanes!(ternary, |a: u32, b: u32, c: f32| if c >= 0.0 { a } else { b })
                }
                (8, Type::F32) => {
                    lanes!(ternary, |a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b })
                }
                _ => return None,
            };
            Some(Form::mixed(lanes, kind, &[kind, kind, by]))
        }
        _ => None,
    }
}

/// Packing moves such as `mov.b32 d, {a, b}`: the function and the type of a part.
pub(crate) fn pack(bytes: u32, parts: usize) -> Option<(Lanes, Type)> {
    Some(match (bytes, parts) {
        (4, 2) => (lanes!(binary, |a: u16, b: u16| u32::from(a) | u32::from(b) << 16), Type::U16),
        (8, 2) => (lanes!(binary, |a: u32, b: u32| u64::from(a) | u64::from(b) << 32), Type::U32),
        (8, 4) => (
            lanes!(quaternary, |a: u16, b: u16, c: u16, e: u16| {
                u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(e) << 48
            }),
            Type::U16,
        ),
        _ => return None,
    })
}

/// Unpacking moves such as `mov.b32 {d, e}, a`: the function and the type of a part.
pub(crate) fn unpack(bytes: u32) -> Option<(Lanes, Type)> {
    Some(match bytes {
        4 => (lanes!(unpack_shape, |a: u32| (a as u16, (a >> 16) as u16)), Type::U16),
        8 => (lanes!(unpack_shape, |a: u64| (a as u32, (a >> 32) as u32)), Type::U32),
        _ => return None,
    })
}
