// The loss over all ordered pairs of modalities, without storing an N x N matrix. Embeddings are normalised once.
// Forward: a block has TILE rows of one ordered pair and keeps a running maximum and sum of each row over tiles of
// columns. Memory is linear in N, but each tile is computed twice, once for each direction. Backward: a block has TILE
// rows of one modality by TILE features. It loops over all other modalities, recomputes the logits, computes their
// gradients from the log-sums of both directions, and multiplies by the other embeddings. The gradient is summed in
// registers and written once.

enum Kind { EXCLUDE_POSITIVE, INCLUDE_POSITIVE, AUTHORS };

struct Arguments {
    const float* x;            // [rows, features]: embeddings of modality `modality`
    const u32* present;        // [modalities, samples], or null if all are present
    const float* grad_output;  // [1]
    float* unit;               // [modalities, rows, features]: unit embeddings
    float* inverse;            // [modalities, rows]: reciprocal lengths; null if not needed
    u32* counts;               // [modalities, modalities]: number of rows of each pair
    float* log_sums;           // [modalities * (modalities - 1), rows]
    float* row_losses;         // [modalities * (modalities - 1), rows]
    float* losses;             // [modalities, modalities]
    float* grad_unit;          // [rows, features]: of modality `modality`
    float* to;                 // the loss, or the gradient of x
    i64 rows;
    i64 samples;
    i64 features;
    u32 modalities;
    u32 modality;  // the kernel's modality
    u32 kind;
    u32 views;
    u32 mean;  // whether the loss of a pair is the mean over its rows
    u32 add;
    float inverse_temperature;
    float halved;  // factor of the loss, 1 or 1/2
};

// Whether the sample of a row has both modalities.
__device__ inline bool valid(const Arguments& a, i64 m, i64 n, i64 row) {
    if (!a.present) return true;
    const i64 sample = row < a.samples ? row : row - a.samples;
    return a.present[m * a.samples + sample] != 0 && a.present[n * a.samples + sample] != 0;
}

// Whether a pair has a loss: it needs at least 2 samples.
__device__ inline bool counts(const Arguments& a, i64 m, i64 n) {
    return m != n && a.counts[m * a.modalities + n] >= 2 * a.views;
}

// The number of ordered pairs with a loss; at least 1.
__device__ inline u32 pairs(const Arguments& a) {
    u32 all = 0;
    for (u32 m = 0; m < a.modalities; m++) {
        for (u32 n = 0; n < a.modalities; n++) all += counts(a, m, n);
    }
    return all > 0 ? all : 1;
}

// The index of an ordered pair among the log-sums.
__device__ inline i64 ordered(const Arguments& a, i64 m, i64 n) {
    return (m * (a.modalities - 1) + (n < m ? n : n - 1)) * a.rows;
}

// The column of the positive of a row, and the row of the positive of a column.
__device__ inline i64 positive(const Arguments& a, i64 row) {
    return a.kind != AUTHORS ? row : row < a.samples ? row + a.samples : row - a.samples;
}

// The weight of a row's loss in the loss of its pair.
__device__ inline float row_weight(const Arguments& a, i64 m, i64 n) {
    return a.mean ? a.halved / a.counts[m * a.modalities + n] : a.halved;
}

// Unit embeddings and reciprocal lengths of a modality: one warp for each row. An embedding that is too short gives 0.
KERNEL(THREADS) info_nce_normalise(const Arguments a) {
    const i64 row = (i64)blockIdx.x * 8 + warp();
    if (row >= a.rows) return;
    double squares = 0.0;
    for (i64 i = lane(); i < a.features; i += 32) {
        const double x = a.x[row * a.features + i];
        squares += x * x;
    }
    const double length = sqrt(warp_sum(squares));
    const float inverse = length < 1e-12 ? 0.0f : (float)(1.0 / length);
    const i64 to = a.modality * a.rows + row;
    if (a.inverse && lane() == 0) a.inverse[to] = inverse;
    for (i64 i = lane(); i < a.features; i += 32) a.unit[to * a.features + i] = a.x[row * a.features + i] * inverse;
}

