// x is treated as rows of channels * inner columns. Statistics have two stages, each in a fixed order: a block reduces
// one slice of rows of its columns, then one block for each channel joins its columns and slices. Deviations are from a
// number of the column and are joined as counts, means and sums of squares (Chan et al. 1983), so that a mean far from
// 0 costs no precision. In elementwise kernels all elements of a thread are of one column, whose affine map stays in
// registers.

struct Arguments {
    const float* x;            // [rows, channels, inner]
    const float* weight;       // [channels]
    const float* bias;         // [channels]
    const float* mean;         // [channels]
    const float* variance;     // [channels]: the biased one
    const float* residual;     // [rows, channels, inner], or null
    const float* output;       // [rows, channels, inner]: gives the ReLU's mask; null if x gives it, or without ReLU
    const float* grad_output;  // [rows, channels, inner]
    double* partial;           // [slices, 2, channels * inner]: means and squares, or the two sums of backward
    float* levels;             // [2, channels]: gradients of x through mean and variance; null with constant statistics
    float* to;                 // [rows, channels, inner]: output or gradient of x; null if not needed
    float* to_residual;        // [rows, channels, inner]: gradient of the residual, or null
    float* to_weight;          // [channels], or null; likewise the next three
    float* to_bias;
    float* to_mean;      // in the forward pass the saved mean
    float* to_variance;  // in the forward pass the saved variance
    i64 rows;
    i64 channels;
    i64 inner;
    i64 rows_a_slice;
    i64 stride;  // stride between a thread's elements: a multiple of channels * inner
    u32 slices;
    float epsilon;
    u32 relu;
    u32 add;
    u32 add_residual;
    u32 add_weight;
    u32 add_bias;
    u32 add_mean;
    u32 add_variance;
    u32 unused;
};

// Count, mean and sum of squared deviations of a set.
struct Moments {
    double count, mean, squares;

    __device__ void join(const Moments& other) {
        const double all = count + other.count;
        if (all == 0.0) return;
        const double delta = other.mean - mean;
        mean += delta * (other.count / all);
        squares += other.squares + delta * delta * (count * other.count / all);
        count = all;
    }
};

// partial: means, and sums of squared deviations, of the rows of slice blockIdx.y. 32 neighbouring columns, 8 rows at a
// time.
KERNEL(THREADS) batch_norm_moments(const Arguments a) {
    __shared__ double means[8][33], squares[8][33];
    const i64 columns = a.channels * a.inner, column = (i64)blockIdx.x * 32 + lane();
    const i64 begin = blockIdx.y * a.rows_a_slice;
    const i64 end = begin + a.rows_a_slice < a.rows ? begin + a.rows_a_slice : a.rows;
    // Four rows at a time: their mean and squares, then joined with the rows before. All relative to the first number.
    float count = 0.0f, mean = 0.0f, square = 0.0f, shift = 0.0f;
    if (column < columns && begin + warp() < end) {
        shift = a.x[(begin + warp()) * columns + column];
        for (i64 row = begin + warp(); row < end; row += 32) {
            const int rows = end - row > 24 ? 4 : (int)((end - row + 7) / 8);
            float x[4], sum = 0.0f, spread = 0.0f;
            for (int i = 0; i < 4; i++) x[i] = i < rows ? a.x[(row + 8 * i) * columns + column] - shift - mean : 0.0f;
            for (int i = 0; i < 4; i++) sum += x[i];
            const float delta = sum / rows;
            for (int i = 0; i < 4; i++) spread += i < rows ? (x[i] - delta) * (x[i] - delta) : 0.0f;
            const float share = rows / (count + rows);
            square += spread + delta * delta * count * share;
            mean += delta * share;
            count += rows;
        }
    }
    means[warp()][lane()] = (double)shift + mean;
    squares[warp()][lane()] = square;
    __syncthreads();
    if (warp() == 0 && column < columns) {
        Moments all = {0.0, 0.0, 0.0};
        for (int i = 0; i < 8; i++) {
            const i64 rows = end - begin - i;
            all.join({rows > 0 ? (double)((rows + 7) / 8) : 0.0, means[i][lane()], squares[i][lane()]});
        }
        double* to = a.partial + 2 * blockIdx.y * columns + column;
        to[0] = all.mean;
        to[columns] = all.squares;
    }
}

// Mean and variance of channel blockIdx.x.
KERNEL(THREADS) batch_norm_statistics(const Arguments a) {
    __shared__ Moments shared[THREADS];
    const i64 columns = a.channels * a.inner;
    Moments all = {0.0, 0.0, 0.0};
    for (i64 i = threadIdx.x; i < a.slices * a.inner; i += THREADS) {
        const i64 slice = i / a.inner;
        const i64 left = a.rows - slice * a.rows_a_slice;
        const double* from = a.partial + 2 * slice * columns + blockIdx.x * a.inner + i % a.inner;
        all.join({(double)(left < a.rows_a_slice ? left : a.rows_a_slice), from[0], from[columns]});
    }
    shared[threadIdx.x] = all;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x].join(shared[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) {
        a.to_mean[blockIdx.x] = shared[0].mean;
        a.to_variance[blockIdx.x] = shared[0].squares / shared[0].count;
    }
}

