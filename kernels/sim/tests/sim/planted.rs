//! Kernels with one planted mistake each, which must give one finding of the right kind at the
//! right instruction; and the legal variant of each, which must give none.

use ptx_sim::{Kind, Memory, Mode, Module, Order, Report, Settings};

use crate::common::{Bench, assert_kinds, listed};

/// A kernel around a body. `%r0` is the thread, `%r1` the block, `%r4` the thread's word in shared
/// memory, `%rd0` and `%rd1` the arrays a and b, `%rd3` and `%rd4` the thread's words in them.
pub fn kernel(body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 a, .param .u64 b)\n{{\n\
         .reg .pred %p<9>; .reg .b32 %r<20>; .reg .f32 %f<9>; .reg .b64 %rd<20>;\n\
         .shared .align 16 .b8 s[1024];\n\
         ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b];\n\
         mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; shl.b32 %r2, %r0, 2;\n\
         mov.u32 %r3, s; add.s32 %r4, %r3, %r2; cvt.u64.u32 %rd2, %r2;\n\
         add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2;\n\
         {body}\nret;\n}}\n"
    )
}

/// Runs a body with 64 numbers in a and room for 64 in b.
fn report(body: &str, grid: u32, block: u32) -> Report {
    let mut bench = Bench::default();
    let a = bench.array("a", &(0..64).collect::<Vec<u32>>());
    let b = bench.room::<u32>("b", 64);
    bench.parameters().field(a).field(b);
    bench.run(&kernel(body), "k", [grid, 1, 1], [block, 1, 1])
}

/// Asserts one finding of a kind at an instruction, and its block and thread.
fn caught(body: &str, grid: u32, block: u32, kind: Kind, at: &str, place: (u32, u32)) {
    let report = report(body, grid, block);
    let found = report.findings.iter().find(|f| f.kind == kind && f.instruction == at);
    let found = found.unwrap_or_else(|| panic!("no {kind:?} at {at}:{}", listed(&report)));
    assert_eq!((found.block[0], found.thread[0]), place, "{found}");
    let others = report.findings.iter().all(|f| f.kind == kind);
    assert!(others, "more than {kind:?}:{}", listed(&report));
}

/// Asserts that a body is clean.
fn clean(body: &str, grid: u32, block: u32) {
    let report = report(body, grid, block);
    assert!(report.findings.is_empty(), "{}", listed(&report));
}

/// Reads the word of the thread 33 further on, which another warp has written.
const NEIGHBOUR: &str = "xor.b32 %r5, %r2, 128; add.s32 %r6, %r3, %r5; ld.shared.u32 %r7, [%r6];";

#[test]
fn missing_barrier_before_a_read() {
    let body = format!("st.shared.u32 [%r4], %r0; {NEIGHBOUR}");
    // Warp 0 runs first and reads uninitialised bytes; warp 1 writes where it read and reads where
    // it wrote.
    let report = report(&body, 1, 64);
    assert_kinds(&report, &[Kind::Uninitialised, Kind::SharedRace, Kind::SharedRace]);
    assert_eq!(report.findings[2].instruction, "ld.shared.u32 %r7, [%r6];");
    assert_eq!(report.findings[2].thread, [32, 0, 0]);
    clean(&format!("st.shared.u32 [%r4], %r0; bar.sync 0; {NEIGHBOUR}"), 1, 64);
}

#[test]
fn missing_barrier_before_a_write() {
    let start = "st.shared.u32 [%r4], %r0; bar.sync 0;";
    let write = "st.shared.u32 [%r4], %r7;";
    let body = format!("{start} {NEIGHBOUR} {write}");
    caught(&body, 1, 64, Kind::SharedRace, "ld.shared.u32 %r7, [%r6];", (0, 32));
    clean(&format!("{start} {NEIGHBOUR} bar.sync 0; {write}"), 1, 64);
}

#[test]
fn write_after_read_alone() {
    let body = "st.shared.u32 [%r4], %r0; bar.sync 0; ld.shared.u32 %r7, [s];
        setp.eq.u32 %p0, %r0, 40; @!%p0 bra $end; st.shared.u32 [s], %r7; $end:";
    caught(body, 1, 64, Kind::SharedRace, "st.shared.u32 [s], %r7;", (0, 40));
}

