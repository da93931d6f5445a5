//! Arrays beyond 2^32 words, of which only the touched pages exist, and grids of which only the corners run.

use ptx_sim::{Blocks, Error, Launch, Memory, Mode, Module, Settings, pattern, run};

/// More words than a 32-bit index reaches.
const WORDS: usize = (1 << 32) + 1000;

/// b[i] = 2 a[i], with one thread for each element; `index` computes the element in `%rd2`.
fn doubling(index: &str) -> Module {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 a, .param .u64 b)\n.maxntid 256, 1, 1\n{{\n\
         .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b64 %rd<9>;\n\
         ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b];\n\
         mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x;\n\
         {index}\n\
         shl.b64 %rd3, %rd2, 2; add.s64 %rd4, %rd0, %rd3; add.s64 %rd5, %rd1, %rd3;\n\
         ld.global.f32 %f0, [%rd4]; add.f32 %f1, %f0, %f0; st.global.f32 [%rd5], %f1;\n\
         ret;\n}}\n"
    );
    Module::parse(&text).unwrap()
}

/// Runs the corners of a grid over all words; gives the findings, and what was written.
fn corners(module: &Module) -> (Vec<String>, Vec<(u64, u32)>) {
    let mut memory = Memory::new();
    let a = memory.allocate_sparse(4 * WORDS, "a", 1);
    let b = memory.allocate_sparse(4 * WORDS, "b", 2);
    let parameters: Vec<u8> = [a, b].iter().flat_map(|at| at.to_le_bytes()).collect();
    let blocks = (WORDS / 8) as u32;
    let launch = Launch {
        grid: [blocks, 1, 1],
        block: [8, 1, 1],
        dynamic_shared: 0,
        parameters: &parameters,
    };
    let settings = Settings { mode: Mode::Values, blocks: Blocks::Corners, ..Settings::default() };
    let kernel = module.kernel("k").unwrap();
    let report = run(kernel, &launch, &mut memory, &settings).unwrap();
    let found = report.findings.iter().map(ToString::to_string).collect();
    (found, memory.written(b).unwrap())
}

#[test]
fn an_index_of_64_bits_reaches_the_corners() {
    let module =
        doubling("mul.wide.u32 %rd2, %r1, %r2; cvt.u64.u32 %rd6, %r0; add.s64 %rd2, %rd2, %rd6;");
    let (findings, written) = corners(&module);
    assert!(findings.is_empty(), "{findings:?}");
    let words = WORDS as u64;
    let middle = words / 8 / 2 * 8;
    let expected: Vec<u64> = [0, middle, words - 8].iter().flat_map(|&at| at..at + 8).collect();
    assert_eq!(written.iter().map(|&(at, _)| at).collect::<Vec<_>>(), expected);
    for (at, bits) in written {
        assert_eq!(f32::from_bits(bits), 2.0 * pattern(1, at), "word {at}");
    }
}

#[test]
fn an_index_of_32_bits_is_seen() {
    // Unsigned, the last block lands at the start of the array: only the written words show it.
    let (findings, written) =
        corners(&doubling("mad.lo.s32 %r3, %r1, %r2, %r0; cvt.u64.u32 %rd2, %r3;"));
    assert!(findings.is_empty() && written.iter().all(|&(at, _)| at < 1 << 32), "{findings:?}");
    // Signed, the middle block lands before the array.
    let (findings, _) = corners(&doubling("mad.lo.s32 %r3, %r1, %r2, %r0; cvt.s64.s32 %rd2, %r3;"));
    assert!(findings.iter().any(|finding| finding.contains("`a`")), "{findings:?}");
}

#[test]
fn what_large_runs_cannot_do_is_refused() {
    let module = doubling("cvt.u64.u32 %rd2, %r0;");
    let kernel = module.kernel("k").unwrap();
    let mut memory = Memory::new();
    let a = memory.allocate(4096, "a");
    let parameters: Vec<u8> = [a, a].iter().flat_map(|at| at.to_le_bytes()).collect();
    let mut launch =
        Launch { grid: [1; 3], block: [16, 32, 1], dynamic_shared: 0, parameters: &parameters };
    let refused = |memory: &mut Memory, launch: &Launch<'_>| {
        let Err(Error::Launch(what)) = run(kernel, launch, memory, &Settings::default()) else {
            panic!("it ran");
        };
        what
    };
    let what = refused(&mut memory, &launch);
    assert!(what.contains("512 threads, at most 256"), "{what}");
    launch.block = [256, 1, 1];
    assert!(memory.written(a).is_err());
    memory.allocate_sparse(1 << 35, "large", 0);
    let what = refused(&mut memory, &launch);
    assert!(what.contains("value mode"), "{what}");
}
