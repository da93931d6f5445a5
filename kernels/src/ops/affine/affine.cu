// A multiply-add an element: bound by memory, a thread an element.

struct Arguments {
    const float* x;  // [count]: x on the way forward, backward the gradient of the output
    float* to;       // [count]: output or gradient of x
    i64 count;
    float scale;
    float shift;  // 0 on the way back
    u32 add;
    u32 unused;
};

extern "C" __global__ void affine_apply(const Arguments a) {
    const i64 i = element();
    if (i < a.count) put(a.to, i, fmaf(a.scale, a.x[i], a.shift), a.add);
}
