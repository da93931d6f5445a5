// The runs of an input are contiguous in it and strided in the output: one launch for each input.

struct Arguments {
    const float* from;  // an input, or the gradient of the output
    float* to;          // the output, or the gradient of an input
    i64 count;          // elements of the input
    i64 length;         // of a run
    i64 from_offset;    // offset of the first run
    i64 from_stride;    // distance from one run to the next
    i64 to_offset;
    i64 to_stride;
    u32 add;
    u32 unused;
};

KERNEL(THREADS) concat_copy(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 run = i / a.length, place = i % a.length;
    put(a.to, a.to_offset + run * a.to_stride + place, a.from[a.from_offset + run * a.from_stride + place], a.add);
}
