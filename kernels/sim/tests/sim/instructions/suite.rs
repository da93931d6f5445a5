//! Runs one instruction on rows of edge values and compares every lane with a scalar.

use std::collections::BTreeSet;

use crate::common::Bench;

/// Edge values of 32 bits: zeros, ones, signs, limits, shift counts, floats of every sort, and
/// the upper halves of such doubles; then pairs of f16 and of bf16, of every sort.
const WORDS: [u32; 42] = [
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
    0x0000_0fff,
    0x0000_8000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0xffff_fffe,
    0x1234_5678,
    0x3f80_0000,
    0xbf80_0000,
    0x4049_0fdb,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f7f_ffff,
    0x0080_0000,
    0x4b7f_ffff,
    0x3fc0_0001,
    0x0c7f_ffff,
    0xf400_0001,
    0x3f80_3c00,
    0x3c00_3f80,
    0x7c00_7bff,
    0x7f80_7c00,
    0xfe01_fc00,
    0x0400_0080,
    0x03ff_007f,
    0x1000_3c01,
    0x3b80_1000,
    0x3c01_3b80,
    0xff80_7f7f,
    0x3555_be00,
];

/// Edge values of 64 bits, of the same kinds.
const LONGS: [u64; 22] = [
    0,
    1,
    8,
    63,
    64,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0xffff_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0001,
    0x4009_21fb_5444_2d18,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x47ef_ffff_f000_0000,
    0xc1e0_0000_0010_0000,
];

/// The instruction forms that tests cover, as they run or to be listed.
#[derive(Default)]
pub struct Suite {
    pub covered: BTreeSet<String>,
    /// Whether to list the forms only.
    pub listing: bool,
    pub perturb: Option<u64>,
    /// Instructions before the statement.
    pub before: String,
}

/// Where a statement leaves its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// In %r9.
    Word,
    /// In %rd9.
    Long,
}

/// All rows of three values.
fn rows() -> Vec<[u64; 3]> {
    let mut rows = Vec::new();
    for a in WORDS {
        for b in WORDS {
            let c = WORDS[(a ^ b.rotate_left(7)) as usize % WORDS.len()];
            rows.extend([c, 8].map(|c| [a, b, c].map(u64::from)));
        }
    }
    for a in LONGS {
        for b in LONGS {
            rows.push([a, b, LONGS[(a ^ b.rotate_left(13)) as usize % LONGS.len()]]);
        }
    }
    rows
}

impl Suite {
    /// Counts these forms as covered; true when their test is to run.
    pub fn covers(&mut self, forms: &[&str]) -> bool {
        self.covered.extend(forms.iter().map(|&form| form.to_owned()));
        !self.listing
    }