// counts: one block for each pair of modalities
KERNEL(THREADS) info_nce_count(const Arguments a) {
    __shared__ u32 shared[32];
    u32 count = 0;
    for (i64 row = threadIdx.x; row < a.rows; row += THREADS) {
        count += valid(a, blockIdx.x / a.modalities, blockIdx.x % a.modalities, row);
    }
    count = block_sum(count, shared);
    if (threadIdx.x == 0) a.counts[blockIdx.x] = count;
}

// Unit embeddings of one modality, as rows and as columns.
struct UnitRows {
    const float* data;
    i64 features;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row * features; }
    __device__ float at(i64 start, i64 k) const { return data[start + k]; }
};

struct UnitColumns {
    const float* data;
    i64 features;
    __device__ float at(i64 k, i64 column) const { return data[k * features + column]; }
};

// A tile of logits: rows of m from `row` on, columns of n from `column` on. Excluded logits are negative infinity.
// Calls `at_positive(i, j, logit)` for each positive, with its logit also if the tile excludes it.
template <class AtPositive>
__device__ inline void logits(
    const Arguments& a, i64 m, i64 n, i64 row, i64 column, Slabs& slabs, float (&tile)[4][4],
    const AtPositive& at_positive
) {
    const UnitRows left{a.unit + m * a.rows * a.features, a.features};
    const UnitRows right{a.unit + n * a.rows * a.features, a.features};
    const AlongDepth<UnitRows> left_side(left, row, a.rows), right_side(right, column, a.rows);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) tile[i][j] = 0.0f;
    }
    accumulate(tile, slabs, left_side, right_side, 0, a.features);
    row += tile_row();
    column += tile_column();
    bool columns[4];
    for (int j = 0; j < 4; j++) columns[j] = column + j < a.rows && valid(a, m, n, column + j);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const bool inside = row + i < a.rows && valid(a, m, n, row + i);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float logit = inside && columns[j] ? tile[i][j] * a.inverse_temperature : -INFINITE;
            tile[i][j] = column + j == row + i && a.kind != INCLUDE_POSITIVE ? -INFINITE : logit;
            if (inside && column + j == positive(a, row + i)) at_positive(i, j, logit);
        }
    }
}

// log_sums and row_losses: rows of ordered pair blockIdx.y
KERNEL(THREADS) info_nce_rows(const Arguments a) {
    __shared__ Slabs slabs;
    const i64 m = blockIdx.y / (a.modalities - 1), other = blockIdx.y % (a.modalities - 1);
    const i64 n = other < m ? other : other + 1, first = (i64)blockIdx.x * TILE;
    float maxima[4], sums[4] = {}, positives[4] = {};
    for (int i = 0; i < 4; i++) maxima[i] = -INFINITE;
    const bool counted = counts(a, m, n);
    for (i64 column = 0; column < a.rows && counted; column += TILE) {
        float tile[4][4];
        logits(a, m, n, first, column, slabs, tile, [&](int i, int, float logit) { positives[i] = logit; });
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float largest = maxima[i], more = 0.0f;
            for (int j = 0; j < 4; j++) largest = fmaxf(largest, tile[i][j]);
            const float shift = largest == -INFINITE ? 0.0f : largest;
            for (int j = 0; j < 4; j++) more += expf(tile[i][j] - shift);
            sums[i] = sums[i] * expf(maxima[i] - shift) + more;
            maxima[i] = largest;
        }
    }
    // The sixteen threads of a row join their maxima and sums.
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float largest = tile_row_max(maxima[i]), shift = largest == -INFINITE ? 0.0f : largest;
        const float sum = tile_row_sum(sums[i] * expf(maxima[i] - shift)), own = tile_row_sum(positives[i]);
        const i64 row = first + tile_row() + i;
        if (tile_column() != 0 || row >= a.rows) continue;
        const float log_sum = counted && valid(a, m, n, row) ? shift + logf(sum) : 0.0f;
        a.log_sums[ordered(a, m, n) + row] = log_sum;
        a.row_losses[ordered(a, m, n) + row] = log_sum - own;
    }
}

