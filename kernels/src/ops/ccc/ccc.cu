// One block for each column. Two passes in f64, as on the CPU: the coefficient contains differences of nearly equal
// sums, and batches of labels are small.

constexpr double EPSILON = 1e-8;

struct Arguments {
    const float* prediction;   // [rows, width]
    const float* target;       // [rows, width]; the two are swapped for the gradient of the target
    const float* grad_output;  // [1]
    float* moments;            // [5, width]: means of prediction and target, covariance, denominator, coefficient
    float* to;                 // [width] losses of the columns, or the gradient [rows, width]
    i64 rows;
    i64 width;
    u32 other_mean;  // the row of the moments with the mean of `target`
    u32 add;
};

// The mean of at(row) over the rows, in every thread of the block.
template <class At>
__device__ inline double mean(const Arguments& a, At at) {
    __shared__ double shared[32];
    double sum = 0.0;
    for (i64 row = threadIdx.x; row < a.rows; row += THREADS) sum += at(row);
    return block_sum(sum, shared) / a.rows;
}

// moments, and to [width]
KERNEL(THREADS) ccc_forward(const Arguments a) {
    const i64 column = blockIdx.x;
    const float *prediction = a.prediction + column, *target = a.target + column;
    const double p_mean = mean(a, [&](i64 row) { return (double)prediction[row * a.width]; });
    const double t_mean = mean(a, [&](i64 row) { return (double)target[row * a.width]; });
    const double spread = mean(a, [&](i64 row) {
        const double p = prediction[row * a.width] - p_mean, t = target[row * a.width] - t_mean;
        return p * p + t * t;
    });
    const double covariance = mean(a, [&](i64 row) {
        return (prediction[row * a.width] - p_mean) * (target[row * a.width] - t_mean);
    });
    if (threadIdx.x != 0) return;
    const double denominator = spread + (p_mean - t_mean) * (p_mean - t_mean) + EPSILON;
    const double coefficient = 2.0 * covariance / denominator;
    const double moments[5] = {p_mean, t_mean, covariance, denominator, coefficient};
    for (int i = 0; i < 5; i++) a.moments[i * a.width + column] = (float)moments[i];
    a.to[column] = (float)(1.0 - coefficient);
}

// to [rows, width]
KERNEL(THREADS) ccc_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.rows * a.width) return;
    const float* moments = a.moments + i % a.width;
    const double mean = moments[a.other_mean * a.width];
    const double denominator = moments[3 * a.width], coefficient = moments[4 * a.width];
    const double pull = (a.target[i] - mean) - coefficient * (a.prediction[i] - mean);
    put(a.to, i, (float)(-2.0 * *a.grad_output / (a.rows * denominator) * pull), a.add);
}
