// Elementwise, bound by memory: one thread and one multiply-add for each element.

struct Arguments {
    const float* x;  // [count]: forward x, backward the gradient of the output
    float* to;       // [count]: output or gradient of x
    i64 count;
    float scale;
    float shift;  // 0 in the backward pass
    u32 add;
    u32 unused;
};

KERNEL(THREADS) affine_apply(const Arguments a) {
    const i64 i = element();
    if (i < a.count) put(a.to, i, fmaf(a.scale, a.x[i], a.shift), a.add);
}
