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
