//! SIMD vectors, with the instruction set chosen at run time.
//!
//! Vector code is written once as a [`Work`], generic over an instruction set ([`Isa`]) and a number type;
//! [`run`] compiles it for each instruction set and calls the best one that the processor has. Plain loops
//! inside a [`Work`] are vectorised for that instruction set too, so most ops need no vector types.

use std::sync::OnceLock;

/// An instruction set: marker types [`Avx512`], [`Avx2`] and [`Portable`].
pub trait Isa: Copy + Send + Sync + 'static {
    /// Its vectors of f32.
    type F32: Vector<f32>;
    /// Its vectors of f64.
    type F64: Vector<f64>;
    /// The most vectors in a row of a matrix product's register tile.
    const TILE_VECTORS: usize;
    /// The most rows of a tile with `vectors` vectors in each row: its sums must fit the vector registers, and its
    /// row pointers the other registers.
    fn tile_rows(vectors: usize) -> usize;
    /// Runs `kernel` with `rows` and `vectors` as compile-time constants; `rows` must be
    /// [`tile_rows`](Self::tile_rows), 4, 2 or 1.
    ///
    /// # Safety
    /// Only where the instruction set is present.
    unsafe fn tile<K: Tile>(rows: usize, vectors: usize, kernel: K);
}

/// Work on a tile of sums in registers.
pub trait Tile {
    /// Computes a tile of `R` rows of `V` vectors.
    ///
    /// # Safety
    /// Only where the processor has `I`.
    unsafe fn run<I: Isa, const R: usize, const V: usize>(self);
}

/// Implements the tiles of an instruction set. Few sizes, since each is compiled for every kernel.
macro_rules! tiles {
    ($most:literal: $($vectors:literal x $rows:literal),*) => {
        const TILE_VECTORS: usize = $most;

        #[inline(always)]
        fn tile_rows(vectors: usize) -> usize {
            match vectors {
                $($vectors => $rows,)*
                _ => 1,
            }
        }

        #[inline(always)]
        unsafe fn tile<K: $crate::cpu::simd::Tile>(rows: usize, vectors: usize, kernel: K) {
            // SAFETY: by the contract of the trait.
            unsafe {
                match (vectors, rows) {
                    $(
                        ($vectors, 4) => kernel.run::<Self, 4, $vectors>(),
                        ($vectors, 2) => kernel.run::<Self, 2, $vectors>(),
                        ($vectors, 1) => kernel.run::<Self, 1, $vectors>(),
                        #[allow(unreachable_patterns, reason = "where the most rows are 4")]
                        ($vectors, $rows) => kernel.run::<Self, $rows, $vectors>(),
                    )*
                    _ => panic!("no tile of {rows} by {vectors} vectors"),
                }
            }
        }
    };
}

/// A number type that has vectors.
pub trait Vectors: Sized {
    /// The vector of this type on an instruction set.
    type On<I: Isa>: Vector<Self>;
}

impl Vectors for f32 {
    type On<I: Isa> = I::F32;
}

impl Vectors for f64 {
    type On<I: Isa> = I::F64;
}

/// A SIMD register of numbers.
///
/// # Safety
/// A method may be called only where the processor has the instruction set, that is inside a [`Work`] that
/// [`run`] called; `load` and `store` need `LANES` readable or writable numbers at the pointer, of any alignment.
#[allow(clippy::missing_safety_doc, reason = "documented once, at the trait")]
pub trait Vector<T>: Copy {
    /// The count of numbers in a vector.
    const LANES: usize;
    /// The same number in every lane.
    unsafe fn splat(value: T) -> Self;
    /// Reads a vector.
    unsafe fn load(from: *const T) -> Self;
    /// Writes a vector.
    unsafe fn store(self, to: *mut T);
    /// self * b + c, fused (rounded once) where the instruction set has it.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// self + b.
    unsafe fn add(self, b: Self) -> Self;
    /// The larger of each pair; b where self is NaN.
    unsafe fn max(self, b: Self) -> Self;
}

/// The baseline of the target triple: SSE2 on x86-64, NEON on aarch64.
#[derive(Debug, Clone, Copy)]
pub struct Portable;
/// AVX2 with FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2;
/// AVX-512 F, VL, DQ and BW.
#[derive(Debug, Clone, Copy)]
pub struct Avx512;

