// First each place of the output gets an owner: the last element of x with its index, by an integer atomic maximum,
// which is the same in any order. Then each place reads its owner, and backward each owner reads its place.

struct Arguments {
    const float* from;   // x [samples, pixels, features]; backward the gradient of the output
    const u32* indices;  // [samples, pixels, features]: places
    u32* owners;         // [samples, places, features]: 1 + pixel, or 0
    float* to;           // output [samples, places, features], or gradient of x
    i64 count;           // elements of the kernel's result
    i64 pixels;          // of a sample of x
    i64 places;          // of a sample of the output
    i64 features;
    u32 add;
    u32 unused;
};

// One thread for each element of x. The owners must be 0 before.
KERNEL(THREADS) max_unpool_owners(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 feature = i % a.features, pixel = i / a.features, sample = pixel / a.pixels;
    const i64 place = a.indices[i];
    if (place >= a.places) return;
    const u32 own = (u32)(pixel - sample * a.pixels) + 1;
    atomicMax(&a.owners[(sample * a.places + place) * a.features + feature], own);
}

// One thread for each element of the output.
KERNEL(THREADS) max_unpool_forward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 feature = i % a.features, sample = i / a.features / a.places;
    const u32 owner = a.owners[i];
    a.to[i] = owner ? a.from[(sample * a.pixels + owner - 1) * a.features + feature] : 0.0f;
}

// One thread for each element of x.
KERNEL(THREADS) max_unpool_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const i64 feature = i % a.features, pixel = i / a.features, sample = pixel / a.pixels;
    const i64 place = a.indices[i], at = (sample * a.places + place) * a.features + feature;
    const bool own = place < a.places && a.owners[at] == (u32)(pixel - sample * a.pixels) + 1;
    put(a.to, i, own ? a.from[at] : 0.0f, a.add);
}
