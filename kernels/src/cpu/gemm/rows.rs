//! C = A·B: blocks of rows of A against packed panels of B.

use std::ops::Range;

use super::kernel::{ByRows, Finish, Place, Stretch, tiles};
use super::{Matrix, Packing, Panels, Rows, View};
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch;
use crate::cpu::simd::{self, Isa, Work};

/// Bytes of a panel that are multiplied with a block of rows before the sums are written to the output. They take a
/// quarter of L2, which is as fast as the multiplications; with pieces that fit L1, products of 1024x512x1024 to
/// 1024x1024x1024 took 6 to 8 % longer.
const PANEL: usize = 256 * 1024;
/// Tasks into which a product of few blocks is split, for any number of threads.
const TASKS: usize = 32;
/// The fewest multiply-adds of a task that pay for its scheduling.
const WORTHWHILE: usize = 1 << 18;
/// Pieces narrower than this are copied into one contiguous row before the sum.
const NARROW: usize = 16;

/// The output of a product and its epilogue.
#[derive(Debug)]
pub struct Target<'a, T> {
    data: Shared<T>,
    column_stride: usize,
    add: bool,
    bias: Option<&'a [T]>,
    relu: bool,
}

impl<'a, T: Float> Target<'a, T> {
    /// Writes the product to `data`, or adds it.
    pub fn new(data: &mut [T], add: bool) -> Self {
        Target { data: Shared::new(data), column_stride: 1, add, bias: None, relu: false }
    }

    /// Adds `bias` to each column, then applies ReLU if `relu`.
    pub fn activated(self, bias: Option<&'a [T]>, relu: bool) -> Self {
        Target { bias, relu, ..self }
    }

    /// Sets the stride of the columns, for a transposed output.
    pub fn column_stride(self, column_stride: usize) -> Self {
        Target { column_stride, ..self }
    }
}

/// Packs all panels of B, on all threads.
pub(super) fn pack<T: Float>(b: &impl Matrix<T>, layout: Panels, packed: &mut [T]) {
    const ROWS: usize = 256;
    let depth = b.extents()[0];
    // A task packs some rows of one panel.
    let strips = depth.div_ceil(ROWS).max(1);
    let shared = Shared::new(packed);
    parallel::tasks(strips * layout.count(), |task| {
        let (panel, strip) = (task / strips, task % strips);
        let rows = strip * ROWS..depth.min((strip + 1) * ROWS);
        let width = layout.width(panel);
        let start = layout.start(panel) * depth + rows.start * width;
        // SAFETY: each task has its own rows of its own panel.
        let out = unsafe { shared.part(start, rows.len() * width) };
        simd::vectorised(
            #[inline(always)]
            || b.pack(rows.clone(), &mut Packing::new(layout, panel..panel + 1, rows.len(), out)),
        );
    });
}

/// target = A·B on the calling thread, for an A of one block and a [packed](pack) B.
pub(super) fn against<T: Float>(
    a: &View<'_, T>,
    (b, packed): (&impl Matrix<T>, &[T]),
    layout: Panels,
    target: &Target<'_, T>,
    place: &(impl Fn(usize) -> usize + Sync),
) {
    let depth = a.width();
    let plan = Plan { a, b, target, place, layout, depth, zeros: 0, gather: false };
    plan.block(0, 0..layout.count(), 0..depth, target, place, Some(packed));
}

/// One product, before its split into tasks.
struct Plan<'a, T, A, B, P> {
    a: &'a A,
    b: &'a B,
    target: &'a Target<'a, T>,
    place: &'a P,
    layout: Panels,
    depth: usize,
    zeros: usize,
    gather: bool,
}

/// target = epilogue(A·B). Row `r` of the product starts at offset `place(r)` of the target's data.
///
/// # Panics
/// If the extents do not match.
pub fn product<T: Float>(
    a: &impl Rows<T>,
    b: &impl Matrix<T>,
    target: &Target<'_, T>,
    place: &(impl Fn(usize) -> usize + Sync),
) {
    let depth = a.groups() * a.width();
    let [rows, columns] = b.extents();
    assert_eq!(depth, rows, "product: A has {depth} columns, B has {rows} rows");
    assert!(
        target.bias.is_none_or(|bias| bias.len() == columns),
        "product: expected one bias for each of {columns} columns"
    );
    let layout = Panels::new::<T>(columns);
    let blocks = a.blocks();
    if blocks == 0 || columns == 0 {
        return;
    }
    scratch::with::<T, _>(a.width(), |zeros| {
        zeros.fill(T::ZERO);
        let zeros = zeros.as_ptr().expose_provenance();
        let gather = a.groups() > 1 && a.width() < NARROW;
        let plan = Plan { a, b, target, place, layout, depth, zeros, gather };
        if blocks == 1 { plan.thin() } else { plan.packed(blocks) }
    });
}

