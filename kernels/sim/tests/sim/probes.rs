//! Pairs of probe kernels that differ by one instruction: one with a mistake, one without. Each runs under several orders
//! of blocks and warps, which must not change the verdict.

use ptx_sim::Kind::{self, *};
use ptx_sim::{Order, Report, Settings};

use crate::common::{Bench, listed};
use crate::planted::kernel;

/// A kernel with `$` in place of the instruction that decides.
struct Probe {
    item: &'static str,
    /// Blocks, and threads of a block.
    launch: (u32, u32),
    body: &'static str,
    /// The instruction with which it is clean.
    right: &'static str,
    /// Instructions with which it has a mistake.
    wrong: &'static [&'static str],
    kind: Kind,
    /// Kinds that a mistake may have besides, in some order.
    besides: &'static [Kind],
}

/// Block 0 writes b and a flag; block 1 waits for the flag and reads b.
const MESSAGE: &str = "setp.ne.u32 %p0, %r1, 0; @%p0 bra $wait; st.global.u32 [%rd1], 7; @release \
    st.relaxed.gpu.global.u32 [%rd0], 1; bra $end; \
    $wait: ld.relaxed.gpu.global.u32 %r5, [%rd0]; setp.eq.u32 %p1, %r5, 0; @%p1 bra $wait; @acquire \
    ld.global.u32 %r6, [%rd1]; $end:";
/// Warp 0 writes a word and a flag in shared memory; warp 1 waits for the flag and reads the word.
const WARPS: &str = "setp.ne.u32 %p0, %r0, 0; @%p0 bra $go; st.shared.u32 [s], 0; $go: bar.sync 0; \
    setp.eq.u32 %p0, %r0, 0; setp.eq.u32 %p1, %r0, 32; @%p1 bra $wait; @!%p0 bra $end; \
    st.shared.u32 [s+128], 7; @release st.volatile.shared.u32 [s], 1; bra $end; \
    $wait: ld.volatile.shared.u32 %r5, [s]; setp.eq.u32 %p2, %r5, 0; @%p2 bra $wait; @acquire \
    ld.shared.u32 %r6, [s+128]; $end:";
/// Warp 1 of each block writes; thread 0 takes a ticket, and that of the last block reads what both have written.
const TICKET: &str = "setp.lt.u32 %p0, %r0, 32; @%p0 bra $go; and.b32 %r5, %r0, 31; shl.b32 %r6, %r1, 5; \
    add.u32 %r5, %r5, %r6; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd6, %rd1, %rd5; st.global.u32 [%rd6], %r0; \
    $go: @fence @barrier setp.ne.u32 %p0, %r0, 0; @%p0 bra $end; atom.global.add.u32 %r7, [%rd0], 1; \
    setp.ne.u32 %p1, %r7, 1; @%p1 bra $end; @acquire ld.global.u32 %r8, [%rd1]; \
    ld.global.u32 %r8, [%rd1+128]; $end:";

