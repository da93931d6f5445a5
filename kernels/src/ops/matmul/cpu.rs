use super::{Product, Side};
use crate::Float;
use crate::cpu::gemm::{Target, View, product, product_transposed, serial};
use crate::cpu::parallel;

/// The most multiply-adds of a matrix product that is one task.
const SMALL: usize = 1 << 19;
/// Rows of a task in a sum over small products: whole tiles of every height.
const ROWS: usize = 24;

/// Writes or adds the products to `to`: a matrix for each batch element, or their sum.
pub(super) fn multiply<T: Float>(call: &Product, left: &[T], right: &[T], to: &mut [T], add: bool) {
    let [rows, columns, depth] = call.extents();
    let (size, small) = (rows * columns, rows * columns * depth <= SMALL);
    let touched = (rows + columns) * depth + size;
    match (call.sum, small && call.batch > 1) {
        (false, true) => parallel::rows(to, size, touched, |first, to| {
            for (number, to) in (first..).zip(to.chunks_exact_mut(size)) {
                let (left, right) =
                    (view(left, call.left, number), view(right, call.right, number));
                serial(left, right, to, columns, add);
            }
        }),
        (true, true) => {
            let touched = call.batch * touched / rows.div_ceil(ROWS);
            parallel::rows(to, ROWS * columns, touched, |block, to| {
                let (first, count) = (block * ROWS, to.len() / columns);
                for number in 0..call.batch {
                    let left = view_rows(left, call.left, number, first..first + count);
                    let right = view(right, call.right, number);
                    serial(left, right, to, columns, add || number > 0);
                }
            });
        }
        (false, false) => {
            for (number, to) in to.chunks_exact_mut(size).enumerate() {
                large(call, number, left, right, to, add);
            }
        }
        (true, false) => {
            for number in 0..call.batch {
                large(call, number, left, right, to, add || number > 0);
            }
        }
    }
}

/// One product on all threads.
fn large<T: Float>(
    call: &Product,
    number: usize,
    left: &[T],
    right: &[T],
    to: &mut [T],
    add: bool,
) {
    let columns = call.right.extents[1];
    let (a, b) = (view(left, call.left, number), view(right, call.right, number));
    match (call.left.strides[2] == 1, call.right.strides[2] == 1) {
        (true, _) => product(&a, &b, &Target::new(to, add), &|row| row * columns),
        (false, true) => {
            let right = &right[number * call.right.strides[0]..];
            product_transposed(&a.transposed(), right, columns, &|row| row * columns, to, add);
        }
        // Neither has contiguous rows, but both operands of the transposed product have.
        (false, false) => {
            let target = Target::new(to, add).column_stride(columns);
            product(&b.transposed(), &a.transposed(), &target, &|row| row);
        }
    }
}

fn view<T: Float>(data: &[T], side: Side, number: usize) -> View<'_, T> {
    view_rows(data, side, number, 0..side.extents[0])
}

/// A range of rows of one matrix of the batch.
fn view_rows<T: Float>(
    data: &[T],
    side: Side,
    number: usize,
    rows: std::ops::Range<usize>,
) -> View<'_, T> {
    let [batch, row, column] = side.strides;
    let data = &data[number * batch + rows.start * row..];
    View::new(data, [rows.len(), side.extents[1]], (row, column))
}