#[test]
fn missing_warp_barrier() {
    let read = "xor.b32 %r5, %r2, 4; add.s32 %r6, %r3, %r5; ld.shared.u32 %r7, [%r6];";
    let body = format!("st.shared.u32 [%r4], %r0; {read}");
    caught(&body, 1, 32, Kind::SharedRace, "ld.shared.u32 %r7, [%r6];", (0, 0));
    clean(&format!("st.shared.u32 [%r4], %r0; bar.warp.sync -1; {read}"), 1, 32);
}

#[test]
fn warp_barrier_does_not_order_warps() {
    let body = format!(
        "st.shared.u32 [%r4], %r0; bar.sync 0; st.shared.u32 [%r4], %r1; bar.warp.sync -1; {NEIGHBOUR}"
    );
    let report = report(&body, 1, 64);
    assert!(
        report.findings.iter().all(|f| f.kind == Kind::SharedRace) && !report.findings.is_empty()
    );
}

#[test]
fn shuffle_mask_names_absent_lanes() {
    let shuffle = "shfl.sync.bfly.b32 %r7|%p1, %r0, 1, 31, -1;";
    let body = format!("setp.ge.u32 %p0, %r0, 16; @%p0 bra $end; {shuffle} $end:");
    caught(&body, 1, 32, Kind::CollectiveMask, shuffle, (0, 0));
    let half = shuffle.replace("-1;", "65535;");
    clean(&format!("setp.ge.u32 %p0, %r0, 16; @%p0 bra $end; {half} $end:"), 1, 32);
}

#[test]
fn shuffle_mask_leaves_out_a_lane() {
    let shuffle = "shfl.sync.idx.b32 %r7|%p1, %r0, 0, 31, 1;";
    caught(shuffle, 1, 32, Kind::CollectiveMask, shuffle, (0, 1));
}

#[test]
fn shuffle_masks_differ() {
    let shuffle = "shfl.sync.idx.b32 %r7|%p1, %r0, %r0, 31, %r6;";
    let body = format!(
        "mov.u32 %r5, 1; shl.b32 %r5, %r5, %r0; or.b32 %r6, %r5, 3; and.b32 %r6, %r6, 7; \
         setp.gt.u32 %p0, %r0, 2; @%p0 bra $end; {shuffle} $end:"
    );
    caught(&body, 1, 32, Kind::CollectiveMask, shuffle, (0, 2));
}

#[test]
fn shuffle_from_an_idle_lane() {
    let shuffle = "shfl.sync.idx.b32 %r7|%p1, %r0, 20, 31, 65535;";
    let body = format!("setp.ge.u32 %p0, %r0, 16; @%p0 bra $end; {shuffle} $end:");
    caught(&body, 1, 32, Kind::InactiveLane, shuffle, (0, 0));
}

#[test]
fn vote_mask_names_ended_lanes() {
    let vote = "vote.sync.ballot.b32 %r7, %p0, -1;";
    let body = format!("setp.lt.u32 %p0, %r0, 31; @!%p0 ret; {vote}");
    caught(&body, 1, 32, Kind::CollectiveMask, vote, (0, 0));
}

#[test]
fn barrier_in_one_branch() {
    let branch = "setp.lt.u32 %p0, %r0, 16; @!%p0 bra $end; bar.sync 0; $end:";
    let body = format!("{branch} bar.sync 0; st.shared.u32 [%r4], %r0;");
    caught(&body, 1, 64, Kind::Barrier, "bar.sync 0;", (0, 16));
    // Threads that have ended count as present.
    clean(branch, 1, 64);
}

#[test]
fn barriers_at_different_places() {
    let body = "setp.lt.u32 %p0, %r0, 32; @!%p0 bra $else; bar.sync 0; bra $end; \
        $else: add.s32 %r5, %r0, 1; bar.sync 0; $end:";
    caught(body, 1, 64, Kind::Barrier, "bar.sync 0;", (0, 32));
}

