//! The lock of a run folder: only one process may write to it.

use super::{now, unwritable};
use crate::failure::{Failure, Kind, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// The lock's file.
pub(super) const NAME: &str = ".lock";

/// A lock of the operating system, released when this value is dropped or the process ends. The
/// content of the file names the process, for messages only.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unwritable("open the lock", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process" } else { holder.trim_end() };
                return Err(Failure::new(
                    Kind::Locked,
                    format!("{}: in use by {holder}", folder.display()),
                )
                .hint("wait for it or stop it, or name another folder with --out"));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable("lock", &path, &error)),
        }
        let text = format!("process {} since {}\n", std::process::id(), now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|error| unwritable("write", &path, &error))?;
        Ok(Lock { _file: file })
    }
}
