// A graph convolution is a matrix product: rows are nodes, the depth is partitions and features. The loads of rows sum
// over neighbours, so the aggregated features are never stored. The adjacency, dense or a list of edges, is first
// converted to a list of neighbours for each partition and node, without atomics and in a fixed order. Both kinds then
// share all kernels but one, and zeros of a dense adjacency cost nothing. The lists by source give the gradient of x.
// The gradient of the adjacency first multiplies grad_output by the transposed weights. The loads of the backward pass
// apply the ReLU's mask.

struct Arguments {
    const float* x;              // [rows, nodes, in]
    const float* weight;         // [partitions, in, out]
    const float* bias;           // [partitions, out], or null
    const float* adjacency;      // [partitions, nodes, nodes], or [edges]
    const u32* targets;          // [edges]; null for a dense adjacency
    const u32* sources;          // [edges]
    const u32* edge_partitions;  // [edges]
    const float* output;         // [rows, nodes, out]: of the forward pass, for its ReLU; null without one
    const float* grad_output;    // [rows, nodes, out]
    // The lists: partition and node i has the entries spans[i] .. spans[partitions * nodes + i].
    i64* spans;           // [2, partitions, nodes]
    u32* neighbours;      // [entries]
    float* values;        // [entries]
    float* degrees;       // [partitions, nodes]: sums of the values; null if not needed
    const float* before;  // [rows, nodes, partitions, in]: grad_output times the transposed weights
    const float* summed;  // [nodes, out]: grad_output summed over the rows; null without a bias
    float* by_bias;       // [partitions, nodes]: the adjacency's gradient through the bias; null without one
    float* to;            // the kernel's result
    i64 rows;
    i64 edges;
    i64 a_slice;  // of the reduction: nodes of rows, rows, or features of rows
    u32 nodes;
    u32 partitions;
    u32 in;
    u32 out;
    u32 transposed;  // whether the lists are by source
    u32 relu;
    u32 add;
    u32 unused;
};

// The gradient of the input of the ReLU.
__device__ inline float through_relu(const Arguments& a, i64 i) {
    return a.output && a.output[i] <= 0.0f ? 0.0f : a.grad_output[i];
}

// The list of an edge: that of its partition and target, or of its source if transposed; -1 beyond the last edge and
// for an edge with an index out of range.
__device__ inline i64 list_of(const Arguments& a, i64 edge) {
    if (edge >= a.edges) return -1;
    const u32 v = a.targets[edge], w = a.sources[edge], k = a.edge_partitions[edge];
    if (v >= a.nodes || w >= a.nodes || k >= a.partitions) return -1;
    return (i64)k * a.nodes + (a.transposed ? w : v);
}

// Writes the lists, one warp for each. Of a dense adjacency it keeps the non-zeros. Of edges it counts those of earlier
// lists and then writes those of its own, in order.
KERNEL(THREADS, 6) graph_conv_lists(const Arguments a) {
    const i64 lists = (i64)a.partitions * a.nodes, list = (i64)blockIdx.x * 8 + warp();
    if (list >= lists) return;
    const u32 below = (1u << lane()) - 1;
    float degree = 0.0f;
    i64 begin = list * a.nodes, end = begin;
    if (a.targets == nullptr) {
        for (u32 first = 0; first < a.nodes; first += 32) {
            const u32 node = first + lane(), own = list % a.nodes;
            const i64 at = a.transposed ? (list - own + node) * a.nodes + own : list * a.nodes + node;
            const float value = node < a.nodes ? a.adjacency[at] : 0.0f;
            const u32 kept = __ballot_sync(EVERYONE, value != 0.0f);
            if (value != 0.0f) {
                a.neighbours[end + __popc(kept & below)] = node;
                a.values[end + __popc(kept & below)] = value;
            }
            end += __popc(kept);
            degree += value;
        }
    } else {
        begin = 0;
        for (i64 first = 0; first < a.edges; first += 32) {
            const i64 of_edge = list_of(a, first + lane());
            begin += __popc(__ballot_sync(EVERYONE, of_edge >= 0 && of_edge < list));
        }
        end = begin;
        for (i64 first = 0; first < a.edges; first += 32) {
            const i64 edge = first + lane();
            const bool mine = list_of(a, edge) == list;
            const u32 kept = __ballot_sync(EVERYONE, mine);
            if (mine) {
                a.neighbours[end + __popc(kept & below)] = (a.transposed ? a.targets : a.sources)[edge];
                a.values[end + __popc(kept & below)] = a.adjacency[edge];
                degree += a.adjacency[edge];
            }
            end += __popc(kept);
        }
    }
    degree = warp_sum(degree);
    if (lane() == 0) {
        a.spans[list] = begin;
        a.spans[lists + list] = end;
        if (a.degrees) a.degrees[list] = degree;
    }
}

