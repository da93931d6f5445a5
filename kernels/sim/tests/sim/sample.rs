//! What single blocks of a launch do.

use crate::common::{Bench, noise};
use ptx_sim::{Launch, Mode, Module, Settings, Unit, Work, sample};

const SGEMM: &str = include_str!("../ptx/sgemm.ptx");
const VALUES: Settings = Settings {
    mode: Mode::Values,
    order: ptx_sim::Order::Forward,
    warps: ptx_sim::Order::Forward,
    blocks: ptx_sim::Blocks::All,
    step_limit: 1_000_000_000,
    perturb: None,
};

/// Runs blocks of a kernel.
fn works(
    bench: &mut Bench,
    text: &str,
    launched: (&str, [u32; 3], u32),
    which: &[u32],
) -> Vec<Work> {
    let (name, grid, threads) = launched;
    let module = Module::parse(text).unwrap();
    let kernel = module.kernel(name).unwrap();
    bench.parameters.resize(kernel.parameter_bytes(), 0);
    let launch =
        Launch { grid, block: [threads, 1, 1], dynamic_shared: 0, parameters: &bench.parameters };
    sample(kernel, &launch, &mut bench.memory, &VALUES, which).unwrap()
}

/// The kernel `k` with these instructions and two pointers as arguments.
fn kernel(body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 a, .param .u64 b)\n{{\n\
         .reg .pred %p<9>; .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b64 %rd<9>;\n\
         .shared .align 16 .b8 s[4096];\n\
         ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b];\n{body}\nret;\n}}\n"
    )
}

/// The work of the one block of a kernel of 32 threads on two arrays of 1,024 numbers.
fn work(body: &str) -> Work {
    let mut bench = Bench::default();
    let arrays = ["a", "b"].map(|label| bench.array(label, &noise(1024, 1)));
    bench.parameters().field(arrays[0]).field(arrays[1]);
    works(&mut bench, &kernel(body), ("k", [1; 3], 32), &[0]).remove(0)
}

#[test]
fn the_blocks_of_a_product_do_what_a_checked_run_counts() {
    let size = 192u32;
    let mut bench = Bench::default();
    let count = (size * size) as usize;
    let (a, b) = (bench.array("a", &noise(count, 1)), bench.array("b", &noise(count, 2)));
    let c = bench.room::<f32>("c", count);
    bench.parameters().field(a).field(b).field(c);
    (0..3).for_each(|_| {
        bench.field(size);
    });
    let whole = bench.clean(SGEMM, "sgemm", [3, 3, 1], [256, 1, 1]).counters.total;
    let works = works(&mut bench, SGEMM, ("sgemm", [3, 3, 1], 256), &[8, 0, 1, 2, 3, 4, 5, 6, 7]);
    let sum = |f: fn(&Work) -> u64| works.iter().map(f).sum::<u64>();
    assert_eq!(sum(|work| work.warp_instructions), whole.warp_instructions);
    assert_eq!(sum(|work| work.global_sectors), whole.global_sectors);
    assert_eq!(sum(|work| work.shared_wavefronts), whole.shared_wavefronts);
    assert_eq!(sum(|work| work.flops), 2 * u64::from(size).pow(3));
    assert_eq!(works[0].barriers, 2 * u64::from(size) / 16);
    // A tile of 64 rows and columns reads 64 x 192 numbers of each operand, once.
    let read = u64::from(64 * size / 8);
    let touched: Vec<_> =
        works[4].touched.iter().map(|t| (t.allocation, t.read, t.written)).collect();
    assert_eq!(touched, [(a, read, 0), (b, read, 0), (c, 0, 64 * 64 / 8)]);
    let product = 8 * 64 * 64 * u64::from(size) / 256;
    assert_eq!(works[0].issued[Unit::Float as usize], product);
}