#[test]
fn barriers_that_never_open() {
    let body = "setp.lt.u32 %p0, %r0, 32; @!%p0 bra $else; bar.sync 1; bra $end; \
        $else: bar.sync 2; $end:";
    caught(body, 1, 64, Kind::Barrier, "bar.sync 1;", (0, 0));
}

#[test]
fn read_behind_the_end() {
    caught(
        "ld.global.u32 %r5, [%rd3+4];",
        1,
        64,
        Kind::OutOfBounds,
        "ld.global.u32 %r5, [%rd3+4];",
        (0, 63),
    );
}

#[test]
fn write_before_the_start() {
    let at = "st.global.u32 [%rd4+-4], %r0;";
    caught(at, 1, 64, Kind::OutOfBounds, at, (0, 0));
}

#[test]
fn shared_read_behind_the_end() {
    let at = "ld.shared.u32 %r5, [%r4+1020];";
    caught(
        &format!("setp.eq.u32 %p0, %r0, 1; @!%p0 bra $end; {at} $end:"),
        1,
        32,
        Kind::OutOfBounds,
        at,
        (0, 1),
    );
}

#[test]
fn null_pointer() {
    let at = "ld.global.u32 %r5, [%rd9];";
    caught(&format!("mov.u64 %rd9, 0; {at}"), 1, 1, Kind::OutOfBounds, at, (0, 0));
}

#[test]
fn misaligned_vector() {
    let at = "ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd3];";
    caught(at, 1, 4, Kind::Misaligned, at, (0, 1));
}

#[test]
fn uninitialised_shared_read() {
    let at = "ld.shared.u32 %r5, [%r4];";
    caught(at, 1, 32, Kind::Uninitialised, at, (0, 0));
}

#[test]
fn shared_memory_is_fresh_for_each_block() {
    let at = "ld.shared.u32 %r5, [%r4];";
    let body =
        format!("setp.ne.u32 %p0, %r1, 0; @%p0 bra $read; st.shared.u32 [%r4], %r0; $read: {at}");
    caught(&body, 2, 32, Kind::Uninitialised, at, (1, 0));
}

#[test]
fn uninitialised_global_read() {
    let at = "ld.global.u32 %r5, [%rd4];";
    caught(at, 1, 32, Kind::Uninitialised, at, (0, 0));
}

/// Copies 16 bytes of a into shared memory, asynchronously, and commits.
const COPY: &str = "shl.b32 %r5, %r0, 4; add.s32 %r6, %r3, %r5; cvt.u64.u32 %rd5, %r5; \
    add.s64 %rd6, %rd0, %rd5; cp.async.cg.shared.global [%r6], [%rd6], 16; cp.async.commit_group;";

#[test]
fn missing_wait_for_a_copy() {
    let at = "ld.shared.u32 %r7, [%r6];";
    caught(&format!("{COPY} {at}"), 1, 16, Kind::AsyncPending, at, (0, 0));
    caught(&format!("{COPY} cp.async.wait_group 1; {at}"), 1, 16, Kind::AsyncPending, at, (0, 0));
    clean(&format!("{COPY} cp.async.wait_group 0; {at}"), 1, 16);
    clean(&format!("{COPY} cp.async.wait_all; {at}"), 1, 16);
}

#[test]
fn waited_copy_without_a_barrier() {
    let at = "ld.shared.u32 %r7, [s];";
    caught(&format!("{COPY} cp.async.wait_all; {at}"), 1, 16, Kind::SharedRace, at, (0, 1));
    clean(&format!("{COPY} cp.async.wait_all; bar.sync 0; {at}"), 1, 16);
}

#[test]
fn copies_in_two_stages() {
    let second = "cp.async.cg.shared.global [%r6+256], [%rd6], 16; cp.async.commit_group;";
    let body =
        format!("{COPY} {second} cp.async.wait_group 1; bar.sync 0; ld.shared.u32 %r7, [s];");
    clean(&format!("{body} cp.async.wait_group 0; bar.sync 0; ld.shared.u32 %r7, [s+256];"), 1, 16);
    let at = "ld.shared.u32 %r7, [s+256];";
    caught(&format!("{body} {at}"), 1, 16, Kind::AsyncPending, at, (0, 0));
}

