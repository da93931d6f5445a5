// The parts of a row follow each other. One thread for each element of the output reads one number of each part.

enum Kind { GLU, ADDITIVE };

struct Arguments {
    const float* x;            // [rows, parts * width]
    const float* grad_output;  // [rows, width]
    float* to;                 // output [rows, width], or gradient of x
    i64 count;                 // rows * width
    i64 width;
    u32 kind;
    u32 add;
};

// The index in x of the first part of output element i.
__device__ inline i64 place(const Arguments& a, i64 i) {
    const i64 row = i / a.width;
    return row * a.width * (a.kind == GLU ? 1 : 2) + i;
}

KERNEL(THREADS) gate_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float* x = a.x + place(a, i);
    const float open = sigmoid(x[a.width]);
    a.to[i] = a.kind == GLU ? x[0] * open : fmaxf(x[0] + open + x[2 * a.width], 0.0f);
}

KERNEL(THREADS) gate_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 first = place(a, i);
    const float* x = a.x + first;
    float* gradient = a.to + first;
    const float dy = a.grad_output[i], open = sigmoid(x[a.width]);
    if (a.kind == GLU) {
        put(gradient, a.width, dy * x[0] * open * (1.0f - open), a.add);
        put(gradient, 0, dy * open, a.add);
    } else {
        const float dz = x[0] + open + x[2 * a.width] > 0.0f ? dy : 0.0f;
        put(gradient, 0, dz, a.add);
        put(gradient, a.width, dz * open * (1.0f - open), a.add);
        put(gradient, 2 * a.width, dz, a.add);
    }
}
