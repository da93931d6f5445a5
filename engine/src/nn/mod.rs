//! Layers: an op with its parameters. A layer holds [`ParameterId`](crate::ParameterId)s and settings, never values;
//! the values are in [`Parameters`](crate::Parameters), initialised as in PyTorch's layer of the same name.

mod attention;
mod conformer;
mod conv;
mod linear;
mod mask;
mod norm;
mod simple;

pub use attention::{MultiheadAttention, TransformerEncoderLayer, positional_encoding};
pub use conformer::{ConformerBlock, ConformerSizes};
pub use conv::{Conv, ConvSettings, ConvTranspose, DepthwiseConv, padded_channels};
pub use linear::Linear;
pub use mask::StepMask;
pub use norm::{BatchNorm, LayerNorm};
pub use simple::{Dropout, Prelu};
