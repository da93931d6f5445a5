//! Loads and stores of every type in every space, atomics, and asynchronous copies.

use super::suite::{Result, Suite, results};
use crate::common::Bench;

/// Types of elements: name, bytes, and whether they extend their sign.
const ELEMENTS: [(&str, usize, bool); 14] = [
    ("u8", 1, false),
    ("b8", 1, false),
    ("s8", 1, true),
    ("u16", 2, false),
    ("b16", 2, false),
    ("s16", 2, true),
    ("u32", 4, false),
    ("b32", 4, false),
    ("s32", 4, true),
    ("f32", 4, false),
    ("u64", 8, false),
    ("b64", 8, false),
    ("s64", 8, true),
    ("f64", 8, false),
];

/// Threads of a test.
const THREADS: usize = 40;

/// Bytes whose signs differ.
fn bytes() -> Vec<u32> {
    (0..4 * THREADS as u32).map(|i| i.wrapping_mul(0x9e37_79b9) ^ i << 7).collect()
}

/// An element's bytes, extended to the register of its size, at least 32 bits, as 64 bits.
fn extended(bytes: &[u8], signed: bool) -> u64 {
    let mut wide = if signed && bytes[bytes.len() - 1] >> 7 == 1 { [0xff; 8] } else { [0; 8] };
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(wide);
    if bytes.len() == 8 { value } else { value & 0xffff_ffff }
}

pub fn loads_and_stores(suite: &mut Suite) {
    for (name, size, signed) in ELEMENTS {
        for count in [1, 2, 4].into_iter().filter(|count| count * size <= 16) {
            let vector = ["", "", ".v2", "", ".v4"][count];
            for space in [".global", ".shared", ".local", "", ".const", ".param"] {
                let (load, store) =
                    (format!("ld{space}{vector}.{name}"), format!("st{space}{vector}.{name}"));
                let read_only = matches!(space, ".const" | ".param");
                if suite.covers(&[&load]) {
                    load_all(space, &load, (count, size, signed));
                }
                if !read_only && suite.covers(&[&store]) {
                    store_all(space, &store, &load, (count, size));
                }
            }
        }
    }
    let forms = [
        ("ld.global.nc.f32", "st.global.f32"),
        ("ld.volatile.global.u32", "st.volatile.global.u32"),
        ("ld.relaxed.gpu.global.u32", "st.relaxed.gpu.global.u32"),
        ("ld.acquire.gpu.global.u32", "st.release.gpu.global.u32"),
        ("ld.acquire.sys.global.u32", "st.release.sys.global.u32"),
        ("ld.volatile.shared.u32", "st.volatile.shared.u32"),
        ("ld.global.ca.u32", "st.global.wb.u32"),
        ("ld.global.cg.u32", "st.global.cg.u32"),
        ("ld.global.cs.u32", "st.global.cs.u32"),
        ("ld.global.cv.u32", "st.global.wt.u32"),
    ];
    for (load, store) in forms {
        if suite.covers(&[load, store]) {
            let space = if load.contains("shared") { ".shared" } else { ".global" };
            load_all(space, load, (1, 4, false));
            store_all(space, store, "ld.global.u32", (1, 4));
        }
    }
}

/// Neighbouring lanes that load from different spaces in one instruction.
pub fn mixed_spaces(suite: &mut Suite) {
    if !suite.covers(&["ld.u32"]) {
        return;
    }
    let body = "mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.s32 %r4, %r2, %r3; add.s32 %r5, %r1, 1000;\n\
        st.shared.u32 [%r4], %r5; cvt.u64.u32 %rd5, %r4; cvta.shared.u64 %rd5, %rd5;\n\
        and.b32 %r6, %r0, 1; setp.eq.s32 %p1, %r6, 0; selp.b64 %rd6, %rd3, %rd5, %p1;\n\
        ld.u32 %r9, [%rd6];";
    let inputs: Vec<u32> = (0..64).map(|i| i * i).collect();
    let expected: Vec<u32> = (0..64).map(|i| i * i + i % 2 * 1000).collect();
    assert_eq!(results(body, &inputs), expected);
}

