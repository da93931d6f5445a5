// The matrix product of linear layers, convolutions and graph convolutions: a gather of the operands, the product, and
// an epilogue. Attention and InfoNCE chain two products.
//
// A block of THREADS threads computes a tile of TILE x TILE outputs, 4 x 4 for each thread, from slabs of DEPTH in
// shared memory: each number from global memory is used in TILE products. f32 multiply-adds in a fixed order, without
// tensor cores.
//
// blockIdx.x is a tile of rows (a grid has up to 2^31 - 1 blocks along x), blockIdx.y a tile of columns.

constexpr int TILE = 64;
constexpr int DEPTH = 16;

// One slab of each operand.
struct __align__(16) Slabs {
    float left[DEPTH][TILE + 4];
    float right[DEPTH][TILE + 4];
};

// The first of a thread's four rows, and of its four columns, in a tile. The sixteen neighbouring threads of half a
// warp have the same rows.
__device__ inline int tile_row() { return threadIdx.x / 16 * 4; }
__device__ inline int tile_column() { return threadIdx.x % 16 * 4; }

// An operand that is contiguous along the depth. The source has `Row row(i64 row)`, called once for the row that a
// thread loads, and `float at(const Row&, i64 k)`. Both are called within bounds only: row < rows, k < end.
template <class Source>
struct AlongDepth {
    const Source& source;
    bool inside;
    typename Source::Row row;

    // The tile has the rows first .. first + TILE, those below `rows`.
    __device__ AlongDepth(const Source& source, i64 first, i64 rows)
        : source(source),
          inside(first + threadIdx.x / 4 < rows),
          row(source.row(inside ? first + threadIdx.x / 4 : 0)) {}

    // Each thread loads four neighbouring k of one row.
    __device__ void load(float (&slab)[DEPTH][TILE + 4], i64 k, i64 end) const {
        const int depth = threadIdx.x % 4 * 4;
        for (int i = 0; i < 4; i++) {
            slab[depth + i][threadIdx.x / 4] = inside && k + depth + i < end ? source.at(row, k + depth + i) : 0.0f;
        }
    }
};

// An operand that is contiguous along the columns. The source has `float at(i64 k, i64 column)`, within bounds only.
template <class Source>
struct AcrossDepth {
    const Source& source;
    i64 first;
    i64 columns;

    __device__ AcrossDepth(const Source& source, i64 first, i64 columns)
        : source(source), first(first), columns(columns) {}

    // Each thread loads four neighbouring columns of one k.
    __device__ void load(float (&slab)[DEPTH][TILE + 4], i64 k, i64 end) const {
        const int depth = threadIdx.x / 16, side = tile_column();
        for (int i = 0; i < 4; i++) {
            const i64 column = first + side + i;
            slab[depth][side + i] = k + depth < end && column < columns ? source.at(k + depth, column) : 0.0f;
        }
    }
};

// sums += the product of two operands, each AlongDepth or AcrossDepth, over begin <= k < end. All threads of the block
// must call it; afterwards the shared memory that `at` reads may be overwritten without a barrier.
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

// A tile in shared memory, the left operand of a second product: write it, call __syncthreads, then accumulate with
// AlongDepth<SharedRows>(.., 0, TILE).
typedef float SharedTile[TILE][TILE + 1];

struct SharedRows {
    const SharedTile& tile;
    typedef int Row;
    __device__ int row(i64 row) const { return (int)row; }
    __device__ float at(int row, i64 k) const { return tile[row][k]; }
};

// The sum, and the maximum, over the sixteen threads with the same rows of a tile, in each of these threads.
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

// The product of a left operand AlongDepth and a right operand AcrossDepth. Calls epilogue(row, column, sum) once for
// each output.
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
#pragma unroll  // so that the sums stay in registers for any epilogue
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const i64 row = first_row + tile_row() + i, column = first_column + tile_column() + j;
            if (row < rows && column < columns) epilogue(row, column, sums[i][j]);
        }
    }
}
