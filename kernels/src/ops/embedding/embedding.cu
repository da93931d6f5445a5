// Backward, each row of the table searches its tokens. Comparing all tokens with all rows costs little compared with
// the memory traffic, and gives sums in a fixed order without atomics or a sort. A block has eight warps for one row,
// so that a frequent token is not summed by a single thread.

struct Arguments {
    const float* table;        // [entries, width]
    const u32* tokens;         // [count]; a token >= entries is padding
    const float* grad_output;  // [count, width]
    float* to;                 // output [count, width], or gradient of the table
    i64 entries;
    i64 width;
    i64 count;
    u32 add;
    u32 unused;
};

KERNEL(THREADS) embedding_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count * a.width) return;
    const i64 token = a.tokens[i / a.width];
    a.to[i] = token < a.entries ? a.table[token * a.width + i % a.width] : 0.0f;
}

// Columns of a lane, 32 apart; `TILE` on the host is 32 times this number.
constexpr int COLUMNS = 4;

// blockIdx.x: row of the table; blockIdx.y: strip of its columns
KERNEL(THREADS) embedding_backward(const Arguments a) {
    __shared__ float shared[8][COLUMNS][32];
    const i64 entry = blockIdx.x;
    const i64 first = (i64)blockIdx.y * COLUMNS * 32 + lane();
    float sums[COLUMNS] = {};
    // The matching tokens of the warp's chunks of 32, four at a time, so that loads overlap.
    for (i64 chunk = warp() * 32; chunk < a.count; chunk += THREADS) {
        const i64 place = chunk + lane();
        u32 found = __ballot_sync(EVERYONE, place < a.count && a.tokens[place] == entry);
        for (const float* rows = a.grad_output + chunk * a.width; found; found >>= 4, rows += 4 * a.width) {
            if (!(found & 15)) continue;
            for (int token = 0; token < 4; token++) {
                for (int j = 0; j < COLUMNS; j++) {
                    const i64 column = first + 32 * j;
                    if ((found >> token & 1) && column < a.width) sums[j] += rows[token * a.width + column];
                }
            }
        }
    }
    for (int j = 0; j < COLUMNS; j++) shared[warp()][j][lane()] = sums[j];
    __syncthreads();
    const i64 column = first + 32 * warp();
    if (warp() >= COLUMNS || column >= a.width) return;
    float sum = 0.0f;
    for (int i = 0; i < 8; i++) sum += shared[i][warp()][lane()];
    put(a.to, entry * a.width + column, sum, a.add);
}
