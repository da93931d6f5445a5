//! C = Aᵀ·B: sums over the many rows of A and B, in a fixed number of slices.

use std::ops::Range;

use super::kernel::{ByColumns, Finish, LINE, Place, tiles};
use super::panels::transpose;
use super::rows::{against, pack};
use super::{Matrix, Packing, Panels, Rows, Target, View, product};
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::{self, Isa, Work};
use crate::cpu::{reduce, scratch};

/// Tasks into which a product is split, for any number of threads.
const TASKS: usize = 32;
/// The fewest rows of a slice.
const SLICE: usize = 1024;
/// The most numbers of all slices together.
const PARTIAL: usize = 8 << 20;
/// The most columns of A in a task, and the most of B.
const COLUMNS: usize = 288;

/// The fewest columns of B for which a copy of Aᵀ costs less than it saves.
const TURNED: usize = 64;
/// With at most this many columns, A is copied once, and every task reads the whole copy.
const WHOLE: usize = 480;
/// The fewest and the most columns of A that a task transposes: whole tiles of every height, and at most what stays
/// in L2.
const LEAST: usize = 24;
const MOST: usize = 96;

/// The fewest panels for which a strip of A is first copied into contiguous rows.
const COPIED: usize = 3;

/// The most rows that a task sums over before it continues with its next columns: a strip and a panel of them stay in
/// L1.
const DEPTH: usize = 144;

/// The most columns of A in a strip: rows of whole tiles, of all sizes.
const STRIP: usize = 24;

/// Some columns of one group of A.
#[derive(Debug, Clone, Copy)]
struct Piece {
    group: usize,
    start: usize,
    length: usize,
}

/// target (+)= Aᵀ·B, row-major: one row for each column of A. Row `r` of B is the `columns` numbers of `b` from
/// offset `place(r)` on.
///
/// # Panics
/// If the target's length is not A's columns times B's columns.
pub fn product_transposed<T: Float>(
    a: &impl Rows<T>,
    b: &[T],
    columns: usize,
    place: &(impl Fn(usize) -> usize + Sync),
    target: &mut [T],
    add: bool,
) {
    let depth = a.groups() * a.width();
    let size = depth * columns;
    assert_eq!(
        target.len(),
        size,
        "transposed product: the target must have {depth} x {columns} numbers"
    );
    let blocks = a.blocks();
    if blocks == 0 || size == 0 {
        if !add {
            target.fill(T::ZERO);
        }
        return;
    }
    let rows = a.block(blocks - 1).end;
    // Rows of a convolution overlap, so a copy would hold each number several times.
    let dense = a.groups() == 1;
    if dense && rows < 2 * SLICE && rows * depth <= PARTIAL && columns >= TURNED {
        return turned(a, b, columns, place, target, add);
    }
    let layout = Panels::new::<T>(columns);
    let slices = TASKS.min(rows / SLICE).min(PARTIAL / size).min(blocks).max(1);
    let splits = columns.div_ceil(COLUMNS).min(layout.count());
    let pieces_a_group = a.width().div_ceil(COLUMNS);
    let pieces = a.groups() * pieces_a_group;
    let work = rows * size / (1 << 18);
    let units = TASKS.div_ceil(slices * splits).min(pieces).min(work.max(1));
    let piece = |piece: usize| {
        let (group, part) = (piece / pieces_a_group, piece % pieces_a_group);
        // Splits at multiples of the tiles' rows: only the end of a group has narrow tiles.
        let length = a.width().div_ceil(pieces_a_group).div_ceil(24) * 24;
        let start = (part * length).min(a.width());
        Piece { group, start, length: length.min(a.width() - start) }
    };
    let plan = Plan { a, b, columns, place, layout, blocks };
    scratch::with::<T, _>(a.width(), |zeros| {
        zeros.fill(T::ZERO);
        let zeros = zeros.as_ptr().expose_provenance();
        let each = |task: usize, output: &Shared<T>, stride: usize, add: bool| {
            let (slice, rest) = (task / (units * splits), task % (units * splits));
            let (unit, split) = (rest / splits, rest % splits);
            let panels = layout.count();
            plan.task(Task {
                blocks: slice * blocks / slices..(slice + 1) * blocks / slices,
                pieces: (unit * pieces / units..(unit + 1) * pieces / units).map(piece),
                panels: split * panels / splits..(split + 1) * panels / splits,
                // SAFETY: each task writes its own rows and columns of its own slice.
                output: unsafe { output.pointer(slice * stride) },
                add,
                zeros,
            });
        };
        let tasks = slices * units * splits;
        if slices == 1 {
            let output = Shared::new(target);
            return parallel::tasks(tasks, |task| each(task, &output, 0, add));
        }
        scratch::with::<T, _>(slices * size, |partial| {
            let output = Shared::new(partial);
            parallel::tasks(tasks, |task| each(task, &output, size, false));
            reduce::slices(partial, target, add);
        });
    });
}

