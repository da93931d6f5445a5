//! One instruction at a time, on edge values, against scalars.

use crate::common::{Bench, Number};

/// Edge values of 32 bits: zeros, ones, signs, limits, and floats of every sort.
const WORDS: [u32; 24] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0xffff_fffe,
    0x3f80_0000,
    0xbf80_0000,
    0x4049_0fdb,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x0000_0fff,
    0x0080_0000,
    0x4b7f_ffff,
];

/// Runs `form d, a, b, c;` for all triples of edge values and compares with `f`, as bits.
fn check<D: Number + PartialEq + std::fmt::Debug>(
    statement: &str,
    f: impl Fn(u32, u32, u32) -> D,
    same: impl Fn(D, D) -> bool,
) {
    let d = if D::SIZE == 8 { "%rd9" } else { "%r9" };
    let bits = 8 * D::SIZE;
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 x, .param .u64 y, .param .u32 n)\n{{\n\
         .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>;\n\
         ld.param.u64 %rd0, [x]; ld.param.u64 %rd1, [y]; ld.param.u32 %r8, [n];\n\
         mov.u32 %r10, %ctaid.x; mov.u32 %r11, %tid.x; mad.lo.s32 %r12, %r10, 128, %r11;\n\
         setp.ge.s32 %p0, %r12, %r8; @%p0 ret;\n\
         mul.wide.s32 %rd2, %r12, 12; add.s64 %rd3, %rd0, %rd2;\n\
         ld.global.u32 %r0, [%rd3]; ld.global.u32 %r1, [%rd3+4]; ld.global.u32 %r2, [%rd3+8];\n\
         cvt.u64.u32 %rd6, %r0; shl.b64 %rd6, %rd6, 32; cvt.u64.u32 %rd7, %r1; or.b64 %rd7, %rd6, %rd7;\n\
         {statement}\n\
         mul.wide.s32 %rd4, %r12, {}; add.s64 %rd5, %rd1, %rd4;\n\
         st.global.b{bits} [%rd5], {d};\nret;\n}}\n",
        D::SIZE
    );
    let mut inputs = Vec::new();
    for a in WORDS {
        for b in WORDS {
            inputs.extend([a, b, WORDS[(a ^ b.rotate_left(7)) as usize % WORDS.len()]]);
            inputs.extend([a, b, 8]);
        }
    }
    let count = inputs.len() / 3;
    let mut bench = Bench::default();
    let (x, y) = (bench.array("x", &inputs), bench.room::<D>("y", count));
    bench.parameters().field(x).field(y).field(count as u32);
    bench.clean(&text, "k", [count.div_ceil(128) as u32, 1, 1], [128, 1, 1]);
    for (got, input) in bench.read::<D>(y, count).into_iter().zip(inputs.chunks(3)) {
        let expected = f(input[0], input[1], input[2]);
        assert!(
            same(got, expected),
            "{statement} of {input:x?}: got {got:?}, expected {expected:?}"
        );
    }
}

fn words(statement: &str, f: impl Fn(u32, u32, u32) -> u32) {
    check::<u32>(statement, f, |a, b| a == b);
}

fn longs(statement: &str, f: impl Fn(u64) -> u64) {
    check::<u64>(statement, |a, b, _| f(u64::from(a) << 32 | u64::from(b)), |a, b| a == b);
}

fn floats(statement: &str, f: impl Fn(f32, f32, f32) -> f32) {
    let float = f32::from_bits;
    check::<u32>(
        statement,
        |a, b, c| f(float(a), float(b), float(c)).to_bits(),
        |a, b| a == b || float(a).is_nan() && float(b).is_nan(),
    );
}

