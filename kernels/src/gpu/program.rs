//! The CUDA source of an op.

use std::fmt::Write;

/// A piece of source with the name that messages give it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The file's name.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl Part {
    /// What every program begins with: number types, indices, sums over warps and blocks, Philox.
    pub const PRELUDE: Part = Part { file: "prelude.cuh", text: include_str!("../prelude.cuh") };
    /// The matrix product with a gather in front and an epilogue behind.
    pub const PRODUCT: Part = Part { file: "product.cuh", text: include_str!("../product.cuh") };
    /// The side of a tile of it; `TILE` there.
    pub const PRODUCT_TILE: usize = 64;
    /// Loops over axes: reductions and broadcasting.
    pub const WALK: Part = Part { file: "walk.cuh", text: include_str!("../walk.cuh") };
}

/// The kernels of one op: CUDA C++ without headers, and the PTX that is committed with it.
///
/// Each kernel takes one struct by value. Its source is its parts in their order.
#[derive(Debug)]
pub struct Program {
    /// The op's name.
    pub name: &'static str,
    /// Which of the op's programs: those of one op may have kernels of the same name.
    pub variant: &'static str,
    /// The source.
    pub parts: &'static [Part],
    /// PTX made of it once, in `kernels/ptx`; may be that of an older source.
    committed: &'static str,
}

/// A program's name and variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramId {
    name: &'static str,
    variant: &'static str,
}

/// What every program is compiled with, beside its target.
pub(super) const OPTIONS: [&str; 3] = ["--std=c++17", "-lineinfo", "-default-device"];

impl Program {
    /// The f32 program of these parts.
    pub const fn new(name: &'static str, parts: &'static [Part], committed: &'static str) -> Self {
        Program { name, variant: "f32", parts, committed }
    }

    /// The program as another variant of its op.
    pub const fn variant(self, variant: &'static str) -> Self {
        Program { variant, ..self }
    }

    /// Names the program among all that a device loads.
    pub fn id(&self) -> ProgramId {
        ProgramId { name: self.name, variant: self.variant }
    }

    /// The whole source; messages about it name the file and line of the part they are about.
    pub fn source(&self) -> String {
        let mut source = String::new();
        for part in self.parts {
            // Writing to a string cannot fail.
            let _ = writeln!(source, "#line 1 \"{}\"\n{}", part.file, part.text);
        }
        source
    }

    /// Names the source and the options: another key, other PTX.
    pub fn key(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(self.source().as_bytes());
        for option in OPTIONS {
            hash.update(option.as_bytes());
        }
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// The committed PTX, if it was made of this very source.
    pub fn committed(&self) -> Option<&'static str> {
        let (key, text) = self.committed.split_once('\n')?;
        (key.strip_prefix("// source ")? == self.key()).then_some(text)
    }

    /// What is to be committed: the key, then the PTX without the compiler's banner, debug sections, and all but the
    /// changes of its source lines.
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
                // NVRTC puts the folder it ran in before the name.
                let name = path.rsplit('/').next().unwrap_or(path);
                text.push_str(&format!(".file{number}\"{name}\n"));
            } else if let Some(now) = line.strip_prefix(".loc") {
                // Where a function was inlined into follows the comma.
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

    /// The names of its kernels, as the source declares them.
    pub fn kernels(&self) -> Vec<&'static str> {
        let name = |text: &'static str| text.split('(').next().map(str::trim);
        self.parts
            .iter()
            .flat_map(|part| part.text.split("extern \"C\" __global__ void ").skip(1))
            .filter_map(name)
            .collect()
    }
}