// The sum of value * at(neighbour) over the neighbours of a partition and node.
template <class At>
__device__ inline float gather(const Arguments& a, i64 list, const At& at) {
    const i64 end = a.spans[(i64)a.partitions * a.nodes + list];
    float sum = 0.0f;
    for (i64 i = a.spans[list]; i < end; i++) sum = fmaf(a.values[i], at(a.neighbours[i]), sum);
    return sum;
}

// The left operand: rows are nodes; the depth is partitions and features of their neighbours.
template <class At>
struct Aggregated {
    const Arguments& a;
    const Divisor& features;
    const At& at_node;  // (i64 index): an element of [rows, nodes, features]

    struct Row {
        i64 first;  // index of the row's first node
        u32 node;
    };

    __device__ Row row(i64 row) const {
        const u32 node = (u32)(row % a.nodes);
        return {row - node, node};
    }

    __device__ float at(const Row& row, i64 k) const {
        const u32 partition = features.divide((u32)k), feature = (u32)k - partition * features.value;
        return gather(a, (i64)partition * a.nodes + row.node, [&](u32 node) {
            return at_node((row.first + node) * features.value + feature);
        });
    }
};

struct Matrix {
    const float* data;
    i64 width;
    __device__ float at(i64 k, i64 column) const { return data[k * width + column]; }
};

// to [rows, nodes, out]
KERNEL(THREADS) graph_conv_forward(const Arguments a) {
    const Divisor features(a.in);
    const auto x = [&](i64 i) { return a.x[i]; };
    const Aggregated<decltype(x)> left{a, features, x};
    const Matrix right{a.weight, a.out};
    product(a.rows * a.nodes, a.out, 0, (i64)a.partitions * a.in, left, right, [&](i64 row, i64 column, float sum) {
        if (a.bias) {
            const i64 node = row % a.nodes;
#pragma unroll 1
            for (i64 k = 0; k < a.partitions; k++) {
                sum = fmaf(a.degrees[k * a.nodes + node], a.bias[k * a.out + column], sum);
            }
        }
        a.to[row * a.out + column] = a.relu ? fmaxf(sum, 0.0f) : sum;
    });
}

// The transposed weights of the partitions, stacked along the depth.
struct Transposed {
    const Arguments& a;
    const Divisor& features;
    __device__ float at(i64 k, i64 column) const {
        const u32 partition = features.divide((u32)k), out = (u32)k - partition * features.value;
        return a.weight[((i64)partition * a.in + column) * a.out + out];
    }
};

// to [rows, nodes, in]; with the lists by source
KERNEL(THREADS) graph_conv_grad_input(const Arguments a) {
    const Divisor features(a.out);
    const auto gradient = [&](i64 i) { return through_relu(a, i); };
    const Aggregated<decltype(gradient)> left{a, features, gradient};
    const Transposed right{a, features};
    product(a.rows * a.nodes, a.in, 0, (i64)a.partitions * a.out, left, right, [&](i64 row, i64 column, float sum) {
        put(a.to, row * a.in + column, sum, a.add);
    });
}

// The left operand: rows are partitions and features; the depth is the nodes of all rows.
struct AlongNodes {
    const Arguments& a;
    const Divisor& nodes;
    i64 first_row;  // of the slice

    struct Row {
        i64 first_list;
        u32 feature;
    };

    __device__ Row row(i64 row) const { return {row / a.in * a.nodes, (u32)(row % a.in)}; }

    __device__ float at(const Row& row, i64 k) const {
        const u32 local = (u32)(k - first_row * a.nodes), target = local - nodes.divide(local) * a.nodes;
        const float* x = a.x + (k - target) * a.in + row.feature;
        return gather(a, row.first_list + target, [&](u32 node) { return x[(i64)node * a.in]; });
    }
};

struct MaskedMatrix {
    const Arguments& a;
    __device__ float at(i64 k, i64 column) const { return through_relu(a, k * a.out + column); }
};

// to [slices, partitions, in, out] over the nodes of slice blockIdx.z
KERNEL(THREADS, 3) graph_conv_grad_weight(const Arguments a) {
    const Divisor nodes(a.nodes);
    const i64 rows = (i64)a.partitions * a.in, all = a.rows * a.nodes, begin = blockIdx.z * a.a_slice;
    const i64 end = begin + a.a_slice < all ? begin + a.a_slice : all;
    float* to = a.to + blockIdx.z * rows * a.out;
    const AlongNodes left{a, nodes, begin / a.nodes};
    product(rows, a.out, begin, end, left, MaskedMatrix{a}, [&](i64 row, i64 column, float sum) {
        to[row * a.out + column] = sum;
    });
}

// to [slices, nodes, out]: grad_output summed over the rows of slice blockIdx.y
KERNEL(THREADS) graph_conv_sum_rows(const Arguments a) {
    const i64 columns = (i64)a.nodes * a.out;
    column_sums(a.rows, columns, a.a_slice, a.to, [&](i64 row, i64 column) {
        return through_relu(a, row * columns + column);
    });
}

