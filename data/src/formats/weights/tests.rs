use super::*;
use std::io::Cursor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A dictionary `{"layer": {"weight": tensor of storage 0}, "epoch": 3}` in protocol 2, the tensor of this shape,
/// strides and offset over `count` numbers of this storage type.
fn program(kind: &str, count: u8, offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let text =
        |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let sizes = |sizes: &[u8]| {
        let numbers = sizes.iter().flat_map(|&size| [b'K', size]);
        [&b"("[..], &numbers.collect::<Vec<u8>>(), b"t"].concat()
    };
    [
        &b"\x80\x02}("[..],
        &text("layer"),
        b"}",
        &text("weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        format!("ctorch\n{kind}\n").as_bytes(),
        &text("0"),
        &text("cpu"),
        &[b'K', count],
        b"tQ",
        &[b'K', offset],
        &sizes(shape),
        &sizes(strides),
        b"\x89ccollections\nOrderedDict\n)RtRs",
        &text("epoch"),
        b"K\x03u.",
    ]
    .concat()
}

#[test]
fn what_is_used_again_and_again_does_not_grow() {
    let text =
        |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let pairs = [&text("a")[..], b"K\x01\x86"].concat().repeat(1000);
    let start = b"\x80\x02ccollections\nOrderedDict\nq\x00](";
    let copies = |times: usize| {
        let calls = b"h\x00h\x01R".repeat(times);
        [&start[..], &pairs, b"e\x85q\x01", &calls, b"."].concat()
    };
    assert!(pickle::read(&copies(1)).is_ok());
    let refusal = pickle::read(&copies(2000)).unwrap_err();
    assert!(refusal.contains("makes more than it holds"), "{refusal}");
}

fn archive(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn packed(program: &[u8], numbers: &[u8]) -> Vec<u8> {
    let files: [(&str, &[u8]); 3] =
        [("x/data.pkl", program), ("x/byteorder", b"little"), ("x/data/0", numbers)];
    archive(&files, CompressionMethod::Stored)
}

/// The older format with one storage, `0`.
fn legacy(program: &[u8], count: u64, numbers: &[u8]) -> Vec<u8> {
    [
        torch::LEGACY,
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}X\x0d\0\0\0little_endian\x88s.",
        program,
        b"\x80\x02]X\x01\0\0\x000a.",
        &count.to_le_bytes(),
        numbers,
    ]
    .concat()
}

fn open(bytes: &[u8]) -> Result<Weights> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    std::fs::write(&path, bytes).unwrap();
    Weights::open(&path)
}

fn refused(bytes: &[u8], part: &str) {
    let message = open(bytes).unwrap_err().to_string();
    assert!(message.contains(part) && message.contains("weights.pt"), "{message}");
}