#[test]
fn integers() {
    words("add.s32 %r9, %r0, %r1;", |a, b, _| a.wrapping_add(b));
    words("sub.s32 %r9, %r0, %r1;", |a, b, _| a.wrapping_sub(b));
    words("mul.lo.s32 %r9, %r0, %r1;", |a, b, _| a.wrapping_mul(b));
    words("mul.hi.u32 %r9, %r0, %r1;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    words("mul.hi.s32 %r9, %r0, %r1;", |a, b, _| {
        ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32
    });
    words("mad.lo.s32 %r9, %r0, %r1, %r2;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    words("div.s32 %r9, %r0, %r1;", |a, b, _| match b {
        0 => u32::MAX,
        b => (a as i32).wrapping_div(b as i32) as u32,
    });
    words("rem.s32 %r9, %r0, %r1;", |a, b, _| match b {
        0 => a,
        b => (a as i32).wrapping_rem(b as i32) as u32,
    });
    words("div.u32 %r9, %r0, %r1;", |a, b, _| a.checked_div(b).unwrap_or(u32::MAX));
    words("rem.u32 %r9, %r0, %r1;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    words("min.s32 %r9, %r0, %r1;", |a, b, _| (a as i32).min(b as i32) as u32);
    words("max.u32 %r9, %r0, %r1;", |a, b, _| a.max(b));
    words("abs.s32 %r9, %r0;", |a, _, _| (a as i32).unsigned_abs());
    words("neg.s32 %r9, %r0;", |a, _, _| a.wrapping_neg());
    words("add.cc.u32 %r9, %r0, %r1; addc.u32 %r9, %r2, 0;", |a, b, c| {
        c.wrapping_add(u32::from(a.checked_add(b).is_none()))
    });
    words("sub.cc.u32 %r9, %r0, %r1; subc.u32 %r9, %r2, 0;", |a, b, c| {
        c.wrapping_sub(u32::from(a < b))
    });
    words("sad.u32 %r9, %r0, %r1, %r2;", |a, b, c| c.wrapping_add(a.abs_diff(b)));
    check::<u64>(
        "mul.wide.s32 %rd9, %r0, %r1;",
        |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64,
        |a, b| a == b,
    );
    check::<u64>(
        "mad.wide.u32 %rd9, %r0, %r1, %rd7;",
        |a, b, _| (u64::from(a) * u64::from(b)).wrapping_add(u64::from(a) << 32 | u64::from(b)),
        |a, b| a == b,
    );
    longs("neg.s64 %rd9, %rd7;", u64::wrapping_neg);
    longs("mul.hi.u64 %rd9, %rd7, %rd7;", |a| ((u128::from(a) * u128::from(a)) >> 64) as u64);
}

#[test]
fn bits() {
    words("shl.b32 %r9, %r0, %r1;", |a, b, _| a.checked_shl(b).unwrap_or(0));
    words("shr.u32 %r9, %r0, %r1;", |a, b, _| a.checked_shr(b).unwrap_or(0));
    words("shr.s32 %r9, %r0, %r1;", |a, b, _| ((a as i32) >> b.min(31)) as u32);
    let pair = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    words("shf.l.wrap.b32 %r9, %r0, %r1, %r2;", |a, b, c| (pair(a, b) << (c % 32) >> 32) as u32);
    words("shf.r.wrap.b32 %r9, %r0, %r1, %r2;", |a, b, c| (pair(a, b) >> (c % 32)) as u32);
    words("shf.l.clamp.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        if c >= 32 { a } else { (pair(a, b) << c >> 32) as u32 }
    });
    words("shf.r.clamp.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        if c >= 32 { b } else { (pair(a, b) >> c) as u32 }
    });
    words("lop3.b32 %r9, %r0, %r1, %r2, 0x96;", |a, b, c| a ^ b ^ c);
    words("lop3.b32 %r9, %r0, %r1, %r2, 0xca;", |a, b, c| a & b | !a & c);
    words("popc.b32 %r9, %r0;", |a, _, _| a.count_ones());
    words("clz.b32 %r9, %r0;", |a, _, _| a.leading_zeros());
    words("brev.b32 %r9, %r0;", |a, _, _| a.reverse_bits());
    words("bfind.u32 %r9, %r0;", |a, _, _| a.checked_ilog2().unwrap_or(u32::MAX));
    words(
        "bfind.shiftamt.u32 %r9, %r0;",
        |a, _, _| if a == 0 { u32::MAX } else { a.leading_zeros() },
    );
    words("cnot.b32 %r9, %r0;", |a, _, _| u32::from(a == 0));
    let field = |value: i64, b: u32, c: u32, signed: bool| {
        // Bit by bit, as the manual has it.
        let (position, length) = (b & 0xff, c & 0xff);
        let top = (position + length).wrapping_sub(1).min(31);
        let fill = signed && length > 0 && value >> top & 1 == 1;
        (0..32).fold(0u32, |all, i| {
            let inside = i < length && position + i <= 31;
            let bit = if inside { value >> (position + i) & 1 == 1 } else { fill };
            all | u32::from(bit) << i
        })
    };
    words("bfe.u32 %r9, %r0, %r1, %r2;", |a, b, c| field(i64::from(a), b, c, false));
    words("bfe.s32 %r9, %r0, %r1, %r2;", |a, b, c| field(i64::from(a as i32), b, c, true));
    words("bfi.b32 %r9, %r0, %r1, %r2, 5;", |a, b, c| {
        let position = c & 0xff;
        (0..5)
            .filter(|i| position + i <= 31)
            .fold(b, |all, i| all & !(1 << (position + i)) | (a >> i & 1) << (position + i))
    });
    words("prmt.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        let bytes = pair(a, b).to_le_bytes();
        let byte = |i: u32| {
            let selector = c >> (4 * i) & 15;
            let byte = bytes[selector as usize & 7];
            if selector & 8 != 0 { if byte & 0x80 != 0 { 0xff } else { 0 } } else { byte }
        };
        u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    });
    longs("shr.s64 %rd9, %rd7, 63;", |a| ((a as i64) >> 63) as u64);
    longs("shl.b64 %rd9, %rd7, 64;", |_| 0);
    longs("mov.b64 {%r3, %r4}, %rd7; mov.b64 %rd9, {%r4, %r3};", |a| a.rotate_left(32));
    words("mov.b32 {%rs1, %rs2}, %r0; mov.b32 %r9, {%rs2, %rs1};", |a, _, _| a.rotate_left(16));
    words("slct.b32.s32 %r9, %r0, %r1, %r2;", |a, b, c| if c as i32 >= 0 { a } else { b });
}

