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

struct Set {
    float* to;  // [count]
    i64 count;
    float value;
    u32 unused;
};

// The same number everywhere.
extern "C" __global__ void set(const Set a) {
    const i64 i = element();
    if (i < a.count) a.to[i] = a.value;
}

// Shut by the first update whose loss or gradient is not finite: from then on nothing is changed until the host, which
// reads verdicts late, opens it.
struct Latch {
    i64 update;   // which one shut it
    i64 culprit;  // 0: it is open; 1: the loss; 2 + i: the gradient of parameter i
};

__device__ inline bool shut(const Latch* latch) { return latch && latch->culprit != 0; }

// The kernels below work on a table in one launch: blockIdx.y names a row, the blocks along x share its elements.
__device__ inline i64 first() { return element(); }
__device__ inline i64 stride() { return (i64)gridDim.x * blockDim.x; }

struct Statistic {
    float* value;      // [count]
    const float* now;  // [count]: of this batch
    i64 count;
    double keep;  // of the value
    double take;  // of what is now
};

struct Blend {
    const Statistic* statistics;  // [rows]
    const Latch* latch;           // or null
};

// Running statistics move to those of the batch; in double, as on the CPU.
extern "C" __global__ void blend(const Blend a) {
    if (shut(a.latch)) return;
    const Statistic s = a.statistics[blockIdx.y];
    for (i64 i = first(); i < s.count; i += stride()) s.value[i] = (float)(s.keep * s.value[i] + s.take * s.now[i]);
}

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
    const Latch* latch;           // or null
    float rate;
    float decay;
    float momentum;  // or Adam's first beta
    float beta;      // Adam's second
    float rest;      // 1 - momentum, rounded once
    float rest_beta;
    float epsilon;
    float root;  // what the second moment's root is multiplied by
};

// v = momentum v + (g + decay w); w -= rate v: PyTorch's rule.
extern "C" __global__ void sgd(const Optimise a) {
    if (shut(a.latch)) return;
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
    if (shut(a.latch)) return;
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

struct Verdict {
    i64 update;   // the one that shut the latch
    i64 culprit;  // as the latch's
    double loss;
    double square;  // of all gradients' norm
};

struct Judge {
    const double* squares;  // [parameters, parts], as `squares` leaves them
    const float* loss;      // [1]
    Latch* latch;
    Verdict* verdict;
    i64 update;
    u32 parameters;
    u32 parts;
};

// Whether an update may change anything. One block; sums in the order of the host's: parts, then parameters.
extern "C" __global__ void judge(const Judge a) {
    __shared__ double sums[THREADS];
    const double infinite = INFINITE;
    const double loss = a.loss[0];
    i64 culprit = fabs(loss) < infinite ? 0 : 1;
    double square = 0.0;
    for (u32 start = 0; start < a.parameters; start += THREADS) {
        const u32 parameter = start + threadIdx.x;
        double sum = 0.0;
        if (parameter < a.parameters) {
            for (u32 part = 0; part < a.parts; part++) sum += a.squares[(i64)parameter * a.parts + part];
        }
        __syncthreads();
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (u32 i = 0; i < THREADS && start + i < a.parameters; i++) {
                if (culprit == 0 && !(fabs(sums[i]) < infinite)) culprit = 2 + start + i;
                square += sums[i];
            }
        }
    }
    if (threadIdx.x > 0) return;
    if (a.latch->culprit == 0 && culprit != 0) {
        a.latch->update = a.update;
        a.latch->culprit = culprit;
    }
    a.verdict->update = a.latch->update;
    a.verdict->culprit = a.latch->culprit;
    a.verdict->loss = loss;
    a.verdict->square = square;
}
