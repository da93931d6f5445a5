// Each feature has its own filter: bound by memory. Neighbouring threads have neighbouring features. A thread computes
// STEPS steps of one feature, so that it loads each weight once for all of them.

constexpr int STEPS = 4;

struct Arguments {
    const float* x;            // [clips, steps, features]
    const float* weight;       // [kernel, features]
    const float* bias;         // [features], or null
    const float* grad_output;  // [clips, outputs, features]
    float* to;                 // the kernel's result
    i64 clips;
    i64 rows_a_slice;  // of the sums over clips and outputs
    int steps;
    int outputs;
    int features;
    int kernel;
    int stride;
    int padding;
    int dilation;
    u32 add;
};

// Finds the clip, the feature and the STEPS steps from `first` on of this thread, in blocks of 32 features by 8 groups
// of steps. False beyond the last.
__device__ inline bool place(const Arguments& a, int steps, i64& clip, int& first, int& feature) {
    const i64 group = (i64)blockIdx.x * 8 + warp();
    const int a_clip = (steps + STEPS - 1) / STEPS;
    clip = group / a_clip;
    first = (int)(group % a_clip) * STEPS;
    feature = blockIdx.y * 32 + lane();
    return clip < a.clips && feature < a.features;
}

// to [clips, outputs, features]
KERNEL(THREADS) depthwise_conv_forward(const Arguments a) {
    i64 clip;
    int first, feature;
    if (!place(a, a.outputs, clip, first, feature)) return;
    const float* x = a.x + clip * a.steps * a.features + feature;
    const float start = a.bias ? a.bias[feature] : 0.0f;
    float sums[STEPS];
    for (int i = 0; i < STEPS; i++) sums[i] = start;
    for (int tap = 0; tap < a.kernel; tap++) {
        const float weight = a.weight[(i64)tap * a.features + feature];
        for (int i = 0; i < STEPS; i++) {
            const int at = (first + i) * a.stride + tap * a.dilation - a.padding;
            if (at >= 0 && at < a.steps) sums[i] = fmaf(x[(i64)at * a.features], weight, sums[i]);
        }
    }
    for (int i = 0; i < STEPS && first + i < a.outputs; i++) {
        a.to[(clip * a.outputs + first + i) * a.features + feature] = sums[i];
    }
}

// to [clips, steps, features]: each step gathers from the outputs that depend on it.
KERNEL(THREADS) depthwise_conv_grad_input(const Arguments a) {
    i64 clip;
    int first, feature;
    if (!place(a, a.steps, clip, first, feature)) return;
    const float* grad_output = a.grad_output + clip * a.outputs * a.features + feature;
    const Divisor stride(a.stride);
    float sums[STEPS] = {};
    for (int tap = 0; tap < a.kernel; tap++) {
        const float weight = a.weight[(i64)tap * a.features + feature];
        for (int i = 0; i < STEPS; i++) {
            const int from = first + i + a.padding - tap * a.dilation;
            if (from < 0) continue;
            const int at = stride.divide(from);
            if (at * a.stride == from && at < a.outputs) {
                sums[i] = fmaf(grad_output[(i64)at * a.features], weight, sums[i]);
            }
        }
    }
    for (int i = 0; i < STEPS && first + i < a.steps; i++) {
        put(a.to, (clip * a.steps + first + i) * a.features + feature, sums[i], a.add);
    }
}

// to [slices, kernel, features]
KERNEL(THREADS) depthwise_conv_grad_weight(const Arguments a) {
    const Divisor outputs(a.outputs);
    const i64 first_clip = blockIdx.y * a.rows_a_slice / a.outputs;
    const i64 column = (i64)blockIdx.x * 32 + lane();
    const int tap = (int)(column / a.features), feature = (int)(column % a.features);
    column_sums(a.clips * a.outputs, (i64)a.kernel * a.features, a.rows_a_slice, a.to, [&](i64 row, i64) {
        const u32 local = (u32)(row - first_clip * a.outputs), clip = outputs.divide(local);
        const int at = (int)(local - clip * a.outputs) * a.stride + tap * a.dilation - a.padding;
        if (at < 0 || at >= a.steps) return 0.0f;
        const float x = a.x[((first_clip + clip) * a.steps + at) * a.features + feature];
        return x * a.grad_output[row * a.features + feature];
    });
}

// to [slices, features]
KERNEL(THREADS) depthwise_conv_grad_bias(const Arguments a) {
    column_sums(a.clips * a.outputs, a.features, a.rows_a_slice, a.to, [&](i64 row, i64 column) {
        return a.grad_output[row * a.features + column];
    });
}
