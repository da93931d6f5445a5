//! The machine instructions behind a PTX instruction, by the unit that executes them.
//!
//! PTX is not what a GPU executes: a 64-bit addition is two machine instructions, a copy between registers none, an
//! integer division about twenty. The table here gives each form its machine instructions and the cycles until its
//! result can be read. It is a model: see the README for how near it is to compiled code.

/// An execution unit of a multiprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// f32 addition and multiplication.
    Float,
    /// Integer multiplication. It uses a half of the lanes of [`Unit::Float`].
    Multiply,
    /// Integer addition, logic, shifts, comparisons, selection.
    Integer,
    /// f64 arithmetic.
    Double,
    /// Reciprocals, roots, exponentials, conversions, counts of bits.
    Special,
    /// Loads, stores, atomics and shuffles.
    Memory,
    /// Products of matrices on tensor cores.
    Tensor,
    /// Branches, barriers and votes.
    Control,
}

impl Unit {
    /// The number of units.
    pub const COUNT: usize = 8;
    /// All units, in the order of the numbers of a [`Work`](crate::Work).
    pub const ALL: [Unit; Unit::COUNT] = [
        Unit::Float,
        Unit::Multiply,
        Unit::Integer,
        Unit::Double,
        Unit::Special,
        Unit::Memory,
        Unit::Tensor,
        Unit::Control,
    ];
}

/// The machine instructions of one PTX instruction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Machine instructions of each unit, in quarters: some forms are often merged with a neighbour.
    pub quarters: [u16; Unit::COUNT],
    /// Cycles from its issue until another instruction can use the result.
    pub latency: u16,
    /// Operations on f32 numbers of a thread.
    pub flops: u16,
    /// Operations of a warp's matrix product.
    pub matrix_flops: u32,
}

/// Cycles until the result of simple arithmetic can be used.
const ARITHMETIC: u16 = 4;
/// Cycles of a 64-bit operation made of two dependent ones.
const PAIR: u16 = 8;
/// Cycles of the special unit.
const SPECIAL: u16 = 18;
/// Cycles of shared memory and shuffles.
const SHARED: u16 = 26;
/// Cycles of global memory beyond the caches.
const GLOBAL: u16 = 520;

impl Cost {
    const NOTHING: Cost =
        Cost { quarters: [0; Unit::COUNT], latency: 0, flops: 0, matrix_flops: 0 };

    /// `quarters` of a machine instruction on one unit.
    const fn on(unit: Unit, quarters: u16, latency: u16) -> Cost {
        Cost::NOTHING.and(unit, quarters).after(latency)
    }

    const fn and(mut self, unit: Unit, quarters: u16) -> Cost {
        self.quarters[unit as usize] += quarters;
        self
    }

    const fn after(mut self, latency: u16) -> Cost {
        self.latency = latency;
        self
    }

    const fn flops(mut self, flops: u16) -> Cost {
        self.flops = flops;
        self
    }

    /// Quarters of machine instructions on all units.
    pub fn issued(&self) -> u64 {
        self.quarters.iter().map(|&quarters| u64::from(quarters)).sum()
    }

    /// The cost of an instruction with this opcode.
    pub fn of(opcode: &str) -> Cost {
        let parts: Vec<&str> = opcode.split('.').collect();
        let has = |part: &str| parts.contains(&part);
        let kind = parts.last().copied().unwrap_or("");
        match kind {
            _ if matches!(parts[0], "ld" | "st" | "ldu" | "atom" | "red" | "cp" | "ldmatrix") => {
                memory(&parts)
            }
            "f64" if parts[0] != "mov" && parts[0] != "cvt" => double(parts[0]),
            "f32" if !matches!(parts[0], "mov" | "cvt" | "setp" | "selp") => {
                single(parts[0], has("approx"))
            }
            _ => other(&parts, matches!(kind, "u64" | "s64" | "b64")),
        }
    }
}

/// Accesses of memory.
fn memory(parts: &[&str]) -> Cost {
    let has = |part: &str| parts.contains(&part);
    let latency = match () {
        // The constant bank is an operand of the instruction that uses it.
        () if has("param") => return Cost::NOTHING,
        () if has("shared") || parts[0] == "ldmatrix" => SHARED,
        () if matches!(parts[0], "st" | "red" | "cp") => 0,
        () => GLOBAL,
    };
    Cost::on(Unit::Memory, 4, latency)
}

