// A thread draws the four words of one counter for four neighbouring elements. The backward pass draws the same words
// again.

struct Arguments {
    const float* x;  // [count]: forward x, backward the gradient of the output
    float* to;       // [count]: output or gradient of x
    i64 count;
    Philox stream;
    u32 threshold;  // an element is dropped if its word is below
    float scale;    // factor of the kept elements
    u32 add;
    u32 unused;
};

// A selection, not a product: a dropped infinite element must give 0, not NaN.
__device__ inline float masked(const Arguments& a, float x, u32 word) {
    return word < a.threshold ? 0.0f : x * a.scale;
}

KERNEL(THREADS) dropout_apply(const Arguments a) {
    const i64 block = element(), first = 4 * block;
    if (first >= a.count) return;
    const uint4 words = a.stream.words(block);
    const bool aligned = (((u64)a.x | (u64)a.to) & 15) == 0;
    if (aligned && first + 4 <= a.count) {
        const float4 x = *(const float4*)(a.x + first);
        float4 value = make_float4(
            masked(a, x.x, words.x), masked(a, x.y, words.y), masked(a, x.z, words.z), masked(a, x.w, words.w)
        );
        float4* to = (float4*)(a.to + first);
        if (a.add) {
            const float4 old = *to;
            value = make_float4(old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w);
        }
        *to = value;
        return;
    }
    for (int i = 0; i < 4; i++) {
        const u32 word = i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
        if (first + i < a.count) put(a.to, first + i, masked(a, a.x[first + i], word), a.add);
    }
}
