//! The program `ptx-sim` on small kernels.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// `scale(at, count, factor)`: each thread below `count` doubles a float, times `factor`.
/// `shift(pair)`: each thread reads its neighbour's number of `pair.from` and writes it to `pair.to`.
const TEXT: &str = r"
.version 8.7
.target sm_80
.address_size 64

.visible .entry scale(.param .u64 at, .param .u32 count, .param .f32 factor)
.maxntid 64, 1, 1
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd0, [at];
    ld.param.u32 %r0, [count];
    ld.param.f32 %f0, [factor];
    mov.u32 %r1, %tid.x;
    setp.ge.u32 %p0, %r1, %r0;
    @%p0 bra END;
    mul.wide.u32 %rd1, %r1, 4;
    add.s64 %rd2, %rd0, %rd1;
    ld.global.f32 %f1, [%rd2];
    mul.f32 %f2, %f1, %f0;
    st.global.f32 [%rd2], %f2;
END:
    ret;
}

.visible .entry shift(.param .align 8 .b8 pair[24])
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd0, [pair];
    ld.param.u64 %rd1, [pair+8];
    ld.param.u32 %r0, [pair+16];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd0, %rd2;
    add.s64 %rd4, %rd1, %rd2;
    ld.global.u32 %r2, [%rd3+4];
    add.u32 %r3, %r2, %r0;
    st.global.u32 [%rd4], %r3;
    ret;
}
";

