// Loops over the axes of three operands with broadcasting, as in kernels/src/walk.rs: reductions over any axes, and
// elementwise ops.

struct Walk {
    i64 kept_extents[6];        // of the loops over the target, fastest first
    i64 kept_strides[3][6];     // of each operand, in elements
    i64 reduced_extents[3];     // of the loops over the terms of one element of the target, fastest first
    i64 reduced_strides[3][3];
    i64 targets;                // number of elements of the target
    i64 terms;                  // number of terms of each element
    u32 kept;                   // number of kept loops
    u32 reduced;
};

// The offset of an element in each of the three operands.
struct Place { i64 at[3]; };

// Adds the offsets of step `step` of nested loops. Unrolled, so that the arrays have constant indices.
template <int LOOPS>
__device__ inline void walk_step(const i64 (&extents)[LOOPS], const i64 (&strides)[3][LOOPS], u32 loops, i64 step,
                                 Place& place) {
#pragma unroll
    for (int i = 0; i < LOOPS; i++) {
        if (i >= loops) break;
        // The slowest loop needs no division.
        const i64 here = i + 1 < loops ? step % extents[i] : step;
        step = i + 1 < loops ? step / extents[i] : 0;
        for (int k = 0; k < 3; k++) place.at[k] += here * strides[k][i];
    }
}

__device__ inline Place walk_target(const Walk& w, i64 target) {
    Place place = {{0, 0, 0}};
    walk_step(w.kept_extents, w.kept_strides, w.kept, target, place);
    return place;
}

__device__ inline Place walk_term(const Walk& w, Place place, i64 term) {
    walk_step(w.reduced_extents, w.reduced_strides, w.reduced, term, place);
    return place;
}

// The larger of two numbers; NaN if one of them is NaN.
__device__ inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// The reductions: the start value, and the join of two values.
struct Sum {
    using Number = float;
    static constexpr Number START = 0.0f;
    __device__ static Number join(Number a, Number b) { return a + b; }
};

struct Largest {
    using Number = float;
    static constexpr Number START = -INFINITE;
    __device__ static Number join(Number a, Number b) { return larger(a, b); }
};

struct Smallest {
    using Number = i64;
    static constexpr Number START = 0x7fffffffffffffff;
    __device__ static Number join(Number a, Number b) { return b < a ? b : a; }
};

// The range of terms of slice blockIdx.y.
struct Terms {
    i64 begin;
    i64 end;
    __device__ Terms(const Walk& w, i64 length)
        : begin(blockIdx.y * length), end(begin + length < w.terms ? begin + length : w.terms) {}
};

// Folds the terms `term(place)` of slice blockIdx.y for each element of the target, and calls
// `store(slice * targets + target, value)`. For contiguous terms: a launch of Grid::teams, one team for each element.
template <class Fold, class Term, class Store>
__device__ inline void fold_rows(const Walk& w, i64 length, Term term, Store store) {
    using Number = typename Fold::Number;
    __shared__ Number shared[32];
    if (team() >= w.targets) return;
    const Place target = walk_target(w, team());
    const Terms terms(w, length);
    Number value = Fold::START;
    for (i64 i = terms.begin + threadIdx.x; i < terms.end; i += blockDim.x) {
        value = Fold::join(value, term(walk_term(w, target, i)));
    }
    auto over_warp = [](Number value) {
        for (int distance = 16; distance > 0; distance >>= 1) {
            value = Fold::join(value, __shfl_xor_sync(EVERYONE, value, distance));
        }
        return value;
    };
    value = over_warp(value);
    if (blockDim.x > 32) {
        if (lane() == 0) shared[warp()] = value;
        __syncthreads();
        value = over_warp(lane() < blockDim.x / 32 ? shared[lane()] : Fold::START);
    }
    if (threadIdx.x == 0) store(blockIdx.y * w.targets + team(), value);
}

// fold_rows for contiguous target elements: blocks of THREADS threads, 32 elements each, 8 terms at a time.
template <class Fold, class Term, class Store>
__device__ inline void fold_columns(const Walk& w, i64 length, Term term, Store store) {
    using Number = typename Fold::Number;
    __shared__ Number shared[8][33];
    const i64 column = (i64)blockIdx.x * 32 + lane();
    Number value = Fold::START;
    if (column < w.targets) {
        const Place target = walk_target(w, column);
        const Terms terms(w, length);
        for (i64 i = terms.begin + warp(); i < terms.end; i += 8) {
            value = Fold::join(value, term(walk_term(w, target, i)));
        }
    }
    shared[warp()][lane()] = value;
    __syncthreads();
    if (warp() == 0 && column < w.targets) {
        value = Fold::START;
        for (int i = 0; i < 8; i++) value = Fold::join(value, shared[i][lane()]);
        store(blockIdx.y * w.targets + column, value);
    }
}