#[test]
fn machine_instructions_are_those_of_the_assembler() {
    let issued = |body: &str| {
        let work = work(body);
        Unit::ALL.map(|unit| work.issued[unit as usize])
    };
    // `ret` is one instruction of control; parameters, copies and address conversions are none.
    let base = "mov.u32 %r0, %tid.x; mov.u32 %r1, %r0; cvt.u64.u32 %rd2, %r1;";
    assert_eq!(issued(base), [0, 0, 0, 0, 0, 0, 0, 1]);
    let index = "mov.u32 %r0, %tid.x; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2;";
    assert_eq!(issued(index), [0, 1, 0, 0, 0, 0, 0, 1], "one IMAD.WIDE");
    let twice = "mov.u32 %r0, %tid.x; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2; \
                 add.s64 %rd4, %rd1, %rd2;";
    assert_eq!(issued(twice), [0, 1, 4, 0, 0, 0, 0, 1], "both sums read the product");
    let long = "add.s64 %rd2, %rd0, %rd1; add.s64 %rd3, %rd2, %rd0; xor.b64 %rd4, %rd3, %rd1;";
    assert_eq!(
        issued(long),
        [0, 0, 4, 0, 0, 0, 0, 1],
        "one sum of three, one logic, two halves each"
    );
    let float = "mov.f32 %f0, 0f3F800000; fma.rn.f32 %f1, %f0, %f0, %f0; \
                 ex2.approx.ftz.f32 %f2, %f1; neg.f32 %f3, %f2; max.f32 %f4, %f3, %f1;";
    assert_eq!(issued(float), [1, 0, 1, 0, 1, 0, 0, 1]);
}

#[test]
fn the_critical_path_waits_for_operands_and_barriers() {
    let chain = |links: usize, chains: usize| {
        let mut body = String::from("mov.f32 %f0, 0f3F800000; mov.f32 %f1, %f0; mov.f32 %f2, %f0;");
        for _ in 0..links {
            (0..chains)
                .for_each(|c| body.push_str(&format!("fma.rn.f32 %f{c}, %f{c}, %f{c}, %f{c};")));
        }
        work(&body).critical_path
    };
    // Each link waits 5 cycles for the one before: its own issue, and 4 until the result can be read.
    assert_eq!(chain(200, 1) - chain(100, 1), 500);
    assert_eq!(chain(200, 3) - chain(100, 3), 500, "independent chains fill the gaps");
    let load = "mov.u32 %r0, %tid.x; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2; \
                ld.global.f32 %f0, [%rd3];";
    let unused = work(load).critical_path;
    let used = work(&format!("{load} add.f32 %f1, %f0, %f0;")).critical_path;
    let again = work(&format!("{load} ld.global.f32 %f1, [%rd3]; add.f32 %f2, %f1, %f1;"));
    assert!(unused < 20 && used > 500, "{unused} {used}");
    assert!((20..60).contains(&again.critical_path), "a second load hits the cache: {again:?}");
    assert_eq!((again.global_sectors, again.global_wavefronts), (8, 2));
    assert_eq!(again.touched.iter().map(|t| t.read).sum::<u64>(), 4);
    let barriers = work("bar.sync 0; bar.sync 0; bar.sync 0;");
    assert_eq!(barriers.barriers, 3);
    assert!((60..80).contains(&barriers.critical_path), "{barriers:?}");
}

#[test]
fn shared_memory_counts_conflicts() {
    let stride = |shift: u32| {
        let body = format!(
            "mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, {shift}; mov.u32 %r2, s; add.u32 %r3, %r2, %r1; \
             st.shared.u32 [%r3], %r0; ld.shared.u32 %r4, [%r3];"
        );
        work(&body).shared_wavefronts
    };
    assert_eq!([2, 3, 5, 7].map(stride), [2, 4, 16, 64]);
}

#[test]
fn a_block_outside_the_grid_and_a_mistake_are_errors() {
    let module = Module::parse(&kernel("st.global.f32 [%rd0+8192], %f0;")).unwrap();
    let kernel = module.kernel("k").unwrap();
    let mut bench = Bench::default();
    let a = bench.array("a", &noise(1024, 1));
    bench.parameters().field(a).field(a);
    let launch = Launch {
        grid: [2, 1, 1],
        block: [32, 1, 1],
        dynamic_shared: 0,
        parameters: &bench.parameters,
    };
    let mut refused = |blocks: &[u32]| {
        sample(kernel, &launch, &mut bench.memory, &VALUES, blocks).unwrap_err().to_string()
    };
    let outside = refused(&[1, 2]);
    assert!(outside.contains("got block 2, expected one of 2"), "{outside}");
    let mistake = refused(&[1]);
    assert!(mistake.contains("OutOfBounds"), "{mistake}");
}
