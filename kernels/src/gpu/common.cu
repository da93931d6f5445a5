// Kernels that no single op owns: sums of slices, fills, running statistics and optimisers.

struct SumSlices {
    const float* partial;  // [slices, count]
    float* output;         // [count]
    i64 count;
    u32 slices;
    u32 add;
};

// The second stage of a split reduction: sums the slices, in order.
KERNEL(THREADS) sum_slices(const SumSlices a) {
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

// to += from: a gradient with two terms.
KERNEL(THREADS) accumulate(const Accumulate a) {
    const i64 i = element();
    if (i < a.count) a.to[i] += a.from[i];
}

struct Set {
    float* to;  // [count]
    i64 count;
    float value;
    u32 unused;
};

// Sets every element to one number.
KERNEL(THREADS) set(const Set a) {
    const i64 i = element();
    if (i < a.count) a.to[i] = a.value;
}

// Shut by the first update with a loss or gradient that is not finite. While it is shut no update changes anything; the
// host opens it when it reads the verdict.
struct Latch {
    i64 update;   // the update that shut it
    i64 culprit;  // 0: it is open; 1: the loss; 2 + i: the gradient of parameter i
};

__device__ inline bool shut(const Latch* latch) { return latch && latch->culprit != 0; }

// The kernels below update a table in one launch: blockIdx.y is a row, the blocks along x share its elements.
__device__ inline i64 first() { return element(); }
__device__ inline i64 stride() { return (i64)gridDim.x * blockDim.x; }

struct Statistic {
    float* value;      // [count]
    const float* now;  // [count]: of this batch
    i64 count;
    double keep;  // weight of the old value
    double take;  // weight of `now`
};

struct Blend {
    const Statistic* statistics;  // [rows]
    const Latch* latch;           // or null
};

// Updates running statistics with those of the batch; in double, as on the CPU.
KERNEL(THREADS) blend(const Blend a) {
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
    double* squares;              // [parameters, blocks]: sums of squares
    const Latch* latch;           // or null
    float rate;
    float decay;
    float momentum;  // or Adam's beta 1
    float beta;      // Adam's beta 2
    float rest;      // 1 - momentum, rounded once
    float rest_beta;
    float epsilon;
    float root;  // bias correction of the second moment's square root
};

// v = momentum v + (g + decay w); w -= rate v: PyTorch's rule.
KERNEL(THREADS) sgd(const Optimise a) {
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
KERNEL(THREADS) adam(const Optimise a) {
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

// The sum of squares of each gradient, one partial sum for each block along x.
KERNEL(THREADS) squares(const Optimise a) {
    __shared__ double sums[32];
    const Parameter p = a.parameters[blockIdx.y];
    double sum = 0.0;
    for (i64 i = first(); i < p.count; i += stride()) sum += (double)p.gradient[i] * p.gradient[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) a.squares[(i64)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

struct Verdict {
    i64 update;   // the update that shut the latch
    i64 culprit;  // as in Latch
    double loss;
    double square;  // squared norm of all gradients
};

struct Judge {
    const double* squares;  // [parameters, parts], from the kernel `squares`
    const float* loss;      // [1]
    Latch* latch;
    Verdict* verdict;
    i64 update;
    u32 parameters;
    u32 parts;
};

// Shuts the latch if the loss or a gradient is not finite; writes the verdict. One block; sums in the host's order.
KERNEL(THREADS) judge(const Judge a) {
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
