//! Calls of functions that are not inlined, assertions and traps.

use ptx_sim::{Error, Kind, Module, Report};

use crate::common::{Bench, assert_kinds};

/// A module with functions before a kernel. `%r0` is the thread, `%rd1` the address of its word in
/// x, `%r1` that word, and `%r9` what is stored there at the end.
fn module(functions: &str, body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .extern .func (.param .b32 func_retval0) vprintf (.param .b64 a, .param .b64 b);\n\
         .extern .func __assertfail (.param .b64 a, .param .b32 b) .noreturn;\n\
         .extern .func outside (.param .b32 a);\n\
         {functions}\n.visible .entry k(.param .u64 x)\n{{\n\
         .reg .pred %p<4>; .reg .f32 %f<4>; .reg .b32 %r<20>; .reg .b64 %rd<9>;\n\
         ld.param.u64 %rd0, [x]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n\
         add.s64 %rd1, %rd0, %rd1; ld.global.u32 %r1, [%rd1]; mov.u32 %r9, 7;\n\
         {body}\nst.global.u32 [%rd1], %r9;\nret;\n}}\n"
    )
}

/// The words 0 to 39 after a run with 40 threads, and the report.
fn run(functions: &str, body: &str) -> (Vec<u32>, Report) {
    let mut bench = Bench::default();
    let x = bench.array("x", &(0..40).collect::<Vec<u32>>());
    bench.parameters().field(x);
    let report = bench.run(&module(functions, body), "k", [1; 3], [40, 1, 1]);
    (bench.read(x, 40), report)
}

/// The words of a run that must have no findings.
fn words(functions: &str, body: &str) -> Vec<u32> {
    let (words, report) = run(functions, body);
    assert_kinds(&report, &[]);
    words
}

/// The sum of the even numbers below n, with a loop, an early return and labels.
const EVENS: &str = ".func (.param .b32 func_retval0) evens(.param .b32 evens_param_0)
{
    .reg .pred %p<3>; .reg .b32 %r<9>;
    ld.param.u32 %r1, [evens_param_0]; mov.u32 %r2, 0; mov.u32 %r3, 0;
    setp.eq.u32 %p1, %r1, 0; @%p1 bra $L__BB0_2;
$L__BB0_1:
    add.u32 %r2, %r2, %r3; add.u32 %r3, %r3, 2;
    setp.lt.u32 %p1, %r3, %r1; @%p1 bra $L__BB0_1;
    setp.gt.u32 %p2, %r2, 100; @!%p2 bra $L__BB0_2;
    st.param.b32 [func_retval0+0], 100; ret;
$L__BB0_2:
    st.param.b32 [func_retval0+0], %r2; ret;
}";

/// Calls `evens` as NVRTC does.
fn call_evens(argument: &str, result: &str) -> String {
    format!(
        "{{ .reg .b32 temp_param_reg; .param .b32 param0; st.param.b32 [param0+0], {argument};\n\
         .param .b32 retval0;\ncall.uni (retval0), \nevens, \n(\nparam0\n);\n\
         ld.param.b32 {result}, [retval0+0]; }}\n"
    )
}

fn evens(n: u32) -> u32 {
    (0..n).step_by(2).sum::<u32>().min(100)
}

#[test]
fn calls_have_registers_and_labels_of_their_own() {
    // Two calls, and labels of the same names in the caller.
    let body = format!(
        "mov.u32 %r3, 1000; {} setp.lt.u32 %p1, %r0, 4; @%p1 bra $L__BB0_1; {}\n\
         $L__BB0_1: add.u32 %r9, %r9, %r3;",
        call_evens("%r1", "%r9"),
        call_evens("%r9", "%r9"),
    );
    let expected: Vec<u32> =
        (0..40).map(|n| 1000 + if n < 4 { evens(n) } else { evens(evens(n)) }).collect();
    assert_eq!(words(EVENS, &body), expected);
}

#[test]
fn functions_call_functions() {
    let twice = format!(
        "{EVENS}\n.func (.param .b32 func_retval0) twice(.param .b32 twice_param_0)\n{{\n\
         .reg .b32 %r<5>; ld.param.b32 %r1, [twice_param_0];\n{}\n{}\n\
         add.u32 %r3, %r3, %r4; st.param.b32 [func_retval0+0], %r3; ret;\n}}",
        call_evens("%r1", "%r3"),
        call_evens("5", "%r4"),
    );
    let body = call_evens("%r1", "%r9").replace("evens", "twice");
    let expected: Vec<u32> = (0..40).map(|n| evens(n) + 6).collect();
    assert_eq!(words(&twice, &body), expected);
}

