use super::super::GraphConv;
use super::{Edges, NODES, Place, Sizes};
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small;
use crate::cpu::{scratch, simd};
use crate::op::Forward;

pub(in super::super) fn forward<T: Float>(op: &GraphConv, call: Forward<'_, T>) {
    let sizes = Sizes::new(call.shapes, NODES);
    let Sizes { rows, nodes, partitions, inward, outward, padded_in, padded_out, .. } = sizes;
    let (x, weight) = (call.inputs[0], call.inputs[1]);
    let edges = Edges::new(op, call.inputs[call.inputs.len() - 1], call.indices);
    let after = padded_out < padded_in;
    // To aggregate first, the partitions' weights are stacked vertically; to map first, horizontally.
    let (depth, width) = if after {
        (inward, partitions * padded_out)
    } else {
        (partitions * padded_in, padded_out)
    };
    let lengths = [depth * width, nodes * padded_out, partitions * nodes];
    scratch::with::<T, _>(lengths.iter().sum(), |memory| {
        let (packed, memory) = memory.split_at_mut(lengths[0]);
        let (bias_map, degrees) = memory.split_at_mut(lengths[1]);
        packed.fill(T::ZERO);
        for (row, from) in weight.chunks_exact(outward).enumerate() {
            let (k, c) = (row / inward, row % inward);
            let to = if after { c * width + k * padded_out } else { (k * padded_in + c) * width };
            packed[to..to + outward].copy_from_slice(from);
        }
        bias_map.fill(T::ZERO);
        if op.bias {
            edges.degrees(sizes, degrees);
            for (kv, &degree) in degrees.iter().enumerate() {
                let (k, v) = (kv / nodes, kv % nodes);
                let bias = &call.inputs[2][k * outward..(k + 1) * outward];
                for (y, &b) in bias_map[v * padded_out..].iter_mut().zip(bias) {
                    *y += degree * b;
                }
            }
        }
        let (packed, bias_map) = (&*packed, &*bias_map);
        let output = Shared::new(call.output);
        parallel::tasks(sizes.blocks(), |task| {
            let first = task * sizes.block;
            let count = (rows - first).min(sizes.block);
            // SAFETY: each task has its own rows.
            let output = unsafe { output.part(first * nodes * outward, count * nodes * outward) };
            let x = &x[first * nodes * inward..(first + count) * nodes * inward];
            let all = count * nodes;
            let middle_row = partitions * if after { padded_out } else { padded_in };
            let wide = if after || padded_in == inward { 0 } else { all * padded_in };
            let memory = wide + all * (middle_row + padded_out);
            scratch::with::<T, _>(memory, |memory| {
                let (wide, memory) = memory.split_at_mut(wide);
                let (middle, result) = memory.split_at_mut(all * middle_row);
                let shared = Place { row: padded_out, partition: 0 };
                let linear = |left: &[T], left_row, result: &mut [T], result_row| {
                    serial(
                        View::new(left, [all, depth], (left_row, 1)),
                        View::dense(packed, depth, width),
                        result,
                        result_row,
                        false,
                    );
                };
                if after {
                    linear(x, inward, middle, middle_row);
                    let place = Place { row: middle_row, partition: padded_out };
                    for r in 0..count {
                        let from = &middle[r * nodes * middle_row..];
                        let to = &mut result[r * nodes * padded_out..];
                        edges.aggregate(sizes, false, padded_out, from, place, to, shared);
                    }
                } else {
                    let x = if wide.is_empty() {
                        x
                    } else {
                        small::copy_padded(all, inward, x, inward, wide, padded_in);
                        &*wide
                    };
                    let place = Place { row: padded_in, partition: 0 };
                    let aggregated = Place { row: middle_row, partition: padded_in };
                    for r in 0..count {
                        let from = &x[r * nodes * padded_in..];
                        let to = &mut middle[r * nodes * middle_row..];
                        edges.aggregate(sizes, false, padded_in, from, place, to, aggregated);
                    }
                    linear(middle, middle_row, result, padded_out);
                }
                simd::vectorised(
                    #[inline(always)]
                    || {
                        let nodes = bias_map.chunks_exact(padded_out).cycle();
                        let from = result.chunks_exact(padded_out).zip(nodes);
                        for (y, (r, b)) in output.chunks_exact_mut(outward).zip(from) {
                            for ((y, &r), &b) in y.iter_mut().zip(r).zip(b) {
                                let sum = r + b;
                                *y = if op.relu { sum.max(T::ZERO) } else { sum };
                            }
                        }
                    },
                );
            });
        });
    });
}
