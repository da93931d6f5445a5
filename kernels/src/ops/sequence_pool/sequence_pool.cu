// A block pools 32 features of a sample, 8 steps at a time; backward, one thread for each element of x.

constexpr float EPSILON = 1e-5f;

struct Arguments {
    const float* x;            // [samples, steps, width]; null backward without standard deviations
    const u32* lengths;        // [samples], or null
    const float* output;       // [samples, width], or [samples, 2 width] with standard deviations after the means
    const float* grad_output;  // as the output
    float* to;                 // output, or gradient of x
    i64 samples;
    i64 steps;
    i64 width;
    u32 deviation;
    u32 add;
};

// The number of valid steps of a sample.
__device__ inline i64 length(const Arguments& a, i64 sample) {
    return a.lengths && a.lengths[sample] < a.steps ? a.lengths[sample] : a.steps;
}

// The sum over the eight warps for each lane, in every thread. A second call needs no barrier.
__device__ inline float sum_of_warps(float value) {
    __shared__ float shared[8][32];
    __syncthreads();
    shared[warp()][lane()] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < 8; i++) sum += shared[i][lane()];
    return sum;
}

// blockIdx.x: sample and strip of 32 features
KERNEL(THREADS) sequence_pool_forward(const Arguments a) {
    const i64 strips = (a.width + 31) / 32;
    const i64 sample = blockIdx.x / strips, column = blockIdx.x % strips * 32 + lane();
    const bool inside = column < a.width;
    const i64 steps = length(a, sample);
    const float* x = a.x + sample * a.steps * a.width + column;
    float* output = a.to + sample * a.width * (a.deviation ? 2 : 1) + column;
    const float share = 1.0f / (steps > 0 ? steps : 1);

    float sum = 0.0f;
    for (i64 step = warp(); inside && step < steps; step += 8) sum += x[step * a.width];
    const float mean = sum_of_warps(sum) * share;
    if (inside && warp() == 0) output[0] = mean;
    if (!a.deviation) return;

    sum = 0.0f;
    for (i64 step = warp(); inside && step < steps; step += 8) {
        const float difference = x[step * a.width] - mean;
        sum = fmaf(difference, difference, sum);
    }
    sum = sum_of_warps(sum);
    if (inside && warp() == 0) output[a.width] = sqrtf(fmaf(sum, share, EPSILON));
}

// to [samples, steps, width]
KERNEL(THREADS) sequence_pool_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.samples * a.steps * a.width) return;
    const i64 column = i % a.width, row = i / a.width;
    const i64 sample = row / a.steps, steps = length(a, sample);
    float value = 0.0f;
    if (row % a.steps < steps) {
        const i64 mean = sample * a.width * (a.deviation ? 2 : 1) + column, deviation = mean + a.width;
        value = a.grad_output[mean];
        if (a.deviation) value += a.grad_output[deviation] * (a.x[i] - a.output[mean]) / a.output[deviation];
        value *= 1.0f / steps;
    }
    put(a.to, i, value, a.add);
}
