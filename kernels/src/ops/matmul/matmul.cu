// One kernel for the forward pass and both gradients: a product of strided matrices for each batch element, or for each
// slice of a sum over the batch, with the depths of its elements concatenated.

struct Side {
    const float* data;
    i64 batch;  // from one matrix to the next; 0 if all batch elements share one
    i64 row;
    i64 column;
};

struct Arguments {
    Side left;   // [batch, rows, depth]
    Side right;  // [batch, depth, columns]
    float* to;   // [parts, rows, columns]
    i64 rows;
    i64 columns;
    i64 depth;
    i64 total;   // batch * depth
    i64 length;  // of a part: the depth, or the depth of a slice
    u32 add;
    u32 unused;
};

struct Rows {
    const float* data;
    const Side& side;
    typedef const float* Row;
    __device__ Row row(i64 row) const { return data + row * side.row; }
    __device__ float at(Row row, i64 k) const { return row[k * side.column]; }
};

struct Columns {
    const float* data;
    const Side& side;
    __device__ float at(i64 k, i64 column) const { return data[k * side.row + column * side.column]; }
};

// Parts are along blockIdx.z; a loop covers more parts than the grid's limit.
KERNEL(THREADS, 2) matmul(const Arguments a) {
    __shared__ Slabs slabs;
    const i64 first_row = (i64)blockIdx.x * TILE, first_column = (i64)blockIdx.y * TILE;
    for (i64 part = blockIdx.z; part * a.length < a.total; part += gridDim.z) {
        const i64 begin = part * a.length;
        const i64 end = begin + a.length < a.total ? begin + a.length : a.total;
        float sums[4][4] = {};
        for (i64 number = begin / a.depth; number * a.depth < end; number++) {
            const i64 start = number * a.depth;
            const Rows left{a.left.data + number * a.left.batch, a.left};
            const Columns right{a.right.data + number * a.right.batch, a.right};
            accumulate(
                sums, slabs, AlongDepth<Rows>(left, first_row, a.rows),
                AcrossDepth<Columns>(right, first_column, a.columns), begin > start ? begin - start : 0,
                end - start < a.depth ? end - start : a.depth
            );
        }
        float* to = a.to + part * a.rows * a.columns;
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const i64 row = first_row + tile_row() + i, column = first_column + tile_column() + j;
                if (row < a.rows && column < a.columns) put(to, row * a.columns + column, sums[i][j], a.add);
            }
        }
    }
}
