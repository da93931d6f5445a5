//! Instructions of several threads, and branches.

use super::suite::{Suite, results};

/// Inputs of 64 threads: edges, repetitions, and all bits.
fn inputs() -> Vec<u32> {
    let edges = [0, 1, u32::MAX, 0x8000_0000, 0x7fff_ffff, 5, 5, 0x1234_5678];
    (0..64u32).map(|i| edges[(i * i + i / 8) as usize % edges.len()].wrapping_add(i / 24)).collect()
}

/// Lane masks to run collectives under.
const MASKS: [u32; 4] = [u32::MAX, 0x0000_ffff, 0x8421_00f1, 0x0000_0100];

/// A collective that the lanes of a mask run; %r2 is the mask.
fn guarded(mask: u32, body: &str) -> String {
    format!(
        "mov.u32 %r2, {mask}; mov.u32 %r3, %laneid; shr.u32 %r4, %r2, %r3; and.b32 %r4, %r4, 1;\n\
         setp.eq.s32 %p1, %r4, 0; setp.lt.s32 %p2, %r1, 0;\n@%p1 bra skip;\n{body}\nskip:"
    )
}

/// Checks a collective against a function of the lane and all lanes that take part, as pairs of
/// lane and input.
fn check(name: &str, body: &str, f: impl Fn(usize, &[(usize, u32)]) -> u32) {
    let inputs = inputs();
    for mask in MASKS {
        let got = results(&guarded(mask, body), &inputs);
        for (warp, (got, inputs)) in got.chunks(32).zip(inputs.chunks(32)).enumerate() {
            let here = inputs.iter().copied().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1);
            let here: Vec<_> = here.collect();
            for (lane, &got) in got.iter().enumerate() {
                let expected = if mask >> lane & 1 == 1 { f(lane, &here) } else { u32::MAX };
                assert_eq!(got, expected, "{name} under {mask:#x}, warp {warp}, lane {lane}");
            }
        }
    }
}

pub fn shuffles(suite: &mut Suite) {
    for mode in ["up", "down", "bfly", "idx"] {
        if !suite.covers(&[&format!("shfl.sync.{mode}.b32")]) {
            continue;
        }
        for width in [1u32, 2, 4, 8, 16, 32] {
            for offset in [0u32, 1, 3, 9, 16, 31, 32, 33] {
                shuffle(mode, width, offset);
            }
        }
    }
}

/// One shuffle inside segments of a width; %r9 is the source lane, plus 1000 if it is in range.
fn shuffle(mode: &str, width: u32, offset: u32) {
    let c = (32 - width) << 8 | if mode == "up" { 0 } else { 31 };
    let body = format!(
        "mov.u32 %r2, %laneid; add.s32 %r3, %r2, 100; shfl.sync.{mode}.b32 %r4|%p1, %r3, {offset}, {c}, -1;\n\
         selp.b32 %r5, 1000, 0, %p1; add.s32 %r9, %r4, %r5;"
    );
    for (thread, got) in results(&body, &inputs()).into_iter().enumerate() {
        let lane = thread as u32 % 32;
        let (first, by) = (lane / width * width, offset % 32);
        let source = match mode {
            "up" => lane.checked_sub(by).filter(|&source| source >= first),
            "down" => Some(lane + by).filter(|&source| source < first + width),
            "bfly" => Some(lane ^ by).filter(|&source| source < first + width),
            _ => Some(first + by % width),
        };
        let expected = source.map_or(lane + 100, |source| source + 1100);
        assert_eq!(got, expected, "{mode} by {offset} in {width}, lane {lane}");
    }
}

