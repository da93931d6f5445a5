//! Reads of registers that were never written.

use ptx_sim::{Kind, Mode, Report, Settings};

use crate::common::{Bench, assert_kinds};

/// Runs a body in two blocks of 40 threads. `%r0` is the thread, `%r1` the block, `%p0` whether the
/// thread is below 16, and `%rd1` the address of the thread's own word.
fn run(body: &str, mode: Mode) -> Report {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n\
         .reg .pred %p<4>; .reg .b16 %rs<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n\
         ld.param.u64 %rd0, [x]; mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x;\n\
         mad.lo.u32 %r2, %r1, 40, %r0; mul.wide.u32 %rd1, %r2, 4; add.s64 %rd1, %rd0, %rd1;\n\
         setp.lt.u32 %p0, %r0, 16;\n{body}\nret;\n}}\n"
    );
    let mut bench =
        Bench { settings: Settings { mode, ..Settings::default() }, ..Bench::default() };
    let x = bench.array("x", &[0u32; 80]);
    bench.parameters().field(x);
    bench.run(&text, "k", [2, 1, 1], [40, 1, 1])
}

/// Asserts one finding at an instruction, and its block and thread; none without checks.
fn caught(body: &str, at: &str, place: (u32, u32)) {
    let report = run(body, Mode::Checked);
    assert_kinds(&report, &[Kind::UnwrittenRegister]);
    let finding = &report.findings[0];
    assert_eq!(finding.instruction, at);
    assert_eq!((finding.block[0], finding.thread[0]), place, "{finding}");
    assert_kinds(&run(body, Mode::Values), &[]);
}

const STORE: &str = "st.global.u32 [%rd1], %r5;";

#[test]
fn a_register_without_a_value() {
    caught(STORE, STORE, (0, 0));
    caught("add.u32 %r5, %r6, 1; st.global.u32 [%rd1], %r5;", "add.u32 %r5, %r6, 1;", (0, 0));
    let address = "st.global.u32 [%rd5], 1;";
    let kinds = [Kind::UnwrittenRegister, Kind::OutOfBounds];
    assert_kinds(&run(address, Mode::Checked), &kinds);
    let pack = "cvt.u32.u16 %r5, %rs1;";
    caught(pack, pack, (0, 0));
}

#[test]
fn a_value_on_one_path_only() {
    let write = "mov.u32 %r5, 1;";
    let skip = |write: &str| format!("@%p0 bra $end; {write} $end: {STORE}");
    caught(&skip(write), STORE, (0, 0));
    caught(&format!("@%p0 {write} {STORE}"), STORE, (0, 16));
    // In the second block only: a block starts without values.
    let first = format!("setp.eq.u32 %p1, %r1, 0; @%p1 {write} {STORE}");
    caught(&first, STORE, (1, 0));
    assert_kinds(&run(&format!("{write} {}", skip("")), Mode::Checked), &[]);
    let both = format!("@%p0 bra $else; {write} bra $end; $else: {write} $end: {STORE}");
    assert_kinds(&run(&both, Mode::Checked), &[]);
}

#[test]
fn a_guard_without_a_value() {
    let guarded = "@%p3 st.global.u32 [%rd1], 1;";
    caught(guarded, guarded, (0, 0));
    caught("@!%p3 bra $end; $end:", "@!%p3 bra $end;", (0, 0));
}

#[test]
fn paths_that_write_what_they_read_are_clean() {
    // The same guard at the write and the read.
    let guarded = format!("@%p0 mov.u32 %r5, 1; @%p0 {STORE}");
    assert_kinds(&run(&guarded, Mode::Checked), &[]);
    // Written in the first pass through a loop, read in the second.
    let looped = format!(
        "mov.u32 %r6, 0; $again: setp.eq.u32 %p1, %r6, 0; @%p1 bra $first; {STORE} bra $next;
         $first: mov.u32 %r5, 3; $next: add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 2;
         @%p2 bra $again;"
    );
    assert_kinds(&run(&looped, Mode::Checked), &[]);
    // Copies of a value that nothing uses.
    let copied = "mov.u32 %r5, %r6; selp.b32 %r7, %r8, 1, !%p0; st.global.u32 [%rd1], %r1;";
    assert_kinds(&run(copied, Mode::Checked), &[]);
    // Its last iteration reads what only later iterations write.
    let late = format!(
        "mov.u32 %r6, 0; $again: setp.eq.u32 %p1, %r6, 0; @!%p1 {STORE} add.u32 %r6, %r6, 1;
         setp.lt.u32 %p2, %r6, 2; @!%p2 bra $end; bra $again; $end: mov.u32 %r5, 1;"
    );
    caught(&late, &format!("@!%p1 {STORE}"), (0, 0));
}
