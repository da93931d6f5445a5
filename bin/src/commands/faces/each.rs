//! Processes the videos in parallel, one for each thread.

use super::Line;
use super::clip::{self, Found, Settings};
use super::networks::Networks;
use super::source::{Clip, Frames};
use crate::Context;
use crate::cli::FacesArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::progress::Task;
use data::formats::FACES_RECORD;
use engine::checkpoint::write_whole;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The version of the results; raised when equal videos, weights and settings give other results.
const VERSION: u32 = 1;
/// The endings of a video's result files, in the order of writing.
const RESULTS: [&str; 3] = ["npy", "csv", "png"];

/// The record that is written with a video's results.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// A hash of the video, the weights and the settings.
    key: String,
    #[serde(flatten)]
    found: Found,
}

/// The inputs for all videos.
pub struct Work<'a> {
    pub args: &'a FacesArgs,
    pub context: &'a Context,
    pub networks: &'a Networks,
    pub settings: &'a Settings,
}

impl Work<'_> {
    /// Makes the results of all videos. On the CPU each thread has its own video, since one video uses little more
    /// than one core (decoding is serial, the networks are small). On a GPU the videos run one after another.
    ///
    /// An error in a video's data is in its result; the other videos are still processed.
    ///
    /// # Errors
    /// Every other error, and a stop by signal.
    pub fn all(&self, clips: &[Clip], on_gpu: bool) -> Result<Vec<Result<Line>>> {
        let threads = rayon::current_num_threads();
        let workers = if on_gpu { 1 } else { threads.min(clips.len()).max(1) };
        let shown = Shown::new(self.context, clips);
        let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcomes: Vec<OnceLock<Result<Line>>> = clips.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            while !ended.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((clip, place)) = clips.get(number).zip(outcomes.get(number)) else {
                    return;
                };
                let outcome = self.one(clip, &shown);
                match &outcome {
                    Ok(line) => {
                        for warning in &line.warnings {
                            self.context.progress.warn(format_args!("{}: {warning}", line.path));
                        }
                    }
                    Err(failure) if self.concerns_one(failure) => {
                        self.context.progress.warn(format_args!("mpuc: {failure}"));
                    }
                    Err(_) => ended.store(true, Ordering::Relaxed),
                }
                shown.ended();
                // Each index is set once.
                let _ = place.set(outcome);
            }
        };
        if workers == 1 {
            work();
        } else {
            let pool = || rayon::ThreadPoolBuilder::new().num_threads(threads / workers).build();
            let pools: Vec<_> = (0..workers)
                .map(|_| pool())
                .collect::<std::result::Result<_, _>>()
                .map_err(|error| {
                    Failure::new(Kind::Other, format!("cannot start {threads} threads: {error}"))
                })?;
            std::thread::scope(|scope| {
                for pool in &pools {
                    scope.spawn(|| pool.install(work));
                }
            });
        }
        let done = outcomes.into_iter().filter_map(OnceLock::into_inner);
        done.map(|outcome| match outcome {
            Err(failure) if !self.concerns_one(&failure) => Err(failure),
            outcome => Ok(outcome),
        })
        .collect()
    }

    /// Whether a failure concerns one video only.
    fn concerns_one(&self, failure: &Failure) -> bool {
        matches!(failure.kind(), Kind::BadData | Kind::MissingData)
            && self.context.stop.asked().is_none()
    }

    /// Makes one video's results, if they do not exist.
    fn one(&self, clip: &Clip, shown: &Shown) -> Result<Line> {
        let Work { args, context, networks, settings } = self;
        let frames = Frames::open(clip, args.rate)?;
        let key = self.key(&frames)?;
        if let Some(found) = standing(clip, &key).filter(|_| !args.fresh) {
            return Ok(Line {
                kept: true,
                warnings: found.warnings(),
                found: Some(found),
                ..Line::new(clip)
            });
        }
        if let Some(folder) = clip.out.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::io("make the folder", folder, &error))?;
        }
        // Remove old results: they must not remain with a new record, or if there is no face any more.
        for ending in RESULTS.into_iter().chain([FACES_RECORD]) {
            let path = clip.result(ending);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::io("remove", &path, &error));
                }
                _ => {}
            }
        }
        let found = clip::run(networks, settings, clip, &frames, &mut |done, total| {
            shown.tick(done, total);
            match context.stop.asked() {
                None => Ok(()),
                Some(reason) => {
                    Err(reason.saved("the same command continues with the unfinished videos"))
                }
            }
        })?;
        let record = Record { key, found: found.clone() };
        let mut text = serde_json::to_vec_pretty(&record).map_err(output::no_json)?;
        text.push(b'\n');
        write_whole(&clip.result(FACES_RECORD), &text)?;
        Ok(Line { warnings: found.warnings(), found: Some(found), ..Line::new(clip) })
    }

    /// A hash of everything on which the results depend.
    fn key(&self, frames: &Frames) -> Result<String> {
        let all = (VERSION, frames.hash()?, &self.networks.files, self.settings);
        let all = serde_json::to_string(&all).map_err(output::no_json)?;
        Ok(blake3::hash(all.as_bytes()).to_hex()[..16].to_owned())
    }
}

/// The earlier tracking result, if the results with this key exist.
fn standing(clip: &Clip, key: &str) -> Option<Found> {
    let text = std::fs::read(clip.result(FACES_RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let there = || RESULTS.iter().all(|ending| clip.result(ending).is_file());
    (record.key == key && (record.found.with_face == 0 || there())).then_some(record.found)
}

/// The progress: frames of a single video, or the number of videos.
struct Shown {
    task: Mutex<Task>,
    /// Number of videos.
    videos: usize,
    /// Finished videos.
    done: AtomicUsize,
    /// Frames done, counted in each of the two passes.
    frames: AtomicUsize,
    begun: Instant,
}

impl Shown {
    fn new(context: &Context, clips: &[Clip]) -> Self {
        let task = match clips {
            [clip] => {
                let name = clip.path.file_name().unwrap_or_default();
                context.progress.task(name.display(), 0)
            }
            clips => context.progress.task("videos", clips.len() as u64),
        };
        Shown {
            task: Mutex::new(task),
            videos: clips.len(),
            done: AtomicUsize::new(0),
            frames: AtomicUsize::new(0),
            begun: Instant::now(),
        }
    }

    /// Shows the number of frames done in both passes, and their total if known.
    fn tick(&self, done: usize, total: Option<usize>) {
        let frames = 1 + self.frames.fetch_add(1, Ordering::Relaxed);
        let rate = frames as f64 / 2.0 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match self.videos {
            1 => {
                if let Some(total) = total {
                    task.set_total(total as u64);
                }
                done
            }
            _ => self.done.load(Ordering::Relaxed),
        };
        task.tick(done as u64, format_args!("{rate:.0} frames/s"));
    }

    /// Counts a finished video.
    fn ended(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}
