//! Numbers about this process, from `/proc` where the system has it.

/// Resident memory in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    number("VmRSS:").map(|kb| kb * 1024)
}

/// Threads.
pub(super) fn threads() -> Option<u64> {
    number("Threads:")
}

/// Open file descriptors.
pub(super) fn open_files() -> Option<u64> {
    std::fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64)
}

fn number(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|l| l.starts_with(line))?.split_whitespace().nth(1)?.parse().ok()
}
