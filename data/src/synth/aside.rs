//! The hidden folder in which a world is written until it is complete. One process writes; others wait for it.

use super::{Progress, SynthError};
use std::fs::{self, File, TryLockError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Interval between two attempts to lock.
const INTERVAL: Duration = Duration::from_millis(100);

/// The right to write a world, which the operating system ends with the process.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
    path: PathBuf,
}

impl Claim {
    /// Waits until no other process writes the world `root`, and removes what killed processes left of it.
    ///
    /// # Errors
    /// Input/output errors, and a stop by `progress`, which is called while another process writes.
    pub(super) fn take(
        root: &Path,
        progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
    ) -> Result<Self, SynthError> {
        let path = beside(root, "lock");
        let failed = |error| SynthError::io("lock", &path)(error);
        let lock = File::create(&path).map_err(failed)?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {
                    let waiting = Progress { done: 0, total: 0, waiting: true };
                    if progress(waiting).is_break() {
                        let root = root.to_owned();
                        return Err(SynthError::Interrupted { done: 0, total: 0, root });
                    }
                    std::thread::sleep(INTERVAL);
                }
            }
        }
        remove_leftovers(root);
        Ok(Claim { _lock: lock, path })
    }

    /// The hidden folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.path.with_extension(format!("partial-{}", std::process::id()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A process that waits for this lock finds the complete world when it gets it.
        let _ = fs::remove_file(&self.path);
    }
}

/// `.NAME.ENDING` beside `root`.
fn beside(root: &Path, ending: &str) -> PathBuf {
    let name =
        root.file_name().map_or_else(|| "world".into(), |name| name.to_string_lossy().into_owned());
    root.with_file_name(format!(".{name}.{ending}"))
}

/// Removes the hidden folders of processes that were killed: no other process writes now.
fn remove_leftovers(root: &Path) {
    let pattern = beside(root, "partial-");
    let start = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(parent.unwrap_or(Path::new("."))) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(&start).unwrap_or_default();
        if !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()) {
            // One that cannot be removed is hidden and does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        let names =
            [".world.partial-12", ".world.partial-x", ".world.partial-", ".other.partial-12"];
        for name in names {
            fs::create_dir_all(folder.path().join(name).join("deep")).unwrap();
        }
        let claim = Claim::take(&root, &|_| ControlFlow::Continue(())).unwrap();
        let left: Vec<bool> = names.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, [false, true, true, true]);
        drop(claim);
        assert!(!folder.path().join(".world.lock").exists());
    }

    #[test]
    fn others_wait_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        let claim = Claim::take(&root, &|_| ControlFlow::Continue(())).unwrap();
        let calls = AtomicUsize::new(0);
        let stopped = Claim::take(&root, &|progress| {
            assert!(progress.waiting);
            match calls.fetch_add(1, Ordering::SeqCst) {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert!(matches!(stopped, Err(SynthError::Interrupted { .. })), "{stopped:?}");
        drop(claim);
        Claim::take(&root, &|_| ControlFlow::Break(())).unwrap();
    }
}
