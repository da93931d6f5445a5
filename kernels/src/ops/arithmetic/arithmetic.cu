// Bound by memory: one thread for each element. First the kernels for a b that is broadcast over the leading axes of a:
// the gradient of b is a sum over rows of b's width, over all elements if b is one number, or no sum if the shapes are
// equal. Then the kernels for any two shapes that broadcast.

enum Kind { ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, GREATER, LESS, EQUAL };

struct Arguments {
    const float* a;            // [count]
    const float* b;            // [width]
    const float* grad_output;  // [count]
    float* to;                 // output or gradient [count], or partial sums
    i64 count;
    i64 width;
    i64 length;  // of a slice: in elements if b is one number, else in rows
    u32 kind;
    u32 add;
};

__device__ inline float second(const Arguments& a, i64 i) {
    return a.b[a.width == a.count ? i : a.width == 1 ? 0 : i % a.width];
}

KERNEL(THREADS) arithmetic_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const float x = a.a[i], y = second(a, i);
    a.to[i] = a.kind == ADD ? x + y : a.kind == SUBTRACT ? x - y : x * y;
}

// to [count]
KERNEL(THREADS) arithmetic_grad_first(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    put(a.to, i, a.kind == MULTIPLY ? a.grad_output[i] * second(a, i) : a.grad_output[i], a.add);
}

// The term of the gradient of b from element i of a.
__device__ inline float part(const Arguments& a, i64 i) {
    const float dy = a.grad_output[i];
    return a.kind == ADD ? dy : a.kind == SUBTRACT ? -dy : dy * a.a[i];
}

// to [count], if b has the shape of a
KERNEL(THREADS) arithmetic_grad_second(const Arguments a) {
    const i64 i = element();
    if (i < a.count) put(a.to, i, part(a, i), a.add);
}

// to [slices, width]
KERNEL(THREADS) arithmetic_grad_second_rows(const Arguments a) {
    column_sums(a.count / a.width, a.width, a.length, a.to, [&](i64 row, i64 column) {
        return part(a, row * a.width + column);
    });
}

// to [slices], if b is one number
KERNEL(THREADS) arithmetic_grad_second_total(const Arguments a) {
    slice_sum(a.count, a.length, a.to, [&](i64 i) { return part(a, i); });
}

// Operand 0 of the walk is the output; operands 1 and 2 are a and b.
struct Broadcast {
    Walk walk;
    const float* a;
    const float* b;
    const float* grad_output;  // the shape of the walk
    float* to;                 // output, gradient, or partial sums [slices, targets]
    i64 length;                // of a slice, in terms
    u32 kind;
    u32 second;                // whether the gradient is that of b
    u32 add;
    u32 unused;
};

KERNEL(THREADS) arithmetic_broadcast(const Broadcast a) {
    const i64 i = element();
    if (i >= a.walk.targets) return;
    const Place place = walk_target(a.walk, i);
    const float x = a.a[place.at[1]], y = a.b[place.at[2]];
    float value = 0.0f;
    switch (a.kind) {
        case ADD: value = x + y; break;
        case SUBTRACT: value = x - y; break;
        case MULTIPLY: value = x * y; break;
        case DIVIDE: value = x / y; break;
        case MAXIMUM: value = larger(x, y); break;
        case MINIMUM: value = -larger(-x, -y); break;
        case GREATER: value = x > y ? 1.0f : 0.0f; break;
        case LESS: value = x < y ? 1.0f : 0.0f; break;
        case EQUAL: value = x == y ? 1.0f : 0.0f; break;
    }
    a.to[i] = value;
}

// The term of the gradient of a or b from an element of the output. a and b are null for ops that do not read them.
struct Share {
    const Broadcast& a;
    __device__ float operator()(const Place& place) const {
        const float dy = a.grad_output[place.at[0]];
        if (a.kind == ADD) return dy;
        if (a.kind == SUBTRACT) return a.second ? -dy : dy;
        if (a.kind >= GREATER) return 0.0f;
        const float x = a.a[place.at[1]], y = a.b[place.at[2]];
        switch (a.kind) {
            case MULTIPLY: return dy * (a.second ? x : y);
            case DIVIDE: return a.second ? -(x / y) / y * dy : dy / y;
            case MAXIMUM: return (a.second ? x < y : x >= y) ? dy : 0.0f;
            default: return (a.second ? x > y : x <= y) ? dy : 0.0f;
        }
    }
};

struct StoreShare {
    const Broadcast& a;
    __device__ void operator()(i64 i, float value) const { put(a.to, i, value, a.add); }
};

// For an operand that is not broadcast.
KERNEL(THREADS) arithmetic_broadcast_grad(const Broadcast a) {
    const i64 i = element();
    if (i < a.walk.targets) put(a.to, i, Share{a}(walk_target(a.walk, i)), a.add);
}

KERNEL(TEAM) arithmetic_broadcast_rows(const Broadcast a) {
    fold_rows<Sum>(a.walk, a.length, Share{a}, StoreShare{a});
}

KERNEL(THREADS) arithmetic_broadcast_columns(const Broadcast a) {
    fold_columns<Sum>(a.walk, a.length, Share{a}, StoreShare{a});
}
