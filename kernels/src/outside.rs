//! Ops written in other crates.

/// Lets an [`Op`](crate::Op) of another crate run on the CPU only: on tensors, on the tape and in
/// [`check`](crate::check::check). On a GPU it gives an error. `examples/new_op.rs` of `mpuc-engine` shows a whole op.
///
/// An op with CUDA kernels implements [`GpuOp`](crate::gpu::GpuOp) and calls [`compiled!`](crate::compiled) instead.
#[macro_export]
macro_rules! cpu_only {
    ($op:ty) => {
        impl $crate::gpu::GpuOp for $op {
            const PROGRAM: &'static $crate::gpu::Program =
                &$crate::gpu::Program::new(<$op as $crate::Op>::NAME, &[], "");

            fn forward_gpu(
                &self,
                _: &$crate::gpu::Device,
                _: $crate::gpu::Forward<'_>,
            ) -> $crate::Result<()> {
                Err($crate::gpu::Error::no_kernels(<$op as $crate::Op>::NAME).into())
            }

            fn backward_gpu(
                &self,
                _: &$crate::gpu::Device,
                _: $crate::gpu::Backward<'_>,
            ) -> $crate::Result<()> {
                Err($crate::gpu::Error::no_kernels(<$op as $crate::Op>::NAME).into())
            }
        }

        $crate::compiled!($op);
    };
}

/// Compiles an op in f32 and f64, here and nowhere else: implements [`Compiled`](crate::op::Compiled).
#[macro_export]
macro_rules! compiled {
    ($op:ty) => {
        impl $crate::op::Compiled for $op {
            fn forward_f32(&self, call: $crate::op::Forward<'_, f32>) {
                $crate::Op::forward(self, call)
            }
            fn forward_f64(&self, call: $crate::op::Forward<'_, f64>) {
                $crate::Op::forward(self, call)
            }
            fn backward_f32(&self, call: $crate::op::Backward<'_, f32>) {
                $crate::Op::backward(self, call)
            }
            fn backward_f64(&self, call: $crate::op::Backward<'_, f64>) {
                $crate::Op::backward(self, call)
            }
        }
    };
}
