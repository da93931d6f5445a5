//! Bounding boxes of faces: overlap, non-maximum suppression, regression, and squares.

/// A bounding box with a score. Coordinates are MTCNN's: pixels from 1, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaceBox {
    /// Left, top, right, bottom.
    pub sides: [f32; 4],
    /// The probability of a face, 0 to 1.
    pub score: f32,
}

/// The denominator of an overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// The area of the union (intersection over union); extents are differences of sides.
    Union,
    /// The area of the smaller box; extents include both ends.
    Smaller,
}

impl FaceBox {
    /// Right minus left.
    pub fn width(&self) -> f32 {
        self.sides[2] - self.sides[0]
    }

    /// Bottom minus top.
    pub fn height(&self) -> f32 {
        self.sides[3] - self.sides[1]
    }

    /// The centre: x, y.
    pub fn centre(&self) -> [f32; 2] {
        [(self.sides[0] + self.sides[2]) / 2.0, (self.sides[1] + self.sides[3]) / 2.0]
    }

    /// The longer of width and height.
    pub fn size(&self) -> f32 {
        self.width().max(self.height())
    }

    /// Whether all sides are finite, right >= left, and bottom >= top.
    pub fn is_sound(&self) -> bool {
        let [left, top, right, bottom] = self.sides;
        self.sides.iter().all(|side| side.is_finite()) && right >= left && bottom >= top
    }

    /// The intersection of two boxes as a fraction of `of`, 0 to 1.
    pub fn overlap(&self, other: &FaceBox, of: Overlap) -> f32 {
        let ends = if of == Overlap::Smaller { 1.0 } else { 0.0 };
        let along = |first: usize| {
            let start = self.sides[first].max(other.sides[first]);
            let end = self.sides[first + 2].min(other.sides[first + 2]);
            (end - start + ends).max(0.0)
        };
        let common = along(0) * along(1);
        let area = |b: &FaceBox| (b.width() + ends) * (b.height() + ends);
        let whole = match of {
            Overlap::Union => area(self) + area(other) - common,
            Overlap::Smaller => area(self).min(area(other)),
        };
        if whole > 0.0 { common / whole } else { 0.0 }
    }

    /// The box after bounding-box regression: offsets are fractions of its extents, which are differences of sides
    /// plus `ends`.
    #[must_use]
    pub fn corrected(&self, offsets: [f32; 4], ends: f32) -> FaceBox {
        let extents = [self.width() + ends, self.height() + ends];
        let mut sides = self.sides;
        for (number, (side, offset)) in sides.iter_mut().zip(offsets).enumerate() {
            *side += offset * extents[number % 2];
        }
        FaceBox { sides, ..*self }
    }

    /// The square around the box's centre with the box's longer extent.
    #[must_use]
    pub fn squared(&self) -> FaceBox {
        let size = self.size();
        let left = self.sides[0] + self.width() * 0.5 - size * 0.5;
        let top = self.sides[1] + self.height() * 0.5 - size * 0.5;
        FaceBox { sides: [left, top, left + size, top + size], ..*self }
    }
}

/// Non-maximum suppression: of two boxes that overlap by more than `most`, drops the one with the lower score.
/// Returns the indices of the remaining boxes, the best first.
pub fn suppress(boxes: &[FaceBox], most: f32, of: Overlap) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| boxes[b].score.total_cmp(&boxes[a].score));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        if kept.iter().all(|&better| boxes[better].overlap(&boxes[candidate], of) <= most) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sides: [f32; 4], score: f32) -> FaceBox {
        FaceBox { sides, score }
    }

    #[test]
    fn overlaps_are_shares_of_the_union_or_the_smaller_box() {
        let (large, small) = (made([0.0, 0.0, 10.0, 10.0], 0.9), made([5.0, 0.0, 10.0, 4.0], 0.8));
        assert_eq!(large.overlap(&small, Overlap::Union), 20.0 / 100.0);
        assert_eq!(large.overlap(&small, Overlap::Smaller), 1.0);
        let beside = made([10.0, 0.0, 12.0, 2.0], 0.7);
        assert_eq!(large.overlap(&beside, Overlap::Union), 0.0);
        // Both ends are inclusive: the boxes share one column of pixels.
        assert_eq!(large.overlap(&beside, Overlap::Smaller), 3.0 / 9.0);
        let point = made([3.0, 3.0, 3.0, 3.0], 0.5);
        assert_eq!(point.overlap(&point, Overlap::Union), 0.0);
    }

    #[test]
    fn the_best_of_those_that_overlap_stays() {
        let boxes = [
            made([0.0, 0.0, 10.0, 10.0], 0.7),
            made([1.0, 0.0, 11.0, 10.0], 0.9),
            made([2.0, 0.0, 12.0, 10.0], 0.8),
            made([50.0, 0.0, 60.0, 10.0], 0.6),
        ];
        assert_eq!(suppress(&boxes, 0.5, Overlap::Union), [1, 3]);
        assert_eq!(suppress(&boxes, 0.9, Overlap::Union), [1, 2, 0, 3]);
        // An overlap equal to the threshold is allowed.
        assert_eq!(suppress(&boxes[..2], 90.0 / 110.0, Overlap::Union), [1, 0]);
        assert!(suppress(&[], 0.5, Overlap::Smaller).is_empty());
    }

    #[test]
    fn corrections_and_squares() {
        let window = made([10.0, 20.0, 29.0, 59.0], 0.5);
        let moved = window.corrected([0.1, 0.0, -0.1, 0.25], 1.0);
        assert_eq!(moved.sides, [12.0, 20.0, 27.0, 69.0]);
        let square = moved.squared();
        assert_eq!(square.sides, [-5.0, 20.0, 44.0, 69.0]);
        assert_eq!((square.centre(), moved.centre()), ([19.5, 44.5], [19.5, 44.5]));
        assert!(moved.is_sound() && !made([f32::NAN, 0.0, 1.0, 1.0], 0.5).is_sound());
        assert!(!made([2.0, 0.0, 1.0, 1.0], 0.5).is_sound());
    }
}
