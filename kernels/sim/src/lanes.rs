//! A warp's registers, 32 lanes side by side, and the loops that run one operation over them.
//!
//! An arithmetic instruction is a pair of function pointers made by [`lanes!`] from a scalar
//! closure: one compiled for the baseline processor, one for AVX2 and FMA. The closure's argument
//! types select the register bank and the interpretation of its bits.

/// Lanes of a warp.
pub const LANES: usize = 32;
/// The mask of a whole warp.
pub const ALL: u32 = u32::MAX;

/// The register file of one warp.
#[derive(Clone, Default)]
pub struct Registers {
    /// Registers of 16 and 32 bits; 16-bit ones keep the upper half zero.
    pub words: Vec<[u32; LANES]>,
    /// Registers of 64 bits.
    pub longs: Vec<[u64; LANES]>,
    /// Predicates, a bit for each lane.
    pub predicates: Vec<u32>,
    /// The carry flag of `add.cc`, `subc` and similar instructions, a bit for each lane.
    pub carry: u32,
    /// Seed of the perturbation of approximate results; `None`: no perturbation.
    pub perturb: Option<u64>,
}

/// Register slots of an arithmetic instruction, in the banks that its function expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operands {
    /// Destination.
    pub d: u16,
    /// Second destination, or fourth source.
    pub e: u16,
    /// First source.
    pub a: u16,
    /// Second source.
    pub b: u16,
    /// Third source.
    pub c: u16,
    /// A constant of the instruction, such as the table of `lop3`.
    pub immediate: u32,
}

/// An operation over all lanes. It must not be called on a processor without its target features.
type Function = unsafe fn(&mut Registers, &Operands, u32);

/// One operation, compiled for the features of this processor.
#[derive(Clone, Copy)]
pub struct Lanes(Function);

impl Lanes {
    /// Picks `wide` if this processor has AVX2 and FMA, otherwise `plain`.
    ///
    /// # Safety
    /// `plain` must need no processor feature; on x86-64 `wide` may need AVX2 and FMA only.
    pub unsafe fn choose(plain: Function, wide: Function) -> Lanes {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return Lanes(wide);
        }
        let _ = wide;
        Lanes(plain)
    }

    /// Runs the operation for the lanes of `mask`.
    #[inline(always)]
    pub fn run(self, registers: &mut Registers, operands: &Operands, mask: u32) {
        // SAFETY: `choose` kept a function whose features this processor has.
        unsafe { (self.0)(registers, operands, mask) }
    }
}

/// Makes [`Lanes`] from a shape and a closure that captures nothing.
macro_rules! lanes {
    ($shape:path, $f:expr $(, $more:expr)*) => {{
        fn plain(r: &mut $crate::lanes::Registers, o: &$crate::lanes::Operands, mask: u32) {
            $shape(r, o, mask, $f $(, $more)*);
        }
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
        fn wide(r: &mut $crate::lanes::Registers, o: &$crate::lanes::Operands, mask: u32) {
            $shape(r, o, mask, $f $(, $more)*);
        }
        // SAFETY: `plain` needs no feature, and `wide` only those that `choose` checks.
        unsafe { $crate::lanes::Lanes::choose(plain, wide) }
    }};
}
pub(crate) use lanes;

/// A type that the lanes of a register can be read and written as.
pub trait Value: Copy {
    /// The initial value of arrays.
    const ZERO: Self;
    /// Reads the register's lanes.
    fn load(registers: &Registers, slot: u16) -> [Self; LANES];
    /// Writes the lanes of `mask`.
    fn store(registers: &mut Registers, slot: u16, values: [Self; LANES], mask: u32);
}

macro_rules! value {
    ($type:ty, $bank:ident, $cell:ty, $zero:expr, $load:expr, $store:expr) => {
        impl Value for $type {
            const ZERO: Self = $zero;

            #[inline(always)]
            fn load(registers: &Registers, slot: u16) -> [Self; LANES] {
                let cells = &registers.$bank[slot as usize];
                let mut values = [$zero; LANES];
                for (value, &cell) in values.iter_mut().zip(cells) {
                    *value = $load(cell);
                }
                values
            }

            #[inline(always)]
            fn store(registers: &mut Registers, slot: u16, values: [Self; LANES], mask: u32) {
                let cells = &mut registers.$bank[slot as usize];
                if mask == ALL {
                    for (cell, value) in cells.iter_mut().zip(values) {
                        *cell = $store(value);
                    }
                } else {
                    for (lane, (cell, value)) in cells.iter_mut().zip(values).enumerate() {
                        *cell = if mask >> lane & 1 == 1 { $store(value) } else { *cell };
                    }
                }
            }
        }
    };
}

