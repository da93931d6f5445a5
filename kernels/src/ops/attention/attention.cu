// FlashAttention (Dao et al. 2022): the weight matrix is never stored. A block computes a tile of TILE queries by up to
// TILE features of one head of one clip. It loops over tiles of keys, with a running maximum and sum for each query.
// Heads of more than TILE features have several blocks, which repeat the logits. The backward pass recomputes the
// weights from the log-sums, once in blocks of queries for their gradient and once in blocks of keys, so that one block
// sums each gradient and writes it once.

struct Arguments {
    const float* queries;      // [clips, queries, heads, head]
    const float* keys;         // [clips, keys, heads, head]
    const float* values;       // [clips, keys, heads, head]
    const u32* lengths;        // [clips]: number of valid keys; null if all are valid
    const float* output;       // [clips, queries, heads, head]
    const float* grad_output;  // [clips, queries, heads, head]
    float* log_sums;           // [clips, heads, queries]: of the logits
    float* along;              // [clips, heads, queries]: output times its gradient
    float* to;                 // the kernel's result: output, gradient of queries or of keys
    float* to_values;          // gradient of values
    i64 rows;                  // clips * queries * heads
    u32 query_count;
    u32 key_count;
    u32 heads;
    u32 head;
    Philox stream;  // of dropped weights
    u32 dropped_below;
    float kept;  // factor of weights that are not dropped
    float scale;
    u32 dropout;  // whether dropout is on
    u32 add;
    u32 add_values;
};

// The part of a block: TILE queries, or keys, of one head of one clip.
struct Part {
    i64 clip;
    i64 row;  // clip * heads + head
    int first;
    int feature;  // the first of the block's features within the head
    int length;   // number of valid keys
    i64 width;    // stride of queries and keys
    i64 queries, keys;  // offsets of the head's first query and first key

    __device__ Part(const Arguments& a, u32 count) {
        const u32 tiles = (count + TILE - 1) / TILE;
        row = blockIdx.x / tiles;
        first = blockIdx.x % tiles * TILE;
        feature = blockIdx.y * TILE;
        clip = row / a.heads;
        length = a.lengths && a.lengths[clip] < a.key_count ? a.lengths[clip] : a.key_count;
        width = (i64)a.heads * a.head;
        const i64 start = row % a.heads * a.head;
        queries = clip * a.query_count * width + start;
        keys = clip * a.key_count * width + start;
    }
};

// Queries, keys or values of one head: rows of features.
struct HeadRows {
    const float* data;
    i64 width;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row * width; }
    __device__ float at(i64 start, i64 k) const { return data[start + k]; }
};

// HeadRows from one row on, as columns.
struct HeadColumns {
    const float* data;
    i64 width;
    __device__ float at(i64 k, i64 column) const { return data[k * width + column]; }
};

// sums += weights times `count` rows from `data` on; this block computes the features from part.feature on.
__device__ inline void weigh(
    const Arguments& a, const Part& part, float (&sums)[4][4], Slabs& slabs, const SharedTile& weights,
    const float* data, int count
) {
    __syncthreads();
    const SharedRows left{weights};
    const HeadColumns right{data, part.width};
    const AlongDepth<SharedRows> along(left, 0, TILE);
    const AcrossDepth<HeadColumns> across(right, part.feature, a.head);
    accumulate(sums, slabs, along, across, 0, count);
}

// sums += left times right transposed, over the features of the head. The tile starts at row first_left of left and row
// first_right of right; rows from left_rows and right_rows on count as 0.
__device__ inline void multiply(
    const Arguments& a, const Part& part, float (&sums)[4][4], Slabs& slabs, const float* left, int first_left,
    int left_rows, const float* right, int first_right, int right_rows
) {
    const HeadRows left_source{left, part.width}, right_source{right, part.width};
    const AlongDepth<HeadRows> left_side(left_source, first_left, left_rows);
    const AlongDepth<HeadRows> right_side(right_source, first_right, right_rows);
    accumulate(sums, slabs, left_side, right_side, 0, a.head);
}

