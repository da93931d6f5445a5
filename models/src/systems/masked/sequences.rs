//! The sequences of a batch side by side: which step of which modality stands where.

use crate::systems::{Batch, Input};
use engine::{Device, Result, Tensor};

/// The index of no row: an embedding gives zeros for it, and no gradient.
const NOTHING: u32 = u32::MAX;

/// The valid steps of every modality of a batch.
#[derive(Debug)]
pub(super) struct Sequences {
    modalities: Vec<Sequence>,
    /// Rows of the batch.
    rows: usize,
}

#[derive(Debug)]
struct Sequence {
    /// Steps of a row, with padding.
    steps: usize,
    /// The valid steps of each row of the modality's data.
    valid: Vec<usize>,
    /// For each row of the batch its row of the data, if it has the modality.
    held: Vec<Option<usize>>,
}

impl Sequence {
    fn new(input: &Input, rows: usize) -> Result<Self> {
        let [held, steps] = [input.data.shape()[0], input.data.shape()[1]];
        let lengths = input.lengths.as_ref().map(Tensor::to_vec).transpose()?;
        let length = |row: usize| match &lengths {
            Some(lengths) => (lengths[row] as usize).min(steps),
            None => steps,
        };
        let mut next = 0..held;
        let held_by = |row| if input.has(row) { next.next() } else { None };
        Ok(Sequence {
            steps,
            valid: (0..held).map(length).collect(),
            held: (0..rows).map(held_by).collect(),
        })
    }

    /// Valid steps of a row of the batch; 0 without the modality.
    fn length(&self, row: usize) -> usize {
        self.held[row].map_or(0, |held| self.valid[held])
    }
}

impl Sequences {
    pub(super) fn new(batch: &Batch) -> Result<Self> {
        let rows = batch.rows();
        let modalities = batch.modalities.iter().map(|input| Sequence::new(input, rows));
        Ok(Sequences { modalities: modalities.collect::<Result<_>>()?, rows })
    }

    /// The valid steps of each row of a modality's data.
    pub(super) fn valid(&self, modality: usize) -> &[usize] {
        &self.modalities[modality].valid
    }

    /// Steps of a row of a modality, with padding.
    pub(super) fn steps(&self, modality: usize) -> usize {
        self.modalities[modality].steps
    }

    /// All rows of the batch.
    pub(super) fn rows(&self) -> Vec<usize> {
        (0..self.rows).collect()
    }

    /// The rows of the batch that have a modality.
    pub(super) fn rows_with(&self, modality: usize) -> Vec<usize> {
        let held = &self.modalities[modality].held;
        (0..self.rows).filter(|&row| held[row].is_some()).collect()
    }

    /// Joins modalities in each of these rows of the batch. The steps of the modalities, `[R, T, C]` each, stand below each
    /// other in a table `[ΣRT, C]`. Returns the table's row of every joined step `[rows, ΣT]`, valid steps first, and the
    /// number of valid steps of each row `[rows]`.
    pub(super) fn join(
        &self,
        rows: &[usize],
        modalities: &[usize],
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let extent: usize = modalities.iter().map(|&m| self.steps(m)).sum();
        let mut numbers = vec![NOTHING; rows.len() * extent];
        let mut lengths = vec![0u32; rows.len()];
        for ((&row, numbers), length) in
            rows.iter().zip(numbers.chunks_mut(extent)).zip(&mut lengths)
        {
            let (mut first, mut place) = (0, 0);
            for sequence in modalities.iter().map(|&m| &self.modalities[m]) {
                let start = first + sequence.held[row].unwrap_or(0) * sequence.steps;
                for step in 0..sequence.length(row) {
                    numbers[place] = (start + step) as u32;
                    place += 1;
                }
                first += sequence.valid.len() * sequence.steps;
            }
            *length = place as u32;
        }
        let numbers = Tensor::from_slice(&numbers, &[rows.len(), extent])?.on(device)?;
        Ok((numbers, Tensor::from_slice(&lengths, &[rows.len()])?.on(device)?))
    }

    /// The way back from all modalities joined in all rows: the row of every step of a modality's data `[R, T]` in the table
    /// `[N ΣT, C]` of the joined steps.
    pub(super) fn part(&self, modality: usize, device: &Device) -> Result<Tensor> {
        let extent: usize = self.modalities.iter().map(|sequence| sequence.steps).sum();
        let sequence = &self.modalities[modality];
        let mut numbers = vec![NOTHING; sequence.valid.len() * sequence.steps];
        for row in 0..self.rows {
            let Some(held) = sequence.held[row] else { continue };
            let before: usize = self.modalities[..modality].iter().map(|s| s.length(row)).sum();
            for step in 0..sequence.valid[held] {
                numbers[held * sequence.steps + step] = (row * extent + before + step) as u32;
            }
        }
        Tensor::from_slice(&numbers, &[sequence.valid.len(), sequence.steps])?.on(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::DType;

    /// Two modalities of 3 and 2 steps; the second row lacks the first modality, the third has 2 valid steps of it.
    fn batch() -> Result<Batch> {
        let first = Input {
            data: Tensor::zeros(&[2, 3, 1], DType::F32),
            lengths: Some(Tensor::from_slice(&[3u32, 2], &[2])?),
            rows: Some(Tensor::from_slice(&[0u32, 0, 1], &[3])?),
            present: Some(vec![1, 0, 1]),
        };
        let second = Input::new(Tensor::zeros(&[3, 2, 1], DType::F32));
        Ok(Batch { modalities: vec![first, second], samples: 3, ..Batch::new(Vec::new()) })
    }

    #[test]
    fn steps_are_joined_without_gaps_and_found_again() -> Result<()> {
        let sequences = Sequences::new(&batch()?)?;
        let none = NOTHING;
        let (numbers, lengths) = sequences.join(&[0, 1, 2], &[0, 1], &Device::Cpu)?;
        assert_eq!(lengths.as_slice::<u32>()?, [5, 2, 4]);
        // The table has 2 rows of 3 steps, then 3 rows of 2 steps.
        let expected = [[0, 1, 2, 6, 7], [8, 9, none, none, none], [3, 4, 10, 11, none]];
        assert_eq!(numbers.as_slice::<u32>()?, expected.as_flattened());
        let part = |modality| sequences.part(modality, &Device::Cpu);
        assert_eq!(part(0)?.as_slice::<u32>()?, [0, 1, 2, 10, 11, none]);
        assert_eq!(part(1)?.as_slice::<u32>()?, [3, 4, 5, 6, 12, 13]);
        let (numbers, lengths) = sequences.join(&[1, 2], &[0], &Device::Cpu)?;
        assert_eq!(lengths.as_slice::<u32>()?, [0, 2]);
        assert_eq!(numbers.as_slice::<u32>()?, [none, none, none, 3, 4, none]);
        Ok(())
    }
}
