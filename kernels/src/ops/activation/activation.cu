// Elementwise, bound by memory: one thread for each element.

enum Kind { RELU, GELU, SIGMOID, TANH, SILU };

struct Arguments {
    const float* kept;         // [count]: forward x; backward the output, or x for GELU and SILU
    const float* grad_output;  // [count]
    float* to;                 // [count]: output or gradient of x
    i64 count;
    u32 kind;
    u32 add;
};

KERNEL(THREADS) activation_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.kept[i];
    switch (a.kind) {
        case RELU: a.to[i] = fmaxf(x, 0.0f); break;
        case GELU: a.to[i] = 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); break;
        case SIGMOID: a.to[i] = sigmoid(x); break;
        case TANH: a.to[i] = tanhf(x); break;
        case SILU: a.to[i] = x * sigmoid(x); break;
    }
}

KERNEL(THREADS) activation_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float kept = a.kept[i];
    float slope = 0.0f;
    switch (a.kind) {
        case RELU: slope = kept > 0.0f ? 1.0f : 0.0f; break;
        case GELU: {
            const float density = 0.39894228040143268f * expf(-0.5f * kept * kept);
            slope = 0.5f * (1.0f + erff(kept * 0.70710678118654752f)) + kept * density;
            break;
        }
        case SIGMOID: slope = kept * (1.0f - kept); break;
        case TANH: slope = 1.0f - kept * kept; break;
        case SILU: {
            const float gate = sigmoid(kept);
            slope = gate * (1.0f + kept * (1.0f - gate));
            break;
        }
    }
    put(a.to, i, slope * a.grad_output[i], a.add);
}
