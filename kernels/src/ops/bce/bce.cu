// The loss is a sum over all elements, split into slices. The gradient of each label's weight is a sum over rows.

struct Arguments {
    const float* logits;       // [rows, width]
    const float* targets;      // [rows, width]
    const float* weights;      // [width]
    const float* grad_output;  // [1]
    float* to;                 // partial sums, or a gradient
    i64 count;                 // rows * width
    i64 width;
    i64 length;  // of a slice: in elements for the loss, in rows for the gradient of the weights
    float share;  // 1 / count
    u32 add;
};

// ln(1 + e^-x), without overflow or loss of small values.
__device__ inline float softplus_of_minus(float x) { return fmaxf(-x, 0.0f) + log1pf(expf(-fabsf(x))); }

// to [slices]: partial sums of the loss
KERNEL(THREADS) bce_forward(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) {
        const float x = a.logits[i], target = a.targets[i];
        const float factor = 1.0f + (a.weights[i % a.width] - 1.0f) * target;
        return ((1.0f - target) * x + factor * softplus_of_minus(x)) * a.share;
    });
}

// to [rows, width]
KERNEL(THREADS) bce_grad_logits(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float target = a.targets[i];
    const float factor = 1.0f + (a.weights[i % a.width] - 1.0f) * target;
    const float slope = (1.0f - target) - factor * sigmoid(-a.logits[i]);
    put(a.to, i, *a.grad_output * a.share * slope, a.add);
}

// to [rows, width]
KERNEL(THREADS) bce_grad_targets(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.logits[i];
    const float slope = (a.weights[i % a.width] - 1.0f) * softplus_of_minus(x) - x;
    put(a.to, i, *a.grad_output * a.share * slope, a.add);
}

// to [slices, width]
KERNEL(THREADS) bce_grad_weights(const Arguments a) {
    const float scale = *a.grad_output * a.share;
    column_sums(a.count / a.width, a.width, a.length, a.to, [&](i64 row, i64 column) {
        const i64 i = row * a.width + column;
        return scale * a.targets[i] * softplus_of_minus(a.logits[i]);
    });
}
