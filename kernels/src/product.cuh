// The matrix product that linear layers, convolutions and graph convolutions are shapes of: a gather in front, an
// epilogue behind. Attention and InfoNCE chain two of them.
//
// A block of THREADS threads makes a tile of TILE x TILE outputs, 4 x 4 a thread, from slabs of DEPTH that go through
// shared memory: each number read from memory serves TILE products. Plain f32 multiply-adds in one fixed order; the
// reference for the tensor-core kernels.
//
// Rows run along blockIdx.x (a grid can have 2^31 there), columns along blockIdx.y.

constexpr int TILE = 64;
constexpr int DEPTH = 16;

// One slab of both sides.
struct __align__(16) Slabs {
    float left[DEPTH][TILE + 4];
    float right[DEPTH][TILE + 4];
};

// The first of the four rows, and of the four columns, of a tile that a thread makes the outputs of. Sixteen threads
// next to each other share their rows: half a warp.
__device__ inline int tile_row() { return threadIdx.x / 16 * 4; }
__device__ inline int tile_column() { return threadIdx.x % 16 * 4; }

// A side of the product whose numbers lie along the depth. The source has `Row row(i64 row)`, called once for the row
// that a thread loads, and `float at(const Row&, i64 k)`; within bounds only: row < rows, k < end.
template <class Source>
struct AlongDepth {
    const Source& source;
    bool inside;
    typename Source::Row row;

    // The tile's rows are first .. first + TILE, of `rows`.
    __device__ AlongDepth(const Source& source, i64 first, i64 rows)
        : source(source),
          inside(first + threadIdx.x / 4 < rows),
          row(source.row(inside ? first + threadIdx.x / 4 : 0)) {}

    // Each thread loads four neighbours along k of one row.
    __device__ void load(float (&slab)[DEPTH][TILE + 4], i64 k, i64 end) const {
        const int depth = threadIdx.x % 4 * 4;
        for (int i = 0; i < 4; i++) {
            slab[depth + i][threadIdx.x / 4] = inside && k + depth + i < end ? source.at(row, k + depth + i) : 0.0f;
        }
    }
};

// A side whose numbers lie across the depth. The source has `float at(i64 k, i64 column)`, within bounds only.
template <class Source>
struct AcrossDepth {
    const Source& source;
    i64 first;
    i64 columns;

    __device__ AcrossDepth(const Source& source, i64 first, i64 columns)
        : source(source), first(first), columns(columns) {}

    // Each thread loads four columns of one k.
    __device__ void load(float (&slab)[DEPTH][TILE + 4], i64 k, i64 end) const {
        const int depth = threadIdx.x / 16, side = tile_column();
        for (int i = 0; i < 4; i++) {
            const i64 column = first + side + i;
            slab[depth][side + i] = k + depth < end && column < columns ? source.at(k + depth, column) : 0.0f;
        }
    }
};

// Adds to a tile the product of two sides, AlongDepth or AcrossDepth each, over begin <= k < end. For all threads of
// the block; what `at` reads in shared memory may be overwritten at once afterwards.
template <class Left, class Right>
__device__ inline void accumulate(
    float (&sums)[4][4], Slabs& slabs, const Left& left, const Right& right, i64 begin, i64 end
) {
    const int top = tile_row(), side = tile_column();
    for (i64 k = begin; k < end; k += DEPTH) {
        left.load(slabs.left, k, end);
        right.load(slabs.right, k, end);
        __syncthreads();
#pragma unroll 4
        for (int depth = 0; depth < DEPTH; depth++) {
            const float4 a = *(const float4*)&slabs.left[depth][top], b = *(const float4*)&slabs.right[depth][side];
            const float x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
            for (int i = 0; i < 4; i++) {
                for (int j = 0; j < 4; j++) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
}

// A tile that the threads of a block hand each other, as the left side of a second product: written, then
// __syncthreads, then read by accumulate along AlongDepth<SharedRows>(.., 0, TILE).
typedef float SharedTile[TILE][TILE + 1];

struct SharedRows {
    const SharedTile& tile;
    typedef int Row;
    __device__ int row(i64 row) const { return (int)row; }
    __device__ float at(int row, i64 k) const { return tile[row][k]; }
};

// The sum, and the largest, over the sixteen threads that share a tile's rows, in each of them.
__device__ inline float tile_row_sum(float value) {
    for (int distance = 8; distance > 0; distance >>= 1) value += __shfl_xor_sync(EVERYONE, value, distance);
    return value;
}

__device__ inline float tile_row_max(float value) {
    for (int distance = 8; distance > 0; distance >>= 1) {
        value = fmaxf(value, __shfl_xor_sync(EVERYONE, value, distance));
    }
    return value;
}

// The whole product of a left side along the depth and a right side across it. epilogue(row, column, sum) is called
// once for each output.
template <class Left, class Right, class Epilogue>
__device__ inline void product(
    i64 rows, i64 columns, i64 begin, i64 end, const Left& left, const Right& right, const Epilogue& epilogue
) {
    __shared__ Slabs slabs;
    const i64 first_row = (i64)blockIdx.x * TILE, first_column = (i64)blockIdx.y * TILE;
    float sums[4][4] = {};
    const AlongDepth<Left> along(left, first_row, rows);
    const AcrossDepth<Right> across(right, first_column, columns);
    accumulate(sums, slabs, along, across, begin, end);
#pragma unroll  // whatever the epilogue is, the sums stay in registers
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const i64 row = first_row + tile_row() + i, column = first_column + tile_column() + j;
            if (row < rows && column < columns) epilogue(row, column, sums[i][j]);
        }
    }
}
