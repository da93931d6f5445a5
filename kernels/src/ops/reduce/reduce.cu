// Bound by memory. Operand 0 of the walk is x, operands 1 and 2 are the output. Teams of threads fold contiguous terms
// (rows), blocks fold contiguous targets (columns). Long folds are split into slices, which a second kernel joins.

enum Kind { SUM, MEAN, MAX, LOG_SUM_EXP };

struct Arguments {
    Walk walk;
    const float* x;            // the shape of the walk
    const float* y;            // [targets]: the output; the maximum during log-sum-exp
    const float* grad_output;  // [targets]
    i64* first;                // [targets]: index in x of the first maximum
    float* to;                 // [slices, targets], or the gradient of x
    i64 length;                // of a slice, in terms
    u32 slices;
    u32 kind;
    float share;               // factor of each term: 1 / terms for a mean
    u32 add;
};

// The number subtracted before the exponential: the maximum, or 0 if the maximum is not finite.
__device__ inline float shift(float largest) { return fabsf(largest) < INFINITE ? largest : 0.0f; }

struct Store {
    const Arguments& a;
    __device__ void operator()(i64 i, float value) const { a.to[i] = value * a.share; }
};

struct Input {
    const Arguments& a;
    __device__ float operator()(const Place& place) const {
        const float x = a.x[place.at[0]];
        return a.kind == LOG_SUM_EXP ? expf(x - shift(a.y[place.at[1]])) : x;
    }
};

struct Plain {
    const Arguments& a;
    __device__ float operator()(const Place& place) const { return a.x[place.at[0]]; }
};

struct Equal {
    const Arguments& a;
    __device__ i64 operator()(const Place& place) const {
        return a.x[place.at[0]] == a.y[place.at[1]] ? place.at[0] : Smallest::START;
    }
};

struct StoreFirst {
    const Arguments& a;
    __device__ void operator()(i64 i, i64 value) const { a.first[i] = value; }
};

KERNEL(TEAM) reduce_sum_rows(const Arguments a) { fold_rows<Sum>(a.walk, a.length, Input{a}, Store{a}); }
KERNEL(THREADS) reduce_sum_columns(const Arguments a) {
    fold_columns<Sum>(a.walk, a.length, Input{a}, Store{a});
}
KERNEL(TEAM) reduce_max_rows(const Arguments a) {
    fold_rows<Largest>(a.walk, a.length, Plain{a}, Store{a});
}
KERNEL(THREADS) reduce_max_columns(const Arguments a) {
    fold_columns<Largest>(a.walk, a.length, Plain{a}, Store{a});
}
KERNEL(TEAM) reduce_first_rows(const Arguments a) {
    fold_rows<Smallest>(a.walk, a.length, Equal{a}, StoreFirst{a});
}
KERNEL(THREADS) reduce_first_columns(const Arguments a) {
    fold_columns<Smallest>(a.walk, a.length, Equal{a}, StoreFirst{a});
}

// x [slices, targets] to [targets]: the maximum.
KERNEL(THREADS) reduce_max_slices(const Arguments a) {
    const i64 i = element();
    if (i >= a.walk.targets) return;
    float value = -INFINITE;
    for (u32 slice = 0; slice < a.slices; slice++) value = larger(value, a.x[slice * a.walk.targets + i]);
    a.to[i] = value;
}

// x [slices, targets]: sums of exponentials; to [targets]: the maximum before, the log-sum-exp after.
KERNEL(THREADS) reduce_log(const Arguments a) {
    const i64 i = element();
    if (i >= a.walk.targets) return;
    float sum = 0.0f;
    for (u32 slice = 0; slice < a.slices; slice++) sum += a.x[slice * a.walk.targets + i];
    a.to[i] = shift(a.to[i]) + logf(sum);
}

// One thread for each element of x, which is the target of the walk.
KERNEL(THREADS) reduce_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.walk.targets) return;
    const i64 from = walk_target(a.walk, i).at[1];
    float slope = a.share;
    if (a.kind == MAX) slope = a.first[from] == i ? 1.0f : 0.0f;
    if (a.kind == LOG_SUM_EXP) slope = a.y[from] == -INFINITE ? 0.0f : expf(a.x[i] - a.y[from]);
    put(a.to, i, slope * a.grad_output[from], a.add);
}
