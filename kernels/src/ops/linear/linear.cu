// A linear layer is one matrix product: rows of features times a matrix. The loads of the backward pass apply the
// ReLU's mask, so the masked gradient is never stored.

struct Arguments {
    const float* x;            // [rows, in]
    const float* weight;       // [in, out]
    const float* bias;         // [out], or null
    const float* output;       // [rows, out]: of the forward pass, for its ReLU; null without one
    const float* grad_output;  // [rows, out]
    float* to;                 // the kernel's result
    i64 rows;
    i64 in;
    i64 out;
    i64 rows_a_slice;  // of the sums over rows
    u32 relu;
    u32 add;
};

// The gradient of the input of the ReLU.
__device__ inline float through_relu(const Arguments& a, i64 i) {
    return a.output && a.output[i] <= 0.0f ? 0.0f : a.grad_output[i];
}

struct Rows {
    const float* data;
    i64 width;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row * width; }
    __device__ float at(i64 start, i64 k) const { return data[start + k]; }
};

struct Matrix {
    const float* data;
    i64 width;
    __device__ float at(i64 k, i64 column) const { return data[k * width + column]; }
};

// to [rows, out]
KERNEL(THREADS) linear_forward(const Arguments a) {
    product(a.rows, a.out, 0, a.in, Rows{a.x, a.in}, Matrix{a.weight, a.out}, [&](i64 row, i64 column, float sum) {
        if (a.bias) sum += a.bias[column];
        a.to[row * a.out + column] = a.relu ? fmaxf(sum, 0.0f) : sum;
    });
}

struct MaskedRows {
    const Arguments& a;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row * a.out; }
    __device__ float at(i64 start, i64 k) const { return through_relu(a, start + k); }
};

struct Transposed {
    const float* data;
    i64 width;
    __device__ float at(i64 k, i64 column) const { return data[column * width + k]; }
};

// to [rows, in] = grad_output weight^T
KERNEL(THREADS) linear_grad_input(const Arguments a) {
    product(a.rows, a.in, 0, a.out, MaskedRows{a}, Transposed{a.weight, a.out}, [&](i64 row, i64 column, float sum) {
        put(a.to, row * a.in + column, sum, a.add);
    });
}

struct Columns {
    const float* data;
    i64 width;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row; }
    __device__ float at(i64 column, i64 k) const { return data[k * width + column]; }
};

struct MaskedMatrix {
    const Arguments& a;
    __device__ float at(i64 k, i64 column) const { return through_relu(a, k * a.out + column); }
};

// to [slices, in, out] = x^T grad_output over the rows of slice blockIdx.z
KERNEL(THREADS) linear_grad_weight(const Arguments a) {
    const i64 begin = blockIdx.z * a.rows_a_slice;
    const i64 end = begin + a.rows_a_slice < a.rows ? begin + a.rows_a_slice : a.rows;
    float* to = a.to + blockIdx.z * a.in * a.out;
    product(a.in, a.out, begin, end, Columns{a.x, a.in}, MaskedMatrix{a}, [&](i64 row, i64 column, float sum) {
        to[row * a.out + column] = sum;
    });
}

// to [slices, out]
KERNEL(THREADS) linear_grad_bias(const Arguments a) {
    column_sums(a.rows, a.out, a.rows_a_slice, a.to, [&](i64 row, i64 column) {
        return through_relu(a, row * a.out + column);
    });
}
