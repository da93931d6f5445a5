//! `ldmatrix` and `mma.sync` with numbered elements, by the layouts of the manual.

use super::convert::F16;
use super::suite::{Suite, results};
use crate::common::Bench;

pub fn loads(suite: &mut Suite) {
    for (count, trans) in [(1, ""), (2, ""), (4, ""), (1, ".trans"), (2, ".trans"), (4, ".trans")] {
        let form = format!("ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16");
        if !suite.covers(&[&form]) {
            continue;
        }
        for part in 0..count {
            // Each 16-bit element of shared memory is its own index. The row of lane i is 80 bytes
            // after that of lane i - 1, in an order that i * 5 mod 32 mixes.
            let registers: Vec<String> = (10..10 + count).map(|r| format!("%r{r}")).collect();
            let body = format!(
                "mov.u32 %r2, s; mov.u32 %r3, 0;\n\
                 fill: mad.lo.u32 %r4, %r3, 32, %r0; shl.b32 %r5, %r4, 2; add.s32 %r6, %r2, %r5;\n\
                 shl.b32 %r7, %r4, 1; add.s32 %r8, %r7, 1; shl.b32 %r8, %r8, 16; or.b32 %r7, %r7, %r8;\n\
                 st.shared.u32 [%r6], %r7; add.s32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 32; @%p1 bra fill;\n\
                 bar.sync 0; mul.lo.u32 %r3, %r0, 5; and.b32 %r3, %r3, 31; mad.lo.u32 %r4, %r3, 80, %r2;\n\
                 {form} {{{}}}, [%r4];\nmov.b32 %r9, %r1{part};",
                registers.join(", ")
            );
            for (lane, got) in results(&body, &[0; 32]).into_iter().enumerate() {
                let element = |row: usize, column: usize| {
                    let place = (8 * part + row) * 5 % 32;
                    (place * 40 + column) as u32
                };
                let (group, pair) = (lane / 4, lane % 4 * 2);
                let expected = if trans.is_empty() {
                    element(group, pair) | element(group, pair + 1) << 16
                } else {
                    element(pair, group) | element(pair + 1, group) << 16
                };
                assert_eq!(got, expected, "{form}, register {part}, lane {lane}");
            }
        }
    }
}

/// One product: its name, depth, and the elements of a register.
struct Product {
    form: &'static str,
    k: usize,
    pack: usize,
    encode: fn(f32) -> u32,
}

/// Products with operands of a type.
const PRODUCTS: [Product; 6] = [
    Product {
        form: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        k: 16,
        pack: 2,
        encode: |x| x.to_bits() >> 16,
    },
    Product {
        form: "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32",
        k: 8,
        pack: 2,
        encode: |x| x.to_bits() >> 16,
    },
    Product {
        form: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        k: 16,
        pack: 2,
        encode: |x| F16.nearest(x),
    },
    Product {
        form: "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
        k: 8,
        pack: 2,
        encode: |x| F16.nearest(x),
    },
    Product {
        form: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
        k: 8,
        pack: 1,
        encode: f32::to_bits,
    },
    Product {
        form: "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32",
        k: 4,
        pack: 1,
        encode: f32::to_bits,
    },
];

impl Product {
    /// Row and column of element `i` of a lane's part of the left matrix.
    fn left(&self, lane: usize, i: usize) -> (usize, usize) {
        let (group, thread) = (lane / 4, lane % 4);
        // The manual counts elements over registers: two rows eight apart, then further columns.
        let (register, part) = (i / self.pack, i % self.pack);
        (group + 8 * (register % 2), thread * self.pack + part + register / 2 * 4 * self.pack)
    }

    /// Row and column of element `i` of a lane's part of the right matrix.
    fn right(&self, lane: usize, i: usize) -> (usize, usize) {
        let (register, part) = (i / self.pack, i % self.pack);
        (lane % 4 * self.pack + part + register * 4 * self.pack, lane / 4)
    }