#[test]
fn scatter_without_atomics() {
    let body = "and.b32 %r5, %r0, 7; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd6, %rd0, %rd5;
        ld.global.u32 %r6, [%rd6]; add.s32 %r6, %r6, %r0; st.global.u32 [%rd6], %r6;";
    let report = report(body, 1, 32);
    assert_kinds(&report, &[Kind::GlobalRace, Kind::LaneRace]);
    assert_eq!(report.findings[0].instruction, "st.global.u32 [%rd6], %r6;");
    clean("red.global.add.u32 [%rd0], %r0;", 3, 32);
}

#[test]
fn scatter_between_blocks() {
    let at = "st.global.u32 [%rd4], %r0;";
    caught(at, 2, 32, Kind::GlobalRace, at, (1, 0));
}

#[test]
fn atomic_against_plain_read() {
    let body = "red.global.add.u32 [%rd0], 1; ld.global.u32 %r5, [%rd0];";
    caught(body, 2, 32, Kind::GlobalRace, "ld.global.u32 %r5, [%rd0];", (0, 0));
}

#[test]
fn bytes_of_one_word() {
    let own = "add.s32 %r5, %r3, %r0; st.shared.u8 [%r5], %r0;";
    clean(own, 1, 64);
    let at = "st.shared.u32 [s], %r0;";
    let body = format!("{own} setp.eq.u32 %p0, %r0, 0; @!%p0 bra $end; {at} $end:");
    caught(&body, 1, 32, Kind::SharedRace, at, (0, 0));
}

#[test]
fn lanes_that_write_one_word() {
    clean("st.global.u32 [%rd1], 5;", 1, 32);
    let at = "st.global.u32 [%rd1], %r0;";
    caught(at, 1, 32, Kind::LaneRace, at, (0, 1));
    assert!(Kind::LaneRace.is_mild() && !Kind::GlobalRace.is_mild());
}

#[test]
fn plain_read_before_a_compare_and_swap() {
    let swap = |read: &str| {
        format!(
            "{read} %r5, [%rd0]; $again: add.s32 %r6, %r5, 1; \
             atom.global.cas.b32 %r7, [%rd0], %r5, %r6; setp.ne.s32 %p0, %r7, %r5; \
             mov.u32 %r5, %r7; @%p0 bra $again;"
        )
    };
    caught(&swap("ld.global.u32"), 2, 32, Kind::GuessRace, "ld.global.u32 %r5, [%rd0];", (1, 0));
    clean(&swap("ld.relaxed.gpu.global.u32"), 2, 32);
    // A read of another address is no guess.
    let other = swap("ld.global.u32").replacen("[%rd0]", "[%rd0+4]", 1);
    let body = format!("{other} red.global.add.u32 [%rd0+4], 1;");
    assert_kinds(&report(&body, 2, 1), &[Kind::GlobalRace; 2]);
}

#[test]
fn stale_read_of_what_the_launch_wrote() {
    let at = "ld.global.nc.u32 %r5, [%rd3];";
    caught(&format!("st.global.u32 [%rd3], %r0; {at}"), 1, 32, Kind::StaleRead, at, (0, 0));
    clean(at, 1, 32);
}

#[test]
fn overrun_into_the_next_shared_array() {
    let text = |index: &str| {
        format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n\
             .reg .b32 %r<9>; .shared .align 4 .b8 one[128]; .shared .align 4 .b8 two[128];\n\
             mov.u32 %r0, %tid.x; add.s32 %r1, %r0, {index}; shl.b32 %r2, %r1, 2;\n\
             mov.u32 %r3, one; add.s32 %r4, %r3, %r2; st.shared.u32 [%r4], %r0;\n\
             mov.u32 %r5, two; add.s32 %r6, %r5, %r2; st.shared.u32 [%r6], %r0;\nret;\n}}\n"
        )
    };
    let inside = Bench::default().run(&text("0"), "k", [1; 3], [32, 1, 1]);
    assert_kinds(&inside, &[]);
    let beyond = Bench::default().run(&text("1"), "k", [1; 3], [32, 1, 1]);
    assert_kinds(&beyond, &[Kind::OutOfBounds; 2]);
    let message = &beyond.findings[0].message;
    assert!(message.contains("byte 128 of `one`") && message.contains("inside `two`"), "{message}");
    assert_eq!(beyond.findings[0].thread, [31, 0, 0]);
}