fn floats(count: u8) -> Vec<u8> {
    (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect()
}

#[test]
fn both_formats_of_pytorch_are_read() {
    // Columns 1 to 3 of a matrix of 2 rows and 4 columns, transposed.
    let program = program("FloatStorage", 8, 1, &[3, 2], &[1, 4]);
    for (bytes, format) in [
        (packed(&program, &floats(8)), Format::TorchZip),
        (legacy(&program, 8, &floats(8)), Format::TorchLegacy),
    ] {
        let weights = open(&bytes).unwrap();
        assert_eq!((weights.format(), weights.others()), (format, 1));
        let [entry] = weights.entries() else { panic!("{:?}", weights.entries()) };
        assert_eq!((entry.name(), entry.shape()), ("layer.weight", &[3, 2][..]));
        assert_eq!(weights.values(entry).unwrap().data(), [1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    }
}

#[test]
fn every_type_of_number_comes_through_safetensors() {
    let kinds = [
        ("DoubleStorage", 2.0f64.to_le_bytes().to_vec(), Number::F64),
        ("FloatStorage", 2.0f32.to_le_bytes().to_vec(), Number::F32),
        ("HalfStorage", f16::from_f32(2.0).to_le_bytes().to_vec(), Number::F16),
        ("BFloat16Storage", bf16::from_f32(2.0).to_le_bytes().to_vec(), Number::Bf16),
        ("LongStorage", 2i64.to_le_bytes().to_vec(), Number::I64),
        ("IntStorage", 2i32.to_le_bytes().to_vec(), Number::I32),
        ("ShortStorage", 2i16.to_le_bytes().to_vec(), Number::I16),
        ("CharStorage", vec![2], Number::I8),
        ("ByteStorage", vec![2], Number::U8),
        ("BoolStorage", vec![1], Number::Bool),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    for (kind, bytes, number) in kinds {
        let weights = open(&packed(&program(kind, 1, 0, &[1], &[1]), &bytes)).unwrap();
        weights.save(&path).unwrap();
        let again = Weights::open(&path).unwrap();
        assert_eq!(again.format(), Format::Safetensors);
        let expected = if number == Number::Bool { 1.0 } else { 2.0 };
        for weights in [&weights, &again] {
            let entry = &weights.entries()[0];
            assert_eq!((entry.name(), entry.number()), ("layer.weight", number));
            assert_eq!(weights.values(entry).unwrap().data(), [expected], "{kind}");
        }
    }
}

#[test]
fn hostile_programs_are_refused() {
    let evil = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.";
    refused(&packed(evil, &[]), "`os.system`");
    refused(
        &packed(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", &[]),
        "`builtins.eval`",
    );
    // A tuple in a tuple in a tuple, deeper than any stack.
    let deep = |depth: usize| [&b"\x80\x02)"[..], &vec![0x85; depth], b"."].concat();
    assert!(open(&packed(&deep(1 << 16), &[])).unwrap().entries().is_empty());
    refused(&packed(&deep(1 << 20), &[]), "makes more than it holds");
    // Lists that hold themselves ten times over.
    let many = [&b"\x80\x02]q\0("[..], &b"h\0".repeat(10), b"e."].concat();
    refused(&packed(&many, &[]), "more than");
    refused(&packed(b"\x80\x02h\x07.", &[]), "never stored");
    refused(&packed(b"\x80\x02(\x8a\x20", &[]), "cut short");
}

#[test]
fn numbers_that_are_not_there_are_missed() {
    let good = program("FloatStorage", 8, 0, &[2, 4], &[4, 1]);
    refused(&packed(&good, &floats(7)), "`layer.weight`");
    refused(&legacy(&good, 8, &floats(7)), "cut short");
    refused(&packed(&program("FloatStorage", 8, 1, &[2, 4], &[4, 1]), &floats(8)), "damaged");
    // An expanded tensor says much with little.
    let wide = program("FloatStorage", 1, 0, &[200, 200, 200, 200], &[0, 0, 0, 0]);
    refused(&packed(&wide, &floats(1)), "contiguous");
    let deflated = archive(&[("x/data.pkl", &good)], CompressionMethod::Stored);
    refused(&deflated, "not all there");
    refused(&archive(&[("x/readme", b"hello")], CompressionMethod::Stored), "no data.pkl");
    refused(b"hello, world", "weights.pt: not a file of weights");
    refused(b"", "is empty");
    refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\n", "run `git lfs pull`");
    refused(b"<!DOCTYPE html><title>Sign in</title>", "is a web page (\"Sign in\")");
    refused(b"\x89HDF\r\n\x1a\n0", "is an HDF5 file, not a file of weights");
}

/// `torch.jit.save` compresses the code.
#[test]
fn a_torchscript_program_says_what_to_save() {
    let code: [(&str, &[u8]); 3] = [
        ("script/data/0", &[0; 24]),
        ("script/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81."),
        ("script/code/__torch__.py", b"class Net(Module):"),
    ];
    refused(
        &archive(&code, CompressionMethod::Deflated),
        "TorchScript program: save the state_dict",
    );
    let constants = [code[0], ("script/constants.pkl", b"\x80\x02)."), code[1]];
    refused(
        &archive(&constants, CompressionMethod::Stored),
        "TorchScript program: save the state_dict",
    );
}

/// A program of `count` tensors as PyTorch writes it: every string and container is remembered.
fn long_program(count: u32) -> Vec<u8> {
    let mut next = 0u32;
    let mut put = |bytes: &mut Vec<u8>| {
        bytes.push(b'r');
        bytes.extend(next.to_le_bytes());
        next += 1;
    };
    let mut bytes = b"\x80\x02}".to_vec();
    put(&mut bytes);
    bytes.push(b'(');
    for number in 0..count {
        for (part, text) in [
            (&b""[..], format!("module.layers.{number}.weight")),
            (b"ctorch._utils\n_rebuild_tensor_v2\n((", "storage".into()),
            (b"ctorch\nFloatStorage\n", number.to_string()),
            (b"", "cpu".into()),
        ] {
            bytes.extend(part);
            bytes.push(b'X');
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
            put(&mut bytes);
        }
        for part in [
            &b"K\x01t"[..],
            b"QK\x00K\x01K\x01\x86",
            b"K\x01K\x01\x86",
            b"\x89ccollections\nOrderedDict\n)Rt",
        ] {
            bytes.extend(part);
            put(&mut bytes);
        }
        bytes.push(b'R');
        put(&mut bytes);
    }
    bytes.extend(b"u.");
    bytes
}

#[test]
fn a_long_program_fits_into_its_memory() {
    let program = long_program(10_000);
    assert!(program.len() > 2_000_000, "{}", program.len());
    let made = pickle::read(&program).unwrap();
    assert_eq!(made.dict(&made.value).unwrap().len(), 10_000);
}

/// Each byte of these made 200 bytes of memory: 3.4 GB of 15 MB.
#[test]
fn a_dense_program_is_refused_before_it_fills_the_memory() {
    const LENGTH: usize = 15 << 20;
    for piece in [&b"]"[..], b"}", b")", b"N", b"(", b"]q\x00", b"\x8c\0", b"\x89\x85", b"}\x94"] {
        let program = [&b"\x80\x02"[..], &piece.repeat(LENGTH / piece.len())].concat();
        let refusal = pickle::read(&program).unwrap_err();
        assert!(refusal.contains("makes more than it holds"), "{piece:?}: {refusal}");
        let at = refusal.rsplit("at byte ").next().and_then(|rest| rest.split(' ').next());
        let at: usize = at.unwrap().parse().unwrap();
        assert!(at < 2 << 20, "{piece:?}: {at}");
    }
}

/// 200 kB, half of them numbers, that 2,000 tensors share: 200 MB when they are saved.
#[test]
fn tensors_that_share_their_numbers_do_not_multiply_them() {
    let tensor = program("FloatStorage", 1, 0, &[1], &[1]);
    let one = tensor.windows(6).position(|bytes| bytes == b"ctorch").unwrap();
    let end = tensor.windows(5).position(|bytes| bytes == b"RtRsX").unwrap() + 3;
    let mut tensor = tensor[one..end].to_vec();
    let size = |number: u16| [&b"M"[..], &number.to_le_bytes()].concat();
    let count = tensor.windows(3).position(|bytes| bytes == b"K\x01t").unwrap();
    tensor.splice(count..count + 2, size(25_000));
    let shape = tensor.windows(4).position(|bytes| bytes == b"(K\x01t").unwrap() + 1;
    tensor.splice(shape..shape + 2, size(25_000));
    let share = |times: u32| {
        let mut program = [&b"\x80\x02]("[..], &tensor, b"q\x07"].concat();
        program.extend(b"h\x07".repeat(times as usize));
        program.extend(b"e.");
        packed(&program, &[0; 100_000])
    };
    assert_eq!(open(&share(1)).unwrap().entries().len(), 2);
    refused(&share(2_000), "its tensors have 200100000 bytes of numbers, more than 8 times the");
}

/// No damage does more than an error.
#[test]
fn damaged_files_are_errors_at_worst() {
    use rand::{Rng, RngExt, SeedableRng};
    let program = program("FloatStorage", 8, 1, &[3, 2], &[1, 4]);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    for whole in [packed(&program, &floats(8)), legacy(&program, 8, &floats(8))] {
        for trial in 0..4000 {
            let mut bytes = whole.clone();
            if trial % 3 == 0 {
                bytes.truncate(random.random_range(0..whole.len()));
            } else {
                for _ in 0..1 + trial % 4 {
                    let at = random.random_range(0..whole.len());
                    bytes[at] = random.next_u32() as u8;
                }
            }
            if let Ok(weights) = open(&bytes) {
                for entry in weights.entries() {
                    assert_eq!(weights.values(entry).unwrap().data().len(), entry.count());
                }
            }
        }
    }
}

/// A manifest of two rounded tensors and one as it is, in two files.
fn manifest(folder: &Path, first: &[u8], second: &[u8], text: &str) -> Result<Weights> {
    std::fs::write(folder.join("one.bin"), first).unwrap();
    std::fs::write(folder.join("two.bin"), second).unwrap();
    let path = folder.join("weights_manifest.json");
    std::fs::write(&path, text).unwrap();
    Weights::open(&path)
}

const MANIFEST: &str = r#" [ {"weights":[
    {"name":"conv/filters","shape":[2,2],"dtype":"float32","quantization":{"dtype":"uint8","scale":0.5,"min":-1.0}},
    {"name":"conv/bias","shape":[1],"dtype":"float32"},
    {"name":"fine","shape":[1],"dtype":"float32","quantization":{"dtype":"uint16","scale":0.001,"min":2.0}}],
    "paths":["one.bin","two.bin"]}]"#;

#[test]
fn manifests_are_read_across_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = [&[0u8, 1, 2, 255][..], &7.5f32.to_le_bytes(), &1000u16.to_le_bytes()].concat();
    let weights = manifest(folder.path(), &numbers[..6], &numbers[6..], MANIFEST).unwrap();
    assert_eq!((weights.format(), weights.others()), (Format::Manifest, 0));
    let out = folder.path().join("out.safetensors");
    weights.save(&out).unwrap();
    let saved = Weights::open(&out).unwrap();
    for weights in [&weights, &saved] {
        let mut values: Vec<(&str, Vec<f32>)> = weights
            .entries()
            .iter()
            .map(|entry| (entry.name(), weights.values(entry).unwrap().into_parts().1))
            .collect();
        values.sort_by_key(|(name, _)| *name);
        let expected: [(&str, Vec<f32>); 3] = [
            ("conv/bias", vec![7.5]),
            ("conv/filters", vec![-1.0, -0.5, 0.0, 126.5]),
            ("fine", vec![3.0]),
        ];
        assert_eq!(values, expected);
    }
    // The hash is of the manifest and of the numbers.
    let hash = weights.hash();
    let other = MANIFEST.replace("0.001", "0.002");
    let scaled = manifest(folder.path(), &numbers[..6], &numbers[6..], &other).unwrap();
    assert_ne!(scaled.hash(), hash);
}

#[test]
fn manifests_that_do_not_fit_their_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |first: &[u8], second: &[u8], text: &str, part: &str| {
        let message = manifest(folder.path(), first, second, text).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(&[0; 6], &[0; 3], MANIFEST, "cut short");
    refused(&[0; 6], &[0; 5], MANIFEST, "1 bytes of its files belong to no tensor");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("two.bin", "../two.bin"), "plain file name");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("two.bin", "/etc/passwd"), "plain file name");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("two.bin", "three.bin"), "three.bin");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("uint16", "int7"), "`int7`");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("[2,2]", "[4294967296,4294967296]"), "cut short");
    refused(&[0; 6], &[0; 4], &MANIFEST.replace("fine", "conv/bias"), "two tensors");
    refused(&[0; 6], &[0; 4], &MANIFEST[..120], "manifest");
    refused(&[0; 6], &[0; 4], "[{}]", "manifest");
}
