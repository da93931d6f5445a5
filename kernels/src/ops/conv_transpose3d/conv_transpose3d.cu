// A transposed convolution is the gradient of a convolution's input, and its own gradients are that convolution and the
// gradient of its weight: conv3d's kernels do all three. Here is what the bias needs.

struct Arguments {
    const float* from;  // bias [out], or the gradient of the output [rows, out]
    float* to;          // output [rows, out], or sums [slices, out]
    i64 rows;           // pixels of the output, batch and all
    i64 out;
    i64 rows_a_slice;
};

// to [rows, out]: the bias, which the gradient of the convolution's input is then added to
extern "C" __global__ void conv_transpose3d_bias(const Arguments a) {
    const i64 i = element();
    if (i < a.rows * a.out) a.to[i] = a.from[i % a.out];
}

// to [slices, out]
extern "C" __global__ void conv_transpose3d_grad_bias(const Arguments a) {
    column_sums(a.rows, a.out, a.rows_a_slice, a.to, [&](i64 row, i64 column) { return a.from[row * a.out + column]; });
}
