//! The one list of ops. A word here gives an op its gradient check, its property tests, its row in the table of
//! `mpuc gradcheck` and its program in `mpuc kernels`. Its sizes in `mpuc bench ops` are chosen by hand, in
//! `bin/src/commands/bench/operations.rs`.

use crate::op::Compiled;

/// An action on every op; see [`visit`].
pub trait Visitor {
    /// Called once for each op.
    fn visit<O: Compiled>(&mut self);
}

macro_rules! ops {
    ($($module:ident::$op:ident),* $(,)?) => {
        $(pub mod $module; pub use $module::$op;)*

        $(crate::compiled!($op);)*

        /// Calls the visitor with every op, in the order of the list.
        pub fn visit(visitor: &mut impl Visitor) {
            $(visitor.visit::<$op>();)*
        }
    };
}

ops! {
    activation::Activation,
    unary::Unary,
    prelu::Prelu,
    gate::Gate,
    arithmetic::Arithmetic,
    reduce::Reduce,
    affine::Affine,
    softmax::Softmax,
    dropout::Dropout,
    batch_norm::BatchNorm,
    layer_norm::LayerNorm,
    cross_entropy::CrossEntropy,
    bce::Bce,
    regression::Regression,
    ccc::Ccc,
    pool::Pool,
    max_unpool::MaxUnpool,
    sequence_pool::SequencePool,
    embedding::Embedding,
    scatter_rows::ScatterRows,
    permute::Permute,
    concat::Concat,
    slice::Slice,
    attention::Attention,
    depthwise_conv::DepthwiseConv,
    graph_conv::GraphConv,
    info_nce::InfoNce,
    linear::Linear,
    matmul::Matmul,
    conv3d::Conv3d,
    conv_transpose3d::ConvTranspose3d,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Report, check};

    struct Check(Vec<Report>);

    impl Visitor for Check {
        fn visit<O: Compiled>(&mut self) {
            // An op must write scratch memory before it reads it.
            rayon::broadcast(|_| nan(4));
            nan(4);
            self.0.push(check::<O>(20, 1));
        }
    }

    /// Fills this thread's scratch memory with NaN, for `depth` nested uses.
    fn nan(depth: usize) {
        crate::cpu::scratch::with::<f64, _>(1 << 17, |numbers| {
            numbers.fill(f64::NAN);
            if depth > 0 {
                nan(depth - 1);
            }
        });
    }

    #[test]
    fn every_op_passes_its_checks() {
        let mut check = Check(Vec::new());
        visit(&mut check);
        for report in &check.0 {
            println!("{report:?}");
        }
        assert!(check.0.iter().all(Report::passed), "{:#?}", check.0);
    }
}