/// A kernel around a body. `%rd3` is the address of the thread's 16 bytes in x, `%rd4` of its 64
/// bytes in y, and `%at` (32 or 64 bits) of its 16 bytes in the state space.
fn kernel(space: &str, body: &str) -> String {
    let (declared, at) = match space {
        ".shared" => (
            ".shared .align 16 .b8 s[1024]; .reg .b32 %at;",
            "mov.u32 %at, s; add.s32 %at, %at, %r1;",
        ),
        ".local" => (".local .align 16 .b8 s[16]; .reg .b64 %at;", "mov.u64 %at, s;"),
        ".const" => (".reg .b64 %at;", "mov.u64 %at, c; add.s64 %at, %at, %rd2;"),
        _ => (".reg .b64 %at;", "add.s64 %at, %rd6, %rd2;"),
    };
    let initial: Vec<String> =
        bytes().iter().flat_map(|word| word.to_le_bytes()).map(|byte| byte.to_string()).collect();
    let constant = if space == ".const" {
        format!(".const .align 16 .b8 c[{}] = {{{}}};\n", initial.len(), initial.join(", "))
    } else {
        String::new()
    };
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n{constant}\
         .visible .entry k(.param .align 16 .b8 p[40])\n{{\n\
         .reg .b32 %r<40>; .reg .b64 %rd<20>; {declared}\n\
         ld.param.u64 %rd0, [p+16]; ld.param.u64 %rd1, [p+24]; ld.param.u64 %rd6, [p+32];\n\
         mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 4; cvt.u64.u32 %rd2, %r1; shl.b64 %rd5, %rd2, 2;\n\
         add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd5; {at}\n\
         {body}\nret;\n}}\n"
    )
}

/// Runs such a kernel; gives y.
fn run(text: &str) -> Vec<u8> {
    let mut bench = Bench::default();
    let words = bytes();
    let (x, y) = (bench.array("x", &words), bench.room::<u32>("y", 16 * THREADS));
    let z = bench.room::<u32>("z", 4 * THREADS);
    bench.parameters();
    for word in &words[..4] {
        bench.field(*word);
    }
    bench.field(x).field(y).field(z);
    bench.clean(text, "k", [1; 3], [THREADS as u32, 1, 1]);
    let mut got = vec![0; 64 * THREADS];
    bench.memory.read(y, &mut got).unwrap();
    got
}