#[test]
fn structures_and_local_variables() {
    // Adds 10 to the word of an array whose index is in its last word.
    let function = ".func (.param .align 4 .b8 func_retval0[12]) add(
        .param .align 4 .b8 add_param_0[12]
    )
    {
        .local .align 4 .b8 __local_depot0[8]; .reg .b64 %SPL; .reg .b32 %r<9>; .reg .b64 %rd<9>;
        mov.u64 %SPL, __local_depot0;
        ld.param.u32 %r1, [add_param_0]; ld.param.u32 %r2, [add_param_0+4];
        ld.param.u32 %r3, [add_param_0+8];
        st.local.v2.u32 [%SPL], {%r1, %r2}; mul.wide.u32 %rd1, %r3, 4; add.u64 %rd1, %SPL, %rd1;
        ld.local.u32 %r4, [%rd1]; add.u32 %r4, %r4, 10; st.local.u32 [%rd1], %r4;
        ld.local.u32 %r5, [%SPL]; ld.local.u32 %r6, [%SPL+4];
        st.param.b32 [func_retval0+0], %r5; st.param.b32 [func_retval0+4], %r6;
        st.param.b32 [func_retval0+8], %r3;
        ret;
    }";
    let body = "and.b32 %r2, %r0, 1;
        { .param .align 4 .b8 param0[12]; st.param.b32 [param0+0], %r1;
        st.param.b32 [param0+4], 500; st.param.b32 [param0+8], %r2;
        .param .align 4 .b8 retval0[12]; call.uni (retval0), add, (param0);
        ld.param.b32 %r3, [retval0+0]; ld.param.b32 %r4, [retval0+4]; }
        mad.lo.u32 %r9, %r3, 1000, %r4;";
    let expected: Vec<u32> =
        (0..40).map(|n| if n % 2 == 0 { (n + 10) * 1000 + 500 } else { n * 1000 + 510 }).collect();
    assert_eq!(words(function, body), expected);
}

#[test]
fn parameters_in_registers() {
    let function = ".func (.reg .b32 %out) less(.reg .b32 %a, .reg .pred %q)
        { .reg .b32 %r<3>; sub.u32 %out, %a, 3; @%q add.u32 %out, %out, 100; }
        .func (.param .b32 out) copy(.param .b32 in)
        { .reg .b32 %r<3>; ld.param.b32 %r1, [in]; st.param.b32 [out], %r1; }";
    let body = "setp.gt.u32 %p1, %r0, 20; call (%r9), less, (%r1, %p1); call (%r9), copy, (%r9);
        call (%r8), copy, (1000); add.u32 %r9, %r9, %r8;";
    let expected: Vec<u32> = (0..40u32)
        .map(|n| n.wrapping_sub(3).wrapping_add(if n > 20 { 1100 } else { 1000 }))
        .collect();
    assert_eq!(words(function, body), expected);
}

#[test]
fn parameters_of_mixed_sizes() {
    // 12 bytes of parameters: the next thread's start at a multiple of 8 nevertheless.
    let function = ".func add(.param .b64 at, .param .b32 by) {
        .reg .b64 %rd<2>; .reg .b32 %r<3>; ld.param.u64 %rd1, [at]; ld.param.b32 %r1, [by];
        ld.global.u32 %r2, [%rd1]; add.u32 %r2, %r2, %r1; st.global.u32 [%rd1], %r2; }";
    let body = "{ .param .b64 param0; st.param.b64 [param0], %rd1; .param .b32 param1;
        st.param.b32 [param1], %r0; call.uni add, (param0, param1); }
        ld.global.u32 %r9, [%rd1];";
    assert_eq!(words(function, body), (0..40).map(|n| 2 * n).collect::<Vec<_>>());
}

#[test]
fn guarded_calls_and_barriers_inside() {
    let function = ".func swap(.param .b64 at) {
            .reg .b64 %rd<3>; .reg .b32 %r<9>; .shared .align 4 .b8 s[160];
            ld.param.u64 %rd1, [at]; ld.global.u32 %r1, [%rd1];
            mov.u32 %r2, s; mov.u32 %r3, %tid.x; mad.lo.u32 %r4, %r3, 4, %r2;
            st.shared.u32 [%r4], %r1; bar.sync 0; xor.b32 %r5, %r4, 4;
            ld.shared.u32 %r6, [%r5]; st.global.u32 [%rd1], %r6; bar.sync 0; ret; }
        .func stop(.param .b64 at) { .reg .b64 %rd<3>; ld.param.u64 %rd1, [at];
            st.global.u32 [%rd1], 77; exit; }";
    let call = "{ .param .b64 param0; st.param.b64 [param0], %rd1; call.uni swap, (param0); }";
    let body = format!(
        "{call} {call} {call} setp.gt.u32 %p1, %r0, 35;
        {{ .param .b64 param0; st.param.b64 [param0], %rd1; @%p1 call stop, (param0); }}
        ld.global.u32 %r9, [%rd1];"
    );
    let expected: Vec<u32> = (0..40).map(|n| if n > 35 { 77 } else { n ^ 1 }).collect();
    assert_eq!(words(function, &body), expected);
    let parsed = Module::parse(&module(function, &body)).unwrap();
    assert_eq!(parsed.kernel("k").unwrap().shared_bytes(), 160, "one variable for three calls");
}