// The affine map of a channel. Subtracting the mean first is exact where x is near it.
struct Affine {
    float mean, scale, bias;

    __device__ Affine(const Arguments& a, i64 channel)
        : mean(a.mean[channel]),
          scale(a.weight[channel] / sqrtf(a.variance[channel] + a.epsilon)),
          bias(a.bias[channel]) {}

    __device__ float at(float x) const { return fmaf(x - mean, scale, bias); }
};

KERNEL(THREADS) batch_norm_forward(const Arguments a) {
    const i64 count = a.rows * a.channels * a.inner, first = element();
    if (first >= a.stride || first >= count) return;
    const Affine affine(a, first / a.inner % a.channels);
    for (i64 i = first; i < count; i += a.stride) {
        float value = affine.at(a.x[i]);
        if (a.residual) value += a.residual[i];
        a.to[i] = a.relu ? fmaxf(value, 0.0f) : value;
    }
}

// The gradient of the input of the ReLU.
__device__ inline float through_relu(const Arguments& a, const Affine& affine, float x, i64 i) {
    const bool open = !a.relu || (a.output ? a.output[i] : affine.at(x)) > 0.0f;
    return open ? a.grad_output[i] : 0.0f;
}

// partial: sums of dz, the gradient before the ReLU, and of dz (x - mean), over the rows of slice blockIdx.y.
KERNEL(THREADS) batch_norm_sums(const Arguments a) {
    __shared__ float sums[2][8][33];
    const i64 columns = a.channels * a.inner, column = (i64)blockIdx.x * 32 + lane();
    const i64 begin = blockIdx.y * a.rows_a_slice;
    const i64 end = begin + a.rows_a_slice < a.rows ? begin + a.rows_a_slice : a.rows;
    float plain = 0.0f, deviations = 0.0f;
    if (column < columns) {
        const Affine affine(a, column / a.inner);
        for (i64 row = begin + warp(); row < end; row += 8) {
            const i64 i = row * columns + column;
            const float x = a.x[i], dz = through_relu(a, affine, x, i);
            plain += dz;
            deviations += dz * (x - affine.mean);
        }
    }
    sums[0][warp()][lane()] = plain;
    sums[1][warp()][lane()] = deviations;
    __syncthreads();
    if (warp() < 2 && column < columns) {
        double sum = 0.0;
        for (int i = 0; i < 8; i++) sum += sums[warp()][i][lane()];
        a.partial[(2 * blockIdx.y + warp()) * columns + column] = sum;
    }
}

// Gradients of the parameters of channel blockIdx.x, and of x through the channel's mean and variance.
KERNEL(THREADS) batch_norm_grad_channel(const Arguments a) {
    __shared__ double shared[32];
    const i64 columns = a.channels * a.inner, channel = blockIdx.x;
    double plain = 0.0, deviations = 0.0;
    for (i64 i = threadIdx.x; i < a.slices * a.inner; i += THREADS) {
        const double* from = a.partial + 2 * (i / a.inner) * columns + channel * a.inner + i % a.inner;
        plain += from[0];
        deviations += from[columns];
    }
    plain = block_sum(plain, shared);
    deviations = block_sum(deviations, shared);
    if (threadIdx.x != 0) return;
    const double rstd = 1.0 / sqrt((double)a.variance[channel] + a.epsilon), scale = a.weight[channel] * rstd;
    if (a.to_weight) put(a.to_weight, channel, deviations * rstd, a.add_weight);
    if (a.to_bias) put(a.to_bias, channel, plain, a.add_bias);
    if (a.to_mean) put(a.to_mean, channel, -plain * scale, a.add_mean);
    if (a.to_variance) put(a.to_variance, channel, -0.5 * deviations * scale * rstd * rstd, a.add_variance);
    if (a.levels) {
        const double share = 1.0 / ((double)a.rows * a.inner);
        a.levels[channel] = plain * share;
        a.levels[a.channels + channel] = deviations * share * rstd * rstd;
    }
}

// Gradients of x and of the residual: dx = scale (dz - mean of dz - (x - mean) pull).
KERNEL(THREADS) batch_norm_backward(const Arguments a) {
    const i64 count = a.rows * a.channels * a.inner, first = element();
    if (first >= a.stride || first >= count) return;
    const i64 channel = first / a.inner % a.channels;
    const Affine affine(a, channel);
    const float level = a.levels ? a.levels[channel] : 0.0f, pull = a.levels ? a.levels[a.channels + channel] : 0.0f;
    for (i64 i = first; i < count; i += a.stride) {
        const float x = a.x[i], dz = through_relu(a, affine, x, i);
        if (a.to_residual) put(a.to_residual, i, dz, a.add_residual);
        if (a.to) put(a.to, i, affine.scale * (dz - level - (x - affine.mean) * pull), a.add);
    }
}
