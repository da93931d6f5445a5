//! What the ops share on the CPU: vectors chosen at run time, the matrix product, fixed splitting of work.

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