    /// Runs a statement on all rows and compares with `f`. The row's values are in %rd0 to %rd2,
    /// their lower parts in %r0.. and %rs0.., and whether the lower words are negative in %p0..;
    /// the address of the row's 8 bytes of global memory is in %at3, and of 8 bytes of shared
    /// memory in %i4. The statement's first instruction counts as covered.
    pub fn check(
        &mut self,
        statement: &str,
        result: Result,
        f: impl Fn([u64; 3]) -> u64,
        same: impl Fn(u64, u64) -> bool,
    ) {
        let form = statement.split_whitespace().next().unwrap();
        if !self.covers(&[form]) {
            return;
        }
        let store = match result {
            Result::Word => "cvt.u64.u32 %rd9, %r9; st.global.u64 [%at3], %rd9;",
            Result::Long => "st.global.u64 [%at3], %rd9;",
        };
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 x, .param .u64 y, .param .u32 n)\n{{\n\
             .reg .pred %p<9>; .reg .pred %past<1>; .reg .b16 %rs<12>; .reg .b32 %r<20>;\n\
             .shared .align 16 .b8 s[2048]; .reg .b32 %i<5>; .reg .b64 %rd<20>; .reg .b64 %at<5>;\n\
             ld.param.u64 %at0, [x]; ld.param.u64 %at1, [y]; ld.param.u32 %i0, [n];\n\
             mov.u32 %i1, %ctaid.x; mov.u32 %i2, %tid.x; mad.lo.s32 %i3, %i1, 256, %i2;\n\
             setp.ge.s32 %past0, %i3, %i0; @%past0 ret;\n\
             mul.wide.s32 %at2, %i3, 24; add.s64 %at2, %at0, %at2;\n\
             mul.wide.s32 %at3, %i3, 8; add.s64 %at3, %at1, %at3;\n\
             ld.global.u64 %rd0, [%at2]; ld.global.u64 %rd1, [%at2+8]; ld.global.u64 %rd2, [%at2+16];\n\
             ld.global.u32 %r0, [%at2]; ld.global.u32 %r1, [%at2+8]; ld.global.u32 %r2, [%at2+16];\n\
             ld.global.u16 %rs0, [%at2]; ld.global.u16 %rs1, [%at2+8]; ld.global.u16 %rs2, [%at2+16];\n\
             setp.lt.s32 %p0, %r0, 0; setp.lt.s32 %p1, %r1, 0; setp.lt.s32 %p2, %r2, 0;\n\
             mov.u32 %i4, s; shl.b32 %i2, %i2, 3; add.s32 %i4, %i4, %i2;\n\
             {}\n{statement}\n{store}\nret;\n}}\n",
            self.before
        );
        let rows = rows();
        let mut bench = Bench::default();
        bench.settings.perturb = self.perturb;
        let (x, y) = (bench.array("x", rows.as_flattened()), bench.room::<u64>("y", rows.len()));
        bench.parameters().field(x).field(y).field(rows.len() as u32);
        bench.clean(&text, "k", [rows.len().div_ceil(256) as u32, 1, 1], [256, 1, 1]);
        for (got, row) in bench.read::<u64>(y, rows.len()).into_iter().zip(rows) {
            let expected = f(row);
            assert!(
                same(got, expected),
                "{statement} of {row:x?}: got {got:#x}, expected {expected:#x}"
            );
        }
    }

    /// A statement on words, with its result in %r9.
    pub fn words(&mut self, statement: &str, f: impl Fn(u32, u32, u32) -> u32) {
        let scalar = |row: [u64; 3]| {
            let [a, b, c] = row.map(|value| value as u32);
            u64::from(f(a, b, c))
        };
        self.check(statement, Result::Word, scalar, |a, b| a == b);
    }

    /// A statement on 64 bits, with its result in %rd9.
    pub fn longs(&mut self, statement: &str, f: impl Fn(u64, u64, u64) -> u64) {
        self.check(statement, Result::Long, |[a, b, c]| f(a, b, c), |a, b| a == b);
    }

    /// A statement on f32, with its result in %r9. NaNs are equal.
    pub fn floats(&mut self, statement: &str, f: impl Fn(f32, f32, f32) -> f32) {
        let float = |bits: u64| f32::from_bits(bits as u32);
        let scalar = |row: [u64; 3]| {
            let [a, b, c] = row.map(float);
            u64::from(f(a, b, c).to_bits())
        };
        let same = |a: u64, b: u64| a == b || float(a).is_nan() && float(b).is_nan();
        self.check(statement, Result::Word, scalar, same);
    }

    /// A statement on f64, with its result in %rd9. NaNs are equal.
    pub fn doubles(&mut self, statement: &str, f: impl Fn(f64, f64, f64) -> f64) {
        let scalar = |row: [u64; 3]| {
            let [a, b, c] = row.map(f64::from_bits);
            f(a, b, c).to_bits()
        };
        let nan = |bits: u64| f64::from_bits(bits).is_nan();
        self.check(statement, Result::Long, scalar, |a, b| a == b || nan(a) && nan(b));
    }

    /// A statement that leaves a predicate in %p3.
    pub fn predicates(&mut self, statement: &str, f: impl Fn([u64; 3]) -> bool) {
        let statement = format!("{statement} selp.b32 %r9, 1, 0, %p3;");
        self.check(&statement, Result::Word, |row| u64::from(f(row)), |a, b| a == b);
    }
}

/// Runs a body in one block. `%r0` is the thread, `%r1` its input, `%r9` its result, `%rd0` and
/// `%rd1` the arrays of both, and `s` 4096 bytes of shared memory.
pub fn results(body: &str, inputs: &[u32]) -> Vec<u32> {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 x, .param .u64 y)\n{{\n\
         .reg .pred %p<9>; .reg .b32 %r<40>; .reg .b64 %rd<20>; .shared .align 16 .b8 s[4096];\n\
         ld.param.u64 %rd0, [x]; ld.param.u64 %rd1, [y]; mov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2;\n\
         ld.global.u32 %r1, [%rd3]; mov.u32 %r9, -1;\n\
         {body}\nst.global.u32 [%rd4], %r9;\nret;\n}}\n"
    );
    let mut bench = Bench::default();
    let (x, y) = (bench.array("x", inputs), bench.room::<u32>("y", inputs.len()));
    bench.parameters().field(x).field(y);
    bench.clean(&text, "k", [1; 3], [inputs.len() as u32, 1, 1]);
    bench.read(y, inputs.len())
}
