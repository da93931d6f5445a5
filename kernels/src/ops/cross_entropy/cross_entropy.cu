// Reductions over classes have one team of threads for each sample. Reductions over samples, for the mean loss and the
// number of samples with a class, have one block.

struct Arguments {
    const float* logits;       // [rows, width]
    const u32* classes;        // [rows]; a class >= width is ignored
    const float* grad_output;  // [1]
    float* log_sum;            // [rows]: log of the sum of e^logits
    float* scale;              // [1]: the gradient of the output divided by the number of samples that are not ignored
    float* to;                 // loss [1], or gradient of the logits [rows, width]
    i64 rows;
    i64 width;
    u32 add;
    u32 unused;
};

// log_sum [rows]
KERNEL(TEAM) cross_entropy_log_sum(const Arguments a) {
    if (team() >= a.rows) return;
    const float* x = a.logits + team() * a.width;
    float largest = -INFINITE, sum = 0.0f;
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) largest = fmaxf(largest, x[i]);
    largest = team_max(largest);
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) sum += expf(x[i] - largest);
    sum = team_sum(sum);
    if (threadIdx.x == 0) a.log_sum[team()] = largest + logf(sum);
}

// to [1]; one block
KERNEL(THREADS) cross_entropy_forward(const Arguments a) {
    __shared__ double shared[32];
    double total = 0.0, counted = 0.0;
    for (i64 row = threadIdx.x; row < a.rows; row += THREADS) {
        const u32 which = a.classes[row];
        if (which >= a.width) continue;
        total += a.log_sum[row] - a.logits[row * a.width + which];
        counted += 1.0;
    }
    total = block_sum(total, shared);
    counted = block_sum(counted, shared);
    if (threadIdx.x == 0) *a.to = (float)(counted > 0.0 ? total / counted : 0.0);
}

// scale [1]; one block
KERNEL(THREADS) cross_entropy_scale(const Arguments a) {
    __shared__ double shared[32];
    double counted = 0.0;
    for (i64 row = threadIdx.x; row < a.rows; row += THREADS) counted += a.classes[row] < a.width;
    counted = block_sum(counted, shared);
    if (threadIdx.x == 0) *a.scale = counted > 0.0 ? (float)(*a.grad_output / counted) : 0.0f;
}

// to [rows, width]
KERNEL(TEAM) cross_entropy_backward(const Arguments a) {
    if (team() >= a.rows) return;
    const i64 start = team() * a.width;
    const i64 which = a.classes[team()];
    const float scale = which < a.width ? *a.scale : 0.0f, log_sum = a.log_sum[team()];
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) {
        const float chance = expf(a.logits[start + i] - log_sum);
        put(a.to, start + i, scale * (i == which ? chance - 1.0f : chance), a.add);
    }
}
