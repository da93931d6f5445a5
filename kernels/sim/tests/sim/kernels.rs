//! Complete kernels from NVRTC's PTX against plain loops, with odd sizes.

use ptx_sim::{Mode, Order, Settings};

use crate::common::{Bench, assert_close, noise};

const SOFTMAX: &str = include_str!("../ptx/softmax.ptx");
const SGEMM: &str = include_str!("../ptx/sgemm.ptx");
const MISC: &str = include_str!("../ptx/misc.ptx");
const MMA: &str = include_str!("../ptx/mma.ptx");

/// Settings with which a correct kernel must give equal values.
fn all_settings() -> Vec<Settings> {
    let checked = Settings::default();
    vec![
        checked,
        Settings { order: Order::Reversed, ..checked },
        Settings { order: Order::Seeded(7), ..checked },
        Settings { mode: Mode::Values, ..checked },
    ]
}

#[test]
fn softmax_of_ragged_rows() {
    let (rows, cols) = (5, 77);
    let x = noise(rows * cols, 1);
    for settings in all_settings() {
        let mut bench = Bench { settings, ..Bench::default() };
        let (a, y) = (bench.array("x", &x), bench.room::<f32>("y", rows * cols));
        bench.parameters().field(a).field(y).field(rows as i32).field(cols as i32);
        bench.clean(SOFTMAX, "softmax", [rows as u32, 1, 1], [64, 1, 1]);
        let mut expected = Vec::new();
        for row in x.chunks(cols) {
            let max = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
            expected.extend(row.iter().map(|x| (x - max).exp() / sum));
        }
        assert_close(&bench.read(y, rows * cols), &expected, 1e-5);
    }
}

/// `a * b` of m by k and k by n.
fn product(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    c
}

#[test]
fn sgemm_of_ragged_shapes() {
    for [m, n, k] in [[64, 64, 32], [100, 70, 36], [67, 130, 19], [1, 1, 1]] {
        let (a, b) = (noise(m * k, 2), noise(k * n, 3));
        for settings in all_settings() {
            let mut bench = Bench { settings, ..Bench::default() };
            let (at, bt) = (bench.array("a", &a), bench.array("b", &b));
            let c = bench.room::<f32>("c", m * n);
            bench.parameters().field(at).field(bt).field(c);
            bench.field(m as i32).field(n as i32).field(k as i32);
            let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1];
            bench.clean(SGEMM, "sgemm", grid, [256, 1, 1]);
            assert_close(&bench.read(c, m * n), &product(&a, &b, [m, n, k]), 1e-5);
        }
    }
}

#[test]
fn last_block_reduces() {
    let n = 5000;
    let x = noise(n, 4);
    for settings in all_settings() {
        let mut bench = Bench { settings, dynamic_shared: 128 * 4, ..Bench::default() };
        let (a, partial) = (bench.array("x", &x), bench.room::<f32>("partial", 7));
        let (ticket, out) = (bench.array("ticket", &[0u32]), bench.room::<f32>("out", 1));
        bench.parameters().field(a).field(partial).field(ticket).field(out).field(n as i32);
        bench.clean(MISC, "reduce_last", [7, 1, 1], [128, 1, 1]);
        assert_close(&bench.read(out, 1), &[x.iter().sum()], 1e-4);
    }
}

