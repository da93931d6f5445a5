// The loss is a sum over all elements, split into slices; the gradient is elementwise.

enum Kind { MSE, L1 };

struct Arguments {
    const float* prediction;   // [count]
    const float* target;       // [count]; the two are swapped for the gradient of the target
    const float* grad_output;  // [1]
    float* to;                 // [slices], or the gradient [count]
    i64 count;
    i64 length;  // of a slice
    float share;  // 1 / count
    u32 kind;
    u32 add;
    u32 unused;
};

// to [slices]: partial sums of the loss
KERNEL(THREADS) regression_forward(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) {
        const float difference = a.prediction[i] - a.target[i];
        return (a.kind == MSE ? difference * difference : fabsf(difference)) * a.share;
    });
}

KERNEL(THREADS) regression_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float difference = a.prediction[i] - a.target[i];
    const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : 0.0f;
    put(a.to, i, *a.grad_output * (a.kind == MSE ? 2.0f * a.share * difference : a.share * sign), a.add);
}
