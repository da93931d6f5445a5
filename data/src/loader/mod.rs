//! Loading of batches by worker threads, in the order of an explicit plan.
//!
//! Worker `w` of `n` makes batches `w`, `w + n`, ... and sends them through its own bounded queue; the reader takes from
//! the queues in turn. Order and values are therefore the same for any number of workers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::features::clip::frame_indices;
use crate::standardise::Standardiser;
use crate::{Array, Error, Result};

/// The values after the end of a sample that is shorter than the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The last frame, repeated.
    #[default]
    RepeatLast,
    /// Zeros; in a standardised feature that is the training mean.
    Zero,
}

/// How windows of one modality are cut from its features.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Length of the window in frames of the feature.
    pub steps: usize,
    /// Take only this many frames, spread evenly over the part of the window that the sample fills (for video).
    pub pick: Option<usize>,
    /// The padding of short samples.
    pub padding: Padding,
    /// Applied to every value before padding; pixels are in 0 to 255 ([`Standardiser::kinetics`]).
    pub standardiser: Option<Standardiser>,
}

impl Window {
    /// Frames of the loaded window.
    pub fn length(&self) -> usize {
        self.pick.unwrap_or(self.steps)
    }
}

/// One sample of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Index of the sample.
    pub sample: usize,
    /// The first frame of the window in each modality; ignored when the sample lacks the modality.
    pub starts: Vec<usize>,
}

/// One modality of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Stacked {
    /// `[N, window, ...]`; zeros when a sample lacks the modality.
    pub values: Array<f32>,
    /// For each sample, the number of frames before the padding: all where frames are [picked](Window::pick), because they
    /// are spread over the part of the window that the sample fills, and a short sample repeats its own.
    pub lengths: Vec<usize>,
    /// For each sample, whether it has the modality.
    pub present: Vec<bool>,
}

/// A batch of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Index in the plan, from 0.
    pub index: usize,
    /// Indices of the samples.
    pub samples: Vec<usize>,
    /// One for each modality.
    pub modalities: Vec<Stacked>,
}

/// An iterator over the batches of a plan. Dropping it stops the workers.
pub struct Loader {
    queues: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    next: usize,
    total: usize,
}

/// The state that all workers share.
struct Job {
    dataset: Arc<Dataset>,
    windows: Vec<Window>,
    plan: Vec<Vec<Item>>,
    finish: Box<dyn Fn(&mut Batch) + Send + Sync>,
}

impl Loader {
    /// A loader of the batches of `plan`, which `workers` threads make; each has up to `ahead` batches in its queue.
    ///
    /// # Errors
    /// Bad settings when `windows` or `plan` do not fit the data set, or a thread cannot be started.
    pub fn new(
        dataset: Arc<Dataset>,
        windows: Vec<Window>,
        plan: Vec<Vec<Item>>,
        workers: usize,
        ahead: usize,
    ) -> Result<Self> {
        Self::finishing(dataset, windows, plan, workers, ahead, |_| ())
    }

    /// As [`Loader::new`], and the worker calls `finish` on each batch, e.g. to add noise.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn finishing(
        dataset: Arc<Dataset>,
        windows: Vec<Window>,
        plan: Vec<Vec<Item>>,
        workers: usize,
        ahead: usize,
        finish: impl Fn(&mut Batch) + Send + Sync + 'static,
    ) -> Result<Self> {
        check(&dataset, &windows, &plan)?;
        let total = plan.len();
        let count = workers.clamp(1, total.max(1));
        let job = Arc::new(Job { dataset, windows, plan, finish: Box::new(finish) });
        let mut loader = Self { queues: Vec::new(), workers: Vec::new(), next: 0, total };
        for worker in 0..count {
            let (sender, queue) = sync_channel(ahead.max(1));
            let job = job.clone();
            let run = move || work(&job, worker, count, &sender);
            let handle = std::thread::Builder::new()
                .name(format!("loader-{worker}"))
                .spawn(run)
                .map_err(|e| {
                    Error::config(format!(
                        "cannot start loading thread {worker}: {e}; use fewer workers"
                    ))
                })?;
            loader.queues.push(queue);
            loader.workers.push(handle);
        }
        Ok(loader)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.total {
            return None;
        }
        let queue = &self.queues[self.next % self.queues.len()];
        self.next += 1;
        let lost = || {
            Error::config(
                "a loading thread stopped without a result; report this bug with the message above",
            )
        };
        Some(queue.recv().unwrap_or_else(|_| {
            self.next = self.total;
            Err(lost())
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.total - self.next, Some(self.total - self.next))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.queues.clear(); // a worker's next send fails and ends it
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a worker's panic was already reported by `next`
        }
    }
}

