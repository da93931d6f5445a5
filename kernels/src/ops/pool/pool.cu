// Forward, one thread for each output element gathers its window. Backward, one thread for each input element gathers
// from the windows that contain it, without atomics.

struct Arguments {
    const float* from;  // x [samples, input, features]; backward the gradient of the output
    u32* places;        // [samples, output, features]: index of the maximum in D, H, W of its sample; null for averages
    float* to;          // output [samples, output, features], or gradient of x
    i64 count;          // elements of `to`
    i64 features;
    i64 kernel[3];
    i64 stride[3];
    i64 padding[3];
    i64 input[3];   // D, H, W of x
    i64 output[3];  // and of the output
    float share;    // 1 / taps of a window
    u32 add;
};

// The sample, D, H, W and feature of an element.
struct Place {
    i64 sample;
    i64 at[3];
    i64 feature;

    __device__ inline Place(i64 i, const i64* extents, i64 features) {
        feature = i % features;
        i /= features;
        // Unrolled, so that the arrays have constant indices.
#pragma unroll
        for (int axis = 2; axis >= 0; axis--) {
            at[axis] = i % extents[axis];
            i /= extents[axis];
        }
        sample = i;
    }
};

__device__ inline i64 index(const Place& place, i64 d, i64 h, i64 w, const i64* extents, i64 features) {
    return (((place.sample * extents[0] + d) * extents[1] + h) * extents[2] + w) * features + place.feature;
}

// Pixels of a sample.
__device__ inline i64 pixels(const i64* extents) { return extents[0] * extents[1] * extents[2]; }

// Calls body(element of x) for each element of a window that is not padding.
template <class Body>
__device__ inline void inputs_of(const Arguments& a, const Place& place, Body body) {
    const i64 d0 = place.at[0] * a.stride[0] - a.padding[0], h0 = place.at[1] * a.stride[1] - a.padding[1];
    const i64 w0 = place.at[2] * a.stride[2] - a.padding[2];
    for (i64 kd = 0; kd < a.kernel[0]; kd++) {
        if (d0 + kd < 0 || d0 + kd >= a.input[0]) continue;
        for (i64 kh = 0; kh < a.kernel[1]; kh++) {
            if (h0 + kh < 0 || h0 + kh >= a.input[1]) continue;
            for (i64 kw = 0; kw < a.kernel[2]; kw++) {
                if (w0 + kw < 0 || w0 + kw >= a.input[2]) continue;
                body(index(place, d0 + kd, h0 + kh, w0 + kw, a.input, a.features));
            }
        }
    }
}

KERNEL(THREADS, 3) pool_max(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const Place place(i, a.output, a.features);
    float largest = 0.0f;
    i64 taken = -1;
    inputs_of(a, place, [&](i64 source) {
        const float x = a.from[source];
        // A NaN replaces a number; a number never replaces a NaN.
        if (taken < 0 || x > largest || x != x) {
            largest = x;
            taken = source;
        }
    });
    a.to[i] = largest;
    a.places[i] = (u32)(taken / a.features - place.sample * pixels(a.input));
}

KERNEL(THREADS) pool_average(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const Place place(i, a.output, a.features);
    float sum = 0.0f;
    inputs_of(a, place, [&](i64 source) { sum += a.from[source]; });
    a.to[i] = sum * a.share;
}

// The first and last window along an axis that contain a position.
struct Windows {
    i64 first;
    i64 last;

    __device__ inline Windows(const Arguments& a, int axis, i64 at) {
        const i64 padded = at + a.padding[axis];
        first = padded < a.kernel[axis] ? 0 : (padded - a.kernel[axis]) / a.stride[axis] + 1;
        last = padded / a.stride[axis];
        if (last >= a.output[axis]) last = a.output[axis] - 1;
    }
};

KERNEL(THREADS, 3) pool_backward(const Arguments a) {
    const i64 i = element();
    if (i >= a.count) return;
    const Place place(i, a.input, a.features);
    const Windows ds(a, 0, place.at[0]), hs(a, 1, place.at[1]), ws(a, 2, place.at[2]);
    const u32 own = (u32)(i / a.features - place.sample * pixels(a.input));
    float sum = 0.0f;
    for (i64 d = ds.first; d <= ds.last; d++) {
        for (i64 h = hs.first; h <= hs.last; h++) {
            for (i64 w = ws.first; w <= ws.last; w++) {
                const i64 source = index(place, d, h, w, a.output, a.features);
                if (!a.places) {
                    sum += a.from[source] * a.share;
                } else if (a.places[source] == own) {
                    sum += a.from[source];
                }
            }
        }
    }
    put(a.to, i, sum, a.add);
}