/// A folder with the PTX file, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ptx-sim-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let path = path.canonicalize().unwrap();
        std::fs::write(path.join("two.ptx"), TEXT).unwrap();
        Folder(path)
    }

    fn program(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ptx-sim"));
        command.current_dir(&self.0).args(arguments.split_whitespace());
        command
    }

    /// Runs the program; returns its exit code, standard output and standard error.
    fn run(&self, arguments: &str) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.program(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Runs the program with --json.
    fn json(&self, arguments: &str) -> (i32, Value) {
        let (code, out, err) = self.run(&format!("{arguments} --json"));
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

const SCALE: &str = "two.ptx --kernel scale --grid 1 --block 32";

#[test]
fn a_clean_run_prints_its_buffer() {
    let folder = Folder::new("clean");
    let arguments = format!("{SCALE} --arg buffer:f32:32=range --arg u32:32 --arg f32:-0.5");
    let (code, out, err) = folder.run(&format!("{arguments} --print 0:10"));
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "argument 0: 32 of f32\n  0: -0.0 -0.5 -1.0 -1.5 -2.0 -2.5 -3.0 -3.5\n  8: -4.0 -4.5\n\
        scale, grid [1, 1, 1], block [32, 1, 1]: no findings; 12 warp instructions";
    assert!(out.starts_with(expected), "{out}");
}

#[test]
fn an_overrun_and_an_uninitialised_read_are_findings() {
    let folder = Folder::new("findings");
    let arguments = format!("{SCALE} --arg buffer:f32:24 --arg u32:32 --arg f32:1");
    let (code, value) = folder.json(&arguments);
    assert_eq!(code, 1);
    let findings = value["findings"].as_array().unwrap();
    let of = |kind: &str| findings.iter().find(|finding| finding["kind"] == kind).unwrap();
    assert_eq!(of("OutOfBounds")["thread"], serde_json::json!([24, 0, 0]));
    assert_eq!(of("Uninitialised")["instruction"], "ld.global.f32 %f1, [%rd2];");
    let (code, out, _) = folder.run(&arguments);
    assert_eq!(code, 1);
    assert_eq!(out.matches("\n\n").count(), findings.len(), "one paragraph for each: {out}");
    assert!(out.contains("byte 96 of `argument 0`, which has 96 bytes"), "{out}");
    let (code, value) = folder.json(&format!("{arguments} --values"));
    let findings = value["findings"].as_array().unwrap();
    assert_eq!(code, 1);
    assert!(findings.iter().all(|finding| finding["kind"] == "OutOfBounds"), "{findings:?}");
}

#[test]
fn a_source_line_is_named_from_the_current_folder() {
    let folder = Folder::new("line");
    let file = folder.0.join("source/two.cu");
    let place =
        "    .loc 1 7 3, function_name $L__info_string0, inlined_at 1 9 5\n    ld.global.f32";
    let located = TEXT.replace("    ld.global.f32", place);
    std::fs::write(
        folder.0.join("two.ptx"),
        format!("{located}\n.file 1 \"{}\"\n", file.display()),
    )
    .unwrap();
    let arguments = format!("{SCALE} --arg buffer:f32:24=0 --arg u32:32 --arg f32:1");
    let (code, out, _) = folder.run(&format!("{arguments} --counters"));
    assert_eq!(code, 1);
    let start = "OutOfBounds at source/two.cu:7, called at source/two.cu:9\n";
    assert!(out.starts_with(start), "{out}");
    assert!(out.contains("  source/two.cu:7\n") && out.contains("  without a line\n"), "{out}");
    let (_, value) = folder.json(&arguments);
    assert_eq!(value["findings"][0]["file"], file.to_str().unwrap());
    assert_eq!(value["findings"][0]["calls"][0][1], 9);
}

#[test]
fn a_struct_has_its_fields_at_their_offsets() {
    let folder = Folder::new("struct");
    let bytes: Vec<u8> = (0..33u32).flat_map(|i| (i * 7).to_le_bytes()).collect();
    std::fs::write(folder.0.join("in.bin"), bytes).unwrap();
    let arguments = "two.ptx --kernel shift --grid 1,1 --block 32,1,1 --order reversed \
        --arg buffer:u32=@in.bin,buffer:s32:40,u32:0xFFFFFFFF --write 0.1=out.bin";
    let (code, value) = folder.json(&format!("{arguments} --print 0.1:33 --counters"));
    assert_eq!((code, &value["findings"]), (0, &serde_json::json!([])));
    let values = value["buffers"][0]["values"].as_array().unwrap();
    assert_eq!((&values[0], &values[31], &values[32]), (&6.into(), &223.into(), &Value::Null));
    assert_eq!(value["lines"][0]["warp_instructions"], value["total"]["warp_instructions"]);
    let written = std::fs::read(folder.0.join("out.bin")).unwrap();
    assert_eq!((written.len(), &written[124..128]), (160, &223u32.to_le_bytes()[..]));
}

#[test]
fn random_buffers_follow_their_seed() {
    let folder = Folder::new("random");
    let values = |seed: u64| {
        let arguments = format!("--arg buffer:f32:64=random:{seed} --arg u32:32 --arg f32:1");
        let (code, value) = folder.json(&format!("{SCALE} {arguments} --print 0"));
        assert_eq!(code, 0);
        let values = value["buffers"][0]["values"].as_array().unwrap().clone();
        values.iter().map(|v| v.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let first = values(1);
    assert_eq!(first, values(1));
    assert_ne!(first, values(2));
    assert!(first.iter().all(|v| (-1.0..1.0).contains(v)), "{first:?}");
    let mean = first.iter().sum::<f64>() / 64.0;
    assert!(mean.abs() < 0.3 && first.iter().any(|v| v.abs() > 0.7), "{first:?}");
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_the_expected_list() {
    let folder = Folder::new("unfit");
    let list = "the parameters of scale:\n  0  u64 (a buffer or an integer)\n  1  u32\n  2  f32\n";
    for (arguments, what) in [
        ("--arg u64:0 --arg u32:1", "got 2 arguments, expected 3"),
        ("--arg u64:0 --arg f32:1 --arg f32:1", "argument 1 is `f32:1`: expected u32"),
        ("--arg u64:0 --arg u32:1 --arg u32:1", "argument 2 is `u32:1`: expected f32"),
        ("--arg u64:0 --arg u64:1 --arg f32:1", "argument 1 is `u64:1`: got 8 bytes, expected u32"),
        ("--arg u64:0 --arg u32:1,u32:2 --arg f32:1", "got 2 fields, expected u32"),
        ("--arg u64:0 --arg bytes:0102 --arg f32:1", "got 2 bytes, expected u32"),
    ] {
        let (code, out, err) = folder.run(&format!("{SCALE} {arguments}"));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments}");
        assert!(err.contains(what) && err.ends_with(list), "{arguments}: {err}");
    }
}

#[test]
fn the_command_line_is_checked() {
    let folder = Folder::new("usage");
    let fit = format!("{SCALE} --arg buffer:f32:32=1 --arg u32:32 --arg f32:1");
    for (arguments, what) in [
        ("two.ptx --grid 1 --block 32", "there are 2; choose one of scale, shift"),
        ("two.ptx --kernel scales --grid 1 --block 32", "did you mean `scale`?"),
        ("two.ptx --kernel scale --block 32", "--grid <X,Y,Z>"),
        ("two.ptx --grid 1,2,3,4 --block 32", "one to three whole numbers"),
        ("two.ptx --grid 1 --block 1 --arg u8:256", "which is 0 to 255"),
        ("two.ptx --grid 1 --block 1 --arg q32:1", "one of u8, s8,"),
        ("two.ptx --grid 1 --block 1 --arg buffer:f32", "without a count"),
        ("two.ptx --grid 1 --block 1 --arg buffer:f64:8589934592", "less than 64 GiB"),
        ("two.ptx --grid 1 --block 1 --arg bytes:123", "two hexadecimal digits"),
        ("two.ptx --grid 1 --block 1 --order last", "forward, reversed or seed:N"),
        (&format!("{fit} --print 1"), "argument 1.0 is not a buffer"),
        (&format!("{fit} --write 3=x"), "argument 3.0 is not a buffer"),
        (&fit.replace("--block 32", "--block 128"), "at most 64 are in its launch bounds"),
    ] {
        let (code, _, err) = folder.run(arguments);
        assert_eq!(code, 2, "{arguments}: {err}");
        assert!(err.contains(what), "{arguments}: {err}");
    }
}

#[test]
fn files_have_exit_codes_of_their_own() {
    let folder = Folder::new("files");
    std::fs::write(folder.0.join("odd.bin"), [0; 7]).unwrap();
    std::fs::write(folder.0.join("no.ptx"), "int main() {}").unwrap();
    let rest = "--arg u32:32 --arg f32:1";
    for (arguments, code, what) in [
        ("gone.ptx --list", 66, "gone.ptx: cannot read"),
        ("no.ptx --list", 65, "no.ptx: PTX line 1"),
        (&format!("{SCALE} --arg buffer:f32=@gone.bin {rest}"), 66, "gone.bin: cannot read"),
        (&format!("{SCALE} --arg buffer:f32=@odd.bin {rest}"), 65, "got 7 bytes"),
        (&format!("{SCALE} --arg buffer:f32:32=1 {rest} --write 0=gone/x"), 66, "cannot write"),
        (
            &format!("{SCALE} --arg buffer:f32:32=1 {rest} --steps 5"),
            1,
            "raise the step limit (--steps)",
        ),
    ] {
        let (got, _, err) = folder.run(arguments);
        assert_eq!(got, code, "{arguments}: {err}");
        assert!(err.contains(what), "{arguments}: {err}");
    }
}

#[test]
fn the_list_has_every_kernel_with_its_parameters() {
    let folder = Folder::new("list");
    let (code, out, _) = folder.run("two.ptx --list");
    assert_eq!(code, 0);
    assert!(out.contains("scale\n  at most 64 threads in a block\n"), "{out}");
    assert!(out.contains("0  a struct of 24 bytes"), "{out}");
    let (_, value) = folder.json("two.ptx --list");
    assert_eq!(value["kernels"][0]["parameters"][2]["offset"], 12);
    assert_eq!(value["kernels"][1]["parameters"][0]["bytes"], 24);
    assert_eq!(value["kernels"][1]["most_threads"], Value::Null);
}

#[test]
fn an_unsupported_kernel_is_listed_and_refused_alone() {
    let folder = Folder::new("unsupported");
    let broken = TEXT.replace("    add.u32 %r3, %r2, %r0;", "    frob.u32 %r3, %r2;");
    std::fs::write(folder.0.join("two.ptx"), broken).unwrap();
    let (code, out, _) = folder.run("two.ptx --list");
    assert_eq!(code, 0);
    let line = TEXT.lines().position(|line| line.contains("add.u32 %r3")).unwrap() + 1;
    let refused = format!("shift\n  not supported: kernel shift, PTX line {line}: ");
    assert!(out.contains(&refused), "{out}");
    let (_, value) = folder.json("two.ptx --list");
    assert_eq!(value["kernels"].as_array().unwrap().len(), 1);
    assert_eq!(value["unsupported"][0]["name"], "shift");
    let arguments = "--arg buffer:f32:32=1 --arg u32:32 --arg f32:1";
    assert_eq!(folder.run(&format!("{SCALE} {arguments}")).0, 0);
    let (code, _, err) = folder.run("two.ptx --kernel shift --grid 1 --block 1");
    assert_eq!(code, 65);
    assert!(err.contains("two.ptx: kernel shift") && err.contains("`frob.u32 %r3, %r2`"), "{err}");
    assert_eq!(folder.run("two.ptx --grid 1 --block 1").0, 2);
}

#[test]
fn a_closed_pipe_ends_silently() {
    let folder = Folder::new("pipe");
    let arguments = format!("{SCALE} --arg buffer:f32:400000=1 --arg u32:32 --arg f32:1 --print 0");
    let mut child =
        folder.program(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(&start, b"argument");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// The text of README's code blocks of a language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    readme.split(start.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_examples_of_the_readme_print_what_it_shows() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(here.join("README.md")).unwrap();
    let kernel = std::fs::read_to_string(here.join("tests/ptx/saxpy.cu")).unwrap();
    assert_eq!(blocks(&readme, "cuda"), [kernel]);
    let examples: Vec<String> = blocks(&readme, "text")
        .into_iter()
        .filter_map(|block| block.strip_prefix("$ ptx-sim "))
        .map(|block| block.replace("\\\n", ""))
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let (arguments, shown) = example.split_once('\n').unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ptx-sim"))
            .current_dir(here.join("tests/ptx"))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        for part in shown.split("...\n") {
            // The time differs.
            let part = part.rsplit_once(" in ").map_or(part, |(before, _)| before);
            assert!(printed.contains(part), "{arguments}: {part}\nis not in\n{printed}");
        }
    }
}
