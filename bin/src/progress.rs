//! Progress on standard error: bars on a terminal, otherwise plain lines at intervals.

use crate::output;
use data::printable::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The interval between plain lines of one task.
const INTERVAL: Duration = Duration::from_secs(10);

/// The progress display of a command, for all its tasks.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
}

impl Progress {
    /// Shows bars if standard error is a terminal, otherwise lines; nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bars = !quiet && std::io::stderr().is_terminal();
        let bars =
            bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Progress { bars, quiet }
    }

    /// Starts a task of `total` steps; 0 if the total is not known yet ([`Task::set_total`]).
    pub fn task(&self, name: impl Display, total: u64) -> Task {
        let name = printable(&name.to_string(), false).into_owned();
        let started = Instant::now();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = match total {
                0 => ProgressBar::no_length(),
                total => ProgressBar::new(total),
            };
            let bar = bars.add(bar);
            bar.set_style(style());
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let plain = Mutex::new(Plain { before: 0, done: 0, said: None });
        Task { name, total, started, bar, quiet: self.quiet, plain }
    }

    /// Prints a line above the bars; nothing if quiet.
    pub fn line(&self, text: impl Display) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// Prints a warning, even if quiet.
    pub fn warn(&self, text: impl Display) {
        match &self.bars {
            Some(bars) => bars.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }
}

fn style() -> ProgressStyle {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let bar = if colour { "{bar:30.cyan}" } else { "{bar:30}" };
    let template =
        format!("{{prefix}} {bar} {{pos}}/{{len}}  {{elapsed}}, {{eta}} left  {{wide_msg}}");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// One task; may be ticked from any thread. Its bar is removed when it is dropped.
#[derive(Debug)]
pub struct Task {
    name: String,
    total: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    quiet: bool,
    plain: Mutex<Plain>,
}

#[derive(Debug)]
struct Plain {
    /// Steps that were done before the task started.
    before: u64,
    done: u64,
    /// The time of the last line; `None` before the first.
    said: Option<Instant>,
}

impl Task {
    /// Sets the number of finished steps to `done`; a smaller number than before is ignored, since ticks of several
    /// threads may be late. A non-empty message replaces the last one.
    pub fn tick(&self, done: u64, message: impl Display) {
        if self.quiet {
            return;
        }
        let mut plain = self.plain.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        plain.done = plain.done.max(done);
        let Some(bar) = &self.bar else {
            let due = plain.said.map_or(self.started, |said| said).elapsed() >= INTERVAL;
            if due || (done >= self.total && self.total > 0 && plain.said.is_some()) {
                plain.said = Some(Instant::now());
                output::note(self.describe(plain.before, plain.done, &message.to_string()));
            }
            return;
        };
        bar.set_position(plain.done);
        let message = message.to_string();
        if !message.is_empty() {
            bar.set_message(printable(&message, false).into_owned());
        }
    }

    /// Sets the number of steps that were done before the task started: the time left is that of the others.
    pub fn resume_at(&self, done: u64) {
        self.plain.lock().unwrap_or_else(std::sync::PoisonError::into_inner).before = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// Sets the total number of steps.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    fn describe(&self, before: u64, done: u64, message: &str) -> String {
        let elapsed = self.started.elapsed().as_secs_f64();
        let share = done as f64 / self.total.max(1) as f64;
        let mut line = match self.total {
            0 => format!("{}: {done}", self.name),
            total => format!("{}: {done}/{total} ({:.0} %)", self.name, 100.0 * share),
        };
        if done > before && done < self.total {
            let left = elapsed * (self.total - done) as f64 / (done - before) as f64;
            line += &format!(", {} left", seconds(left));
        }
        if !message.is_empty() {
            line += &format!(", {message}");
        }
        line
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Formats a duration: `8 s`, `2 min 5 s`, `1 h 12 min`.
pub fn seconds(time: f64) -> String {
    let whole = time.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(8.4), "8 s");
        assert_eq!(seconds(125.0), "2 min 5 s");
        assert_eq!(seconds(4330.0), "1 h 12 min");
        assert_eq!(seconds(-1.0), "0 s");
    }

    #[test]
    fn plain_lines_say_how_far_it_is() {
        let task = Progress { bars: None, quiet: false }.task("clips", 40);
        let line = task.describe(0, 10, "loss 3.1");
        assert!(
            line.starts_with("clips: 10/40 (25 %), ") && line.ends_with(", loss 3.1"),
            "{line}"
        );
        assert_eq!(task.describe(0, 40, ""), "clips: 40/40 (100 %)");
        // What was done before the task started says nothing about its speed.
        assert_eq!(task.describe(10, 10, ""), "clips: 10/40 (25 %)");
        task.tick(40, "");
        let endless = Progress { bars: None, quiet: false }.task("clips", 0);
        assert_eq!(endless.describe(0, 10, "9 frames/s"), "clips: 10, 9 frames/s");
        endless.tick(10, "");
    }
}
