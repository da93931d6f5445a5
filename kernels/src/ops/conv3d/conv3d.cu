// Implicit GEMM: a convolution is a matrix product with one row for each pixel, and taps and channels as the depth.
// Neighbourhoods are gathered during the loads. The gradient of the input is also a gather, without atomics: input
// pixels with equal remainders by the stride (a class) have the same taps, so each class is a convolution of
// grad_output with stride 1. The loads of the backward pass apply the ReLU's mask.

struct Arguments {
    const float* x;            // [batch, input, channels]
    const float* weight;       // [kernel, channels, out]
    const float* bias;         // [out], or null
    const float* output;       // [pixels, out]: of the forward pass, for its ReLU; null without one
    const float* grad_output;  // [pixels, out]
    float* to;                 // the kernel's result
    i64 batch;
    i64 pixels;  // of the output, over the batch
    i64 pixels_a_slice;
    // Along depth, height and width:
    int input[3];
    int outputs[3];
    int kernel[3];
    int stride[3];
    int padding[3];
    int dilation[3];
    int channels;
    int out;
    u32 relu;
    u32 add;
};

// The gradient of the input of the ReLU.
__device__ inline float through_relu(const Arguments& a, i64 i) {
    return a.output && a.output[i] <= 0.0f ? 0.0f : a.grad_output[i];
}

// Pixels in memory order: batch, depth, height, width.
struct Pixels {
    Divisor image, plane, line;

    __device__ Pixels(int depth, int height, int width)
        : image(depth * height * width), plane(height * width), line(width) {}

    // The three coordinates of a pixel of an image.
    __device__ void locate(u32 pixel, int at[3]) const {
        at[0] = plane.divide(pixel);
        pixel -= at[0] * plane.value;
        at[1] = line.divide(pixel);
        at[2] = pixel - at[1] * line.value;
    }
};

// The source pixels that the pixels of a grid gather: along each axis, tap j of grid pixel g is source pixel
// g * stride + start + j * move, if it is inside the source.
struct Neighbours {
    int extent[3];  // of the source
    int stride[3];
    int start[3];
    int move[3];
    Divisor channels;     // of the source
    Divisor plane, line;  // taps of a plane and a line

    __device__ Neighbours(int channels, const int taps[3])
        : channels(channels), plane(taps[1] * taps[2]), line(taps[2]) {}

    // The channel and the three tap indices of depth k.
    __device__ u32 tap(u32 k, int tap[3]) const {
        const u32 number = channels.divide(k);
        const u32 plane_rest = number - plane.divide(number) * plane.value;
        tap[0] = plane.divide(number);
        tap[1] = line.divide(plane_rest);
        tap[2] = plane_rest - tap[1] * line.value;
        return k - number * channels.value;
    }

    // The index in its image of the source pixel of a tap; negative if outside. `pixel` is the grid pixel times stride
    // plus start.
    __device__ i64 pixel(const int at[3], const int tap[3]) const {
        const int d = at[0] + tap[0] * move[0], h = at[1] + tap[1] * move[1], w = at[2] + tap[2] * move[2];
        const bool inside = (u32)d < (u32)extent[0] && (u32)h < (u32)extent[1] && (u32)w < (u32)extent[2];
        return inside ? ((i64)d * extent[1] + h) * extent[2] + w : -1;
    }

    __device__ void origin(int at[3]) const {
        for (int i = 0; i < 3; i++) at[i] = at[i] * stride[i] + start[i];
    }

    __device__ i64 image_pixels() const { return (i64)extent[0] * extent[1] * extent[2]; }
};

// The grid of output pixels, with x as the source.
__device__ inline Neighbours of_output(const Arguments& a) {
    Neighbours to(a.channels, a.kernel);
    for (int i = 0; i < 3; i++) {
        to.extent[i] = a.input[i];
        to.stride[i] = a.stride[i];
        to.start[i] = -a.padding[i];
        to.move[i] = a.dilation[i];
    }
    return to;
}

// The left operand: rows are pixels of a grid; the depth is taps and channels.
template <class At>
struct Gather {
    const Neighbours& neighbours;
    const Pixels& grid;
    const At& at_source;  // (i64 index): an element of the source

    struct Row {
        i64 image;  // index of the first pixel of the source image
        int origin[3];
    };

    __device__ Row row(i64 row) const {
        const i64 image = row / grid.image.value;
        Row made;
        made.image = image * neighbours.image_pixels();
        grid.locate((u32)(row - image * grid.image.value), made.origin);
        neighbours.origin(made.origin);
        return made;
    }

    __device__ float at(const Row& row, i64 k) const {
        int tap[3];
        const u32 channel = neighbours.tap((u32)k, tap);
        const i64 pixel = neighbours.pixel(row.origin, tap);
        return pixel < 0 ? 0.0f : at_source((row.image + pixel) * neighbours.channels.value + channel);
    }
};

struct Matrix {
    const float* data;
    i64 width;
    __device__ float at(i64 k, i64 column) const { return data[k * width + column]; }
};

// to [pixels, out]
KERNEL(THREADS) conv3d_forward(const Arguments a) {
    const Neighbours neighbours = of_output(a);
    const Pixels grid(a.outputs[0], a.outputs[1], a.outputs[2]);
    const auto x = [&](i64 i) { return a.x[i]; };
    const Gather<decltype(x)> left{neighbours, grid, x};
    const i64 depth = (i64)a.kernel[0] * a.kernel[1] * a.kernel[2] * a.channels;
    product(a.pixels, a.out, 0, depth, left, Matrix{a.weight, a.out}, [&](i64 row, i64 column, float sum) {
        if (a.bias) sum += a.bias[column];
        a.to[row * a.out + column] = a.relu ? fmaxf(sum, 0.0f) : sum;
    });
}

