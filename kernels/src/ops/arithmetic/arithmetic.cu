// Bound by memory: a thread an element. b repeats over the leading axes of a, so its gradient is a sum over rows of
// b's width, over everything where b is one number, or no sum where the two have one shape.

enum Kind { ADD, SUBTRACT, MULTIPLY };

struct Arguments {
    const float* a;            // [count]
    const float* b;            // [width]
    const float* grad_output;  // [count]
    float* to;                 // output or gradient [count], or partial sums
    i64 count;
    i64 width;
    i64 length;  // of a slice: in elements where b is one number, else in rows
    u32 kind;
    u32 add;
};

__device__ inline float second(const Arguments& a, i64 i) {
    return a.b[a.width == a.count ? i : a.width == 1 ? 0 : i % a.width];
}

extern "C" __global__ void arithmetic_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.a[i], y = second(a, i);
    a.to[i] = a.kind == ADD ? x + y : a.kind == SUBTRACT ? x - y : x * y;
}

// to [count]
extern "C" __global__ void arithmetic_grad_first(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    put(a.to, i, a.kind == MULTIPLY ? a.grad_output[i] * second(a, i) : a.grad_output[i], a.add);
}

// What element i of a has of the gradient of b.
__device__ inline float part(const Arguments& a, i64 i) {
    const float dy = a.grad_output[i];
    return a.kind == ADD ? dy : a.kind == SUBTRACT ? -dy : dy * a.a[i];
}

// to [count], where b has the shape of a
extern "C" __global__ void arithmetic_grad_second(const Arguments a) {
    const i64 i = element();
    if (i < a.count) put(a.to, i, part(a, i), a.add);
}

// to [slices, width]
extern "C" __global__ void arithmetic_grad_second_rows(const Arguments a) {
    column_sums(a.count / a.width, a.width, a.length, a.to, [&](i64 row, i64 column) {
        return part(a, row * a.width + column);
    });
}

// to [slices], where b is one number
extern "C" __global__ void arithmetic_grad_second_total(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) { return part(a, i); });
}