#[test]
fn load_that_faults_gives_zero() {
    let body = "mov.u32 %r5, 7; ld.global.u32 %r5, [%rd0+4096]; st.global.u32 [%rd4], %r5;";
    let mut bench = Bench::default();
    let a = bench.array("a", &[1u32]);
    let b = bench.array("b", &[9u32]);
    bench.parameters().field(a).field(b);
    let report = bench.run(&kernel(body), "k", [1; 3], [1; 3]);
    assert_kinds(&report, &[Kind::OutOfBounds]);
    assert_eq!(bench.read::<u32>(b, 1), [0]);
}

/// Every block waits for the one before it, in any order of blocks, in both modes.
#[test]
fn blocks_wait_for_their_neighbours() {
    let body = "setp.eq.u32 %p0, %r1, 0; mul.wide.u32 %rd5, %r1, 4; add.s64 %rd6, %rd1, %rd5; \
        mov.u32 %r5, 0; @%p0 bra $go; \
        $wait: ld.acquire.gpu.global.u32 %r5, [%rd6+-4]; setp.eq.u32 %p1, %r5, 0; @%p1 bra $wait; \
        $go: add.u32 %r5, %r5, 1; st.release.gpu.global.u32 [%rd6], %r5;";
    for mode in [Mode::Checked, Mode::Values] {
        for order in [Order::Forward, Order::Reversed, Order::Seeded(3)] {
            let settings = Settings { mode, order, step_limit: 10_000_000, ..Settings::default() };
            let mut bench = Bench { settings, ..Bench::default() };
            let (a, b) = (bench.array("a", &[0u32]), bench.array("b", &[0u32; 40]));
            bench.parameters().field(a).field(b);
            let report = bench.run(&kernel(body), "k", [40, 1, 1], [1; 3]);
            assert_kinds(&report, &[]);
            assert_eq!(bench.read::<u32>(b, 40), (1..=40).collect::<Vec<u32>>());
        }
    }
}

#[test]
fn blocks_that_depend_on_their_order() {
    let body = "setp.eq.u32 %p0, %r1, 0; @!%p0 bra $read; st.global.u32 [%rd3], %r0; bra $end; \
        $read: ld.global.u32 %r5, [%rd3]; $end:";
    for (order, at, block) in [
        (Order::Forward, "ld.global.u32 %r5, [%rd3];", 1),
        (Order::Reversed, "st.global.u32 [%rd3], %r0;", 0),
    ] {
        let mut bench =
            Bench { settings: Settings { order, ..Settings::default() }, ..Bench::default() };
        let a = bench.array("a", &[0u32; 32]);
        bench.parameters().field(a).field(a);
        let report = bench.run(&kernel(body), "k", [2, 1, 1], [32, 1, 1]);
        assert_kinds(&report, &[Kind::GlobalRace]);
        assert_eq!(
            (report.findings[0].instruction.as_str(), report.findings[0].block[0]),
            (at, block)
        );
    }
}

/// Each block writes its word and the last one by a ticket reads all.
fn last_block(release: &str, acquire: &str) -> Report {
    let body = format!(
        "mul.wide.u32 %rd5, %r1, 4; add.s64 %rd6, %rd1, %rd5; st.global.u32 [%rd6], %r1; {release} \
         atom.global.add.u32 %r5, [%rd0], 1; setp.ne.u32 %p0, %r5, 3; @%p0 bra $end; {acquire} \
         ld.global.u32 %r6, [%rd1]; ld.global.u32 %r7, [%rd1+4]; $end:"
    );
    report(&body, 4, 1)
}

#[test]
fn last_block_needs_both_fences() {
    for fence in ["membar.gl;", "fence.acq_rel.gpu;", "fence.sc.sys;"] {
        assert_kinds(&last_block(fence, fence), &[]);
        let unfenced = last_block("", fence);
        assert_kinds(&unfenced, &[Kind::GlobalRace, Kind::GlobalRace]);
        assert_eq!(unfenced.findings[0].block, [3, 0, 0]);
        let unfenced = last_block(fence, "");
        assert_kinds(&unfenced, &[Kind::GlobalRace, Kind::GlobalRace]);
        assert!(unfenced.findings[0].message.contains("not acquired"), "{}", listed(&unfenced));
    }
    assert_kinds(&last_block("membar.cta;", "membar.gl;"), &[Kind::GlobalRace; 2]);
}