#[test]
fn transpose_of_a_ragged_matrix() {
    let (rows, cols) = (45, 70);
    let x = noise(rows * cols, 5);
    for settings in all_settings() {
        let mut bench = Bench { settings, ..Bench::default() };
        let (a, y) = (bench.array("x", &x), bench.room::<f32>("y", rows * cols));
        bench.parameters().field(a).field(y).field(rows as i32).field(cols as i32);
        bench.clean(MISC, "transpose", [3, 2, 1], [32, 8, 1]);
        let expected: Vec<f32> = (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect();
        assert_close(&bench.read(y, rows * cols), &expected, 0.0);
    }
}

#[test]
fn scatter_with_atomics() {
    let n = 300;
    let x = noise(n, 6);
    let index: Vec<i32> = (0..n as i32).map(|i| i * 7 % 10).collect();
    for settings in all_settings() {
        let mut bench = Bench { settings, ..Bench::default() };
        let (at, a) = (bench.array("index", &index), bench.array("x", &x));
        let y = bench.array("y", &[0f32; 10]);
        bench.parameters().field(at).field(a).field(y).field(n as i32);
        bench.clean(MISC, "scatter", [5, 1, 1], [64, 1, 1]);
        let mut expected = [0f32; 10];
        for (i, x) in index.iter().zip(&x) {
            expected[*i as usize] += x;
        }
        assert_close(&bench.read(y, 10), &expected, 1e-5);
    }
}

#[test]
fn mathematical_functions() {
    // The error function by its series, in f64.
    let erf = |x: f64| -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    let functions: [&dyn Fn(f64) -> f64; 15] = [
        &|x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        &|x| x.abs().powf(1.7),
        &|x| x.tanh(),
        &|x| x.sin() + x.cos(),
        &|x| (x.abs() + 1.0).ln(),
        &|x| 1.0 / (x.abs() + 1.0).sqrt(),
        &|x| x.abs().sqrt(),
        &|x| x.abs().ln_1p(),
        &|x| x.exp_m1(),
        &|x| x.floor() + x.ceil() + x.round_ties_even() + x.trunc(),
        &|x| x.exp(),
        &|x| 1.0 / (1.0 + (-x).exp()),
        &|x| x % f64::from(0.3f32),
        &|x| x / 3.0,
        &|x| x.round(),
    ];
    let x: Vec<f32> = noise(101, 8).iter().map(|x| x * 3.0).collect();
    for perturb in [None, Some(3)] {
        let settings = Settings { perturb, ..Settings::default() };
        for (mode, f) in functions.iter().enumerate() {
            let mut bench = Bench { settings, ..Bench::default() };
            let (a, y) = (bench.array("x", &x), bench.room::<f32>("y", x.len()));
            bench.parameters().field(a).field(y).field(x.len() as i32).field(mode as i32);
            bench.clean(MISC, "maths", [2, 1, 1], [64, 1, 1]);
            let expected: Vec<f32> = x.iter().map(|&x| f(f64::from(x)) as f32).collect();
            assert_close(&bench.read(y, x.len()), &expected, 4e-6);
        }
    }
}

#[test]
fn double_precision() {
    let x: Vec<f64> = noise(50, 9).iter().map(|&x| f64::from(x) * 4.0).collect();
    let mut bench = Bench::default();
    let (a, y) = (bench.array("x", &x), bench.room::<f64>("y", x.len()));
    bench.parameters().field(a).field(y).field(x.len() as i32);
    bench.clean(MISC, "doubles", [1, 1, 1], [64, 1, 1]);
    for (x, y) in x.iter().zip(bench.read::<f64>(y, x.len())) {
        let expected = (-x * x).exp() + (x.abs() + 1.0).ln() + x.abs().sqrt() / (1.0 + x * x);
        assert!((y - expected).abs() < 1e-14, "{x}: got {y}, expected {expected}");
    }
}

#[test]
fn philox_dropout() {
    let n = 250;
    let (seed, offset, p) = (0x1234_5678_9abc_def0u64, 77u64, 0.25f32);
    let mut bench = Bench::default();
    let x = bench.array("x", &vec![1f32; n]);
    bench.parameters().field(x).field(seed).field(offset).field(p).field(n as i32);
    bench.clean(MISC, "dropout", [1, 1, 1], [64, 1, 1]);
    let expected: Vec<f32> = (0..n)
        .map(|i| {
            let mut c = [(i / 4) as u32, 0, offset as u32, (offset >> 32) as u32];
            let mut k = [seed as u32, (seed >> 32) as u32];
            for _ in 0..10 {
                let a = u64::from(c[0]) * 0xD251_1F53;
                let b = u64::from(c[2]) * 0xCD9E_8D57;
                let high = [(b >> 32) as u32 ^ c[1] ^ k[0], (a >> 32) as u32 ^ c[3] ^ k[1]];
                c = [high[0], b as u32, high[1], a as u32];
                k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
            }
            let uniform = (c[i % 4] >> 8) as f32 / 16_777_216.0;
            if uniform >= p { 1.0 / (1.0 - p) } else { 0.0 }
        })
        .collect();
    assert_close(&bench.read(x, n), &expected, 1e-6);
}

#[test]
fn integer_arithmetic() {
    let a = [7i32, -7, 1_000_000, -2_000_000_000, 123, -1];
    let b = [3i32, 2, -77, 5, -9, 1];
    let mut bench = Bench::default();
    let (at, bt) = (bench.array("a", &a), bench.array("b", &b));
    let (y, z) = (bench.room::<i32>("y", 6), bench.room::<i64>("z", 6));
    bench.parameters().field(at).field(bt).field(y).field(z).field(6i32);
    bench.clean(MISC, "ints", [1, 1, 1], [32, 1, 1]);
    let (y, z) = (bench.read::<i32>(y, 6), bench.read::<i64>(z, 6));
    for i in 0..6 {
        let (a, b) = (a[i], b[i]);
        let (ua, ub) = (a as u32, b as u32);
        let bytes = u64::from(ua) | u64::from(ub) << 32;
        let byte = |n: u32| (bytes >> (8 * n)) as u8;
        let permuted = i32::from_le_bytes([byte(5), byte(7), byte(1), byte(3)]);
        let sum = [
            a / b,
            a % b,
            (ua / ub) as i32,
            -((ua % ub) as i32),
            a.count_ones() as i32,
            b.leading_zeros() as i32,
            a.reverse_bits(),
            b.trailing_zeros() as i32 + 1,
            ((i64::from(a) * i64::from(b)) >> 32) as i32,
            a.min(b) - a.max(b),
            a.abs(),
            permuted,
            (ub << 7 | ua >> 25) as i32,
            a >> 3,
            (ua >> 5) as i32,
        ];
        assert_eq!(y[i], sum.iter().fold(0i32, |s, x| s.wrapping_add(*x)), "of {a} and {b}");
        let (la, lb) = (i64::from(a) * i64::from(b), i64::from(b));
        let sum = [
            la / lb,
            la % 7,
            (la as u64 >> 3) as i64,
            i64::from(la.count_ones()),
            i64::from(lb.leading_zeros()),
            (a as f32 * 0.5) as i64,
            lb,
        ];
        assert_eq!(z[i], sum.iter().sum::<i64>(), "of {a} and {b}");
    }
}

#[test]
fn votes_and_matches() {
    let x: Vec<f32> = noise(64, 10).iter().map(|x| x * 4.0).collect();
    let mut bench = Bench::default();
    let (a, y) = (bench.array("x", &x), bench.room::<u32>("y", 64));
    bench.parameters().field(a).field(y).field(64i32);
    bench.clean(MISC, "votes", [1, 1, 1], [64, 1, 1]);
    let y = bench.read::<u32>(y, 64);
    for (warp, x) in x.chunks(32).enumerate() {
        let mask = |f: &dyn Fn(f32) -> bool| {
            x.iter().enumerate().fold(0u32, |mask, (lane, &x)| mask | u32::from(f(x)) << lane)
        };
        let positive = mask(&|x| x > 0.0);
        let any = u32::from(mask(&|x| x > 2.0) != 0);
        let all = u32::from(mask(&|x| x > -5.0) == u32::MAX);
        let sum: u32 = (0..32).map(|lane| warp as u32 * 32 + lane).sum();
        for (lane, &value) in x.iter().enumerate() {
            let same = mask(&|x| x as i32 == value as i32);
            let active = if value > 0.0 { positive } else { 0 };
            let expected = positive ^ any ^ all << 1 ^ same ^ active ^ sum;
            assert_eq!(y[warp * 32 + lane], expected, "warp {warp} lane {lane}");
        }
    }
}

#[test]
fn local_arrays_and_device_variables() {
    let x = noise(40, 11);
    let mut bench = Bench::default();
    let (a, y) = (bench.array("x", &x), bench.room::<f32>("y", 32));
    bench.parameters().field(a).field(y).field(40i32).field(9i32);
    bench.clean(MISC, "local_array", [1, 1, 1], [32, 1, 1]);
    let expected: Vec<f32> = (0..32)
        .map(|i| {
            let mut a: Vec<f32> =
                (0..16).map(|j| x[(i + j) % 40] * (1 << (j & 3)) as f32).collect();
            let k = (x[i] * 4.0) as i32 & 15;
            a[k as usize] += 3.0;
            (0..9).map(|j| a[(k + j) as usize & 15]).sum()
        })
        .collect();
    assert_close(&bench.read(y, 32), &expected, 1e-5);
}

#[test]
fn every_atomic() {
    let a: Vec<i32> = (0..64).map(|i| i * 37 % 101 - 50).collect();
    let mut bench = Bench::default();
    let at = bench.array("a", &a);
    let y = bench.array("y", &[0i32, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let z = bench.array("z", &[0i64, 0]);
    bench.parameters().field(at).field(at).field(y).field(z).field(64i32);
    let report = bench.run(MISC, "atomics", [1, 1, 1], [64, 1, 1]);
    // The kernel stores y[8] from every thread of the block.
    assert!(report.findings.iter().all(|f| f.kind == ptx_sim::Kind::GlobalRace), "{report:?}");
    let got = bench.read::<i32>(y, 10);
    let expected = [
        *a.iter().max().unwrap(),
        *a.iter().min().unwrap(),
        a.iter().fold(-1, |all, x| all & x),
        a.iter().fold(0, |all, x| all | x),
        a.iter().fold(0, |all, x| all ^ x),
        a[63],
        a[0],
        64,
        64,
        64,
    ];
    assert_eq!(got, expected);
    assert_eq!(bench.read::<i64>(z, 1)[0], a.iter().map(|&x| i64::from(x)).sum::<i64>());
    assert_eq!(bench.read::<f64>(z + 8, 1)[0], a.iter().map(|&x| f64::from(x)).sum::<f64>());
}

#[test]
fn bf16_product_by_mma() {
    let bf16 = |x: f32| (x.to_bits() >> 16) as u16;
    let value = |x: u16| f32::from_bits(u32::from(x) << 16);
    for [m, n, k] in [[64, 64, 32], [70, 72, 104], [33, 16, 8]] {
        let a: Vec<u16> = noise(m * k, 12).into_iter().map(bf16).collect();
        let b: Vec<u16> = noise(k * n, 13).into_iter().map(bf16).collect();
        for settings in all_settings() {
            let mut bench = Bench { settings, ..Bench::default() };
            let (at, bt) = (bench.array("a", &a), bench.array("b", &b));
            let c = bench.room::<f32>("c", m * n);
            bench.parameters().field(at).field(bt).field(c);
            bench.field(m as i32).field(n as i32).field(k as i32);
            let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1];
            bench.clean(MMA, "gemm_bf16", grid, [128, 1, 1]);
            let (a, b): (Vec<f32>, Vec<f32>) =
                (a.iter().map(|&x| value(x)).collect(), b.iter().map(|&x| value(x)).collect());
            assert_close(&bench.read(c, m * n), &product(&a, &b, [m, n, k]), 1e-5);
        }
    }
}
