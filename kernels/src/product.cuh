// The matrix product that linear layers, convolutions and graph convolutions are shapes of: a gather in front, an
// epilogue behind.
//
// A block of THREADS threads makes a tile of TILE x TILE outputs, 4 x 4 a thread, from slabs of DEPTH that go through
// shared memory: each number read from memory serves TILE products. Plain f32 multiply-adds in one fixed order; the
// reference for the tensor-core kernels.
//
// Rows run along blockIdx.x (a grid can have 2^31 there), columns along blockIdx.y.

constexpr int TILE = 64;
constexpr int DEPTH = 16;

// left:  `Row row(i64 row)` once for each row a thread loads, then `float at(const Row&, i64 k)`;
// right: `float at(i64 k, i64 column)`;
// both are asked within bounds only: row < rows, k < end, column < columns.
// epilogue(row, column, sum) is called once for each output.
template <class Left, class Right, class Epilogue>
__device__ inline void product(
    i64 rows, i64 columns, i64 begin, i64 end, const Left& left, const Right& right, const Epilogue& epilogue
) {
    __shared__ __align__(16) float a[DEPTH][TILE + 4];
    __shared__ __align__(16) float b[DEPTH][TILE + 4];
    const i64 first_row = (i64)blockIdx.x * TILE, first_column = (i64)blockIdx.y * TILE;
    const int thread = threadIdx.x;

    // Each thread loads four neighbours along k of one row, and four columns of one k.
    const int load_row = thread / 4, load_k = thread % 4 * 4;
    const int load_depth = thread / 16, load_column = thread % 16 * 4;
    const bool row_inside = first_row + load_row < rows;
    const auto row = left.row(row_inside ? first_row + load_row : 0);

    // Each thread makes the outputs of rows (thread / 16) * 4 .. and columns (thread % 16) * 4 ..
    const int top = thread / 16 * 4, side = thread % 16 * 4;
    float sums[4][4] = {};

    for (i64 k = begin; k < end; k += DEPTH) {
        for (int i = 0; i < 4; i++) {
            const i64 at = k + load_k + i;
            a[load_k + i][load_row] = row_inside && at < end ? left.at(row, at) : 0.0f;
        }
        for (int i = 0; i < 4; i++) {
            const i64 at = k + load_depth, column = first_column + load_column + i;
            b[load_depth][load_column + i] = at < end && column < columns ? right.at(at, column) : 0.0f;
        }
        __syncthreads();
#pragma unroll 4
        for (int depth = 0; depth < DEPTH; depth++) {
            const float4 left4 = *(const float4*)&a[depth][top], right4 = *(const float4*)&b[depth][side];
            const float x[4] = {left4.x, left4.y, left4.z, left4.w}, y[4] = {right4.x, right4.y, right4.z, right4.w};
            for (int i = 0; i < 4; i++) {
                for (int j = 0; j < 4; j++) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            const i64 row = first_row + top + i, column = first_column + side + j;
            if (row < rows && column < columns) epilogue(row, column, sums[i][j]);
        }
    }
}
