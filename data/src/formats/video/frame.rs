//! One decoded frame, and its conversion to RGB.

use crate::{Array, Result};

/// The clockwise rotation that makes a frame upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// 0 degrees.
    #[default]
    Upright,
    /// 90 degrees.
    Quarter,
    /// 180 degrees.
    Half,
    /// 270 degrees.
    ThreeQuarters,
}

/// The conversion from YUV to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colours {
    /// Whether the matrix is ITU-R BT.709; otherwise BT.601, also when the file does not say (as in ffmpeg).
    pub high_definition: bool,
    /// Whether values are in 0 to 255; otherwise Y is in 16 to 235, and U and V are in 16 to 240.
    pub full_range: bool,
}

/// A frame in YUV 4:2:0: U and V have half the width and height of Y.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Presentation time, in seconds from the start of the recording.
    pub time: f64,
    /// Coded width in pixels; [`Frame::rgb`] rotates the frame.
    pub width: usize,
    /// Coded height in pixels.
    pub height: usize,
    /// Luma Y, `[height, width]`.
    pub y: Vec<u8>,
    /// Chroma U (blue), `[height / 2, width / 2]`, rounded up.
    pub u: Vec<u8>,
    /// Chroma V (red), of the same shape.
    pub v: Vec<u8>,
    /// The rotation that makes it upright.
    pub turn: Turn,
    pub(super) colours: Colours,
}

/// Fixed-point scale of the conversion: multiples of 1/65536.
const ONE: i32 = 1 << 16;

impl Colours {
    /// Factors of Y, of V in red, U in green, V in green and U in blue, and the Y of black.
    fn weights(self) -> ([i32; 5], i32) {
        let (red, blue) = if self.high_definition { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let (black, step, colour_step) =
            if self.full_range { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        let green = 1.0 - red - blue;
        let (v, u) = (2.0 * (1.0 - red) * colour_step, 2.0 * (1.0 - blue) * colour_step);
        let fixed = |x: f64| (x * f64::from(ONE)).round() as i32;
        ([step, v, -u * blue / green, -v * red / green, u].map(fixed), black)
    }
}

impl Frame {
    /// The upright frame as RGB `[H, W, 3]`. Each U and V is used for its 2x2 pixels.
    ///
    /// # Errors
    /// None in practice: the planes of a decoded frame fit its size.
    pub fn rgb(&self) -> Result<Array<u8>> {
        let ([step, v_red, u_green, v_green, u_blue], black) = self.colours.weights();
        let (width, across) = (self.width, self.width.div_ceil(2));
        let mut values = vec![0; width * self.height * 3];
        // Row buffers for the contribution of Y, of U and V to each colour, and each colour. Separate loops over them are
        // vectorised by the compiler: two thirds of the time of one loop over pixels.
        let mut light = vec![0; width];
        let mut differences = vec![0; 2 * across * 3];
        let mut colours = vec![0; width * 3];
        let rows = values.chunks_exact_mut(width * 3).zip(self.y.chunks_exact(width));
        for (row, (pixels, line)) in rows.enumerate() {
            if row % 2 == 0 {
                let from = row / 2 * across;
                let (us, vs) = (&self.u[from..from + across], &self.v[from..from + across]);
                for (column, (u, v)) in us.iter().zip(vs).enumerate() {
                    let (u, v) = (i32::from(*u) - 128, i32::from(*v) - 128);
                    let of_pair = [v * v_red, u * u_green + v * v_green, u * u_blue];
                    for (colour, difference) in of_pair.into_iter().enumerate() {
                        let at = 2 * (colour * across + column);
                        differences[at..at + 2].fill(difference + ONE / 2);
                    }
                }
            }
            for (light, y) in light.iter_mut().zip(line) {
                *light = (i32::from(*y) - black) * step;
            }
            let of_colour = colours.chunks_exact_mut(width);
            for (colour, difference) in of_colour.zip(differences.chunks_exact(2 * across)) {
                for ((value, light), difference) in colour.iter_mut().zip(&light).zip(difference) {
                    *value = ((light + difference) >> 16).clamp(0, 255) as u8;
                }
            }
            let (red, others) = colours.split_at(width);
            let (green, blue) = others.split_at(width);
            let pixels = pixels.chunks_exact_mut(3);
            for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
                pixel.copy_from_slice(&[*red, *green, *blue]);
            }
        }
        match self.turn {
            Turn::Upright => Array::new([self.height, self.width, 3], values),
            turn => self.turned(&values, turn),
        }
    }

    /// The pixels of a rotated frame, upright.
    fn turned(&self, values: &[u8], turn: Turn) -> Result<Array<u8>> {
        let (height, width) = match turn {
            Turn::Upright | Turn::Half => (self.height, self.width),
            Turn::Quarter | Turn::ThreeQuarters => (self.width, self.height),
        };
        let mut turned = Vec::with_capacity(values.len());
        for row in 0..height {
            for column in 0..width {
                let (from_row, from_column) = match turn {
                    Turn::Upright => (row, column),
                    Turn::Quarter => (self.height - 1 - column, row),
                    Turn::Half => (self.height - 1 - row, self.width - 1 - column),
                    Turn::ThreeQuarters => (column, self.width - 1 - row),
                };
                let at = (from_row * self.width + from_column) * 3;
                turned.extend_from_slice(&values[at..at + 3]);
            }
        }
        Array::new([height, width, 3], turned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(y: Vec<u8>, width: usize, u: u8, v: u8, colours: Colours) -> Frame {
        let height = y.len() / width;
        let colour = width.div_ceil(2) * height.div_ceil(2);
        let (u, v) = (vec![u; colour], vec![v; colour]);
        Frame { time: 0.0, width, height, y, u, v, turn: Turn::Upright, colours }
    }

    #[test]
    fn colours_are_those_of_the_standards() {
        let sd = Colours { high_definition: false, full_range: false };
        let hd = Colours { high_definition: true, full_range: false };
        let jpeg = Colours { high_definition: false, full_range: true };
        // Black, white, and pure red as each standard codes them.
        for (y, u, v, colours, wanted) in [
            (16, 128, 128, sd, [0u8, 0, 0]),
            (235, 128, 128, sd, [255, 255, 255]),
            (81, 90, 240, sd, [255, 0, 0]),
            (63, 102, 240, hd, [255, 0, 0]),
            (76, 85, 255, jpeg, [254, 0, 0]),
            (41, 240, 110, sd, [0, 0, 255]),
        ] {
            let rgb = frame(vec![y], 1, u, v, colours).rgb().unwrap();
            let far =
                rgb.data().iter().zip(wanted).any(|(&found, wanted)| found.abs_diff(wanted) > 1);
            assert!(!far, "{y} {u} {v}: {:?}, not {wanted:?}", rgb.data());
        }
    }

    #[test]
    fn frames_are_turned_clockwise() {
        let colours = Colours { high_definition: false, full_range: true };
        let mut shown = frame(vec![1, 2, 3, 4, 5, 6], 3, 128, 128, colours);
        let mut turned = |turn| {
            shown.turn = turn;
            let rgb = shown.rgb().unwrap();
            (rgb.shape()[..2].to_vec(), rgb.data().iter().step_by(3).copied().collect::<Vec<u8>>())
        };
        assert_eq!(turned(Turn::Upright), (vec![2, 3], vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(turned(Turn::Quarter), (vec![3, 2], vec![4, 1, 5, 2, 6, 3]));
        assert_eq!(turned(Turn::Half), (vec![2, 3], vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(turned(Turn::ThreeQuarters), (vec![3, 2], vec![3, 6, 2, 5, 1, 4]));
    }
}
