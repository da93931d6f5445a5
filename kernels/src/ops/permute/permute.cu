// If the last axis stays, or one of two swapped axes is short, each thread copies one element: writes are coalesced and
// reads nearly so. Otherwise squares of 32 x 32 are transposed in shared memory, so that both are coalesced.

struct Arguments {
    const float* x;  // [count]
    float* to;       // [count], with permuted axes
    i64 count;
    i64 extents[6];  // of the output's axes, fastest first
    i64 from[6];     // their strides in x
    i64 steps[6];    // their strides in the output
    u32 rank;
    u32 add;
};

KERNEL(THREADS) permute_copy(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    i64 rest = i, from = 0;
    // Unrolled, so that the arrays have constant indices.
#pragma unroll
    for (int axis = 0; axis < 6; axis++) {
        if (axis >= a.rank) break;
        from += rest % a.extents[axis] * a.from[axis];
        rest /= a.extents[axis];
    }
    put(a.to, i, a.x[from], a.add);
}

// Transposes axes 0 and 1: axis 0 has stride 1 in the output, axis 1 has stride 1 in x.
// blockIdx.x: all other axes, then squares along axis 1, then along axis 0.
KERNEL(THREADS) permute_turn(const Arguments a) {
    __shared__ float square[32][33];
    const i64 across = (a.extents[0] + 31) / 32, down = (a.extents[1] + 31) / 32;
    i64 rest = blockIdx.x;
    const i64 column = rest % across * 32;
    rest /= across;
    const i64 row = rest % down * 32;
    rest /= down;
    i64 from = 0, to = 0;
#pragma unroll
    for (int axis = 2; axis < 6; axis++) {
        if (axis >= a.rank) break;
        const i64 place = rest % a.extents[axis];
        rest /= a.extents[axis];
        from += place * a.from[axis];
        to += place * a.steps[axis];
    }
    for (int i = warp(); i < 32; i += 8) {
        if (column + i < a.extents[0] && row + lane() < a.extents[1]) {
            square[i][lane()] = a.x[from + (column + i) * a.from[0] + row + lane()];
        }
    }
    __syncthreads();
    for (int i = warp(); i < 32; i += 8) {
        if (row + i < a.extents[1] && column + lane() < a.extents[0]) {
            put(a.to, to + (row + i) * a.steps[1] + column + lane(), square[lane()][i], a.add);
        }
    }
}