value!(u16, words, u32, 0, |cell: u32| cell as u16, |value: u16| u32::from(value));
value!(i16, words, u32, 0, |cell: u32| cell as i16, |value: i16| u32::from(value as u16));
value!(u32, words, u32, 0, |cell: u32| cell, |value: u32| value);
value!(i32, words, u32, 0, |cell: u32| cell as i32, |value: i32| value as u32);
value!(f32, words, u32, 0.0, f32::from_bits, f32::to_bits);
value!(u64, longs, u64, 0, |cell: u64| cell, |value: u64| value);
value!(i64, longs, u64, 0, |cell: u64| cell as i64, |value: i64| value as u64);
value!(f64, longs, u64, 0.0, f64::from_bits, f64::to_bits);

/// `d = f(a)`.
#[inline(always)]
pub fn unary<A: Value, D: Value>(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(A) -> D) {
    let a = A::load(r, o.a);
    let mut d = [D::ZERO; LANES];
    for lane in 0..LANES {
        d[lane] = f(a[lane]);
    }
    D::store(r, o.d, d, mask);
}

/// `d = f(a, b)`.
#[inline(always)]
pub fn binary<A: Value, B: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, B) -> D,
) {
    let (a, b) = (A::load(r, o.a), B::load(r, o.b));
    let mut d = [D::ZERO; LANES];
    for lane in 0..LANES {
        d[lane] = f(a[lane], b[lane]);
    }
    D::store(r, o.d, d, mask);
}

/// `d = f(a, b, c)`.
#[inline(always)]
pub fn ternary<A: Value, B: Value, C: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, B, C) -> D,
) {
    let (a, b, c) = (A::load(r, o.a), B::load(r, o.b), C::load(r, o.c));
    let mut d = [D::ZERO; LANES];
    for lane in 0..LANES {
        d[lane] = f(a[lane], b[lane], c[lane]);
    }
    D::store(r, o.d, d, mask);
}

/// `d = f(a, b, c, e)`.
#[inline(always)]
pub fn quaternary<A: Value, B: Value, C: Value, E: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, B, C, E) -> D,
) {
    let (a, b, c, e) = (A::load(r, o.a), B::load(r, o.b), C::load(r, o.c), E::load(r, o.e));
    let mut d = [D::ZERO; LANES];
    for lane in 0..LANES {
        d[lane] = f(a[lane], b[lane], c[lane], e[lane]);
    }
    D::store(r, o.d, d, mask);
}

/// `(d, e) = f(a)`.
#[inline(always)]
pub fn unpack<A: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A) -> (D, D),
) {
    let a = A::load(r, o.a);
    let (mut d, mut e) = ([D::ZERO; LANES], [D::ZERO; LANES]);
    for lane in 0..LANES {
        (d[lane], e[lane]) = f(a[lane]);
    }
    D::store(r, o.d, d, mask);
    D::store(r, o.e, e, mask);
}

/// `d = f(a, immediate)`.
#[inline(always)]
pub fn unary_immediate<A: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, u32) -> D,
) {
    let immediate = o.immediate;
    unary(r, o, mask, |a| f(a, immediate));
}

/// `d = f(a, b, immediate)`.
#[inline(always)]
pub fn binary_immediate<T: Value, D: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(T, T, u32) -> D,
) {
    let immediate = o.immediate;
    binary(r, o, mask, |a, b| f(a, b, immediate));
}

/// `(d, flag) = f(a, b, carry)`: bit 0 of the immediate writes `flag` to the carry flag, bit 1
/// passes the old flag as `carry`.
#[inline(always)]
pub fn with_carry<T: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(T, T, bool) -> (T, bool),
) {
    let (a, b) = (T::load(r, o.a), T::load(r, o.b));
    let carry = if o.immediate & 2 != 0 { r.carry } else { 0 };
    let (mut d, mut out) = ([T::ZERO; LANES], 0);
    for lane in 0..LANES {
        let (value, over) = f(a[lane], b[lane], carry >> lane & 1 == 1);
        d[lane] = value;
        out |= u32::from(over) << lane;
    }
    T::store(r, o.d, d, mask);
    if o.immediate & 1 != 0 {
        r.carry = r.carry & !mask | out & mask;
    }
}

/// `d = f(a, b, c, immediate)`.
#[inline(always)]
pub fn ternary_immediate<T: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(T, T, T, u32) -> T,
) {
    let immediate = o.immediate;
    ternary(r, o, mask, |a, b, c| f(a, b, c, immediate));
}

