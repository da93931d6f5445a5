//! Integer arithmetic.

use super::{Form, Opcode, Type};
use crate::lanes::{binary, lanes, ternary, unary, with_carry};

/// Makes lanes of one closure for the integer type at hand.
macro_rules! by_type {
    ($kind:expr, $shape:path, |$($x:ident),+| $body:expr) => {
        match $kind {
            Type::U16 => lanes!($shape, |$($x: u16),+| $body),
            Type::S16 => lanes!($shape, |$($x: i16),+| $body),
            Type::U32 => lanes!($shape, |$($x: u32),+| $body),
            Type::S32 => lanes!($shape, |$($x: i32),+| $body),
            Type::U64 => lanes!($shape, |$($x: u64),+| $body),
            Type::S64 => lanes!($shape, |$($x: i64),+| $body),
            _ => return None,
        }
    };
}

/// The upper half of a product, computed in a type twice as wide.
macro_rules! upper_half {
    ($kind:expr, $shape:path, |$a:ident, $b:ident $(, $c:ident)?|) => {{
        macro_rules! narrow {
            ($t:ty, $w:ty) => {
                lanes!($shape, |$a: $t, $b: $t $(, $c: $t)?| {
                    let upper = ((<$w>::from($a) * <$w>::from($b)) >> <$t>::BITS) as $t;
                    upper.wrapping_add(0 $(+ $c)?)
                })
            };
        }
        match $kind {
            Type::U16 => narrow!(u16, u32),
            Type::S16 => narrow!(i16, i32),
            Type::U32 => narrow!(u32, u64),
            Type::S32 => narrow!(i32, i64),
            Type::U64 => narrow!(u64, u128),
            Type::S64 => narrow!(i64, i128),
            _ => return None,
        }
    }};
}

/// The type of a product of two values of type `kind`.
fn wide(kind: Type) -> Option<Type> {
    Some(match kind {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}

/// Integer arithmetic forms.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    let kind = opcode.kind().filter(|kind| kind.is_integer())?;
    match opcode.root {
        "mul" | "mad" => return product(opcode, kind),
        "mul24" | "mad24" => return short_product(opcode, kind),
        "add" | "addc" | "sub" | "subc" => {
            let (carry_out, carry_in) = (opcode.take("cc"), opcode.root.ends_with('c'));
            if carry_out || carry_in {
                let lanes = carrying(opcode.root.starts_with("add"), kind)?;
                let mut form = Form::same(lanes, kind, 2);
                form.immediate = u32::from(carry_out) | u32::from(carry_in) << 1;
                return Some(form);
            }
            if opcode.take("sat") {
                if kind != Type::S32 {
                    return None;
                }
                let lanes = match opcode.root {
                    "add" => lanes!(binary, |a: i32, b: i32| a.saturating_add(b)),
                    _ => lanes!(binary, |a: i32, b: i32| a.saturating_sub(b)),
                };
                return Some(Form::same(lanes, kind, 2));
            }
        }
        _ => {}
    }
    let (lanes, sources) = match opcode.root {
        "add" => (by_type!(kind, binary, |a, b| a.wrapping_add(b)), 2),
        "sub" => (by_type!(kind, binary, |a, b| a.wrapping_sub(b)), 2),
        "min" => (by_type!(kind, binary, |a, b| a.min(b)), 2),
        "max" => (by_type!(kind, binary, |a, b| a.max(b)), 2),
        "div" => (by_type!(kind, binary, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) }), 2),
        "rem" => (by_type!(kind, binary, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }), 2),
        "sad" => {
            (by_type!(kind, ternary, |a, b, c| c.wrapping_add(a.max(b).wrapping_sub(a.min(b)))), 3)
        }
        "abs" if kind.is_signed() => {
            let lanes = match kind {
                Type::S16 => lanes!(unary, |a: i16| a.wrapping_abs()),
                Type::S32 => lanes!(unary, |a: i32| a.wrapping_abs()),
                _ => lanes!(unary, |a: i64| a.wrapping_abs()),
            };
            (lanes, 1)
        }
        "neg" if kind.is_signed() => (by_type!(kind, unary, |a| a.wrapping_neg()), 1),
        _ => return None,
    };
    Some(Form::same(lanes, kind, sources))
}

/// `mul` and `mad`: low half, high half, or the whole product.
fn product(opcode: &mut Opcode<'_>, kind: Type) -> Option<Form> {
    let add = opcode.root == "mad";
    if opcode.take("wide") {
        let wide = wide(kind)?;
        macro_rules! whole {
            ($t:ty, $w:ty) => {
                if add {
                    lanes!(ternary, |a: $t, b: $t, c: $w| {
                        (<$w>::from(a) * <$w>::from(b)).wrapping_add(c)
                    })
                } else {
                    lanes!(binary, |a: $t, b: $t| <$w>::from(a) * <$w>::from(b))
                }
            };
        }
        let lanes = match kind {
            Type::U16 => whole!(u16, u32),
            Type::S16 => whole!(i16, i32),
            Type::U32 => whole!(u32, u64),
            _ => whole!(i32, i64),
        };
        let sources = [kind, kind, wide];
        return Some(Form::mixed(lanes, wide, &sources[..if add { 3 } else { 2 }]));
    }
    let lanes = match (opcode.one_of(&["lo", "hi"])?, add) {
        ("lo", false) => by_type!(kind, binary, |a, b| a.wrapping_mul(b)),
        ("lo", true) => by_type!(kind, ternary, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        (_, false) => upper_half!(kind, binary, |a, b|),
        (_, true) => upper_half!(kind, ternary, |a, b, c|),
    };
    Some(Form::same(lanes, kind, if add { 3 } else { 2 }))
}

/// `mul24.lo` and `mad24.lo`: the low 32 bits of a product of 24-bit values.
fn short_product(opcode: &mut Opcode<'_>, kind: Type) -> Option<Form> {
    if !opcode.take("lo") {
        return None;
    }
    let lanes = match (opcode.root, kind) {
        ("mul24", Type::U32) => {
            lanes!(binary, |a: u32, b: u32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8))
        }
        ("mul24", Type::S32) => {
            lanes!(binary, |a: i32, b: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8))
        }
        ("mad24", Type::U32) => lanes!(ternary, |a: u32, b: u32, c: u32| {
            (a << 8 >> 8).wrapping_mul(b << 8 >> 8).wrapping_add(c)
        }),
        ("mad24", Type::S32) => lanes!(ternary, |a: i32, b: i32, c: i32| {
            (a << 8 >> 8).wrapping_mul(b << 8 >> 8).wrapping_add(c)
        }),
        _ => return None,
    };
    Some(Form::same(lanes, kind, if opcode.root == "mad24" { 3 } else { 2 }))
}

/// Addition and subtraction with the carry flag.
fn carrying(add: bool, kind: Type) -> Option<crate::lanes::Lanes> {
    macro_rules! carry {
        ($t:ty, $operation:ident) => {
            lanes!(with_carry, |a: $t, b: $t, carry: bool| {
                let (first, over) = a.$operation(b);
                let (second, again) = first.$operation(<$t>::from(carry));
                (second, over | again)
            })
        };
    }
    Some(match (add, kind.bytes()) {
        (true, 4) => carry!(u32, overflowing_add),
        (true, 8) => carry!(u64, overflowing_add),
        (false, 4) => carry!(u32, overflowing_sub),
        (false, 8) => carry!(u64, overflowing_sub),
        _ => return None,
    })
}
