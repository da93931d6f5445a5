// Kernels that belong to no single op: sums of slices, and what the optimiser does.

struct SumSlices {
    const float* partial;  // [slices, count]
    float* output;         // [count]
    i64 count;
    u32 slices;
    u32 add;
};

// The end of a reduction that was split: adds the slices up in their order.
extern "C" __global__ void sum_slices(const SumSlices a) {
    const i64 i = element();
    if (i >= a.count) return;
    float sum = 0.0f;
    for (u32 slice = 0; slice < a.slices; slice++) sum += a.partial[slice * a.count + i];
    put(a.output, i, sum, a.add);
}

struct Accumulate {
    float* to;          // [count]
    const float* from;  // [count]
    i64 count;
};

// to += from: a gradient that comes from two places.
extern "C" __global__ void accumulate(const Accumulate a) {
    const i64 i = element();
    if (i < a.count) a.to[i] += a.from[i];
}

struct Blend {
    const float* old;  // [count]
    const float* now;  // [count]
    float* to;         // [count]
    i64 count;
    double keep;  // of the old
    double take;  // of the new
};

// A running statistic's new value; in double, as the CPU has it.
extern "C" __global__ void blend(const Blend a) {
    const i64 i = element();
    if (i < a.count) a.to[i] = (float)(a.keep * a.old[i] + a.take * a.now[i]);
}

// The optimiser works on all parameters in one launch: blockIdx.y names one, the blocks along x share its elements.
struct Parameter {
    float* weight;          // [count]
    float* first;           // [count]: velocity, or Adam's first moment
    float* second;          // [count]: Adam's second moment, or null
    const float* gradient;  // [count]
    i64 count;
};

struct Optimise {
    const Parameter* parameters;  // [parameters]
    double* squares;              // [parameters, blocks]: of squares
    float rate;
    float decay;
    float momentum;  // or Adam's first beta
    float beta;      // Adam's second
    float rest;      // 1 - momentum, rounded once
    float rest_beta;
    float epsilon;
    float root;  // what the second moment's root is multiplied by
};

__device__ inline i64 first() { return element(); }
__device__ inline i64 stride() { return (i64)gridDim.x * blockDim.x; }

// v = momentum v + (g + decay w); w -= rate v: PyTorch's rule.
extern "C" __global__ void sgd(const Optimise a) {
    const Parameter p = a.parameters[blockIdx.y];
    for (i64 i = first(); i < p.count; i += stride()) {
        const float w = p.weight[i];
        const float v = a.momentum * p.first[i] + (p.gradient[i] + a.decay * w);
        p.first[i] = v;
        p.weight[i] = w - a.rate * v;
    }
}

// Kingma & Ba 2015; the host folds the bias corrections into rate and root.
extern "C" __global__ void adam(const Optimise a) {
    const Parameter p = a.parameters[blockIdx.y];
    for (i64 i = first(); i < p.count; i += stride()) {
        const float w = p.weight[i];
        const float g = p.gradient[i] + a.decay * w;
        const float m = a.momentum * p.first[i] + a.rest * g;
        const float v = a.beta * p.second[i] + a.rest_beta * g * g;
        p.first[i] = m;
        p.second[i] = v;
        p.weight[i] = w - a.rate * m / (sqrtf(v) * a.root + a.epsilon);
    }
}

// The sum of squares of each gradient, a part for each block along x.
extern "C" __global__ void squares(const Optimise a) {
    __shared__ double sums[32];
    const Parameter p = a.parameters[blockIdx.y];
    double sum = 0.0;
    for (i64 i = first(); i < p.count; i += stride()) sum += (double)p.gradient[i] * p.gradient[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) a.squares[(i64)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}