pub fn votes(suite: &mut Suite) {
    let negative = |here: &[(usize, u32)]| here.iter().filter(|(_, x)| (*x as i32) < 0).count();
    let forms = [
        "vote.sync.all.pred",
        "vote.sync.any.pred",
        "vote.sync.uni.pred",
        "vote.sync.ballot.b32",
        "match.any.sync.b32",
        "match.any.sync.b64",
        "match.all.sync.b32",
        "match.all.sync.b64",
        "activemask.b32",
    ];
    if !suite.covers(&forms) {
        return;
    }
    type Holds = fn(usize, usize) -> bool;
    let modes: [(&str, Holds); 3] =
        [("all", |n, of| n == of), ("any", |n, _| n > 0), ("uni", |n, of| n == 0 || n == of)];
    for (mode, holds) in modes {
        let vote = format!("vote.sync.{mode}.pred %p3, %p2, %r2; selp.b32 %r9, 1, 0, %p3;");
        check(mode, &vote, |_, here| u32::from(holds(negative(here), here.len())));
        let vote = format!("vote.sync.{mode}.pred %p3, !%p2, %r2; selp.b32 %r9, 1, 0, %p3;");
        check(mode, &vote, |_, here| u32::from(holds(here.len() - negative(here), here.len())));
    }
    let mask = |here: &[(usize, u32)], f: &dyn Fn(u32) -> bool| {
        here.iter().filter(|(_, x)| f(*x)).fold(0, |all, (lane, _)| all | 1 << lane)
    };
    check("ballot", "vote.sync.ballot.b32 %r9, %p2, %r2;", |_, here| {
        mask(here, &|x| (x as i32) < 0)
    });
    let mine =
        |lane: usize, here: &[(usize, u32)]| here.iter().find(|(l, _)| *l == lane).unwrap().1;
    for (bits, value) in [(32, "%r1"), (64, "%rd5")] {
        let prepare = "cvt.u64.u32 %rd5, %r1; shl.b64 %rd5, %rd5, 31;";
        check(
            "match.any",
            &format!("{prepare} match.any.sync.b{bits} %r9, {value}, %r2;"),
            |lane, here| mask(here, &|x| x == mine(lane, here)),
        );
        // Equal in all lanes, or not: by the sign alone, and by the whole value.
        for shift in [0, 31] {
            let prepare = format!("shr.u32 %r1, %r1, {shift}; {prepare}");
            let body = format!(
                "{prepare} match.all.sync.b{bits} %r9|%p3, {value}, %r2; @%p3 xor.b32 %r9, %r9, 0x55;"
            );
            check("match.all", &body, |lane, here| {
                let same = mask(here, &|x| x >> shift == mine(lane, here) >> shift);
                let all = mask(here, &|_| true);
                if same == all { all ^ 0x55 } else { 0 }
            });
        }
    }
    check("activemask", "activemask.b32 %r9;", |_, here| mask(here, &|_| true));
}

