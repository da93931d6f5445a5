// The slice consists of runs that are strided in x and contiguous in the output.

struct Arguments {
    const float* from;  // x, or the gradient of the output
    float* to;          // the output, or the gradient of x
    i64 count;          // elements of `to`
    i64 length;         // of a run
    i64 offset;         // offset of the first run in x
    i64 stride;         // distance from one run to the next in x
    u32 add;
    u32 unused;
};

KERNEL(THREADS) slice_forward(const Arguments a) {
    const i64 i = element();
    if (i < a.count) a.to[i] = a.from[a.offset + i / a.length * a.stride + i % a.length];
}

// One thread for each element of x; elements outside the slice have gradient 0.
KERNEL(THREADS) slice_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 run = i / a.stride, place = i % a.stride - a.offset;
    const bool taken = place >= 0 && place < a.length;
    put(a.to, i, taken ? a.from[run * a.length + place] : 0.0f, a.add);
}