/// f32 arithmetic.
fn single(root: &str, approximate: bool) -> Cost {
    match (root, approximate) {
        ("fma", _) => Cost::on(Unit::Float, 4, ARITHMETIC).flops(2),
        ("add" | "sub" | "mul", _) => Cost::on(Unit::Float, 4, ARITHMETIC).flops(1),
        // Signs are parts of the operands.
        ("neg" | "abs", _) => Cost::NOTHING,
        ("div", false) => Cost::on(Unit::Special, 4, 60).and(Unit::Float, 28).flops(1),
        ("rcp" | "sqrt", false) => Cost::on(Unit::Special, 4, 50).and(Unit::Float, 20).flops(1),
        ("ex2" | "lg2" | "rcp" | "rsqrt" | "sqrt" | "sin" | "cos" | "tanh" | "div", _) => {
            Cost::on(Unit::Special, 4, SPECIAL).flops(1)
        }
        // Minimum, maximum, copysign.
        _ => Cost::on(Unit::Integer, 4, ARITHMETIC).flops(1),
    }
}

/// f64 arithmetic.
fn double(root: &str) -> Cost {
    match root {
        "div" => Cost::on(Unit::Double, 36, 150).and(Unit::Special, 4).and(Unit::Integer, 12),
        "rcp" | "sqrt" => Cost::on(Unit::Double, 28, 120).and(Unit::Special, 4),
        "neg" | "abs" => Cost::NOTHING,
        "selp" => Cost::on(Unit::Integer, 8, ARITHMETIC),
        _ => Cost::on(Unit::Double, 4, PAIR),
    }
}

/// Integers, predicates, conversions, control and collectives. `long` is whether the type has 64 bits.
fn other(parts: &[&str], long: bool) -> Cost {
    let has = |part: &str| parts.contains(&part);
    let integer = Cost::on(Unit::Integer, 4, ARITHMETIC);
    match parts[0] {
        // Registers are renamed, and addresses of all spaces are alike.
        "mov" | "cvta" => Cost::NOTHING,
        "mul" | "mad" if has("wide") => Cost::on(Unit::Multiply, 4, ARITHMETIC),
        "mul" | "mad" if long => Cost::on(Unit::Multiply, 12, 12),
        "mul" | "mad" => Cost::on(Unit::Multiply, 4, ARITHMETIC),
        "div" | "rem" if long => Cost::on(Unit::Integer, 180, 300)
            .and(Unit::Multiply, 100)
            .and(Unit::Special, 12)
            .and(Unit::Control, 8),
        "div" | "rem" => {
            Cost::on(Unit::Integer, 36, 80).and(Unit::Multiply, 20).and(Unit::Special, 12)
        }
        "and" | "or" | "xor" | "not" if has("pred") => Cost::on(Unit::Integer, 2, ARITHMETIC),
        "cvt" => conversion(parts),
        "popc" | "clz" | "bfind" => Cost::on(Unit::Special, 4, SPECIAL),
        "min" | "max" | "bfi" | "bfe" if long => Cost::on(Unit::Integer, 16, PAIR),
        "bfi" | "bfe" => Cost::on(Unit::Integer, 8, PAIR),
        "shfl" => Cost::on(Unit::Memory, 4, SHARED),
        "vote" | "match" | "redux" | "activemask" => Cost::on(Unit::Control, 4, 12),
        "bra" | "bar" | "barrier" | "ret" | "exit" | "call" => Cost::on(Unit::Control, 4, 0),
        "fence" | "membar" => Cost::on(Unit::Memory, 4, GLOBAL),
        "mma" => matrix(parts),
        _ if long => Cost::on(Unit::Integer, 8, PAIR),
        _ => integer,
    }
}

/// `cvt`.
fn conversion(parts: &[&str]) -> Cost {
    let [.., to, from] = parts else { return Cost::NOTHING };
    let float = |kind: &str| matches!(kind, "f16" | "bf16" | "f32" | "f64" | "tf32" | "bf16x2");
    match (float(to), float(from)) {
        (true, true) if to == from => Cost::on(Unit::Float, 4, ARITHMETIC),
        (true, true) if *to != "f64" && *from != "f64" => Cost::on(Unit::Integer, 4, ARITHMETIC),
        (false, false) if *from == "s32" && *to == "s64" => Cost::on(Unit::Integer, 4, ARITHMETIC),
        // Halves of registers, and registers of which the upper half is zero.
        (false, false) => Cost::NOTHING,
        _ => Cost::on(Unit::Special, 4, SPECIAL),
    }
}

/// `mma.sync` of 16 rows and 8 columns.
fn matrix(parts: &[&str]) -> Cost {
    let shape = parts.iter().find_map(|part| part.strip_prefix("m16n8k")?.parse::<u32>().ok());
    let depth = shape.unwrap_or(0);
    Cost { matrix_flops: 2 * 16 * 8 * depth, ..Cost::on(Unit::Tensor, 4, 18) }
}