impl<T: Float, A: Rows<T>, B: Matrix<T>, P: Fn(usize) -> usize + Sync> Plan<'_, T, A, B, P> {
    /// For many blocks: packs B once for all of them.
    fn packed(&self, blocks: usize) {
        let panels = self.layout.count();
        scratch::with::<T, _>(self.layout.size(&(0..panels), self.depth), |packed| {
            pack(self.b, self.layout, packed);
            let packed = &packed[..];
            let block_work = self.a.block(0).len() * self.depth * self.layout.width(0) * panels;
            let splits = TASKS.div_ceil(blocks).min(panels).min(block_work / WORTHWHILE).max(1);
            parallel::tasks(blocks * splits, |task| {
                let (block, split) = (task / splits, task % splits);
                let panels = split * panels / splits..(split + 1) * panels / splits;
                self.block(block, panels, 0..self.depth, self.target, self.place, Some(packed));
            });
        });
    }

    /// For one block: each task packs the part of B that it reads.
    fn thin(&self) {
        let rows = self.a.block(0);
        let panels = self.layout.count();
        let columns = self.b.extents()[1];
        // A deep sum over a large B is split along its depth, so that each task reads whole rows.
        let slices =
            if self.depth * columns >= 1 << 20 { (self.depth / 1024).clamp(1, TASKS) } else { 1 };
        if slices == 1 {
            let work = rows.len() * self.depth * columns + 8 * self.depth * columns;
            let splits = (work / WORTHWHILE).clamp(1, TASKS).min(panels);
            return parallel::tasks(splits, |split| {
                let panels = split * panels / splits..(split + 1) * panels / splits;
                self.block(0, panels, 0..self.depth, self.target, self.place, None);
            });
        }
        let size = rows.len() * columns;
        scratch::with::<T, _>(slices * size, |partial| {
            let shared = Shared::new(partial);
            parallel::tasks(slices, |slice| {
                // SAFETY: each task has its own slice.
                let target = Target::new(unsafe { shared.part(slice * size, size) }, false);
                let depths = slice * self.depth / slices..(slice + 1) * self.depth / slices;
                self.block(
                    0,
                    0..panels,
                    depths,
                    &target,
                    &|row| (row - rows.start) * columns,
                    None,
                );
            });
            let finish = self.target.finish(true, true);
            for (index, row) in rows.clone().enumerate() {
                let place = (self.place)(row);
                for column in 0..columns {
                    let at = index * columns + column;
                    let mut sum: T = (0..slices).map(|slice| partial[slice * size + at]).sum();
                    // SAFETY: the range is the row's, and no task runs any more.
                    let output =
                        unsafe { &mut *finish.output.add(place + column * finish.column_stride) };
                    if finish.add {
                        sum += *output;
                    }
                    if let Some(bias) = finish.bias {
                        sum += bias[column];
                    }
                    *output = if finish.relu { sum.max(T::ZERO) } else { sum };
                }
            }
        });
    }

    /// One block of rows times some panels, for a part of the depth.
    fn block<Q: Fn(usize) -> usize>(
        &self,
        block: usize,
        panels: Range<usize>,
        depths: Range<usize>,
        target: &Target<'_, T>,
        place: &Q,
        packed: Option<&[T]>,
    ) {
        let rows = self.a.block(block);
        let (count, groups, width) = (rows.len(), self.a.groups(), self.a.width());
        // Without packed panels, those of one batch must fit L2.
        let columns = (self.layout.start(panels.end - 1) + self.layout.width(panels.end - 1)
            - self.layout.start(panels.start))
        .max(1);
        let deepest = (PANEL / size_of::<T>() / self.layout.width(panels.start)).max(16);
        let deepest =
            if packed.is_some() { deepest } else { (64 * 1024 / columns).clamp(16, deepest) };
        // The fewest even pieces of a group that the depth allows.
        let piece = width.div_ceil(width.div_ceil(deepest).max(1)).max(1);
        let most = groups * width.div_ceil(piece) + 1;
        scratch::with::<usize, _>((groups + 1) * count, |table| {
            let (places, table) = table.split_at_mut(count);
            for (place_of, row) in places.iter_mut().zip(rows.clone()) {
                *place_of = place(row);
            }
            scratch::with::<Stretch, _>(most, |stretches| {
                let mut used = 0;
                for group in 0..groups {
                    let whole = group * width..(group + 1) * width;
                    let (start, end) = (whole.start.max(depths.start), whole.end.min(depths.end));
                    if start >= end {
                        continue;
                    }
                    let table_start = group * count;
                    let addresses = &mut table[table_start..][..count];
                    let any = self.a.point(rows.clone(), group, self.zeros, addresses);
                    if !any && !self.gather {
                        continue;
                    }
                    let mut k = start;
                    while k < end {
                        let length = (end - k).min(piece);
                        stretches[used] = Stretch {
                            table: table_start,
                            start: k - whole.start,
                            length,
                            depth: k,
                        };
                        used += 1;
                        k += length;
                    }
                }
                let stretches = &mut stretches[..used];
                let call = BlockCall { places: &*places, count, panels, target, packed, deepest };
                if self.gather {
                    self.gathered(&call, table, stretches);
                } else {
                    self.batches(&call, table, stretches);
                }
            });
        });
    }

    /// Copies narrow pieces into contiguous rows, then multiplies them as one stretch.
    fn gathered(&self, call: &BlockCall<'_, T>, table: &mut [usize], stretches: &mut [Stretch]) {
        let length: usize = stretches.iter().map(|s| s.length).sum();
        // An odd number of cache lines, so that the rows of a tile map to different cache sets.
        let stride = (length.div_ceil(16) * 16) | 16;
        scratch::with::<T, _>(call.count * stride, |copy| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (row, copy) in copy.chunks_exact_mut(stride).enumerate() {
                        let mut at = 0;
                        for s in stretches.iter() {
                            let from = std::ptr::with_exposed_provenance::<T>(table[s.table + row])
                                .wrapping_add(s.start);
                            for k in 0..s.length {
                                // SAFETY: the piece has the stretch's numbers.
                                copy[at + k] = unsafe { *from.add(k) };
                            }
                            at += s.length;
                        }
                    }
                },
            );
            for (row, address) in table[..call.count].iter_mut().enumerate() {
                *address = copy[row * stride..].as_ptr().expose_provenance();
            }
            let Some(first) = stretches.first().copied() else { return };
            let mut used = 0;
            let mut k = 0;
            while k < length {
                let part = (length - k).min(call.deepest);
                stretches[used] =
                    Stretch { table: 0, start: k, length: part, depth: first.depth + k };
                used += 1;
                k += part;
            }
            self.batches(call, table, &mut stretches[..used]);
        });
    }

    /// Runs batches of stretches over all panels, so that their data stays in the cache.
    fn batches(&self, call: &BlockCall<'_, T>, table: &[usize], stretches: &mut [Stretch]) {
        let mut done = 0;
        loop {
            let mut end = done;
            let mut length = 0;
            while end < stretches.len()
                && (end == done || length + stretches[end].length <= call.deepest)
            {
                length += stretches[end].length;
                end += 1;
            }
            let finish = call.target.finish(done == 0, end == stretches.len());
            let first_column = self.layout.start(call.panels.start);
            let run = |batch: &[Stretch], packed: &[T], depth: usize, first: usize| {
                simd::run(Batch {
                    layout: self.layout,
                    panels: call.panels.clone(),
                    first,
                    packed,
                    depth,
                    table,
                    stretches: batch,
                    places: call.places,
                    finish,
                });
            };
            match call.packed {
                Some(packed) => run(&stretches[done..end], packed, self.depth, 0),
                None => {
                    let size = self.layout.size(&call.panels, length);
                    scratch::with::<T, _>(size, |buffer| {
                        simd::vectorised(
                            #[inline(always)]
                            || {
                                let mut to =
                                    Packing::new(self.layout, call.panels.clone(), length, buffer);
                                for s in stretches[done..end].iter_mut() {
                                    let rows = s.depth..s.depth + s.length;
                                    s.depth = to.filled;
                                    self.b.pack(rows, &mut to);
                                }
                            },
                        );
                        run(&stretches[done..end], buffer, length, first_column);
                    });
                }
            }
            done = end;
            if done >= stretches.len() {
                return;
            }
        }
    }
}

