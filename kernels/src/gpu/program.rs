//! The CUDA source of an op.

use std::fmt::Write;

/// A part of a program's source.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The file's name, for the compiler's messages.
    pub file: &'static str,
    /// The file's text.
    pub text: &'static str,
}

impl Part {
    /// The first part of every program: number types, indices, sums over warps and blocks, Philox.
    pub const PRELUDE: Part = Part { file: "prelude.cuh", text: include_str!("../prelude.cuh") };
    /// The matrix product, with a gather of the operands and an epilogue.
    pub const PRODUCT: Part = Part { file: "product.cuh", text: include_str!("../product.cuh") };
    /// Rows and columns of a tile of the matrix product; `TILE` in `product.cuh`.
    pub const PRODUCT_TILE: usize = 64;
    /// Loops over axes: reductions and broadcasting.
    pub const WALK: Part = Part { file: "walk.cuh", text: include_str!("../walk.cuh") };
}

/// The kernels of one op: CUDA C++ without headers, and the committed PTX.
///
/// Each kernel takes one struct by value. The source is the parts, in order.
#[derive(Debug)]
pub struct Program {
    /// The op's name.
    pub name: &'static str,
    /// Distinguishes the programs of one op, whose kernels may have the same names.
    pub variant: &'static str,
    /// The parts of the source, in order.
    pub parts: &'static [Part],
    /// The text of the file in `kernels/ptx`; may be compiled from an older source.
    committed: &'static str,
}

/// A program's name and variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramId {
    name: &'static str,
    variant: &'static str,
}

/// The compiler options of every program, without the target.
pub(super) const OPTIONS: [&str; 3] = ["--std=c++17", "-lineinfo", "-default-device"];

impl Program {
    /// The f32 program of these parts.
    pub const fn new(name: &'static str, parts: &'static [Part], committed: &'static str) -> Self {
        Program { name, variant: "f32", parts, committed }
    }

    /// Sets the variant.
    pub const fn variant(self, variant: &'static str) -> Self {
        Program { variant, ..self }
    }

    /// The key of the program among all that a device loads.
    pub fn id(&self) -> ProgramId {
        ProgramId { name: self.name, variant: self.variant }
    }

    /// The whole source, with `#line` directives, so that the compiler's messages name a part's file and line.
    pub fn source(&self) -> String {
        let mut source = String::new();
        for part in self.parts {
            // Writing to a string cannot fail.
            let _ = writeln!(source, "#line 1 \"{}\"\n{}", part.file, part.text);
        }
        source
    }

    /// A hash of the source and the options.
    pub fn key(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(self.source().as_bytes());
        for option in OPTIONS {
            hash.update(option.as_bytes());
        }
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// The committed PTX, if it was compiled from this source.
    pub fn committed(&self) -> Option<&'static str> {
        let (key, text) = self.committed.split_once('\n')?;
        (key.strip_prefix("// source ")? == self.key()).then_some(text)
    }

    /// The text to commit: the key, then the PTX without the compiler's banner, debug sections and repeated source
    /// lines.
    pub fn to_commit(&self, ptx: &str) -> String {
        let compiler = ptx.lines().find(|line| line.contains(" release ")).unwrap_or("//");
        let mut text = format!("// source {}\n{compiler}\n", self.key());
        let mut place = "";
        let mut debug = false;
        for line in ptx.lines().map(str::trim) {
            debug |= line.starts_with(".section");
            if debug {
                debug = line != "}";
            } else if let Some((number, path)) =
                line.strip_prefix(".file").and_then(|rest| rest.split_once('"'))
            {
                // NVRTC writes its working folder before the name.
                let name = path.rsplit('/').next().unwrap_or(path);
                text.push_str(&format!(".file{number}\"{name}\n"));
            } else if let Some(now) = line.strip_prefix(".loc") {
                // After the comma follows the position of inlining.
                let now = now.split(',').next().unwrap_or(now).trim();
                if now != std::mem::replace(&mut place, now) {
                    text.push_str(&format!(".loc {now}\n"));
                }
            } else if !(line.is_empty() || line.starts_with("//")) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// The names of the kernels, as declared in the source.
    pub fn kernels(&self) -> Vec<&'static str> {
        let name = |line: &'static str| {
            let (_, declared) = line.strip_prefix("KERNEL(")?.split_once(") ")?;
            declared.split('(').next()
        };
        self.parts.iter().flat_map(|part| part.text.lines()).filter_map(name).collect()
    }
}