#[test]
fn floating_point() {
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    floats("add.f32 %r9, %r0, %r1;", |a, b, _| a + b);
    floats("sub.rn.f32 %r9, %r0, %r1;", |a, b, _| a - b);
    floats("mul.ftz.f32 %r9, %r0, %r1;", |a, b, _| flush(flush(a) * flush(b)));
    floats("fma.rn.f32 %r9, %r0, %r1, %r2;", |a, b, c| a.mul_add(b, c));
    floats("div.rn.f32 %r9, %r0, %r1;", |a, b, _| a / b);
    floats("sqrt.rn.f32 %r9, %r0;", |a, _, _| a.sqrt());
    floats("rcp.rn.f32 %r9, %r0;", |a, _, _| 1.0 / a);
    floats("abs.f32 %r9, %r0;", |a, _, _| a.abs());
    floats("neg.f32 %r9, %r0;", |a, _, _| -a);
    floats("copysign.f32 %r9, %r0, %r1;", |a, b, _| b.copysign(a));
    floats("add.sat.f32 %r9, %r0, %r1;", |a, b, _| {
        let sum = a + b;
        if sum.is_nan() { 0.0 } else { sum.clamp(0.0, 1.0) + 0.0 }
    });
    let ordered = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, _) => (b, b),
        (_, true) => (a, a),
        _ if a.total_cmp(&b).is_lt() => (a, b),
        _ => (b, a),
    };
    floats("min.f32 %r9, %r0, %r1;", |a, b, _| ordered(a, b).0);
    floats("max.f32 %r9, %r0, %r1;", |a, b, _| ordered(a, b).1);
    // Towards minus infinity: the sum in f64 is exact for these, or its error has a known sign.
    floats("mul.rm.f32 %r9, %r0, %r1;", |a, b, _| {
        let exact = f64::from(a) * f64::from(b);
        let near = exact as f32;
        if f64::from(near) > exact { near.next_down() } else { near }
    });
    floats("mul.rp.f32 %r9, %r0, %r1;", |a, b, _| {
        let exact = f64::from(a) * f64::from(b);
        let near = exact as f32;
        if f64::from(near) < exact { near.next_up() } else { near }
    });
}

#[test]
fn comparisons() {
    let float = f32::from_bits;
    let set =
        |operator: &str| format!("setp.{operator}.f32 %p1, %r0, %r1; selp.b32 %r9, 1, 0, %p1;");
    type Test = fn(f32, f32) -> bool;
    let cases: [(&str, Test); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b && !a.is_nan() && !b.is_nan()),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| a < b || a.is_nan() || b.is_nan()),
        ("leu", |a, b| a <= b || a.is_nan() || b.is_nan()),
        ("gtu", |a, b| a > b || a.is_nan() || b.is_nan()),
        ("geu", |a, b| a >= b || a.is_nan() || b.is_nan()),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (operator, holds) in cases {
        words(&set(operator), |a, b, _| u32::from(holds(float(a), float(b))));
    }
    let joined = "setp.lt.s32 %p1, %r2, 8; setp.lt.and.s32 %p2|%p3, %r0, %r1, !%p1; \
        selp.b32 %r9, 1, 0, %p2; @%p3 add.s32 %r9, %r9, 2;";
    words(joined, |a, b, c| {
        let (less, other) = ((a as i32) < b as i32, c as i32 >= 8);
        u32::from(less && other) + 2 * u32::from(!less && other)
    });
}