impl<'a, T: Float> Target<'a, T> {
    /// The epilogue of a batch of the sum: add to earlier batches; bias and ReLU after the last.
    fn finish(&self, first: bool, last: bool) -> Finish<'a, T> {
        Finish {
            // SAFETY: every task writes its own rows only.
            output: unsafe { self.data.pointer(0) },
            column_stride: self.column_stride,
            add: self.add || !first,
            bias: if last { self.bias } else { None },
            relu: last && self.relu,
        }
    }
}

struct BlockCall<'a, T> {
    places: &'a [usize],
    count: usize,
    panels: Range<usize>,
    target: &'a Target<'a, T>,
    packed: Option<&'a [T]>,
    deepest: usize,
}

struct Batch<'a, T> {
    layout: Panels,
    panels: Range<usize>,
    /// The first packed column.
    first: usize,
    packed: &'a [T],
    /// Rows of a packed panel.
    depth: usize,
    table: &'a [usize],
    stretches: &'a [Stretch],
    places: &'a [usize],
    finish: Finish<'a, T>,
}

impl<T: Float> Work for Batch<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        for panel in self.panels.clone() {
            let b = self.packed[(self.layout.start(panel) - self.first) * self.depth..].as_ptr();
            let to = Place {
                finish: &self.finish,
                place: |row: usize| self.places[row],
                column: self.layout.start(panel),
                count: self.layout.filled(panel),
            };
            let Batch { table, stretches, .. } = self;
            let ldb = self.layout.width(panel);
            let kernel = |row| ByRows { table, row, stretches, b, ldb, to };
            // SAFETY: the table's pointers lead to the stretches' numbers, the packed panel has their rows, and the
            // places are this task's.
            unsafe { tiles::<I, _>(self.places.len(), self.layout.vectors(panel), kernel) };
        }
    }
}
