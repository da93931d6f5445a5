//! Antialiased bilinear resizing as in PyTorch and Pillow: a triangle filter whose half width is one output pixel.

/// Fixed-point scale of filter weights: multiples of 1/4096 keep every sum within an i32.
const BITS: u32 = 12;

/// For each output index along an axis: the first input index of its filter, and the weights from there.
struct Taps(Vec<(usize, Vec<i32>)>);

impl Taps {
    /// Filters from the `from` input indices after `start` to `to` output indices, with half-pixel centres.
    fn new(start: usize, from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        // When enlarging, the half width is one input pixel.
        let reach = step.max(1.0);
        let tap = |i: usize| {
            let centre = (i as f64 + 0.5) * step;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(from);
            let tent = |at: usize| (1.0 - ((at as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let sum: f64 = (first..last).map(tent).sum();
            let one = f64::from(1 << BITS);
            let mut weights: Vec<i32> =
                (first..last).map(|at| (tent(at) / sum * one).round() as i32).collect();
            // The largest weight absorbs the rounding error, so that weights sum to 1 and constant areas stay constant.
            let missing = (1 << BITS) - weights.iter().sum::<i32>();
            if let Some(largest) = weights.iter_mut().max() {
                *largest += missing;
            }
            let skipped = weights.iter().take_while(|weight| **weight == 0).count();
            weights.drain(..skipped);
            while weights.last() == Some(&0) {
                weights.pop();
            }
            (start + first + skipped, weights)
        };
        Self((0..to).map(tap).collect())
    }
}

/// Resizes a rectangular part of frames of one size.
pub struct Resize {
    width: usize,
    channels: usize,
    rows: Taps,
    columns: Taps,
    /// Rows of the part at their new width, RGB.
    lines: Vec<u8>,
    /// Index in the frame of the first of these rows.
    first: usize,
    sums: Vec<i32>,
}

impl Resize {
    /// A resizer of the part at `start` with `kept` rows and columns, to `to` rows and columns, of frames with `frame` rows
    /// and columns and 1 or 3 channels. No size may be 0, and the part must lie within the frame.
    pub fn new(
        frame: [usize; 2],
        start: [usize; 2],
        kept: [usize; 2],
        to: [usize; 2],
        channels: usize,
    ) -> Self {
        Self {
            width: frame[1],
            channels,
            rows: Taps::new(start[0], kept[0], to[0]),
            columns: Taps::new(start[1], kept[1], to[1]),
            lines: vec![0; kept[0] * to[1] * 3],
            first: start[0],
            sums: vec![0; to[1] * 3],
        }
    }

    /// Appends the resized part of one frame to `out`, RGB.
    pub fn append(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        match self.channels {
            1 => self.narrow::<1>(frame),
            _ => self.narrow::<3>(frame),
        }
        let across = self.columns.0.len() * 3;
        for (first, weights) in &self.rows.0 {
            self.sums.fill(1 << (BITS - 1));
            let lines = self.lines[(first - self.first) * across..].chunks_exact(across);
            for (line, weight) in lines.zip(weights) {
                for (sum, value) in self.sums.iter_mut().zip(line) {
                    *sum += weight * i32::from(*value);
                }
            }
            out.extend(self.sums.iter().map(|sum| (sum >> BITS) as u8));
        }
    }

    /// Resizes the part's rows to their new width, into `lines`.
    fn narrow<const CHANNELS: usize>(&mut self, frame: &[u8]) {
        let row_length = self.width * CHANNELS;
        let across = self.columns.0.len() * 3;
        let from = frame[self.first * row_length..].chunks_exact(row_length);
        for (line, from) in self.lines.chunks_exact_mut(across).zip(from) {
            for (pixel, (first, weights)) in line.chunks_exact_mut(3).zip(&self.columns.0) {
                let mut sums = [1 << (BITS - 1); 3];
                let (inputs, _) = from[first * CHANNELS..].as_chunks::<CHANNELS>();
                for (input, weight) in inputs.iter().zip(weights) {
                    for (channel, sum) in sums.iter_mut().enumerate() {
                        *sum += weight * i32::from(input[channel.min(CHANNELS - 1)]);
                    }
                }
                for (value, sum) in pixel.iter_mut().zip(sums) {
                    *value = (sum >> BITS) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(frame: &[u8], size: [usize; 2], to: [usize; 2], channels: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Resize::new(size, [0, 0], size, to, channels).append(frame, &mut out);
        out
    }

    #[test]
    fn shrinking_takes_every_pixel_into_account() {
        // By 4 from 8: the tent spans eight pixels around each centre, of which the frame has six:
        // (16 * .875 + 32 * .875 + 48 * .625 + 64 * .375 + 80 * .125) / 3.5 = 30.3.
        let ramp: Vec<u8> = (0..8).map(|x| x * 16).collect();
        let found: Vec<u8> = resized(&ramp, [1, 8], [1, 2], 1).into_iter().step_by(3).collect();
        assert_eq!(found, [30, 82]);
        let dots: Vec<u8> = (0..64).map(|x| if x % 2 == 0 { 255 } else { 0 }).collect();
        let found = resized(&dots, [1, 64], [1, 8], 1);
        assert!(found.iter().all(|x| x.abs_diff(127) < 6), "no pattern of its own: {found:?}");
    }

    #[test]
    fn grey_stays_grey_and_equal_sizes_change_nothing() {
        for (from, to) in [([7, 5], [3, 11]), ([3, 3], [8, 2]), ([100, 33], [13, 13])] {
            let found = resized(&vec![200; from[0] * from[1]], from, to, 1);
            assert_eq!(found, vec![200; to[0] * to[1] * 3]);
        }
        let frame: Vec<u8> = (0..60).collect();
        assert_eq!(resized(&frame, [4, 5], [4, 5], 3), frame);
    }

    #[test]
    fn a_part_of_a_frame_is_what_that_part_alone_gives() {
        let frame: Vec<u8> = (0..6 * 9 * 3).map(|x| (x * 37 % 251) as u8).collect();
        let part: Vec<u8> = (2..5)
            .flat_map(|row| frame[(row * 9 + 4) * 3..(row * 9 + 8) * 3].iter().copied())
            .collect();
        let mut out = Vec::new();
        Resize::new([6, 9], [2, 4], [3, 4], [2, 7], 3).append(&frame, &mut out);
        assert_eq!(out, resized(&part, [3, 4], [2, 7], 3));
    }
}