#[test]
fn a_finding_in_a_function_names_its_call() {
    let function = ".func wild(.param .b64 at)\n{ .reg .b64 %rd<2>;\n.loc 1 5 1\n\
        ld.param.u64 %rd1, [at];\n.loc 2 9 9, function_name $L__info_string0, inlined_at 1 5 1\n\
        st.global.u32 [%rd1+4096], 1;\nret; }";
    let body = "\n.loc 1 50 2\n{ .param .b64 param0; st.param.b64 [param0], %rd1;\n\
        call.uni wild, (param0); }\n.loc 1 51 2\n";
    let text = module(function, body) + ".file 1 \"kernel.cu\"\n.file 2 \"helper.cuh\"\n";
    let mut bench = Bench::default();
    let x = bench.array("x", &[0u32; 40]);
    bench.parameters().field(x);
    let report = bench.run(&text, "k", [1; 3], [40, 1, 1]);
    assert_kinds(&report, &[Kind::OutOfBounds]);
    let text = report.findings[0].to_string();
    let part = " at helper.cuh:9, called at kernel.cu:5, called at kernel.cu:50, block";
    assert!(text.contains(part), "{text}");
}

#[test]
fn assertions_and_traps_end_the_thread() {
    let fail = "@%p1 bra $good; { .param .b64 param0; st.param.b64 [param0], 0; .param .b32 param1;
        st.param.b32 [param1], 12; call.uni __assertfail, (param0, param1); } $good:";
    for (stop, message) in
        [(fail, "assertion"), ("@!%p1 trap;", "stopped"), ("@!%p1 brkpt;", "stopped")]
    {
        let (words, report) = run("", &format!("setp.ne.u32 %p1, %r1, 33; {stop}"));
        assert_kinds(&report, &[Kind::Assert]);
        let finding = &report.findings[0];
        assert!(finding.message.contains(message), "{finding}");
        assert_eq!(finding.thread, [33, 0, 0]);
        assert!((0..40).all(|n| words[n] == if n == 33 { 33 } else { 7 }), "{words:?}");
    }
}

#[test]
fn printing_does_nothing() {
    let body = "{ .param .b64 param0; st.param.b64 [param0], 0; .param .b64 param1;
        st.param.b64 [param1], 0; .param .b32 retval0;
        call.uni (retval0), vprintf, (param0, param1); ld.param.b32 %r9, [retval0+0]; }";
    assert_eq!(words("", body), [0; 40]);
}

#[test]
fn unsupported_calls_are_named() {
    let recursive = ".func first(.param .b32 a) {
            { .param .b32 param0; st.param.b32 [param0], 1; call.uni second, (param0); } ret; }
        .func second(.param .b32 a) {
            { .param .b32 param0; st.param.b32 [param0], 1; call.uni first, (param0); } ret; }";
    let body = "mov.u64 %rd2, 0; { .param .b32 param0; st.param.b32 [param0], 1;
        call.uni first, (param0); call.uni outside, (param0);
        prototype_0 : .callprototype _ (.param .b32 _);
        call %rd2, (param0), prototype_0; }";
    let parsed = Module::parse(&module(recursive, body)).unwrap();
    let error = parsed.kernel("k").unwrap_err();
    let Error::Unsupported { instructions, .. } = &error else { panic!("{error}") };
    let expected = [
        "call.uni first, (param0) (a recursive call)",
        "call.uni outside, (param0) (a function that is not in the module)",
        "call %rd2, (param0), prototype_0 (a call through a register)",
    ];
    assert_eq!(instructions, &expected);
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    for (call, part) in [
        ("call.uni (%r9), evens, (%r1, %r1);", "got 2 arguments, expected 1"),
        ("call.uni evens, (%r1);", "got 0 results, expected 1"),
        ("call.uni (%r9), evens, (x);", "`x` is not a variable of the .param space"),
        ("{ .param .b16 p; call.uni (%r9), evens, (p); }", "`p` has 2 bytes, expected 4"),
    ] {
        let parsed = Module::parse(&module(EVENS, call)).unwrap();
        let text = parsed.kernel("k").unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
    // Each function calls the next twice.
    let many: String = (0..16)
        .map(|n| format!(".func f{n}() {{ call f{}; call f{}; ret; }}\n", n + 1, n + 1))
        .collect();
    let text = module(&(many + ".func f16() { ret; }"), "call f0;");
    let error = Module::parse(&text).unwrap().kernel("k").unwrap_err().to_string();
    assert!(error.contains("more than 10000 calls"), "{error}");
}
