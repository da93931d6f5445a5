// One team of threads for each row. Exponentials are computed twice, which is cheaper than storing and loading them.

struct Arguments {
    const float* x;            // [rows, width]: forward x, backward the output
    const float* grad_output;  // [rows, width]
    float* to;                 // [rows, width]: output or gradient of x
    i64 rows;
    i64 width;
    u32 add;
    u32 unused;
};

KERNEL(TEAM) softmax_forward(const Arguments a) {
    if (team() >= a.rows) return;
    const float* x = a.x + team() * a.width;
    float* output = a.to + team() * a.width;
    float largest = -INFINITE;
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) largest = fmaxf(largest, x[i]);
    largest = team_max(largest);
    // If all logits are negative infinity, zeros.
    const bool empty = largest == -INFINITE;
    float sum = 0.0f;
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) sum += expf(x[i] - largest);
    const float scale = 1.0f / team_sum(sum);
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) output[i] = empty ? 0.0f : expf(x[i] - largest) * scale;
}

KERNEL(TEAM) softmax_backward(const Arguments a) {
    if (team() >= a.rows) return;
    const i64 start = team() * a.width;
    const float *y = a.x + start, *dy = a.grad_output + start;
    float mean = 0.0f;
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) mean = fmaf(y[i], dy[i], mean);
    mean = team_sum(mean);
    for (i64 i = threadIdx.x; i < a.width; i += blockDim.x) put(a.to, start + i, y[i] * (dy[i] - mean), a.add);
}
