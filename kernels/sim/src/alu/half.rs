//! Conversions to and from 16-bit floats, and tf32.

/// f16 to f32, exactly.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude {
        0..0x0400 => (magnitude as f32 / 16_777_216.0).to_bits(),
        0x7c00.. => 0x7f80_0000 | magnitude << 13,
        _ => (magnitude << 13) + (112 << 23),
    };
    f32::from_bits(sign | value)
}

/// bf16 to f32, exactly.
#[inline(always)]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to f16, to the nearest, ties to even.
#[inline(always)]
pub(super) fn f16_nearest(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    if x.is_nan() {
        return 0x7fff;
    }
    let rounded = if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude < 0x3880_0000 {
        (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even() as u16
    } else {
        let bits = magnitude - (112 << 23);
        ((bits + 0xfff + (bits >> 13 & 1)) >> 13) as u16
    };
    sign | rounded
}

/// f32 to f16, towards zero.
#[inline(always)]
pub(super) fn f16_toward_zero(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    if x.is_nan() {
        return 0x7fff;
    }
    let cut = if magnitude == 0x7f80_0000 {
        0x7c00
    } else if magnitude >= 0x4780_0000 {
        0x7bff
    } else if magnitude < 0x3880_0000 {
        (f32::from_bits(magnitude) * 16_777_216.0) as u16
    } else {
        ((magnitude - (112 << 23)) >> 13) as u16
    };
    sign | cut
}

/// f32 to bf16, to the nearest, ties to even.
#[inline(always)]
pub(super) fn bf16_nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        0x7fff
    } else {
        ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
    }
}

/// f32 to bf16, towards zero.
#[inline(always)]
pub(super) fn bf16_toward_zero(x: f32) -> u16 {
    if x.is_nan() { 0x7fff } else { (x.to_bits() >> 16) as u16 }
}

/// f32 with 10 bits of mantissa, to the nearest, ties away from zero.
#[inline(always)]
pub(super) fn tf32(x: f32) -> f32 {
    if x.is_finite() { f32::from_bits((x.to_bits() + 0x1000) & !0x1fff) } else { x }
}