fn work(job: &Job, worker: usize, count: usize, sender: &SyncSender<Result<Batch>>) {
    for index in (worker..job.plan.len()).step_by(count) {
        if sender.send(job.batch(index)).is_err() {
            return;
        }
    }
}

fn check(dataset: &Dataset, windows: &[Window], plan: &[Vec<Item>]) -> Result<()> {
    let names = dataset.modalities();
    if windows.len() != names.len() {
        return Err(Error::config(format!(
            "loader: {} windows for {} modalities; give one for each",
            windows.len(),
            names.len()
        )));
    }
    for (modality, window) in windows.iter().enumerate() {
        let shape = dataset.frame_shape(modality);
        let size: usize = shape.iter().product();
        let width = window.standardiser.as_ref().map_or(1, Standardiser::width);
        if window.steps == 0 || window.length() == 0 {
            return Err(Error::config(format!(
                "loader: the window of `{}` has 0 frames; set at least 1",
                names[modality]
            )));
        }
        if width == 0 || !size.is_multiple_of(width) {
            return Err(Error::config(format!(
                "loader: the standardiser of `{}` has {width} values; its frames have shape {shape:?}: fit the standardiser on this modality",
                names[modality]
            )));
        }
    }
    for (index, batch) in plan.iter().enumerate() {
        for item in batch {
            let fits = item.sample < dataset.len() && item.starts.len() == names.len();
            let inside = |modality: usize| {
                let length = dataset.length(item.sample, modality);
                length.is_none_or(|length| item.starts[modality] < length)
            };
            if !fits || !(0..names.len()).all(inside) {
                return Err(Error::config(format!(
                    "loader: batch {index} of the plan asks for sample {} at {:?}, which lies outside the data set; plan within its lengths",
                    item.sample, item.starts
                )));
            }
        }
    }
    Ok(())
}

impl Job {
    fn batch(&self, index: usize) -> Result<Batch> {
        let items = &self.plan[index];
        let modalities = (0..self.windows.len())
            .map(|modality| self.stack(items, modality))
            .collect::<Result<_>>()?;
        let samples = items.iter().map(|item| item.sample).collect();
        let mut batch = Batch { index, samples, modalities };
        (self.finish)(&mut batch);
        Ok(batch)
    }

    fn stack(&self, items: &[Item], modality: usize) -> Result<Stacked> {
        let window = &self.windows[modality];
        let shape = self.dataset.frame_shape(modality);
        let step: usize = shape.iter().product();
        let size = window.length() * step;
        let mut values = vec![0.0; items.len() * size];
        let mut lengths = vec![0; items.len()];
        for (place, item) in items.iter().enumerate() {
            let out = &mut values[place * size..][..size];
            lengths[place] = self.cut(item, modality, step, out)?;
        }
        let shape: Vec<usize> =
            [items.len(), window.length()].into_iter().chain(shape.iter().copied()).collect();
        let present = lengths.iter().map(|length| *length > 0).collect();
        Ok(Stacked { values: Array::new(shape, values)?, lengths, present })
    }

    /// Writes one sample's window to `out` and returns the number of frames before the padding; 0 when the sample lacks the
    /// modality.
    fn cut(&self, item: &Item, modality: usize, step: usize, out: &mut [f32]) -> Result<usize> {
        let window = &self.windows[modality];
        let Some(view) = self.dataset.view(item.sample, modality)? else { return Ok(0) };
        let start = item.starts[modality];
        let length = self.dataset.length(item.sample, modality).unwrap_or(0);
        if view.shape().first() != Some(&length) {
            return Err(Error::config(format!(
                "a feature of sample {} changed its length during the run; run `data prepare` again",
                item.sample
            )));
        }
        let own = window.steps.min(length - start);
        let filled = match window.pick {
            Some(count) => {
                for (frame, out) in
                    frame_indices(start, own, count).into_iter().zip(out.chunks_exact_mut(step))
                {
                    view.numbers().copy_to(frame * step..(frame + 1) * step, out);
                }
                count
            }
            None => {
                view.numbers().copy_to(start * step..(start + own) * step, &mut out[..own * step]);
                own
            }
        };
        if let Some(standardiser) = &window.standardiser {
            standardiser.apply(&mut out[..filled * step]);
        }
        if window.padding == Padding::RepeatLast {
            let (own, rest) = out.split_at_mut(filled * step);
            let last = &own[(filled - 1) * step..];
            rest.chunks_exact_mut(step).for_each(|out| out.copy_from_slice(last));
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests;