    /// Runs the product of matrices of numbers.
    fn run(&self, a: impl Fn(usize, usize) -> f32, b: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let (left, right) = (self.k * 16 / 32, self.k * 8 / 32);
        let mut inputs = Vec::new();
        for lane in 0..32 {
            let word = |place: &dyn Fn(usize) -> f32, register: usize| {
                (0..self.pack).fold(0, |all, part| {
                    all | (self.encode)(place(register * self.pack + part)) << (16 * part)
                })
            };
            let a = |i: usize| {
                let (row, column) = self.left(lane, i);
                a(row, column)
            };
            let b = |i: usize| {
                let (row, column) = self.right(lane, i);
                b(row, column)
            };
            let mut words: Vec<u32> =
                (0..left / self.pack).map(|register| word(&a, register)).collect();
            words.extend((0..right / self.pack).map(|register| word(&b, register)));
            words.resize(8, 0);
            inputs.extend(words);
        }
        let names = |range: std::ops::Range<usize>| {
            let names: Vec<String> = range.map(|register| format!("%r1{register}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let (left, right) = (left / self.pack, right / self.pack);
        let loads: String = (0..left + right)
            .map(|i| format!("ld.global.u32 %r1{i}, [%rd3+{}];\n", 4 * i))
            .collect();
        // c is the number of its element: 8 * row + column.
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 x, .param .u64 y)\n{{\n\
             .reg .b32 %r<40>; .reg .f32 %f<12>; .reg .b64 %rd<9>;\n\
             ld.param.u64 %rd0, [x]; ld.param.u64 %rd1, [y]; mov.u32 %r0, %tid.x;\n\
             mul.wide.u32 %rd2, %r0, 32; add.s64 %rd3, %rd0, %rd2; mul.wide.u32 %rd2, %r0, 16; add.s64 %rd4, %rd1, %rd2;\n\
             {loads}\
             shl.b32 %r1, %r0, 1; cvt.rn.f32.u32 %f0, %r1; add.f32 %f1, %f0, 0f3F800000;\n\
             add.f32 %f2, %f0, 0f42800000; add.f32 %f3, %f2, 0f3F800000;\n\
             {} {{%f4, %f5, %f6, %f7}}, {}, {}, {{%f0, %f1, %f2, %f3}};\n\
             st.global.v4.f32 [%rd4], {{%f4, %f5, %f6, %f7}};\nret;\n}}\n",
            self.form,
            names(0..left),
            names(left..left + right),
        );
        let mut bench = Bench::default();
        let (x, y) = (bench.array("x", &inputs), bench.room::<f32>("y", 128));
        bench.parameters().field(x).field(y);
        bench.clean(&text, "k", [1; 3], [32, 1, 1]);
        bench.read(y, 128)
    }
}

pub fn products(suite: &mut Suite) {
    for product in PRODUCTS {
        if !suite.covers(&[product.form]) {
            continue;
        }
        // Integers that every type represents exactly, in every partial sum too.
        let a = |row: usize, column: usize| ((row * 7 + column * 3) % 17) as f32 - 8.0;
        let b = |row: usize, column: usize| ((row * 5 + column * 11) % 13) as f32 - 6.0;
        let got = product.run(a, b);
        for (at, got) in got.into_iter().enumerate() {
            let (lane, i) = (at / 4, at % 4);
            let (row, column) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
            let sum: f32 = (0..product.k).map(|k| a(row, k) * b(k, column)).sum();
            let expected = (8 * row + column) as f32 + sum;
            assert_eq!(got, expected, "{}, row {row}, column {column}", product.form);
        }
        // One infinity times zero makes its row NaN, and one NaN its column.
        let got = product.run(
            |row, column| if (row, column) == (3, 1) { f32::INFINITY } else { 0.0 },
            |row, column| if (row, column) == (2, 5) { f32::NAN } else { 0.0 },
        );
        for (at, got) in got.into_iter().enumerate() {
            let (lane, i) = (at / 4, at % 4);
            let (row, column) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
            assert_eq!(
                got.is_nan(),
                row == 3 || column == 5,
                "{}, row {row}, column {column}",
                product.form
            );
        }
    }
}