/// `d = c ? a : b` with `c` a predicate.
#[inline(always)]
pub fn select<T: Value>(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(T, T, bool) -> T) {
    let (a, b, c) = (T::load(r, o.a), T::load(r, o.b), r.predicates[o.c as usize]);
    let mut d = [T::ZERO; LANES];
    for lane in 0..LANES {
        d[lane] = f(a[lane], b[lane], c >> lane & 1 == 1);
    }
    T::store(r, o.d, d, mask);
}

/// How a comparison's result is combined with its third operand: bits of [`Operands::immediate`].
pub mod combine {
    /// The result only.
    pub const NONE: u32 = 0;
    /// Result and third operand.
    pub const AND: u32 = 1;
    /// Result or third operand.
    pub const OR: u32 = 2;
    /// Result exclusive-or third operand.
    pub const XOR: u32 = 3;
    /// The bits of the joins above.
    pub const JOINS: u32 = 3;
    /// Negates the third operand.
    pub const NEGATED: u32 = 4;
    /// Writes the complement to a second destination.
    pub const SECOND: u32 = 8;
}

/// Predicate `d = f(a, b)`, combined with predicate `c` by the bits of [`combine`].
#[inline(always)]
pub fn compare<A: Value>(r: &mut Registers, o: &Operands, mask: u32, f: impl Fn(A, A) -> bool) {
    let (a, b) = (A::load(r, o.a), A::load(r, o.b));
    let mut bits = [0u32; LANES];
    for lane in 0..LANES {
        bits[lane] = u32::from(f(a[lane], b[lane])) << lane;
    }
    let result = bits.iter().fold(0, |all, bit| all | bit);
    store_compared(r, o, mask, [result, !result]);
}

/// Predicates `(d, e) = f(a, b, immediate)`, combined like those of [`compare`].
#[inline(always)]
pub fn compare_both<A: Value>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A, A, u32) -> [bool; 2],
) {
    let (a, b) = (A::load(r, o.a), A::load(r, o.b));
    let mut results = [0; 2];
    for lane in 0..LANES {
        for (result, holds) in results.iter_mut().zip(f(a[lane], b[lane], o.immediate)) {
            *result |= u32::from(holds) << lane;
        }
    }
    store_compared(r, o, mask, results);
}

/// Combines the results of a comparison with its third operand and stores them.
#[inline(always)]
fn store_compared(r: &mut Registers, o: &Operands, mask: u32, [first, second]: [u32; 2]) {
    let c = r.predicates[o.c as usize] ^ if o.immediate & combine::NEGATED != 0 { ALL } else { 0 };
    let join = |result: u32| match o.immediate & combine::JOINS {
        combine::AND => result & c,
        combine::OR => result | c,
        combine::XOR => result ^ c,
        _ => result,
    };
    let d = &mut r.predicates[o.d as usize];
    *d = *d & !mask | join(first) & mask;
    if o.immediate & combine::SECOND != 0 {
        let e = &mut r.predicates[o.e as usize];
        *e = *e & !mask | join(second) & mask;
    }
}

/// `d = f(a)`, moved within `bound` (relative; absolute below 1) when perturbation is on.
#[inline(always)]
pub fn approximate<A: Value + Into<f64>>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(A) -> f32,
    bound: Bound,
) {
    let seed = r.perturb;
    unary(r, o, mask, |a: A| {
        let exact = f(a);
        seed.map_or(exact, |seed| perturbed(exact, seed, a.into().to_bits(), bound))
    });
}

/// `d = f(a, b)`, moved like [`approximate`].
#[inline(always)]
pub fn approximate_binary(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(f32, f32) -> f32,
    bound: Bound,
) {
    let seed = r.perturb;
    binary(r, o, mask, |a: f32, b: f32| {
        let exact = f(a, b);
        let input = u64::from(a.to_bits()) << 32 | u64::from(b.to_bits());
        seed.map_or(exact, |seed| perturbed(exact, seed, input, bound))
    });
}

/// The largest error of an approximate instruction.
#[derive(Clone, Copy)]
pub enum Bound {
    /// An error relative to the result.
    Relative(f32),
    /// An absolute error.
    Absolute(f32),
}

/// Moves a result by a pseudo-random fraction of its bound, a function of seed and input.
pub fn perturbed(exact: f32, seed: u64, input: u64, bound: Bound) -> f32 {
    if !exact.is_finite() || exact == 0.0 {
        return exact;
    }
    let share = (mix(seed ^ mix(input)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    match bound {
        Bound::Relative(bound) => exact + exact * bound * share,
        Bound::Absolute(bound) => exact + bound * share,
    }
}

/// Hashes 64 bits (the finaliser of splitmix64).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}