#[test]
fn conversions() {
    let float = f32::from_bits;
    words("cvt.rzi.s32.f32 %r9, %r0;", |a, _, _| float(a) as i32 as u32);
    words("cvt.rni.u32.f32 %r9, %r0;", |a, _, _| float(a).round_ties_even() as u32);
    words("cvt.rmi.s32.f32 %r9, %r0;", |a, _, _| float(a).floor() as i32 as u32);
    words("cvt.rn.f32.s32 %r9, %r0;", |a, _, _| (a as i32 as f32).to_bits());
    words("cvt.rn.f32.u32 %r9, %r0;", |a, _, _| (a as f32).to_bits());
    words("cvt.rm.f32.u32 %r9, %r0;", |a, _, _| {
        let near = a as f32;
        if f64::from(near) > f64::from(a) { near.next_down() } else { near }.to_bits()
    });
    words("cvt.s32.s8 %r9, %r0;", |a, _, _| a as i8 as u32);
    words("cvt.u32.u16 %r9, %r0;", |a, _, _| a & 0xffff);
    words("cvt.sat.u8.s32 %r9, %r0;", |a, _, _| (a as i32).clamp(0, 255) as u32);
    words("cvt.u32.u64 %r9, %rd7;", |_, b, _| b);
    check::<u64>("cvt.s64.s32 %rd9, %r0;", |a, _, _| a as i32 as u64, |a, b| a == b);
    check::<u64>("cvt.u64.u32 %rd9, %r0;", |a, _, _| u64::from(a), |a, b| a == b);
    longs("cvt.rn.f64.s64 %rd9, %rd7;", |a| (a as i64 as f64).to_bits());
    longs("cvt.rn.f64.u64 %rd9, %rd7;", |a| (a as f64).to_bits());
    floats("cvt.rpi.f32.f32 %r9, %r0;", |a, _, _| a.ceil());
    floats("cvt.sat.f32.f32 %r9, %r0;", |a, _, _| if a > 0.0 { a.min(1.0) } else { 0.0 });
    floats("cvt.f64.f32 %rd9, %r0; cvt.rn.f32.f64 %r9, %rd9;", |a, _, _| a);
    // Every bf16 and f16 value survives the way there and back.
    words("shl.b32 %r3, %r0, 16; cvt.rn.bf16.f32 %rs1, %r3; cvt.u32.u16 %r9, %rs1;", |a, _, _| {
        if float(a << 16).is_nan() { 0x7fff } else { a & 0xffff }
    });
    words(
        "mov.b32 {%rs1, %rs2}, %r0; cvt.f32.f16 %r3, %rs1; cvt.rn.f16.f32 %rs3, %r3; \
        cvt.u32.u16 %r9, %rs3;",
        |a, _, _| {
            if a & 0x7fff > 0x7c00 { 0x7fff } else { a & 0xffff }
        },
    );
    // Halves round to even.
    words("cvt.rn.bf16x2.f32 %r9, 0f3F808000, 0f3F818000;", |_, _, _| 0x3f80_3f82);
    words("cvt.rn.f16x2.f32 %r9, 0f477FEFFF, 0f33000001;", |_, _, _| 0x7bff_0001);
}

#[test]
fn shuffle_segments() {
    for (mode, width) in
        [("up", 8u32), ("down", 8), ("bfly", 32), ("idx", 16), ("down", 32), ("up", 32)]
    {
        for offset in [0u32, 1, 3, 9, 31] {
            let c = (32 - width) << 8 | if mode == "up" { 0 } else { 31 };
            let text = format!(
                ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 y)\n{{\n\
                 .reg .pred %p<2>; .reg .b32 %r<9>; .reg .b64 %rd<4>;\n\
                 ld.param.u64 %rd0, [y]; mov.u32 %r0, %laneid; mul.wide.u32 %rd1, %r0, 4;\n\
                 add.s64 %rd2, %rd0, %rd1; add.s32 %r1, %r0, 100;\n\
                 shfl.sync.{mode}.b32 %r2|%p1, %r1, {offset}, {c}, -1;\n\
                 selp.b32 %r3, 1000, 0, %p1; add.s32 %r4, %r2, %r3; st.global.u32 [%rd2], %r4;\n}}\n"
            );
            let mut bench = Bench::default();
            let y = bench.room::<u32>("y", 32);
            bench.parameters().field(y);
            bench.clean(&text, "k", [1; 3], [32, 1, 1]);
            for (lane, got) in bench.read::<u32>(y, 32).into_iter().enumerate() {
                let lane = lane as u32;
                let first = lane / width * width;
                let source = match mode {
                    "up" => lane.checked_sub(offset).filter(|&s| s >= first),
                    "down" => Some(lane + offset).filter(|&s| s < first + width),
                    "bfly" => Some(lane ^ offset),
                    _ => Some(first + offset % width),
                };
                let expected = source.map_or(lane + 100, |source| source + 1100);
                assert_eq!(got, expected, "{mode} by {offset} of {width}, lane {lane}");
            }
        }
    }
}
