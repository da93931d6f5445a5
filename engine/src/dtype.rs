//! The element types of tensors.

use half::bf16;
use kernels::op::Numbers;
use std::fmt;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point, for training and inference.
    F32,
    /// 64-bit floating point, for gradient checks.
    F64,
    /// bfloat16; on the CPU for storage only.
    Bf16,
    /// 32-bit unsigned integers, for class indices, lengths and graph structure.
    U32,
}

impl DType {
    /// The type of a buffer that an op makes, where its first input is of type `input`.
    pub(crate) fn of(numbers: Numbers, input: DType) -> DType {
        match (numbers, input) {
            (Numbers::Input, _) => input,
            (Numbers::Sum, DType::F64) => DType::F64,
            (Numbers::Sum, _) => DType::F32,
            (Numbers::Index, _) => DType::U32,
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F64 => 8,
            DType::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bf16 => "bf16",
            DType::U32 => "u32",
        })
    }
}

/// A Rust type that can be a tensor's element.
pub trait Element: bytemuck::Pod + Send + Sync {
    /// The corresponding [`DType`].
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

/// Evaluates an expression with a type name bound to f32 or f64, whichever a [`DType`] says; other types
/// evaluate the last arm.
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr, $other:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => $other,
        }
    };
}
pub(crate) use with_float;
