// One team of threads for each group: a row of features, or all steps and features of a sample. The gradients of weight
// and bias are sums over all rows.

struct Arguments {
    const float* x;            // [groups, rows, width]
    const float* weight;       // [width]
    const float* bias;         // [width]; null in the backward pass
    const float* grad_output;  // [groups, rows, width]
    float* mean;               // [groups]
    float* rstd;               // [groups]: reciprocal standard deviation
    float* to;                 // output, gradient of x, or partial sums
    i64 groups;
    i64 rows;  // of a group
    i64 width;
    i64 rows_a_slice;  // of the sums over all rows
    float epsilon;
    u32 add;
};

// Calls body(element, column) for this thread's elements of the group.
template <class Body>
__device__ inline void each(const Arguments& a, Body body) {
    const i64 group = a.rows * a.width, stride = blockDim.x % a.width;
    i64 column = threadIdx.x % a.width;
    for (i64 i = threadIdx.x; i < group; i += blockDim.x) {
        body(i, column);
        column += stride;
        if (column >= a.width) column -= a.width;
    }
}

// to, mean and rstd
KERNEL(TEAM) layer_norm_forward(const Arguments a) {
    if (team() >= a.groups) return;
    const i64 group = a.rows * a.width;
    const float* x = a.x + team() * group;
    float* output = a.to + team() * group;
    const float share = 1.0f / group;
    // The mean deviation from the rounded mean corrects it, so a mean far from 0 costs no precision.
    float sum = 0.0f, squares = 0.0f;
    for (i64 i = threadIdx.x; i < group; i += blockDim.x) sum += x[i];
    const float middle = team_sum(sum) * share;
    sum = 0.0f;
    for (i64 i = threadIdx.x; i < group; i += blockDim.x) {
        const float deviation = x[i] - middle;
        sum += deviation;
        squares = fmaf(deviation, deviation, squares);
    }
    const float rest = team_sum(sum) * share;
    const float variance = fmaxf(fmaf(-rest, rest, team_sum(squares) * share), 0.0f);
    const float rstd = 1.0f / sqrtf(variance + a.epsilon);
    if (threadIdx.x == 0) {
        a.mean[team()] = middle + rest;
        a.rstd[team()] = rstd;
    }
    each(a, [&](i64 i, i64 column) {
        output[i] = fmaf((x[i] - middle - rest) * rstd, a.weight[column], a.bias[column]);
    });
}

// to [groups, rows, width]
KERNEL(TEAM) layer_norm_grad_input(const Arguments a) {
    if (team() >= a.groups) return;
    const i64 start = team() * a.rows * a.width;
    const float *x = a.x + start, *dy = a.grad_output + start;
    const float mean = a.mean[team()], rstd = a.rstd[team()], share = 1.0f / (a.rows * a.width);
    float level = 0.0f, pull = 0.0f;
    each(a, [&](i64 i, i64 column) {
        const float weighted = dy[i] * a.weight[column];
        level += weighted;
        pull = fmaf(weighted, (x[i] - mean) * rstd, pull);
    });
    level = team_sum(level) * share;
    pull = team_sum(pull) * share;
    each(a, [&](i64 i, i64 column) {
        const float value = rstd * (dy[i] * a.weight[column] - level - (x[i] - mean) * rstd * pull);
        put(a.to, start + i, value, a.add);
    });
}

// to [slices, width]
KERNEL(THREADS) layer_norm_grad_weight(const Arguments a) {
    column_sums(a.groups * a.rows, a.width, a.rows_a_slice, a.to, [&](i64 row, i64 column) {
        const i64 i = row * a.width + column, group = row / a.rows;
        return a.grad_output[i] * ((a.x[i] - a.mean[group]) * a.rstd[group]);
    });
}

// to [slices, width]
KERNEL(THREADS) layer_norm_grad_bias(const Arguments a) {
    column_sums(a.groups * a.rows, a.width, a.rows_a_slice, a.to, [&](i64 row, i64 column) {
        return a.grad_output[row * a.width + column];
    });
}
