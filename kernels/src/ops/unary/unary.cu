// Elementwise, bound by memory: one thread for each element.

enum Kind { EXP, LOG, SQRT, SQUARE, ABS, NEGATE, RECIPROCAL, SOFTPLUS, CLAMP };

struct Arguments {
    const float* kept;         // [count]: forward x; backward the output for EXP, SQRT and RECIPROCAL, else x
    const float* grad_output;  // [count]
    float* to;                 // [count]: output or gradient of x
    i64 count;
    u32 kind;
    u32 add;
    float low;                 // bounds of CLAMP
    float high;
};

KERNEL(THREADS) unary_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.kept[i];
    float y = 0.0f;
    switch (a.kind) {
        case EXP: y = expf(x); break;
        case LOG: y = logf(x); break;
        case SQRT: y = sqrtf(x); break;
        case SQUARE: y = x * x; break;
        case ABS: y = fabsf(x); break;
        case NEGATE: y = -x; break;
        case RECIPROCAL: y = 1.0f / x; break;
        case SOFTPLUS: y = fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); break;
        case CLAMP: y = x < a.low ? a.low : x > a.high ? a.high : x; break;
    }
    a.to[i] = y;
}

KERNEL(THREADS) unary_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float dy = a.grad_output[i];
    if (a.kind == NEGATE) return put(a.to, i, -dy, a.add);
    const float kept = a.kept[i];
    float slope = 0.0f;
    switch (a.kind) {
        case EXP: slope = kept; break;
        case LOG: slope = 1.0f / kept; break;
        case SQRT: slope = 0.5f / kept; break;
        case SQUARE: slope = 2.0f * kept; break;
        case ABS: slope = kept > 0.0f ? 1.0f : kept < 0.0f ? -1.0f : 0.0f; break;
        case RECIPROCAL: slope = -kept * kept; break;
        case SOFTPLUS: slope = sigmoid(kept); break;
        case CLAMP: slope = kept >= a.low && kept <= a.high ? 1.0f : 0.0f; break;
    }
    put(a.to, i, slope * dy, a.add);
}
