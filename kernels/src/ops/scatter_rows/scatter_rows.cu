// The forward pass is the backward pass of embedding, with its kernel. Backward, each row of x reads its row of the
// gradient.

struct Arguments {
    const float* grad_output;  // [rows, width]
    const u32* numbers;        // [count]; an index >= rows is padding
    float* to;                 // gradient of x [count, width]
    i64 rows;
    i64 width;
    i64 count;
    u32 add;
    u32 unused;
};

KERNEL(THREADS) scatter_rows_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count * a.width) return;
    const i64 number = a.numbers[i / a.width];
    put(a.to, i, number < a.rows ? a.grad_output[number * a.width + i % a.width] : 0.0f, a.add);
}
