//! Logic, shifts and bit fields.

use super::integer::INTEGERS;
use super::suite::{Result, Suite};

/// `high:low`.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

pub fn logic_and_shifts(suite: &mut Suite) {
    for mut kind in [INTEGERS[0], INTEGERS[2], INTEGERS[4]] {
        kind.name = ["b16", "b32", "b64"][(kind.bits / 32) as usize];
        kind.check(suite, "and", 2, |a, b, _| a & b);
        kind.check(suite, "or", 2, |a, b, _| a | b);
        kind.check(suite, "xor", 2, |a, b, _| a ^ b);
        kind.check(suite, "not", 1, |a, _, _| !a);
        kind.check(suite, "cnot", 1, |a, _, _| i128::from(a == 0));
    }
    for kind in INTEGERS {
        let (d, a) = (kind.register(9), kind.register(0));
        let narrow = if kind.bits == 16 { " cvt.u32.u16 %r9, %rs9;" } else { "" };
        let result = if kind.bits == 64 { Result::Long } else { Result::Word };
        // The count is a word, and every count from the width on shifts all bits out.
        let count = |row: [u64; 3]| (row[1] as u32).min(kind.bits);
        if !kind.signed {
            let statement = format!("shl.b{} {d}, {a}, %r1;{narrow}", kind.bits);
            let left = |row: [u64; 3]| kind.bits_of(kind.value(row[0]) << count(row));
            suite.check(&statement, result, left, |a, b| a == b);
        }
        let statement = format!("shr.{} {d}, {a}, %r1;{narrow}", kind.name);
        let right = |row: [u64; 3]| kind.bits_of(kind.value(row[0]) >> count(row));
        suite.check(&statement, result, right, |a, b| a == b);
    }
    suite.words("shf.l.wrap.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        (pair(a, b) << (c % 32) >> 32) as u32
    });
    suite.words("shf.r.wrap.b32 %r9, %r0, %r1, %r2;", |a, b, c| (pair(a, b) >> (c % 32)) as u32);
    suite.words("shf.l.clamp.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        if c >= 32 { a } else { (pair(a, b) << c >> 32) as u32 }
    });
    suite.words("shf.r.clamp.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        if c >= 32 { b } else { (pair(a, b) >> c) as u32 }
    });
    for table in 0..256u32 {
        suite.words(&format!("lop3.b32 %r9, %r0, %r1, %r2, {table};"), |a, b, c| {
            (0..32).fold(0, |all, bit| {
                let row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1;
                all | (table >> row & 1) << bit
            })
        });
    }
    let holds = |raw: u64| (raw as i32) < 0;
    suite.predicates("and.pred %p3, %p0, %p1;", |[a, b, _]| holds(a) && holds(b));
    suite.predicates("or.pred %p3, %p0, !%p1;", |[a, b, _]| holds(a) || !holds(b));
    suite.predicates("xor.pred %p3, %p0, %p1;", |[a, b, _]| holds(a) != holds(b));
    suite.predicates("not.pred %p3, %p0;", |[a, ..]| !holds(a));
    suite.predicates("mov.pred %p3, %p1;", |[_, b, _]| holds(b));
}

pub fn counts(suite: &mut Suite) {
    suite.words("popc.b32 %r9, %r0;", |a, _, _| a.count_ones());
    suite.words("clz.b32 %r9, %r0;", |a, _, _| a.leading_zeros());
    suite.words("brev.b32 %r9, %r0;", |a, _, _| (0..32).fold(0, |all, i| all << 1 | a >> i & 1));
    suite.longs("brev.b64 %rd9, %rd0;", |a, _, _| (0..64).fold(0, |all, i| all << 1 | a >> i & 1));
    let word = |f: fn(u64) -> u32| move |row: [u64; 3]| u64::from(f(row[0]));
    let same = |a, b| a == b;
    suite.check("popc.b64 %r9, %rd0;", Result::Word, word(u64::count_ones), same);
    suite.check("clz.b64 %r9, %rd0;", Result::Word, word(u64::leading_zeros), same);
    for kind in INTEGERS.into_iter().filter(|kind| kind.bits > 16) {
        // From the top, the first bit that differs from the sign (from 0 if there is none).
        let place = |raw: u64| {
            let sign = kind.signed && kind.value(raw) < 0;
            (0..kind.bits)
                .rev()
                .find(|&bit| (kind.bits_of(kind.value(raw)) >> bit & 1 == 1) != sign)
        };
        let found = |row: [u64; 3]| u64::from(place(row[0]).unwrap_or(u32::MAX));
        let shift = |row: [u64; 3]| {
            place(row[0]).map_or(u32::MAX.into(), |bit| u64::from(kind.bits - 1 - bit))
        };
        let (name, a) = (kind.name, kind.register(0));
        suite.check(&format!("bfind.{name} %r9, {a};"), Result::Word, found, same);
        suite.check(&format!("bfind.shiftamt.{name} %r9, {a};"), Result::Word, shift, same);
    }
}