// losses: one block for each pair of modalities
KERNEL(THREADS) info_nce_losses(const Arguments a) {
    __shared__ double shared[32];
    const i64 m = blockIdx.x / a.modalities, n = blockIdx.x % a.modalities;
    const bool counted = counts(a, m, n);
    double sum = 0.0;
    for (i64 row = threadIdx.x; row < a.rows && counted; row += THREADS) sum += a.row_losses[ordered(a, m, n) + row];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) a.losses[blockIdx.x] = counted ? (float)(sum * row_weight(a, m, n)) : 0.0f;
}

// to [1]: the mean of the losses; one warp
KERNEL(32) info_nce_forward(const Arguments a) {
    double sum = 0.0;
    for (u32 i = lane(); i < a.modalities * a.modalities; i += 32) sum += a.losses[i];
    sum = warp_sum(sum);
    if (lane() == 0) a.to[0] = sum / pairs(a);
}

// grad_unit [rows, features]: the gradient of the modality's unit embeddings from both directions of all its pairs
KERNEL(THREADS, 2) info_nce_grad_unit(const Arguments a) {
    __shared__ Slabs slabs;
    __shared__ SharedTile weights;
    const i64 m = a.modality, first = (i64)blockIdx.x * TILE, first_feature = (i64)blockIdx.y * TILE;
    const float scale = a.grad_output[0] * a.inverse_temperature / pairs(a);
    float sums[4][4] = {};
    for (i64 n = 0; n < a.modalities; n++) {
        if (!counts(a, m, n)) continue;
        const float weight = scale * row_weight(a, m, n);
        const float *row_sums = a.log_sums + ordered(a, m, n), *column_sums = a.log_sums + ordered(a, n, m);
        float of_rows[4];
        for (int i = 0; i < 4; i++) {
            const i64 row = first + tile_row() + i;
            of_rows[i] = row < a.rows ? row_sums[row] : 0.0f;
        }
        for (i64 column = 0; column < a.rows; column += TILE) {
            float tile[4][4];
            u32 positives = 0;  // one bit for each
            logits(a, m, n, first, column, slabs, tile, [&](int i, int j, float) { positives |= 1u << (4 * i + j); });
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const i64 at = column + tile_column() + j;
                const float of_column = at < a.rows ? column_sums[at] : 0.0f;
                for (int i = 0; i < 4; i++) {
                    float share = expf(tile[i][j] - of_rows[i]) + expf(tile[i][j] - of_column);
                    if (positives >> (4 * i + j) & 1) share -= 2.0f;
                    weights[tile_row() + i][tile_column() + j] = weight * share;
                }
            }
            __syncthreads();
            const SharedRows left{weights};
            const UnitColumns right{a.unit + (n * a.rows + column) * a.features, a.features};
            const AlongDepth<SharedRows> along(left, 0, TILE);
            const AcrossDepth<UnitColumns> across(right, first_feature, a.features);
            accumulate(sums, slabs, along, across, 0, a.rows - column < TILE ? a.rows - column : TILE);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const i64 row = first + tile_row() + i, feature = first_feature + tile_column() + j;
            if (row < a.rows && feature < a.features) a.grad_unit[row * a.features + feature] = sums[i][j];
        }
    }
}

// to [rows, features]: the gradient through the normalisation; one warp for each row. In double: with few features the
// gradient is almost parallel to the unit embedding, and f32 would lose its orthogonal part.
KERNEL(THREADS) info_nce_grad_input(const Arguments a) {
    const i64 row = (i64)blockIdx.x * 8 + warp();
    if (row >= a.rows) return;
    const float *unit = a.unit + (a.modality * a.rows + row) * a.features, *grad = a.grad_unit + row * a.features;
    double along = 0.0, squares = 0.0;
    for (i64 i = lane(); i < a.features; i += 32) {
        along += (double)unit[i] * grad[i];
        squares += (double)unit[i] * unit[i];
    }
    along = warp_sum(along);
    squares = warp_sum(squares);
    if (squares > 0.0) along /= squares;
    const float inverse = a.inverse[a.modality * a.rows + row];
    for (i64 i = lane(); i < a.features; i += 32) {
        put(a.to, row * a.features + i, inverse * (float)(grad[i] - unit[i] * along), a.add);
    }
}