// The dropout bits of a query for the four keys from `key` on, a multiple of 4. A bit is 1 if the weight is dropped.
__device__ inline u32 dropped(const Arguments& a, i64 query, int key) {
    if (!a.dropout) return 0;
    const uint4 words = a.stream.words(query * ((a.key_count + 3) / 4) + key / 4);
    return (words.x < a.dropped_below) | (words.y < a.dropped_below) << 1 | (words.z < a.dropped_below) << 2 |
           (words.w < a.dropped_below) << 3;
}

// to [clips, queries, heads, head], and log_sums
KERNEL(THREADS) attention_forward(const Arguments a) {
    __shared__ Slabs slabs;
    __shared__ SharedTile weights;
    const Part part(a, a.query_count);
    const int top = part.first + tile_row(), side = tile_column();
    float maxima[4], sums[4] = {}, result[4][4] = {};
    for (int i = 0; i < 4; i++) maxima[i] = -INFINITE;
    for (int key = 0; key < part.length; key += TILE) {
        float logits[4][4] = {};
        multiply(
            a, part, logits, slabs, a.queries + part.queries, part.first, a.query_count, a.keys + part.keys, key,
            part.length
        );
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float largest = maxima[i], more = 0.0f;
            for (int j = 0; j < 4; j++) {
                logits[i][j] = key + side + j < part.length ? logits[i][j] * a.scale : -INFINITE;
                largest = fmaxf(largest, logits[i][j]);
            }
            largest = tile_row_max(largest);
            const float shift = largest == -INFINITE ? 0.0f : largest, shrink = expf(maxima[i] - shift);
            const u32 drop = dropped(a, part.row * a.query_count + top + i, key + side);
            for (int j = 0; j < 4; j++) {
                const float weight = expf(logits[i][j] - shift);
                more += weight;
                weights[tile_row() + i][side + j] = drop >> j & 1 ? 0.0f : weight * a.kept;
                result[i][j] *= shrink;
            }
            sums[i] = sums[i] * shrink + tile_row_sum(more);
            maxima[i] = largest;
        }
        const int count = part.length - key < TILE ? part.length - key : TILE;
        weigh(a, part, result, slabs, weights, a.values + part.keys + key * part.width, count);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (top + i >= a.query_count) break;
        const float inverse = part.length > 0 ? 1.0f / sums[i] : 0.0f;
        for (int j = 0; j < 4; j++) {
            const int feature = part.feature + side + j;
            if (feature < a.head) a.to[part.queries + (top + i) * part.width + feature] = result[i][j] * inverse;
        }
        if (blockIdx.y == 0 && side == 0) {
            a.log_sums[part.row * a.query_count + top + i] = part.length > 0 ? maxima[i] + logf(sums[i]) : 0.0f;
        }
    }
}

// along: the sum over a query's weights of weight times gradient, for any dropout. One warp for each query and head.
KERNEL(THREADS) attention_along(const Arguments a) {
    const i64 row = (i64)blockIdx.x * 8 + warp();  // clip, query, head
    if (row >= a.rows) return;
    float sum = 0.0f;
    for (u32 i = lane(); i < a.head; i += 32) {
        sum = fmaf(a.output[row * a.head + i], a.grad_output[row * a.head + i], sum);
    }
    sum = warp_sum(sum);
    const i64 query = row / a.heads, clip = query / a.query_count;
    if (lane() == 0) a.along[(clip * a.heads + row % a.heads) * a.query_count + query % a.query_count] = sum;
}

// Writes or adds a tile of a gradient: the block's features of `rows` rows.
__device__ inline void put_tile(
    const Arguments& a, const Part& part, float* to, const float (&sums)[4][4], u32 count, u32 add
) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int row = part.first + tile_row() + i, feature = part.feature + tile_column() + j;
            if (row < count && feature < a.head) put(to, row * part.width + feature, sums[i][j], add);
        }
    }
}