// to [partitions, out]
KERNEL(THREADS) graph_conv_grad_bias(const Arguments a) {
    const i64 i = element();
    if (i >= (i64)a.partitions * a.out) return;
    const float* degrees = a.degrees + i / a.out * a.nodes;
    float sum = 0.0f;
    for (u32 node = 0; node < a.nodes; node++) sum = fmaf(degrees[node], a.summed[(i64)node * a.out + i % a.out], sum);
    put(a.to, i, sum, a.add);
}

// by_bias: one warp for each partition and node
KERNEL(THREADS) graph_conv_by_bias(const Arguments a) {
    const i64 list = (i64)blockIdx.x * 8 + warp();
    if (list >= (i64)a.partitions * a.nodes) return;
    const float *bias = a.bias + list / a.nodes * a.out, *summed = a.summed + list % a.nodes * a.out;
    float sum = 0.0f;
    for (u32 i = lane(); i < a.out; i += 32) sum = fmaf(bias[i], summed[i], sum);
    sum = warp_sum(sum);
    if (lane() == 0) a.by_bias[list] = sum;
}

struct MaskedRows {
    const Arguments& a;
    typedef i64 Row;
    __device__ i64 row(i64 row) const { return row * a.out; }
    __device__ float at(i64 start, i64 k) const { return through_relu(a, start + k); }
};

// The transposed weights of the partitions, concatenated along the columns.
struct SideBySide {
    const Arguments& a;
    __device__ float at(i64 k, i64 column) const { return a.weight[column * a.out + k]; }
};

// to [rows, nodes, partitions, in]
KERNEL(THREADS) graph_conv_before(const Arguments a) {
    const i64 columns = (i64)a.partitions * a.in;
    product(a.rows * a.nodes, columns, 0, a.out, MaskedRows{a}, SideBySide{a}, [&](i64 row, i64 column, float sum) {
        a.to[row * columns + column] = sum;
    });
}

// The left operand: rows are partitions and targets; the depth is the features of all rows.
struct Targets {
    const Arguments& a;
    const Divisor& features;
    i64 first_row;  // of the slice

    struct Row {
        u32 partition;
        u32 node;
    };

    __device__ Row row(i64 row) const { return {(u32)(row / a.nodes), (u32)(row % a.nodes)}; }

    __device__ float at(const Row& row, i64 k) const {
        const u32 local = (u32)(k - first_row * a.in), number = features.divide(local);
        const i64 node = (first_row + number) * a.nodes + row.node;
        return a.before[(node * a.partitions + row.partition) * a.in + local - number * a.in];
    }
};

// The right operand: columns are sources; the depth is the features of all rows.
struct Sources {
    const Arguments& a;
    const Divisor& features;
    i64 first_row;  // of the slice
    __device__ float at(i64 k, i64 column) const {
        const u32 local = (u32)(k - first_row * a.in), number = features.divide(local);
        return a.x[((first_row + number) * a.nodes + column) * a.in + local - number * a.in];
    }
};

// to [slices, partitions, nodes, nodes] over the features of slice blockIdx.z
KERNEL(THREADS) graph_conv_grad_dense(const Arguments a) {
    const Divisor features(a.in);
    const i64 rows = (i64)a.partitions * a.nodes, all = a.rows * a.in, begin = blockIdx.z * a.a_slice;
    const i64 end = begin + a.a_slice < all ? begin + a.a_slice : all;
    float* to = a.to + blockIdx.z * rows * a.nodes;
    const Targets left{a, features, begin / a.in};
    const Sources right{a, features, begin / a.in};
    product(rows, a.nodes, begin, end, left, right, [&](i64 row, i64 column, float sum) {
        if (a.by_bias && blockIdx.z == 0) sum += a.by_bias[row];
        to[row * a.nodes + column] = sum;
    });
}

// to [slices, edges]: edge blockIdx.x over the features of slice blockIdx.y
KERNEL(THREADS) graph_conv_grad_edges(const Arguments a) {
    __shared__ float shared[32];
    const i64 edge = blockIdx.x, list = list_of(a, edge);
    float sum = 0.0f;
    if (list >= 0) {
        const Divisor features(a.in);
        const u32 source = a.sources[edge];
        const i64 all = a.rows * a.in, begin = blockIdx.y * a.a_slice;
        const i64 end = begin + a.a_slice < all ? begin + a.a_slice : all;
        const i64 first_row = begin / a.in;
        const Targets targets{a, features, first_row};
        const Sources sources{a, features, first_row};
        const auto row = targets.row(list);
        for (i64 k = begin + threadIdx.x; k < end; k += THREADS) {
            sum = fmaf(targets.at(row, k), sources.at(k, source), sum);
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x != 0) return;
    if (list >= 0 && a.by_bias && blockIdx.y == 0) sum += a.by_bias[list];
    a.to[blockIdx.y * a.edges + edge] = sum;
}