pub fn reductions(suite: &mut Suite) {
    type Join = fn(u32, u32) -> u32;
    let operators: [(&str, Join); 9] = [
        ("add.u32", u32::wrapping_add),
        ("add.s32", u32::wrapping_add),
        ("min.u32", |a, b| a.min(b)),
        ("max.u32", |a, b| a.max(b)),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    for (name, join) in operators {
        let form = format!("redux.sync.{name}");
        if suite.covers(&[&form]) {
            check(&form, &format!("{form} %r9, %r1, %r2;"), |_, here| {
                here.iter().map(|(_, x)| *x).reduce(join).unwrap()
            });
        }
    }
}

pub fn barriers(suite: &mut Suite) {
    let forms = [
        "bar.sync",
        "barrier.sync",
        "bar.cta.sync",
        "barrier.sync.aligned",
        "barrier.cta.sync",
        "bar.arrive",
        "bar.warp.sync",
        "bar.red.popc.u32",
        "bar.red.and.pred",
        "bar.red.or.pred",
        "membar.gl",
        "membar.cta",
        "membar.sys",
        "fence.acq_rel.gpu",
        "fence.sc.gpu",
        "fence.acq_rel.cta",
        "fence.sc.sys",
    ];
    if !suite.covers(&forms) {
        return;
    }
    let inputs = inputs();
    let exchange = |between: &str, partner: u32| {
        format!(
            "mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.s32 %r4, %r2, %r3; st.shared.u32 [%r4], %r1;\n{between}\n\
             xor.b32 %r5, %r3, {}; add.s32 %r6, %r2, %r5; ld.shared.u32 %r9, [%r6];",
            4 * partner
        )
    };
    let swapped = |partner: usize| (0..64).map(|i| inputs[i ^ partner]).collect::<Vec<u32>>();
    for form in
        ["bar.sync", "barrier.sync", "bar.cta.sync", "barrier.sync.aligned", "barrier.cta.sync"]
    {
        assert_eq!(results(&exchange(&format!("{form} 0;"), 33), &inputs), swapped(33), "{form}");
        assert_eq!(
            results(&exchange(&format!("{form} 3, 64;"), 33), &inputs),
            swapped(33),
            "{form}"
        );
    }
    assert_eq!(results(&exchange("bar.warp.sync -1;", 7), &inputs), swapped(7));
    for fence in forms
        .iter()
        .filter(|form| form.contains("acq") || form.contains("mem") || form.contains("sc."))
    {
        assert_eq!(
            results(&exchange(&format!("{fence}; bar.sync 1;"), 40), &inputs),
            swapped(40),
            "{fence}"
        );
    }
    // The second warp writes and arrives, the first one waits and reads.
    let body = "mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.s32 %r4, %r2, %r3; setp.ge.u32 %p1, %r0, 32;\n\
        @%p1 bra write;\nbar.sync 2, 64; ld.shared.u32 %r9, [%r4+128]; bra.uni done;\n\
        write: st.shared.u32 [%r4], %r1; bar.arrive 2, 64; mov.u32 %r9, %r1;\ndone:";
    let expected: Vec<u32> = (0..64).map(|i| inputs[i | 32]).collect();
    assert_eq!(results(body, &inputs), expected);
    let vote = |form: &str, negated: &str, d: &str| {
        let get = if d == "%r9" { "" } else { "selp.b32 %r9, 1, 0, %p3;" };
        let body = format!("setp.lt.s32 %p2, %r1, 0; {form} {d}, 0, {negated}%p2; {get}");
        results(&body, &inputs)
    };
    let negative = inputs.iter().filter(|&&x| (x as i32) < 0).count() as u32;
    assert_eq!(vote("bar.red.popc.u32", "", "%r9"), [negative; 64]);
    assert_eq!(vote("bar.red.popc.u32", "!", "%r9"), [64 - negative; 64]);
    assert_eq!(vote("bar.red.or.pred", "", "%p3"), [1; 64]);
    assert_eq!(vote("bar.red.and.pred", "", "%p3"), [0; 64]);
    let all = "setp.ge.u32 %p2, %r0, 0; bar.red.and.pred %p3, 0, %p2; selp.b32 %r9, 1, 0, %p3;";
    assert_eq!(results(all, &inputs), [1; 64]);
}

pub fn control(suite: &mut Suite) {
    if !suite.covers(&["bra", "bra.uni", "ret", "exit"]) {
        return;
    }
    let inputs = inputs();
    // Each thread runs the loop as often as its index, so the warp diverges.
    let body = "mov.u32 %r9, 0; mov.u32 %r2, 0;\nhead: setp.ge.u32 %p1, %r2, %r0; @%p1 bra done;\n\
        add.s32 %r9, %r9, %r2; add.s32 %r2, %r2, 1; bra.uni head;\ndone:";
    let expected: Vec<u32> = (0..64).map(|n: u32| n * n.saturating_sub(1) / 2).collect();
    assert_eq!(results(body, &inputs), expected);
    for end in ["ret", "exit"] {
        let body = format!(
            "setp.lt.u32 %p1, %r0, 40; st.global.u32 [%rd4], %r0; @!%p1 {end}; add.s32 %r9, %r0, 100;"
        );
        let expected: Vec<u32> = (0..64).map(|n| if n < 40 { n + 100 } else { n }).collect();
        assert_eq!(results(&body, &inputs), expected, "{end}");
    }
}