const PROBES: &[Probe] = &[
    Probe {
        item: "release before a flag",
        launch: (2, 1),
        body: MESSAGE,
        right: "release: fence.acq_rel.gpu; acquire: fence.acq_rel.gpu;",
        wrong: &[
            "release: acquire: fence.acq_rel.gpu;",
            "release: fence.acq_rel.cta; acquire: fence.acq_rel.gpu;",
        ],
        kind: GlobalRace,
        besides: &[],
    },
    Probe {
        item: "acquire after a flag",
        launch: (2, 1),
        body: MESSAGE,
        right: "release: membar.gl; acquire: membar.sys;",
        wrong: &["release: membar.gl; acquire:", "release: membar.gl; acquire: membar.cta;"],
        kind: GlobalRace,
        besides: &[],
    },
    Probe {
        item: "fences that order warps",
        launch: (1, 64),
        body: WARPS,
        right: "release: membar.cta; acquire: membar.cta;",
        wrong: &["release: acquire: membar.cta;", "release: membar.cta; acquire:"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "ticket: fence, then barrier",
        launch: (2, 64),
        body: TICKET,
        right: "fence: membar.gl; barrier: bar.sync 0; acquire: membar.gl;",
        wrong: &[
            "fence: barrier: bar.sync 0; acquire: membar.gl;",
            "fence: membar.gl; barrier: acquire: membar.gl;",
            "fence: membar.gl; barrier: bar.sync 0; acquire:",
            "fence: membar.cta; barrier: bar.sync 0; acquire: membar.gl;",
        ],
        kind: GlobalRace,
        besides: &[Uninitialised],
    },
    Probe {
        item: "strong read against a write",
        launch: (2, 1),
        body: "setp.ne.u32 %p0, %r1, 0; @%p0 bra $read; $ bra $end; \
            $read: ld.relaxed.gpu.global.u32 %r5, [%rd0]; $end:",
        right: "st.relaxed.gpu.global.u32 [%rd0], 1;",
        wrong: &["st.global.u32 [%rd0], 1;", "st.relaxed.cta.global.u32 [%rd0], 1;"],
        kind: GlobalRace,
        besides: &[],
    },
    Probe {
        item: "atomics of a scope",
        launch: (2, 32),
        body: "$",
        right: "atom.gpu.global.add.u32 %r5, [%rd0], 1;",
        wrong: &["atom.cta.global.add.u32 %r5, [%rd0], 1;"],
        kind: GlobalRace,
        besides: &[],
    },
    Probe {
        item: "third reader",
        launch: (1, 96),
        body: "setp.ne.u32 %p0, %r0, 0; @%p0 bra $go; st.shared.u32 [s], 1; $go: bar.sync 0; \
            ld.shared.u32 %r5, [s]; $ @%p0 bra $end; st.shared.u32 [s], 2; $end:",
        right: "bar.sync 0;",
        wrong: &["", "bar.warp.sync -1;", "membar.cta;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "third reader of a row",
        launch: (1, 128),
        body: "st.shared.u32 [%r4], %r0; bar.sync 0; and.b32 %r5, %r2, 127; add.u32 %r6, %r3, %r5; \
            ld.shared.u32 %r7, [%r6]; $ setp.ne.u32 %p0, %r0, 5; @%p0 bra $end; \
            st.shared.u32 [s+36], 2; $end:",
        right: "bar.sync 0;",
        wrong: &["", "bar.warp.sync -1;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "row read again after a write",
        launch: (1, 128),
        body: "st.shared.u32 [%r4], %r0; bar.sync 0; and.b32 %r5, %r2, 127; add.u32 %r6, %r3, %r5; \
            ld.shared.u32 %r7, [%r6]; bar.sync 0; setp.ne.u32 %p0, %r0, 70; @%p0 bra $go; \
            st.shared.u32 [s+36], 2; $go: $ ld.shared.u32 %r7, [%r6];",
        right: "bar.sync 0;",
        wrong: &["", "membar.cta;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "row read by one warp in the next phase",
        launch: (1, 128),
        body: "st.shared.u32 [%r4], %r0; bar.sync 0; and.b32 %r5, %r2, 127; add.u32 %r6, %r3, %r5; \
            ld.shared.u32 %r7, [%r6]; bar.sync 0; setp.lt.u32 %p1, %r0, 96; @%p1 bra $skip; \
            ld.shared.u32 %r7, [%r6]; $skip: $ setp.ne.u32 %p0, %r0, 70; @%p0 bra $end; \
            st.shared.u32 [s+36], 2; $end:",
        right: "bar.sync 0;",
        wrong: &["", "bar.warp.sync -1;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "barrier of a part of the block",
        launch: (1, 96),
        body: "st.shared.u32 [%r4], %r0; setp.ge.u32 %p0, %r0, 64; @%p0 bra $third; bar.sync 1, 64; \
            xor.b32 %r5, %r2, 128; add.s32 %r6, %r3, %r5; ld.shared.u32 %r7, [%r6]; bra $end; $third: $ $end:",
        right: "ld.shared.u32 %r7, [%r4];",
        wrong: &["ld.shared.u32 %r7, [s];", "membar.cta; ld.shared.u32 %r7, [s+128];"],
        kind: SharedRace,
        besides: &[Uninitialised],
    },
    Probe {
        item: "arrival without waiting",
        launch: (1, 64),
        body: "setp.ge.u32 %p0, %r0, 32; @%p0 bra $second; st.shared.u32 [%r4], %r0; bar.arrive 1, 64; \
            bra $end; $second: $ ld.shared.u32 %r7, [s]; $end:",
        right: "bar.sync 1, 64;",
        wrong: &["bar.arrive 1, 64;"],
        kind: SharedRace,
        besides: &[Uninitialised],
    },
    Probe {
        item: "early exit before a barrier",
        launch: (1, 64),
        body: "setp.ge.u32 %p0, %r0, 32; $ bar.sync 0; bra $end; $other: bar.sync 0; $end:",
        right: "@%p0 ret;",
        wrong: &["@%p0 bra $other;"],
        kind: Barrier,
        besides: &[],
    },
    Probe {
        item: "lanes that write one word",
        launch: (1, 32),
        body: "st.shared.u32 [s], $;",
        right: "5",
        wrong: &["%r0", "%r2"],
        kind: LaneRace,
        besides: &[],
    },
    Probe {
        item: "read before a compare-and-swap",
        launch: (1, 64),
        body: "setp.ne.u32 %p0, %r0, 0; @%p0 bra $go; st.shared.u32 [s], 0; $go: bar.sync 0; \
            and.b32 %r5, %r0, 31; setp.ne.u32 %p0, %r5, 0; @%p0 bra $end; $ %r5, [s]; \
            $again: add.s32 %r6, %r5, 1; atom.shared.cas.b32 %r7, [s], %r5, %r6; \
            setp.ne.s32 %p1, %r7, %r5; mov.u32 %r5, %r7; @%p1 bra $again; $end:",
        right: "ld.volatile.shared.u32",
        wrong: &["ld.shared.u32"],
        kind: GuessRace,
        besides: &[],
    },
    Probe {
        item: "atomics of a block, then a read",
        launch: (1, 64),
        body: "setp.ne.u32 %p0, %r0, 0; @%p0 bra $go; st.shared.u32 [s], 0; $go: bar.sync 0; \
            red.shared.add.u32 [s], 1; $ ld.shared.u32 %r5, [s];",
        right: "bar.sync 0;",
        wrong: &["", "bar.warp.sync -1;", "membar.cta;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "sum over a warp without its barrier",
        launch: (1, 32),
        body: "st.shared.u32 [%r4], %r0; bar.sync 0; setp.lt.u32 %p0, %r0, 16; setp.lt.u32 %p1, %r0, 8; \
            @%p0 ld.shared.u32 %r5, [%r4+64]; @%p0 st.shared.u32 [%r4], %r5; $ \
            @%p1 ld.shared.u32 %r6, [%r4+32];",
        right: "bar.warp.sync -1;",
        wrong: &["", "membar.cta;"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "two buffers",
        launch: (1, 64),
        body: "xor.b32 %r5, %r2, 128; add.s32 %r6, %r3, %r5; st.shared.u32 [%r4], %r0; bar.sync 0; \
            ld.shared.u32 %r7, [%r6]; st.shared.u32 [%r4+$], %r0; bar.sync 0; ld.shared.u32 %r7, [%r6+$];",
        right: "512",
        wrong: &["0"],
        kind: SharedRace,
        besides: &[],
    },
    Probe {
        item: "non-coherent load",
        launch: (1, 32),
        body: "st.global.u32 [%rd4], %r0; ld.global.nc.u32 %r5, [$];",
        right: "%rd3",
        wrong: &["%rd4"],
        kind: StaleRead,
        besides: &[],
    },
    Probe {
        item: "load behind the end",
        launch: (1, 1),
        body: "ld.global.u32 %r5, [%rd0+$];",
        right: "252",
        wrong: &["256", "-4", "1099511627776"],
        kind: OutOfBounds,
        besides: &[],
    },
    Probe {
        item: "store behind the end of shared memory",
        launch: (1, 1),
        body: "st.shared.u32 [s+$], 1;",
        right: "1020",
        wrong: &["1024", "-4"],
        kind: OutOfBounds,
        besides: &[],
    },
    Probe {
        item: "aligned vectors",
        launch: (1, 1),
        body: "ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0+$];",
        right: "16",
        wrong: &["4", "8", "12"],
        kind: Misaligned,
        besides: &[],
    },
    Probe {
        item: "register written on every path",
        launch: (1, 32),
        body: "setp.lt.u32 %p0, %r0, 16; $ mov.u32 %r5, 1; add.u32 %r6, %r5, 1; st.global.u32 [%rd4], %r6;",
        right: "",
        wrong: &["@%p0", "@!%p0"],
        kind: UnwrittenRegister,
        besides: &[],
    },
    Probe {
        item: "shared memory before its first write",
        launch: (2, 32),
        body: "$ ld.shared.u32 %r5, [%r4];",
        right: "st.shared.u32 [%r4], 1;",
        wrong: &["", "st.shared.u32 [%r4+128], 1;", "st.shared.u16 [%r4], 1;"],
        kind: Uninitialised,
        besides: &[],
    },
    Probe {
        item: "mask of a vote",
        launch: (1, 32),
        body: "setp.lt.u32 %p0, %r0, 16; @!%p0 ret; vote.sync.ballot.b32 %r5, %p0, $;",
        right: "65535",
        wrong: &["-1", "255", "131071"],
        kind: CollectiveMask,
        besides: &[],
    },
    Probe {
        item: "assertion",
        launch: (1, 32),
        body: "setp.eq.u32 %p0, %r0, $; @%p0 trap;",
        right: "32",
        wrong: &["0", "31"],
        kind: Assert,
        besides: &[],
    },
    Probe {
        item: "blocks that write apart",
        launch: (2, 32),
        body: "mul.lo.u32 %r5, %r1, $; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd6, %rd4, %rd5; \
            st.global.u32 [%rd6], %r0;",
        right: "32",
        wrong: &["31", "0"],
        kind: GlobalRace,
        besides: &[],
    },
];

/// The body with its parts: `name: text` for each `@name`, or one text for `$` before a space, a bracket or a sign.
fn body(probe: &Probe, part: &str) -> String {
    let names = ["release", "acquire", "fence", "barrier"];
    if !names.iter().any(|name| part.contains(&format!("{name}:"))) {
        let mut text = String::new();
        let mut rest = probe.body;
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at);
            text.push_str(before);
            let label = after[1..].starts_with(|c: char| c.is_ascii_alphabetic());
            text.push_str(if label { "$" } else { part });
            rest = &after[1..];
        }
        return text + rest;
    }
    let mut text = probe.body.to_owned();
    for name in names {
        let after = part.split_once(&format!("{name}:")).map_or("", |(_, after)| after);
        let end = names.iter().filter_map(|other| after.find(&format!("{other}:"))).min();
        text = text
            .replace(&format!("@{name} "), &format!("{} ", &after[..end.unwrap_or(after.len())]));
    }
    text
}

fn run(probe: &Probe, part: &str, order: Order, warps: Order) -> Report {
    let settings = Settings { order, warps, step_limit: 1_000_000, ..Settings::default() };
    let mut bench = Bench { settings, ..Bench::default() };
    let a = bench.array("a", &[0u32; 64]);
    let b = bench.room::<u32>("b", 64);
    bench.parameters().field(a).field(b);
    let (grid, block) = probe.launch;
    bench.run(&kernel(&body(probe, part)), "k", [grid, 1, 1], [block, 1, 1])
}

const ORDERS: [Order; 4] = [Order::Forward, Order::Reversed, Order::Seeded(1), Order::Seeded(2)];

#[test]
fn each_mistake_is_found_and_its_twin_is_clean() {
    let (mut clean, mut racy) = (0, 0);
    for probe in PROBES {
        for (order, warps) in
            ORDERS.into_iter().zip(ORDERS).chain(ORDERS.into_iter().zip([ORDERS[1], ORDERS[0]]))
        {
            let report = run(probe, probe.right, order, warps);
            assert!(report.findings.is_empty(), "{}: {}", probe.item, listed(&report));
            for wrong in probe.wrong {
                let report = run(probe, wrong, order, warps);
                let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
                let allowed = |kind: &Kind| *kind == probe.kind || probe.besides.contains(kind);
                assert!(
                    kinds.contains(&probe.kind) && kinds.iter().all(allowed),
                    "{} with `{wrong}`, {order:?}, {warps:?}: {}",
                    probe.item,
                    listed(&report)
                );
            }
        }
        clean += 1;
        racy += probe.wrong.len();
    }
    assert!(clean + racy >= 80, "{clean} clean and {racy} racy probes");
}