// The transposed weights of the taps of a class of input pixels.
struct Reversed {
    const Arguments& a;
    const Neighbours& neighbours;
    const int* first;  // tap 0 of the class, along each axis
    const int* step;   // and the distance between its taps

    __device__ float at(i64 k, i64 column) const {
        int tap[3];
        const u32 out = neighbours.tap((u32)k, tap);
        for (int i = 0; i < 3; i++) tap[i] = first[i] + tap[i] * step[i];
        const i64 number = ((i64)tap[0] * a.kernel[1] + tap[1]) * a.kernel[2] + tap[2];
        return a.weight[(number * a.channels + column) * a.out + out];
    }
};

// to [batch, input, channels]: blockIdx.z is the class of input pixels.
KERNEL(THREADS) conv3d_grad_input(const Arguments a) {
    const int classes[3] = {
        (int)blockIdx.z / (a.stride[1] * a.stride[2]), (int)blockIdx.z / a.stride[2] % a.stride[1],
        (int)blockIdx.z % a.stride[2]
    };
    int extents[3], taps[3], first[3], step[3], start[3], move[3];
    for (int i = 0; i < 3; i++) {
        extents[i] = classes[i] < a.input[i] ? (a.input[i] - classes[i] - 1) / a.stride[i] + 1 : 0;
        // The class has tap t if class + padding - t * dilation is a multiple of the stride: every `step`th tap.
        const int origin = classes[i] + a.padding[i];
        for (step[i] = 1; step[i] * a.dilation[i] % a.stride[i] != 0; step[i]++) {}
        for (first[i] = 0; first[i] < step[i] && (origin - first[i] * a.dilation[i]) % a.stride[i] != 0; first[i]++) {}
        taps[i] = first[i] < step[i] && first[i] < a.kernel[i] ? (a.kernel[i] - first[i] - 1) / step[i] + 1 : 0;
        start[i] = (origin - first[i] * a.dilation[i]) / a.stride[i];
        move[i] = -(step[i] * a.dilation[i] / a.stride[i]);
    }
    const i64 rows = a.batch * extents[0] * extents[1] * extents[2];
    if ((i64)blockIdx.x * TILE >= rows) return;

    Neighbours neighbours(a.out, taps);
    for (int i = 0; i < 3; i++) {
        neighbours.extent[i] = a.outputs[i];
        neighbours.stride[i] = 1;
        neighbours.start[i] = start[i];
        neighbours.move[i] = move[i];
    }
    const Pixels grid(extents[0], extents[1], extents[2]);
    const auto gradient = [&](i64 i) { return through_relu(a, i); };
    const Gather<decltype(gradient)> left{neighbours, grid, gradient};
    const Reversed right{a, neighbours, first, step};
    const i64 depth = (i64)taps[0] * taps[1] * taps[2] * a.out;
    product(rows, a.channels, 0, depth, left, right, [&](i64 row, i64 column, float sum) {
        const i64 image = row / grid.image.value;
        int at[3];
        grid.locate((u32)(row - image * grid.image.value), at);
        for (int i = 0; i < 3; i++) at[i] = classes[i] + at[i] * a.stride[i];
        const i64 pixel = ((image * a.input[0] + at[0]) * a.input[1] + at[1]) * a.input[2] + at[2];
        put(a.to, pixel * a.channels + column, sum, a.add);
    });
}

// The left operand: rows are taps and channels; the depth is the output's pixels.
struct Gathered {
    const Arguments& a;
    const Neighbours& neighbours;
    const Pixels& grid;
    i64 first_image;  // of the slice

    struct Row {
        int tap[3];
        u32 channel;
    };

    __device__ Row row(i64 row) const {
        Row made;
        made.channel = neighbours.tap((u32)row, made.tap);
        return made;
    }

    __device__ float at(const Row& row, i64 k) const {
        const u32 local = (u32)(k - first_image * grid.image.value), image = grid.image.divide(local);
        int at[3];
        grid.locate(local - image * grid.image.value, at);
        neighbours.origin(at);
        const i64 pixel = neighbours.pixel(at, row.tap);
        if (pixel < 0) return 0.0f;
        return a.x[((first_image + image) * neighbours.image_pixels() + pixel) * a.channels + row.channel];
    }
};

struct MaskedMatrix {
    const Arguments& a;
    __device__ float at(i64 k, i64 column) const { return through_relu(a, k * a.out + column); }
};

// to [slices, kernel, channels, out] over the pixels of slice blockIdx.z
KERNEL(THREADS) conv3d_grad_weight(const Arguments a) {
    const Neighbours neighbours = of_output(a);
    const Pixels grid(a.outputs[0], a.outputs[1], a.outputs[2]);
    const i64 rows = (i64)a.kernel[0] * a.kernel[1] * a.kernel[2] * a.channels;
    const i64 begin = blockIdx.z * a.pixels_a_slice;
    const i64 end = begin + a.pixels_a_slice < a.pixels ? begin + a.pixels_a_slice : a.pixels;
    float* to = a.to + blockIdx.z * rows * a.out;
    const Gathered left{a, neighbours, grid, begin / grid.image.value};
    product(rows, a.out, begin, end, left, MaskedMatrix{a}, [&](i64 row, i64 column, float sum) {
        to[row * a.out + column] = sum;
    });
}

// to [slices, out]
KERNEL(THREADS) conv3d_grad_bias(const Arguments a) {
    column_sums(a.pixels, a.out, a.pixels_a_slice, a.to, [&](i64 row, i64 column) {
        return through_relu(a, row * a.out + column);
    });
}
