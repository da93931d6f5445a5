//! CPU code that the ops share: SIMD dispatch at run time, matrix products, deterministic splitting of work.

pub mod elementwise;
pub mod fold;
pub mod gemm;
pub mod math;
pub mod parallel;
pub mod probe;
pub mod reduce;
pub mod runs;
pub mod scratch;
pub mod simd;
pub mod small;
pub mod sums;