macro_rules! portable_vector {
    ($t:ty, $lanes:literal) => {
        impl Vector<$t> for [$t; $lanes] {
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(value: $t) -> Self {
                [value; $lanes]
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: the caller gives LANES readable numbers.
                unsafe { from.cast::<Self>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: the caller gives LANES writable numbers.
                unsafe { to.cast::<Self>().write_unaligned(self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // A fused multiply-add without the instruction is a slow library call.
                #[cfg(target_arch = "aarch64")]
                return std::array::from_fn(|i| self[i].mul_add(b[i], c[i]));
                #[cfg(not(target_arch = "aarch64"))]
                return std::array::from_fn(|i| self[i] * b[i] + c[i]);
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                std::array::from_fn(|i| self[i] + b[i])
            }
            #[inline(always)]
            unsafe fn max(self, b: Self) -> Self {
                std::array::from_fn(|i| if self[i] > b[i] { self[i] } else { b[i] })
            }
        }
    };
}

portable_vector!(f32, 4);
portable_vector!(f64, 2);

impl Isa for Portable {
    type F32 = [f32; 4];
    type F64 = [f64; 2];
    // NEON has twice the registers of SSE2.
    #[cfg(target_arch = "aarch64")]
    tiles!(4: 1 x 12, 2 x 12, 3 x 8, 4 x 6);
    #[cfg(not(target_arch = "aarch64"))]
    tiles!(2: 1 x 4, 2 x 4);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512, Isa, Vector};
    use std::arch::x86_64::*;

    macro_rules! vector {
        ($v:ty, $t:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $max:ident) => {
            impl Vector<$t> for $v {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(value: $t) -> Self {
                    // SAFETY: the instruction set is present, as the trait demands.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $t) -> Self {
                    // SAFETY: as above, and the caller gives LANES readable numbers.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $t) {
                    // SAFETY: as above, and the caller gives LANES writable numbers.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                    // SAFETY: the instruction set is present, as the trait demands.
                    unsafe { $fma(self, b, c) }
                }
                #[inline(always)]
                unsafe fn add(self, b: Self) -> Self {
                    // SAFETY: the instruction set is present, as the trait demands.
                    unsafe { $add(self, b) }
                }
                #[inline(always)]
                unsafe fn max(self, b: Self) -> Self {
                    // SAFETY: the instruction set is present, as the trait demands.
                    unsafe { $max(self, b) }
                }
            }
        };
    }

    vector!(
        __m512,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_max_ps
    );
    vector!(
        __m512d,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd,
        _mm512_max_pd
    );
    vector!(
        __m256,
        f32,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_max_ps
    );
    vector!(
        __m256d,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd,
        _mm256_max_pd
    );

    impl Isa for Avx512 {
        type F32 = __m512;
        type F64 = __m512d;
        tiles!(4: 1 x 12, 2 x 12, 3 x 8, 4 x 6);
    }

    impl Isa for Avx2 {
        type F32 = __m256;
        type F64 = __m256d;
        tiles!(2: 1 x 6, 2 x 6);
    }
}

/// Prefetches the cache line of an address, which need not be readable.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it has no effect but on the caches, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Code compiled once for each instruction set. Mark `run` and all hot functions it calls `#[inline(always)]`.
pub trait Work {
    /// The result.
    type Output;
    /// Does the work with the vectors of `I`.
    ///
    /// # Safety
    /// Only where the processor has `I`; [`run`] ensures that.
    unsafe fn run<I: Isa>(self) -> Self::Output;
}

/// The instruction sets, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// [`Portable`].
    Portable,
    /// [`Avx2`].
    Avx2,
    /// [`Avx512`].
    Avx512,
}

/// The best instruction set of this processor. The environment variable `MPUC_ISA=avx2` or `portable` selects a
/// lower one, to test the other paths.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let best = detect();
        match std::env::var("MPUC_ISA").as_deref() {
            Ok("portable") => Level::Portable,
            Ok("avx2") if best == Level::Avx512 => Level::Avx2,
            _ => best,
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Runs the work with the best instruction set of this processor.
#[inline]
pub fn run<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        // Never inlined: in its own function a loop can use all registers.
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi2")]
        unsafe fn avx512<W: Work>(work: W) -> W::Output {
            // SAFETY: this function is entered only where AVX-512 was found.
            unsafe { work.run::<Avx512>() }
        }
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<W: Work>(work: W) -> W::Output {
            // SAFETY: this function is entered only where AVX2 and FMA were found.
            unsafe { work.run::<Avx2>() }
        }
        match level() {
            // SAFETY: `level` found the features these functions are compiled for.
            Level::Avx512 => return unsafe { avx512(work) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(work) },
            Level::Portable => {}
        }
    }
    // SAFETY: the portable code needs nothing.
    unsafe { work.run::<Portable>() }
}

/// Runs a closure compiled for the best instruction set; plain loops in it are vectorised.
///
/// Mark the closure, and closures that its hot loops call, `#[inline(always)]`. It has one call for each instruction
/// set; without the mark the compiler would compile it once, for the baseline.
#[inline(always)]
pub fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnOnce() -> R> Work for Body<F> {
        type Output = R;
        #[inline(always)]
        unsafe fn run<I: Isa>(self) -> R {
            (self.0)()
        }
    }
    run(Body(body))
}
