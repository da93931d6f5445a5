// The loss is one sum over everything, split into slices; the gradient is elementwise.

struct Arguments {
    const float* prediction;   // [count]
    const float* target;       // [count]; the two are swapped for the gradient of the target
    const float* grad_output;  // [1]
    float* to;                 // [slices], or the gradient [count]
    i64 count;
    i64 length;  // of a slice
    float share;  // 1 / count
    u32 add;
};

// to [slices] = shares of the loss
extern "C" __global__ void mse_forward(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) {
        const float difference = a.prediction[i] - a.target[i];
        return difference * difference * a.share;
    });
}

extern "C" __global__ void mse_backward(const Arguments a) {
    const i64 i = element();
    if (i < a.count) put(a.to, i, *a.grad_output * 2.0f * a.share * (a.prediction[i] - a.target[i]), a.add);
}