/// The bytes of x.
fn input() -> Vec<u8> {
    bytes().iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Registers for `count` elements, in braces if several.
fn registers(count: usize, size: usize) -> String {
    let bank = if size == 8 { "%rd1" } else { "%r1" };
    let names: Vec<String> = (0..count).map(|index| format!("{bank}{index}")).collect();
    if count == 1 { names[0].clone() } else { format!("{{{}}}", names.join(", ")) }
}

/// Loads elements from a space and compares the registers.
fn load_all(space: &str, load: &str, (count, size, signed): (usize, usize, bool)) {
    let mut body = String::new();
    if !matches!(space, ".const" | ".param") {
        body += &format!(
            "ld.global.v4.u32 {{%r20, %r21, %r22, %r23}}, [%rd3];\nst{space}.v4.u32 [%at], {{%r20, %r21, %r22, %r23}};\n"
        );
    }
    let at = match space {
        ".param" => "p",
        // The launch must not have written what it reads.
        _ if load.contains(".nc.") => "%rd3",
        _ => "%at",
    };
    body += &format!("{load} {}, [{at}];\n", registers(count, size));
    for index in 0..count {
        if size < 8 {
            body += &format!("cvt.u64.u32 %rd1{index}, %r1{index};\n");
        }
        body += &format!("st.global.u64 [%rd4+{}], %rd1{index};\n", 8 * index);
    }
    let (got, from) = (run(&kernel(space, &body)), input());
    for thread in 0..THREADS {
        let from = &from[if space == ".param" { 0 } else { 16 * thread }..];
        for index in 0..count {
            let expected = extended(&from[size * index..size * (index + 1)], signed);
            let got = &got[64 * thread + 8 * index..][..8];
            assert_eq!(got, expected.to_le_bytes(), "{load}, thread {thread}, element {index}");
        }
    }
}

/// Stores elements over zeros in a space and compares the memory.
fn store_all(space: &str, store: &str, load: &str, (count, size): (usize, usize)) {
    let (values, from) = (registers(count, size), load.replacen(space, ".global", 1));
    let from = if space.is_empty() { load } else { &from };
    let body = format!(
        "st{space}.v4.u32 [%at], {{0, 0, 0, 0}};\n{from} {values}, [%rd3];\n{store} [%at], {values};\n\
         ld{space}.v4.u32 {{%r20, %r21, %r22, %r23}}, [%at];\n\
         st.global.v4.u32 [%rd4], {{%r20, %r21, %r22, %r23}};\n"
    );
    let (got, from) = (run(&kernel(space, &body)), input());
    for thread in 0..THREADS {
        let mut expected = [0; 16];
        expected[..count * size].copy_from_slice(&from[16 * thread..][..count * size]);
        assert_eq!(got[64 * thread..][..16], expected, "{store}, thread {thread}");
    }
}

/// The new value of an atomic.
type Update = fn(u64, u64, u64) -> u64;

pub fn atomics(suite: &mut Suite) {
    let word: [(&str, Update); 23] = [
        ("add.u32", |a, b, _| u64::from((a as u32).wrapping_add(b as u32))),
        ("add.s32", |a, b, _| u64::from((a as u32).wrapping_add(b as u32))),
        ("add.f32", |a, b, _| {
            u64::from((f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits())
        }),
        ("min.u32", |a, b, _| u64::from((a as u32).min(b as u32))),
        ("max.u32", |a, b, _| u64::from((a as u32).max(b as u32))),
        ("min.s32", |a, b, _| u64::from((a as i32).min(b as i32) as u32)),
        ("max.s32", |a, b, _| u64::from((a as i32).max(b as i32) as u32)),
        ("and.b32", |a, b, _| u64::from(a as u32 & b as u32)),
        ("or.b32", |a, b, _| u64::from(a as u32 | b as u32)),
        ("xor.b32", |a, b, _| u64::from(a as u32 ^ b as u32)),
        ("exch.b32", |_, b, _| u64::from(b as u32)),
        ("cas.b32", |a, b, c| u64::from(if a as u32 == b as u32 { c as u32 } else { a as u32 })),
        ("inc.u32", |a, b, _| if a as u32 >= b as u32 { 0 } else { u64::from(a as u32 + 1) }),
        ("dec.u32", |a, b, _| {
            let (a, b) = (a as u32, b as u32);
            u64::from(if a == 0 || a > b { b } else { a - 1 })
        }),
        ("add.u64", |a, b, _| a.wrapping_add(b)),
        ("add.f64", |a, b, _| (f64::from_bits(a) + f64::from_bits(b)).to_bits()),
        ("min.u64", |a, b, _| a.min(b)),
        ("max.s64", |a, b, _| (a as i64).max(b as i64) as u64),
        ("min.s64", |a, b, _| (a as i64).min(b as i64) as u64),
        ("max.u64", |a, b, _| a.max(b)),
        ("and.b64", |a, b, _| a & b),
        ("exch.b64", |_, b, _| b),
        ("cas.b64", |a, b, c| if a == b { c } else { a }),
    ];
    for (name, update) in word {
        for space in [".global", ".shared", ""] {
            check_atomic(suite, &format!("{space}.{name}"), name, space, update);
        }
        let (operator, kind) = name.split_once('.').unwrap();
        for order in ["relaxed", "acquire", "release", "acq_rel"] {
            for scope in ["cta", "gpu", "sys"] {
                let orders = format!(".{order}.{scope}.global");
                check_atomic(suite, &format!("{orders}.{name}"), name, ".global", update);
                // NVRTC puts the operator first.
                check_atomic(
                    suite,
                    &format!(".{operator}{orders}.{kind}"),
                    name,
                    ".global",
                    update,
                );
            }
        }
    }
}

/// `atom` and `red` of one form: the old value, and what is in memory after.
fn check_atomic(suite: &mut Suite, form: &str, name: &str, space: &str, update: Update) {
    let long = name.ends_with("64");
    let (bank, bits, result) =
        if long { ("%rd", 64, Result::Long) } else { ("%r", 32, Result::Word) };
    let at = if space == ".shared" { "%i4" } else { "%at3" };
    let operands = match name.starts_with("cas") {
        true => format!("{bank}1, {bank}2"),
        false => format!("{bank}1"),
    };
    let cut = |value: u64| if long { value } else { value & 0xffff_ffff };
    let same = |a: u64, b: u64| {
        let nan = |x: u64| match long {
            true => f64::from_bits(x).is_nan(),
            false => f32::from_bits(x as u32).is_nan(),
        };
        a == b || name.contains(".f") && nan(a) && nan(b)
    };
    suite.before = format!("st{space}.u64 [{at}], %rd0;");
    let statement = format!("atom{form} {bank}9, [{at}], {operands};");
    suite.check(&statement, result, |[a, ..]| cut(a), same);
    let load = format!("ld{space}.u{bits} {bank}9, [{at}];");
    let statement = format!("atom{form} {bank}10, [{at}], {operands}; {load}");
    suite.check(&statement, result, |[a, b, c]| cut(update(a, b, c)), same);
    if !name.starts_with("cas") && !name.starts_with("exch") {
        let statement = format!("red{form} [{at}], {operands}; {load}");
        suite.check(&statement, result, |[a, b, c]| cut(update(a, b, c)), same);
    }
    suite.before.clear();
}

pub fn copies(suite: &mut Suite) {
    let forms = [
        ("cp.async.ca.shared.global", 4),
        ("cp.async.ca.shared.global", 8),
        ("cp.async.ca.shared.global", 16),
        ("cp.async.cg.shared.global", 16),
        ("cp.async.cg.shared.global.L2::128B", 16),
    ];
    let waits = ["cp.async.wait_group 0;", "cp.async.wait_all;"];
    if !suite.covers(&["cp.async.commit_group", "cp.async.wait_group", "cp.async.wait_all"]) {
        suite.covers(&forms.map(|(form, _)| form));
        return;
    }
    let inputs: Vec<u32> =
        (0..128).map(|i: u32| i.wrapping_mul(0x0101_0107) | 0x8000_0001).collect();
    for ((form, bytes), wait) in forms.into_iter().flat_map(|form| waits.map(|wait| (form, wait))) {
        suite.covers(&[form]);
        for used in [None, Some(0), Some(1), Some(3), Some(bytes - 1), Some(bytes)] {
            let used_operand = used.map_or(String::new(), |used| format!(", {used}"));
            // Every group of threads that covers this number of bytes copies them together.
            let body = format!(
                "mov.u32 %r2, s; mul.lo.s32 %r3, %r0, 4; add.s32 %r4, %r2, %r3; rem.u32 %r5, %r3, {bytes};\n\
                 setp.ne.s32 %p1, %r5, 0; @%p1 bra done;\n\
                 {form} [%r4], [%rd3], {bytes}{used_operand};\ncp.async.commit_group;\n{wait}\n\
                 done: bar.sync 0; ld.shared.u32 %r9, [%r4];"
            );
            let used = used.unwrap_or(bytes) as usize;
            for (index, (got, input)) in
                results(&body, &inputs).into_iter().zip(&inputs).enumerate()
            {
                let mut expected = input.to_le_bytes();
                for (at, byte) in expected.iter_mut().enumerate() {
                    *byte = if (4 * index + at) % bytes as usize >= used { 0 } else { *byte };
                }
                assert_eq!(
                    got.to_le_bytes(),
                    expected,
                    "{form} of {used} of {bytes} bytes, word {index}"
                );
            }
        }
    }
    // One group may be pending while the group before it is read.
    let body = "mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.s32 %r4, %r2, %r3;\n\
        cp.async.ca.shared.global [%r4], [%rd3], 4; cp.async.commit_group;\n\
        cp.async.ca.shared.global [%r4+1024], [%rd0], 4; cp.async.commit_group;\n\
        cp.async.wait_group 1; ld.shared.u32 %r9, [%r4]; cp.async.wait_group 0;";
    assert_eq!(results(body, &inputs), inputs);
}