#[test]
fn freed_memory() {
    let mut memory = Memory::new();
    let a = memory.allocate(128, "a");
    memory.free(a).unwrap();
    let module = Module::parse(&kernel("ld.global.u32 %r5, [%rd3];")).unwrap();
    let parameters: Vec<u8> = [a, a].iter().flat_map(|a| a.to_le_bytes()).collect();
    let launch = ptx_sim::Launch {
        grid: [1; 3],
        block: [32, 1, 1],
        dynamic_shared: 0,
        parameters: &parameters,
    };
    let kernel = module.kernel("k").unwrap();
    let report = ptx_sim::run(kernel, &launch, &mut memory, &Settings::default()).unwrap();
    assert_kinds(&report, &[Kind::Freed]);
    assert!(memory.free(a).is_err() && memory.write(a, &[0]).is_err());
}

#[test]
fn endless_loop() {
    let mut memory = Memory::new();
    let module = Module::parse(&kernel("$again: bra $again;")).unwrap();
    let launch =
        ptx_sim::Launch { grid: [1; 3], block: [1; 3], dynamic_shared: 0, parameters: &[0; 16] };
    let settings = Settings { step_limit: 1000, ..Settings::default() };
    let error = ptx_sim::run(module.kernel("k").unwrap(), &launch, &mut memory, &settings);
    assert!(matches!(error, Err(ptx_sim::Error::StepLimit { limit: 1000, .. })));
}

#[test]
fn lines_are_counted() {
    let report = report("add.s32 %r5, %r0, 1; st.shared.u32 [%r4], %r5;", 2, 40);
    let total = report.counters.total;
    assert_eq!(total.shared_wavefronts, 4);
    assert!(total.active_share() < 0.7 && total.active_share() > 0.6, "{total:?}");
    // Words 32 apart share a bank.
    let report = self::report(
        "shl.b32 %r5, %r0, 7; and.b32 %r5, %r5, 1023; add.s32 %r6, %r3, %r5; \
        st.shared.u32 [%r6], 1;",
        1,
        8,
    );
    assert_eq!(report.counters.total.shared_wavefronts, 8);
    let report = self::report("ld.global.u32 %r5, [%rd3];", 1, 64);
    assert_eq!(report.counters.total.global_sectors, 8);
}

#[test]
fn call_sites_are_named() {
    let text = kernel(
        "\n.loc 1 40 5\nmov.u32 %r5, 0;\n\
         .loc 1 12 3, function_name $L__info_string0, inlined_at 1 40 5\nmov.u32 %r5, 0;\n\
         .loc 2 25 3, function_name $L__info_string1, inlined_at 1 12 3\n\
         st.global.u32 [%rd3+400], %r5;\n.loc 1 41 5\nst.global.u32 [%rd3+404], %r5;\n",
    ) + ".file 1 \"kernel.cu\"\n.file 2 \"helper.cuh\"\n.section .debug_str { .b8 95,0 }\n";
    let mut bench = Bench::default();
    let a = bench.room::<u32>("a", 32);
    bench.parameters().field(a).field(a);
    let report = bench.run(&text, "k", [1; 3], [1; 3]);
    assert_kinds(&report, &[Kind::OutOfBounds, Kind::OutOfBounds]);
    let [inlined, outer] = report.findings.as_slice() else { panic!("two findings") };
    let at = |file: &str, line| (file.to_owned(), line);
    assert_eq!(inlined.line, Some(at("helper.cuh", 25)));
    assert_eq!(inlined.calls, [at("kernel.cu", 12), at("kernel.cu", 40)]);
    let text = inlined.to_string();
    let part = " at helper.cuh:25, called at kernel.cu:12, called at kernel.cu:40, block";
    assert!(text.contains(part), "{text}");
    assert!(outer.line == Some(at("kernel.cu", 41)) && outer.calls.is_empty(), "{outer}");
}