/// The product with a copy of Aᵀ, for dense sums that fit one slice.
fn turned<T: Float>(
    a: &impl Rows<T>,
    b: &[T],
    columns: usize,
    place: &(impl Fn(usize) -> usize + Sync),
    target: &mut [T],
    add: bool,
) {
    let (width, rows) = (a.width(), a.block(a.blocks() - 1).end);
    let layout = Panels::new::<T>(columns);
    let b = Placed { b, rows, columns, place };
    let target = Target::new(target, add);
    // An odd number of cache lines, so that the rows of a tile map to different cache sets.
    let stride = rows.next_multiple_of(16) | 16;
    let span = |task: usize, most: usize| task * most..width.min((task + 1) * most);
    scratch::with::<T, _>(width, |zeros| {
        zeros.fill(T::ZERO);
        let zeros = &*zeros;
        if width <= WHOLE && layout.count() >= TASKS / 2 {
            // Each task packs its own panel.
            return scratch::with::<T, _>(width * stride, |copy| {
                let shared = Shared::new(copy);
                parallel::tasks(width.div_ceil(LEAST), |task| {
                    let span = span(task, LEAST);
                    // SAFETY: each task has its own rows.
                    let copy = unsafe { shared.part(span.start * stride, span.len() * stride) };
                    turn(a, span, zeros, copy, stride);
                });
                let a = View::new(copy, [width, rows], (stride, 1)).in_one_block();
                product(&a, &b, &target, &|row| row * columns);
            });
        }
        // Each task transposes its own columns.
        let most = (width / 8).next_multiple_of(LEAST).clamp(LEAST, MOST);
        scratch::with::<T, _>(layout.size(&(0..layout.count()), rows), |packed| {
            pack(&b, layout, packed);
            let packed = &*packed;
            parallel::tasks(width.div_ceil(most), |task| {
                let span = span(task, most);
                scratch::with::<T, _>(span.len() * stride, |copy| {
                    turn(a, span.clone(), zeros, copy, stride);
                    let a = View::new(copy, [span.len(), rows], (stride, 1));
                    let place = |row| (span.start + row) * columns;
                    against(&a, (&b, packed), layout, &target, &place);
                });
            });
        });
    });
}

/// Copies some columns of a dense A to rows at stride `stride`.
fn turn<T: Float>(
    a: &impl Rows<T>,
    columns: Range<usize>,
    zeros: &[T],
    copy: &mut [T],
    stride: usize,
) {
    let zeros = zeros.as_ptr().expose_provenance();
    for block in 0..a.blocks() {
        let rows = a.block(block);
        scratch::with::<usize, _>(rows.len(), |addresses| {
            a.point(rows.clone(), 0, zeros, addresses);
            simd::vectorised(
                #[inline(always)]
                || {
                    let from = |row: usize| {
                        let start = std::ptr::with_exposed_provenance::<T>(addresses[row]);
                        start.wrapping_add(columns.start)
                    };
                    let to = copy[rows.start..].as_mut_ptr();
                    // SAFETY: the addresses lead to rows that have these columns, and the copy has a row for each.
                    unsafe { transpose(rows.len(), columns.len(), from, to, stride) };
                },
            );
        });
    }
}

/// A matrix whose rows start at arbitrary offsets.
struct Placed<'a, T, P> {
    b: &'a [T],
    rows: usize,
    columns: usize,
    place: &'a P,
}

impl<T: Float, P: Fn(usize) -> usize + Sync> Matrix<T> for Placed<'_, T, P> {
    fn extents(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    #[inline(always)]
    fn pack(&self, rows: Range<usize>, to: &mut Packing<'_, T>) {
        for row in rows {
            to.row(&self.b[(self.place)(row)..][..self.columns]);
        }
    }
}

struct Plan<'a, T, A, P> {
    a: &'a A,
    b: &'a [T],
    columns: usize,
    place: &'a P,
    layout: Panels,
    blocks: usize,
}

struct Task<T, Q> {
    blocks: Range<usize>,
    pieces: Q,
    panels: Range<usize>,
    output: *mut T,
    add: bool,
    zeros: usize,
}

