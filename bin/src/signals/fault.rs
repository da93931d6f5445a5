//! SIGBUS: a file that is mapped into memory was shortened, or its disk failed, while it was read.
//!
//! The thread that reads cannot continue, and a signal handler may do almost nothing. So the handler notes the address,
//! wakes the thread that watches for signals and waits; that thread names the file and ends the program.

use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// The address of the first fault; 0 before it.
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
/// The socket to wake the thread with; it stays open as long as the program runs.
static WAKE: AtomicI32 = AtomicI32::new(-1);

pub(super) fn install(wake: UnixStream) -> io::Result<()> {
    WAKE.store(wake.into_raw_fd(), Ordering::SeqCst);
    // SAFETY: the handler only uses atomic numbers, `write` and `pause`, which are allowed in a signal handler. A zeroed
    // `sigaction` is valid, and the handler runs on the alternative stack that Rust gives to each thread.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    };
    if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `info`; the buffer is one byte long. `pause` only waits.
    unsafe {
        let address = (*info).si_addr() as usize;
        let _ = ADDRESS.compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst);
        libc::write(WAKE.load(Ordering::SeqCst), [1u8].as_ptr().cast(), 1);
        loop {
            libc::pause();
        }
    }
}

/// What went wrong, if a fault occurred.
pub(super) fn message() -> Option<String> {
    let address = ADDRESS.load(Ordering::SeqCst);
    (address != 0).then(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let name = mapped_at(&maps, address).unwrap_or("a file that is mapped into memory");
        format!("{name}: was shortened, or its disk failed, while it was read; restore the file and run the command again")
    })
}

/// The file of the mapping that has this address, from the lines of `/proc/self/maps`.
fn mapped_at(maps: &str, address: usize) -> Option<&str> {
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let inside = (hex(start)?..hex(end)?).contains(&address);
        // The path is the sixth field; it may have spaces.
        let at = line.find('/').filter(|_| inside)?;
        Some(line[at..].trim_end_matches(" (deleted)"))
    })
}

#[cfg(test)]
mod tests {
    use super::mapped_at;
    use crate::signals::Stop;
    use std::fs::File;
    use std::process::Command;

    /// The process that [`a_shortened_file_ends_the_program_with_its_name`] starts finds the file here.
    const VARIABLE: &str = "MPUC_TEST_SHORTENED_FILE";

    #[test]
    fn a_shortened_file_ends_the_program_with_its_name() {
        if let Some(path) = std::env::var_os(VARIABLE) {
            let _stop = Stop::install().unwrap();
            let file = File::options().read(true).write(true).open(path).unwrap();
            // SAFETY: only this thread uses the file and the map.
            let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
            file.set_len(0).unwrap();
            panic!("read {} behind the end", std::hint::black_box(&map)[0]);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my clip.npy");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let name = "signals::fault::tests::a_shortened_file_ends_the_program_with_its_name";
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(VARIABLE, &path)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{message}");
        assert!(message.contains("my clip.npy: was shortened"), "{message}");
    }

    #[test]
    fn the_file_of_an_address_is_found() {
        let maps = "55d0c000-55d0d000 r--p 00000000 08:01 12 /usr/bin/mpuc\n\
                    7f00a000-7f00c000 r--p 00000000 08:01 34 /data/my clip.npy (deleted)\n\
                    7f00c000-7f00d000 rw-p 00000000 00:00 0 \n";
        assert_eq!(mapped_at(maps, 0x7f00_bfff), Some("/data/my clip.npy"));
        assert_eq!(mapped_at(maps, 0x7f00_c000), None);
        assert_eq!(mapped_at(maps, 0x55d0_c000), Some("/usr/bin/mpuc"));
        assert_eq!(mapped_at(maps, 1), None);
    }
}
