//! Layers: an op with its parameters. A layer holds names ([`ParameterId`](crate::ParameterId)) and settings,
//! never numbers, and starts out as PyTorch's layer of the same name does.

mod attention;
mod conv;
mod linear;
mod norm;
mod simple;

pub use attention::{MultiheadAttention, TransformerEncoderLayer, positional_encoding};
pub use conv::{Conv, ConvSettings, ConvTranspose, DepthwiseConv, padded_channels};
pub use linear::Linear;
pub use norm::{BatchNorm, LayerNorm};
pub use simple::{Dropout, Prelu};
