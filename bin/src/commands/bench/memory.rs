//! The peak memory of the program.

/// Resets the peak to the memory in use now. False if the system does not support it.
pub(super) fn reset_peak() -> bool {
    // Linux: "To reset the peak resident set size to the process's current value, a "5" can be written" (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The peak resident memory in bytes since the last reset (Linux's VmHWM).
pub(super) fn peak_bytes() -> Option<u64> {
    of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read() {
        assert_eq!(of_status("Name:\tmpuc\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(of_status("Name:\tmpuc\n"), None);
    }
}