pub fn fields(suite: &mut Suite) {
    for kind in INTEGERS.into_iter().filter(|kind| kind.bits > 16) {
        let result = if kind.bits == 64 { Result::Long } else { Result::Word };
        let (d, a, b) = (kind.register(9), kind.register(0), kind.register(1));
        let extracted = |value: u64, position: u32, length: u32| {
            // Bit by bit, as the manual has it.
            let (position, length) = (position & 0xff, length & 0xff);
            let top = (position + length).wrapping_sub(1).min(kind.bits - 1);
            let fill = kind.signed && length > 0 && value >> top & 1 == 1;
            (0..kind.bits).fold(0, |all, i| {
                let inside = i < length && position + i < kind.bits;
                let bit = if inside { value >> (position + i) & 1 == 1 } else { fill };
                all | u64::from(bit) << i
            })
        };
        suite.check(
            &format!("bfe.{} {d}, {a}, %r1, %r2;", kind.name),
            result,
            |[a, b, c]| extracted(kind.bits_of(kind.value(a)), b as u32, c as u32),
            |a, b| a == b,
        );
        if kind.signed {
            continue;
        }
        for length in [0, 1, 5, 31, 32, 64, 255] {
            suite.check(
                &format!("bfi.b{} {d}, {a}, {b}, %r2, {length};", kind.bits),
                result,
                |[a, b, c]| {
                    let position = c as u32 & 0xff;
                    let inside = (0..length).filter(|i| position + i < kind.bits);
                    inside.fold(kind.bits_of(kind.value(b)), |all, i| {
                        all & !(1 << (position + i)) | (a >> (i % 64) & 1) << (position + i)
                    })
                },
                |a, b| a == b,
            );
        }
    }
    let picked = |a: u32, b: u32, selectors: [u32; 4]| {
        let bytes = pair(a, b).to_le_bytes();
        u32::from_le_bytes(selectors.map(|selector| {
            let byte = bytes[selector as usize % 8];
            match (selector & 8 != 0, byte & 0x80 != 0) {
                (false, _) => byte,
                (true, negative) => {
                    if negative {
                        0xff
                    } else {
                        0
                    }
                }
            }
        }))
    };
    suite.words("prmt.b32 %r9, %r0, %r1, %r2;", |a, b, c| {
        picked(a, b, [0, 4, 8, 12].map(|shift| c >> shift & 15))
    });
    // Tables of the manual, by mode and the lower two bits of the selector.
    type Table = [[u32; 4]; 4];
    let modes: [(&str, Table); 6] = [
        ("f4e", [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
        ("b4e", [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
        ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
        ("ecl", [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
        ("rc16", [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]),
    ];
    for (mode, table) in modes {
        suite.words(&format!("prmt.b32.{mode} %r9, %r0, %r1, %r2;"), |a, b, c| {
            picked(a, b, table[c as usize % 4])
        });
    }
}

pub fn moves(suite: &mut Suite) {
    for form in ["mov.b32", "mov.u32", "mov.s32", "mov.f32"] {
        suite.words(&format!("{form} %r9, %r1;"), |_, b, _| b);
    }
    for form in ["mov.b64", "mov.u64", "mov.s64", "mov.f64"] {
        suite.longs(&format!("{form} %rd9, %rd1;"), |_, b, _| b);
    }
    for form in ["mov.b16", "mov.u16", "mov.s16"] {
        suite.words(&format!("{form} %rs9, %rs1; cvt.u32.u16 %r9, %rs9;"), |_, b, _| b & 0xffff);
    }
    suite.longs("mov.b64 {%r3, %r4}, %rd0; mov.b64 %rd9, {%r4, %r3};", |a, _, _| a.rotate_left(32));
    suite.words("mov.b32 {%rs3, %rs4}, %r0; mov.b32 %r9, {%rs4, %rs3};", |a, _, _| {
        a.rotate_left(16)
    });
    suite.longs("mov.b64 %rd9, {%rs0, %rs1, %rs2, %rs0};", |a, b, c| {
        let [a, b, c] = [a, b, c].map(|x| x & 0xffff);
        a | b << 16 | c << 32 | a << 48
    });
    for form in ["b16", "u16", "s16"] {
        suite.words(
            &format!("selp.{form} %rs9, %rs0, %rs1, %p2; cvt.u32.u16 %r9, %rs9;"),
            |a, b, c| (if (c as i32) < 0 { a } else { b }) & 0xffff,
        );
    }
    for form in ["b32", "u32", "s32", "f32"] {
        suite.words(&format!("selp.{form} %r9, %r0, %r1, %p2;"), |a, b, c| {
            if (c as i32) < 0 { a } else { b }
        });
    }
    for form in ["b64", "u64", "s64", "f64"] {
        suite.longs(&format!("selp.{form} %rd9, %rd0, %rd1, !%p2;"), |a, b, c| {
            if (c as i32) < 0 { b } else { a }
        });
    }
    for form in ["b32", "u32", "s32", "f32"] {
        suite.words(&format!("slct.{form}.s32 %r9, %r0, %r1, %r2;"), |a, b, c| {
            if c as i32 >= 0 { a } else { b }
        });
        suite.words(&format!("slct.{form}.f32 %r9, %r0, %r1, %r2;"), |a, b, c| {
            if f32::from_bits(c) >= 0.0 { a } else { b }
        });
    }
    for form in ["b64", "u64", "s64", "f64"] {
        suite.longs(&format!("slct.{form}.s32 %rd9, %rd0, %rd1, %r2;"), |a, b, c| {
            if c as i32 >= 0 { a } else { b }
        });
    }
    suite.longs("cvta.to.global.u64 %rd9, %rd0;", |a, _, _| a);
    suite.longs("cvta.global.u64 %rd9, %rd0;", |a, _, _| a);
    suite.longs("cvta.shared.u64 %rd9, %rd0; cvta.to.shared.u64 %rd9, %rd9;", |a, _, _| a);
    suite.longs("cvta.local.u64 %rd9, %rd0; cvta.to.local.u64 %rd9, %rd9;", |a, _, _| a);
}
