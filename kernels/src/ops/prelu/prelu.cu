// Elementwise, bound by memory: one thread for each element. The gradient of the slopes is a sum over rows, or over all
// elements for one slope.

struct Arguments {
    const float* x;            // [count]
    const float* weight;       // [width]
    const float* grad_output;  // [count]
    float* to;                 // output or gradient of x [count], or partial sums
    i64 count;
    i64 width;   // slopes: one, or one for each feature
    i64 length;  // of a slice: in elements for one slope, else in rows
    u32 add;
    u32 unused;
};

// The slope for element i.
__device__ inline float slope(const Arguments& a, i64 i) { return a.weight[a.width == 1 ? 0 : i % a.width]; }

KERNEL(THREADS) prelu_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.x[i];
    a.to[i] = x > 0.0f ? x : slope(a, i) * x;
}

KERNEL(THREADS) prelu_grad_input(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    put(a.to, i, a.x[i] > 0.0f ? a.grad_output[i] : slope(a, i) * a.grad_output[i], a.add);
}

// to [slices, width], for one slope for each feature
KERNEL(THREADS) prelu_grad_weight(const Arguments a) {
    column_sums(a.count / a.width, a.width, a.length, a.to, [&](i64 row, i64 column) {
        const i64 i = row * a.width + column;
        return a.grad_output[i] * fminf(a.x[i], 0.0f);
    });
}

// to [slices], for one slope
KERNEL(THREADS) prelu_grad_slope(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) { return a.grad_output[i] * fminf(a.x[i], 0.0f); });
}
