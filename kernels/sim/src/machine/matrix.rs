//! `ldmatrix` and `mma.sync`.

use super::Machine;
use super::blame::{report_fault, report_race, report_unwritten};
use super::schedule::Flow;
use super::traffic::wavefronts;
use super::view::{Moments, View, addresses, note};
use super::warp::{Fragment, State};
use crate::alu::half::{bf16_to_f32, f16_to_f32};
use crate::check::Access;
use crate::instruction::{Matrices, Operation, Space};
use crate::lanes::{ALL, LANES, Registers};
use crate::memory::Memory;
use crate::report::Kind;

/// Bytes of a row of eight 16-bit values.
const ROW: u32 = 16;

impl Machine<'_> {
    /// Runs a matrix instruction once the whole warp has reached it.
    pub(super) fn matrix(
        &mut self,
        memory: &Memory,
        warp: usize,
        fragment: &Fragment,
        operation: &Operation,
    ) -> Flow {
        if fragment.mask != ALL {
            if fragment.state != State::Forced {
                return Flow::Wait(State::Collective);
            }
            let lane = fragment.mask.trailing_zeros() as usize;
            let missing = !fragment.mask;
            self.site(warp, fragment.pc).report(
                &mut self.findings,
                lane,
                Kind::CollectiveMask,
                || {
                    format!(
                        "lanes {missing:#010x} never reach this instruction; let all 32 lanes \
                         execute it"
                    )
                },
            );
        }
        match operation {
            Operation::LoadMatrix { address, values, .. } => {
                let rows = u32::MAX >> (LANES - 8 * values.len());
                self.measure((warp, fragment.pc), rows, address, ROW, true);
                self.load_matrix(memory, warp, fragment.pc, operation);
            }
            Operation::Multiply { shape, d, a, b, c } => {
                let registers = &mut self.here.warps[warp].registers;
                multiply(registers, *shape, *d, a, b, *c);
            }
            _ => {}
        }
        Flow::Next
    }

    /// Loads 8x8 tiles: eight lanes pass the row addresses of a tile, and each lane gets two
    /// values.
    fn load_matrix(&mut self, memory: &Memory, warp: usize, pc: u32, operation: &Operation) {
        let Operation::LoadMatrix { address, transposed, values } = operation else { return };
        let site = self.site(warp, pc);
        let own = (&self.here.shared, &self.here.local);
        let view = View::new(memory, own, self.kernel, address);
        let registers = &mut self.here.warps[warp].registers;
        let at = addresses(registers, address);
        let mut tiles = [[[0u16; 8]; 8]; 4];
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        let mut touched = Vec::with_capacity(LANES);
        for (lane, &address) in at.iter().enumerate().take(8 * values.len()) {
            let thread = warp * LANES + lane;
            let place = match view.find(Space::Shared, address, ROW, thread) {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, true, ROW, fault);
                    continue;
                }
            };
            touched.push(place.offset as u64 / 4);
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                if !place.allocation.is_initialised(place.offset, ROW as usize) {
                    let pending =
                        self.here.copies.iter().any(|copies| copies.covers(place.offset, ROW));
                    report_unwritten(&site, &mut self.findings, lane, place, ROW, pending);
                }
                if let Some(clash) = note(checker, moments, Access::READ, place, ROW, lane) {
                    report_race(&site, &mut self.findings, lane, Access::READ, place, clash);
                }
            }
            for (pair, two) in tiles[lane / 8][lane % 8].chunks_exact_mut(2).enumerate() {
                let word = place.allocation.read(place.offset + 4 * pair, 4);
                two.copy_from_slice(&[word as u16, (word >> 16) as u16]);
            }
        }
        if self.checker.is_some() {
            self.tallies[pc as usize].shared_wavefronts += wavefronts(&touched, 4);
        }
        for (tile, &d) in tiles.iter().zip(values) {
            for (lane, d) in registers.words[usize::from(d)].iter_mut().enumerate() {
                let (group, pair) = (lane / 4, lane % 4 * 2);
                let (low, high) = if *transposed {
                    (tile[pair][group], tile[pair + 1][group])
                } else {
                    (tile[group][pair], tile[group][pair + 1])
                };
                *d = u32::from(low) | u32::from(high) << 16;
            }
        }
    }
}

/// `d = a * b + c` of 16 x k and k x 8, accumulated in f32, starting from `c`, in the order of k.
fn multiply(
    registers: &mut Registers,
    shape: Matrices,
    d: [u16; 4],
    a: &[u16],
    b: &[u16],
    c: [u16; 4],
) {
    let (mut left, mut right) = ([[0f32; 16]; 16], [[0f32; 8]; 16]);
    let word = |slot: u16, lane: usize| registers.words[usize::from(slot)][lane];
    // A register holds `pack` neighbours along k; four adjacent lanes hold a row's part.
    let pack = if shape == Matrices::Tf32 { 1 } else { 2 };
    let value = |bits: u32, part: usize| match shape {
        Matrices::Bf16 => bf16_to_f32((bits >> (16 * part)) as u16),
        Matrices::F16 => f16_to_f32((bits >> (16 * part)) as u16),
        // Tensor cores read the upper 19 bits only.
        Matrices::Tf32 => f32::from_bits(bits & !0x1fff),
    };
    let k = 4 * pack * b.len();
    for lane in 0..LANES {
        let (group, along) = (lane / 4, lane % 4 * pack);
        for part in 0..pack {
            for (index, &slot) in a.iter().enumerate() {
                let row = group + 8 * (index % 2);
                left[row][index / 2 * 4 * pack + along + part] = value(word(slot, lane), part);
            }
            for (index, &slot) in b.iter().enumerate() {
                right[index * 4 * pack + along + part][group] = value(word(slot, lane), part);
            }
        }
    }
    // Each lane holds columns 2i and 2i+1 of rows g and g+8.
    let mut sums = [[0f32; 8]; 16];
    for (index, &slot) in c.iter().enumerate() {
        for lane in 0..LANES {
            let (row, column) = (lane / 4 + 8 * (index / 2), lane % 4 * 2 + index % 2);
            sums[row][column] = f32::from_bits(word(slot, lane));
        }
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        for (left, right) in left[row].iter().zip(&right).take(k) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    for (index, &slot) in d.iter().enumerate() {
        for lane in 0..LANES {
            let (row, column) = (lane / 4 + 8 * (index / 2), lane % 4 * 2 + index % 2);
            registers.words[usize::from(slot)][lane] = sums[row][column].to_bits();
        }
    }
}
