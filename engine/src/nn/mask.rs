use crate::{Pass, Result, Tensor};

/// The valid steps of padded sequences: the first ones of each, as many as its length.
#[derive(Debug, Clone)]
pub struct StepMask {
    lengths: Vec<usize>,
    steps: usize,
    /// `[N, T, 1]`: 1 for valid steps, 0 for padding.
    keep: Tensor,
    /// `[N, 1, 1]`: 1 for sequences without padding, 0 for others.
    whole: Tensor,
    /// `[N]`: the lengths.
    valid: Tensor,
}

impl StepMask {
    /// The mask of sequences of `steps` steps, of which the first `lengths` `[N]` are valid; `None` if all are. Lengths on
    /// a GPU are copied to the CPU.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn new(pass: &Pass<'_>, lengths: Option<&Tensor>, steps: usize) -> Result<Option<Self>> {
        let Some(lengths) = lengths else { return Ok(None) };
        let lengths = lengths.to_vec()?.into_iter().map(|length| steps.min(length as usize));
        let lengths: Vec<usize> = lengths.collect();
        if lengths.iter().all(|&length| length == steps) {
            return Ok(None);
        }
        StepMask::of(pass, lengths, steps).map(Some)
    }

    fn of(pass: &Pass<'_>, lengths: Vec<usize>, steps: usize) -> Result<Self> {
        let rows = lengths.len();
        let flags = |flags: Vec<bool>, shape: &[usize]| {
            let values: Vec<f64> =
                flags.into_iter().map(|flag| f64::from(u8::from(flag))).collect();
            Tensor::from_slice(&values, shape)?.to(pass.dtype())?.on(pass.device())
        };
        let valid = |&length: &usize| (0..steps).map(move |t| t < length);
        let keep = flags(lengths.iter().flat_map(valid).collect(), &[rows, steps, 1])?;
        let whole = lengths.iter().map(|&length| length == steps).collect();
        let whole = flags(whole, &[rows, 1, 1])?;
        let valid = numbers(pass, &lengths, 1)?;
        Ok(StepMask { lengths, steps, keep, whole, valid })
    }

    /// The mask of the outputs of a convolution over time with `taps / 2` zeros on both sides: of each sequence as many as
    /// the convolution gives for the sequence without its padding.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn after(&self, pass: &Pass<'_>, taps: usize, stride: usize) -> Result<Self> {
        let outputs = |steps: usize| match steps {
            0 => 0,
            steps => (steps + taps / 2 * 2 - taps) / stride + 1,
        };
        let lengths = self.lengths.iter().map(|&length| outputs(length)).collect();
        StepMask::of(pass, lengths, outputs(self.steps))
    }

    /// x `[N, T, ..]` or `[N, 1, T, ..]` with zeros in place of padding.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn zero_padding(&self, x: &Tensor) -> Result<Tensor> {
        let (shape, rows) = (x.shape(), self.lengths.len() * self.steps);
        let flat = x.reshape(&[self.lengths.len(), self.steps, x.count() / rows.max(1)])?;
        flat.multiply(&self.keep)?.reshape(&shape)
    }

    /// The mean over the valid steps of x `[N, T, C]`: `[N, C]`.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn mean(&self, x: &Tensor) -> Result<Tensor> {
        x.mean_over_steps(Some(&self.valid))
    }

    /// Lengths `[N]` of sequences that have `positions` rows for each step.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn lengths(&self, pass: &Pass<'_>, positions: usize) -> Result<Tensor> {
        numbers(pass, &self.lengths, positions)
    }

    /// `whole` for sequences without padding and `masked` for others, both `[N, T, C]`; zeros in place of padding.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub(super) fn choose(&self, whole: &Tensor, masked: &Tensor) -> Result<Tensor> {
        let others = self.keep.subtract(&self.whole)?;
        whole.multiply(&self.whole)?.add(&masked.multiply(&others)?)
    }

    /// What attention adds to its scores, `[N, 1, T]`: 0 for valid steps, -1e9 for padding.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub(super) fn scores(&self) -> Result<Tensor> {
        self.keep.affine(1e9, -1e9)?.reshape(&[self.lengths.len(), 1, self.steps])
    }
}

/// The lengths times `factor`, on the device of the pass.
fn numbers(pass: &Pass<'_>, lengths: &[usize], factor: usize) -> Result<Tensor> {
    let numbers: Vec<u32> = lengths.iter().map(|&length| (length * factor) as u32).collect();
    Tensor::from_slice(&numbers, &[numbers.len()])?.on(pass.device())
}