// to [clips, queries, heads, head]: the gradient of the queries
KERNEL(THREADS) attention_grad_queries(const Arguments a) {
    __shared__ Slabs slabs;
    __shared__ SharedTile weights;
    const Part part(a, a.query_count);
    const int top = part.first + tile_row(), side = tile_column();
    const float *queries = a.queries + part.queries, *grad_output = a.grad_output + part.queries;
    float log_sums[4] = {}, along[4] = {}, result[4][4] = {};
    for (int i = 0; i < 4; i++) {
        if (top + i >= a.query_count) continue;
        log_sums[i] = a.log_sums[part.row * a.query_count + top + i];
        along[i] = a.along[part.row * a.query_count + top + i];
    }
    // With one key the weight is 1 for any logit, so the gradient is 0.
    for (int key = 0; key < part.length && part.length > 1; key += TILE) {
        float logits[4][4] = {}, grads[4][4] = {};
        multiply(a, part, logits, slabs, queries, part.first, a.query_count, a.keys + part.keys, key, part.length);
        multiply(a, part, grads, slabs, grad_output, part.first, a.query_count, a.values + part.keys, key, part.length);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 drop = dropped(a, part.row * a.query_count + top + i, key + side);
            for (int j = 0; j < 4; j++) {
                const float weight = expf(logits[i][j] * a.scale - log_sums[i]);
                const float grad = drop >> j & 1 ? 0.0f : grads[i][j] * a.kept;
                // Weights of keys beyond the last are not read.
                weights[tile_row() + i][side + j] = weight * (grad - along[i]) * a.scale;
            }
        }
        const int count = part.length - key < TILE ? part.length - key : TILE;
        weigh(a, part, result, slabs, weights, a.keys + part.keys + key * part.width, count);
    }
    put_tile(a, part, a.to + part.queries, result, a.query_count, a.add);
}

// to and to_values [clips, keys, heads, head]: the gradients of keys and values; either may be null. Rows of tiles are
// keys, columns are queries.
KERNEL(THREADS) attention_grad_keys(const Arguments a) {
    __shared__ Slabs slabs;
    __shared__ SharedTile weights;
    const Part part(a, a.key_count);
    const int top = part.first + tile_row(), side = tile_column();
    const float *keys = a.keys + part.keys, *values = a.values + part.keys;
    const float *queries = a.queries + part.queries, *grad_output = a.grad_output + part.queries;
    float grad_keys[4][4] = {}, grad_values[4][4] = {};
    for (int query = 0; query < a.query_count && part.first < part.length; query += TILE) {
        const int count = a.query_count - query < TILE ? a.query_count - query : TILE;
        const i64 first = part.row * a.query_count + query + side;
        float logits[4][4] = {};
        u32 drop = 0;  // 4 bits for each query
        multiply(a, part, logits, slabs, keys, part.first, part.length, queries, query, a.query_count);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            // Columns beyond the last query are not read; keys beyond the last have weight 0.
            const float log_sum = side + j < count ? a.log_sums[first + j] : 0.0f;
            drop |= dropped(a, first + j, top) << 4 * j;
            for (int i = 0; i < 4; i++) {
                logits[i][j] = top + i < part.length ? expf(logits[i][j] * a.scale - log_sum) : 0.0f;
                weights[tile_row() + i][side + j] = drop >> (4 * j + i) & 1 ? 0.0f : logits[i][j] * a.kept;
            }
        }
        if (a.to_values) weigh(a, part, grad_values, slabs, weights, grad_output + query * part.width, count);
        if (!a.to || part.length == 1) continue;  // with one key the weight is 1 for any logit
        float grads[4][4] = {};
        multiply(a, part, grads, slabs, values, part.first, part.length, grad_output, query, a.query_count);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float along = side + j < count ? a.along[first + j] : 0.0f;
            for (int i = 0; i < 4; i++) {
                const float grad = drop >> (4 * j + i) & 1 ? 0.0f : grads[i][j] * a.kept;
                weights[tile_row() + i][side + j] = logits[i][j] * (grad - along) * a.scale;
            }
        }
        weigh(a, part, grad_keys, slabs, weights, queries + query * part.width, count);
    }
    if (a.to) put_tile(a, part, a.to + part.keys, grad_keys, a.key_count, a.add);
    if (a.to_values) put_tile(a, part, a.to_values + part.keys, grad_values, a.key_count, a.add_values);
}
