// A transposed convolution is the input gradient of a convolution; its own gradients are that convolution and the
// convolution's weight gradient. conv3d's kernels compute all three. The kernels here are for the bias.

struct Arguments {
    const float* from;  // bias [out], or the gradient of the output [rows, out]
    float* to;          // output [rows, out], or sums [slices, out]
    i64 rows;           // pixels of the output, over the batch
    i64 out;
    i64 rows_a_slice;
};

// to [rows, out]: the bias, to which the convolution's input gradient is then added
KERNEL(THREADS) conv_transpose3d_bias(const Arguments a) {
    const i64 i = element();
    if (i < a.rows * a.out) a.to[i] = a.from[i % a.out];
}

// to [slices, out]
KERNEL(THREADS) conv_transpose3d_grad_bias(const Arguments a) {
    column_sums(a.rows, a.out, a.rows_a_slice, a.to, [&](i64 row, i64 column) { return a.from[row * a.out + column]; });
}