impl<T: Float, A: Rows<T>, P: Fn(usize) -> usize + Sync> Plan<'_, T, A, P> {
    fn task<Q: Iterator<Item = Piece> + Clone>(&self, task: Task<T, Q>) {
        debug_assert!(task.blocks.end <= self.blocks);
        let parts_of = |block| {
            let rows: Range<usize> = self.a.block(block);
            let count = rows.len().div_ceil(DEPTH);
            let cut = move |part| rows.start + part * rows.len() / count;
            (0..count).map(move |part| cut(part)..cut(part + 1))
        };
        let parts = task.blocks.clone().flat_map(parts_of);
        // Row strides that are powers of two map to few sets of L1.
        let copied =
            task.panels.len() >= COPIED || (self.a.width() * size_of::<T>()).is_multiple_of(256);
        let size = self.layout.size(&task.panels, DEPTH);
        scratch::with::<T, _>(size + DEPTH * STRIP, |packed| {
            let (packed, strip) = packed.split_at_mut(size);
            scratch::with::<usize, _>(2 * DEPTH, |addresses| {
                let (addresses, strip_addresses) = addresses.split_at_mut(DEPTH);
                for (number, rows) in parts.enumerate() {
                    simd::vectorised(
                        #[inline(always)]
                        || {
                            let mut to =
                                Packing::new(self.layout, task.panels.clone(), rows.len(), packed);
                            for row in rows.clone() {
                                to.row(&self.b[(self.place)(row)..][..self.columns]);
                            }
                        },
                    );
                    let mut pointed = None;
                    for piece in task.pieces.clone() {
                        let addresses = &mut addresses[..rows.len()];
                        if pointed.is_none_or(|(group, _)| group != piece.group) {
                            let any =
                                self.a.point(rows.clone(), piece.group, task.zeros, addresses);
                            pointed = Some((piece.group, any));
                        }
                        // The first part is written even where it is all zeros.
                        if number > 0 && pointed == Some((piece.group, false)) {
                            continue;
                        }
                        simd::run(Batch {
                            layout: self.layout,
                            panels: task.panels.clone(),
                            packed: &*packed,
                            addresses: &*addresses,
                            strip_addresses: &mut strip_addresses[..rows.len()],
                            strip: &mut *strip,
                            copied,
                            piece,
                            first_row: piece.group * self.a.width() + piece.start,
                            columns: self.columns,
                            finish: Finish {
                                output: task.output,
                                column_stride: 1,
                                add: task.add || number > 0,
                                bias: None,
                                relu: false,
                            },
                        });
                    }
                }
            });
        });
    }
}

/// One block of rows: some columns of A times some panels of B.
struct Batch<'a, T> {
    layout: Panels,
    panels: Range<usize>,
    packed: &'a [T],
    addresses: &'a [usize],
    /// A buffer for a strip of A and the addresses of its rows.
    strip: &'a mut [T],
    strip_addresses: &'a mut [usize],
    copied: bool,
    piece: Piece,
    first_row: usize,
    columns: usize,
    finish: Finish<'a, T>,
}

impl<T: Float> Work for Batch<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(mut self) {
        let depth = self.addresses.len();
        for done in (0..self.piece.length).step_by(STRIP) {
            let count = STRIP.min(self.piece.length - done);
            let mut start = self.piece.start + done;
            let mut addresses = self.addresses;
            if self.copied {
                // SAFETY: the addresses lead to the group's numbers.
                unsafe { self.copy(start, count) };
                addresses = &*self.strip_addresses;
                start = 0;
            }
            // SAFETY: `depth` addresses lead to the group's numbers.
            let a = |k: usize| unsafe {
                std::ptr::with_exposed_provenance::<T>(*addresses.get_unchecked(k)).add(start)
            };
            for panel in self.panels.clone() {
                let offset =
                    (self.layout.start(panel) - self.layout.start(self.panels.start)) * depth;
                let b = self.packed[offset..].as_ptr();
                let first = self.first_row + done;
                let to = Place {
                    finish: &self.finish,
                    place: |row: usize| (first + row) * self.columns,
                    column: self.layout.start(panel),
                    count: self.layout.filled(panel),
                };
                let (ldb, vectors) = (self.layout.width(panel), self.layout.vectors(panel));
                // SAFETY: as above, the packed panel has as many rows as there are addresses, and the places are
                // this task's.
                unsafe {
                    tiles::<I, _>(count, vectors, |row| ByColumns { a, row, depth, b, ldb, to });
                }
            }
        }
    }
}

impl<T: Float> Batch<'_, T> {
    /// Copies a strip of A into contiguous rows.
    ///
    /// # Safety
    /// The addresses must lead to `start + count` numbers.
    #[inline(always)]
    unsafe fn copy(&mut self, start: usize, count: usize) {
        let rows = self.strip.chunks_exact_mut(count);
        let addresses = self.addresses.iter().zip(self.strip_addresses.iter_mut());
        for ((&from, to), row) in addresses.zip(rows) {
            let from = std::ptr::with_exposed_provenance::<T>(from).wrapping_add(start);
            // Prefetch the next strip: at most two cache lines.
            simd::prefetch(from.wrapping_add(count));
            simd::prefetch(from.wrapping_add(count + LINE / size_of::<T>()));
            // SAFETY: by the contract above.
            unsafe {
                if count == STRIP {
                    from.copy_to_nonoverlapping(row.as_mut_ptr(), STRIP);
                } else {
                    from.copy_to_nonoverlapping(row.as_mut_ptr(), count);
                }
            }
            *to = row.as_ptr().expose_provenance();
        }
    }
}
