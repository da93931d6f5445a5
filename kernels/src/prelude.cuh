// The first part of every program. No #include: a machine without the CUDA toolkit has no headers for NVRTC.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// The default number of threads of a block; Grid::THREADS on the host.
constexpr int THREADS = 256;
// The most threads of a block of a launch of Grid::teams; Grid::TEAM on the host.
constexpr int TEAM = 1024;
constexpr u32 EVERYONE = 0xffffffffu;
constexpr float INFINITE = __builtin_bit_cast(float, 0x7f800000);

// A kernel with launch bounds: the most threads of a block. The compiler limits the registers of a thread so that such a
// block fits. The simulator refuses larger blocks, and a test finds bounds that no launch needs. The optional second number,
// the least blocks at once on a multiprocessor, raises a limit of registers at which the compiler would spill.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

// The element of this thread, in a launch of Grid::elements.
__device__ inline i64 element() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline int lane() { return threadIdx.x & 31; }
__device__ inline int warp() { return threadIdx.x >> 5; }

// Writes a gradient, or adds to it.
__device__ inline void put(float* gradient, i64 i, float value, u32 add) {
    gradient[i] = add ? gradient[i] + value : value;
}

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The sum over a warp, in every lane, in a fixed order. For float and double.
template <class T>
__device__ inline T warp_sum(T value) {
    for (int distance = 16; distance > 0; distance >>= 1) value += __shfl_xor_sync(EVERYONE, value, distance);
    return value;
}

__device__ inline float warp_max(float value) {
    for (int distance = 16; distance > 0; distance >>= 1) {
        value = fmaxf(value, __shfl_xor_sync(EVERYONE, value, distance));
    }
    return value;
}

// The sum over a block of whole warps along x, in every thread. `shared` has 32 elements; reuse needs no barrier.
template <class T>
__device__ inline T block_sum(T value, T* shared) {
    value = warp_sum(value);
    __syncthreads();
    if (lane() == 0) shared[warp()] = value;
    __syncthreads();
    return warp_sum(lane() < (blockDim.x + 31) / 32 ? shared[lane()] : T(0));
}

// The maximum over a block, with the same arguments.
__device__ inline float block_max(float value, float* shared) {
    value = warp_max(value);
    __syncthreads();
    if (lane() == 0) shared[warp()] = value;
    __syncthreads();
    return warp_max(lane() < (blockDim.x + 31) / 32 ? shared[lane()] : shared[0]);
}

// Teams: in a launch of Grid::teams each row has the threads along x: a warp, or a whole block for wide rows.

// The row of this thread's team. All threads of a warp have the same row.
__device__ inline i64 team() { return (i64)blockIdx.x * blockDim.y + threadIdx.y; }

// The sum over the team, in every thread of the team.
__device__ inline float team_sum(float value) {
    __shared__ float shared[32];
    return blockDim.x == 32 ? warp_sum(value) : block_sum(value, shared);
}

__device__ inline float team_max(float value) {
    __shared__ float shared[32];
    return blockDim.x == 32 ? warp_max(value) : block_max(value, shared);
}

// Writes the sum of at(i) over slice blockIdx.x of 0..count to partial[slice]. Blocks of THREADS threads;
// Device::sum_slices then sums the slices, in order.
template <class At>
__device__ inline void slice_sum(i64 count, i64 length, float* partial, At at) {
    __shared__ float shared[32];
    const i64 begin = blockIdx.x * length;
    const i64 end = begin + length < count ? begin + length : count;
    float sum = 0.0f;
    for (i64 i = begin + threadIdx.x; i < end; i += THREADS) sum += at(i);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// Writes the sum of at(row, column) over the rows of slice blockIdx.y to partial[slice, column], for each column.
// Blocks of THREADS threads: 32 neighbouring columns, 8 rows at a time. Device::sum_slices then sums the slices, in
// order.
template <class At>
__device__ inline void column_sums(i64 rows, i64 columns, i64 rows_a_slice, float* partial, At at) {
    __shared__ float sums[8][33];
    const i64 column = (i64)blockIdx.x * 32 + lane();
    const i64 begin = blockIdx.y * rows_a_slice;
    const i64 end = begin + rows_a_slice < rows ? begin + rows_a_slice : rows;
    float sum = 0.0f;
    if (column < columns) {
        for (i64 row = begin + warp(); row < end; row += 8) sum += at(row, column);
    }
    __syncthreads();  // the sums of the previous call were read
    sums[warp()][lane()] = sum;
    __syncthreads();
    if (warp() == 0 && column < columns) {
        sum = 0.0f;
        for (int i = 0; i < 8; i++) sum += sums[i][lane()];
        partial[blockIdx.y * columns + column] = sum;
    }
}

// Philox 4x32-10, as in kernels/src/philox.rs.
struct Philox {
    u32 key[2];
    u32 stream[2];

    // Four random words for a counter.
    __device__ inline uint4 words(u64 counter) const {
        u32 k0 = key[0], k1 = key[1];
        u32 a = stream[0], b = stream[1], c = (u32)counter, d = (u32)(counter >> 32);
        for (int round = 0; round < 10; round++) {
            const u64 first = (u64)a * 0xD2511F53u, second = (u64)c * 0xCD9E8D57u;
            a = (u32)(second >> 32) ^ b ^ k0;
            b = (u32)second;
            c = (u32)(first >> 32) ^ d ^ k1;
            d = (u32)first;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        return make_uint4(a, b, c, d);
    }

    // Word i of the stream; each counter has four words.
    __device__ inline u32 word(u64 i) const {
        const uint4 four = words(i / 4);
        const u32 which = (u32)i & 3;
        return which == 0 ? four.x : which == 1 ? four.y : which == 2 ? four.z : four.w;
    }
};

// Division of n < 2^31 by a number that is constant in a kernel: a product and a shift.
struct Divisor {
    u32 value;
    u32 multiplier;
    u32 shift;

    __device__ explicit Divisor(u32 divisor) : value(divisor > 1 ? divisor : 1) {
        const u32 bits = 32 - __clz(value - 1);  // 2^bits >= value
        shift = 31 + bits;
        multiplier = (u32)(((1ull << shift) + value - 1) / value);
    }

    __device__ u32 divide(u32 n) const { return (u32)((u64)n * multiplier >> shift); }
};
