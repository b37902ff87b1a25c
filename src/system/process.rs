//! This process, as the kernel counts it.

use super::kilobytes;
use crate::units::Bytes;
use std::fs;

/// Memory held now: anonymous pages and mapped file pages.
pub fn rss() -> Option<Bytes> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// The most that was ever held.
pub fn rss_peak() -> Option<Bytes> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Memory that another process holds of its own, without mapped files.
pub fn anonymous(process: u32) -> Option<Bytes> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    kilobytes(&status, "RssAnon")
}

/// Addresses that this process has taken, whether or not there is memory under them.
pub fn addresses() -> Option<Bytes> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmSize")
}

/// Bytes that this process made the disk read, page faults on files included.
pub fn disk_read_bytes() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|l| l.strip_prefix("read_bytes:"))?;
    line.trim().parse().ok()
}

/// Processor time that the calling thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// How much memory may be locked; `None` for no limit.
pub fn locked_memory_limit() -> Option<Bytes> {
    rustix::process::getrlimit(rustix::process::Resource::Memlock)
        .current
        .map(Bytes)
}

/// Mappings of memory that this process can well take: half of what the system lets it have, and none
/// where the system promises no more memory than there is, and may refuse one.
pub fn mappings_to_spare() -> usize {
    let setting = |name: &str| -> Option<usize> {
        let text = std::fs::read_to_string(format!("/proc/sys/vm/{name}")).ok()?;
        text.trim().parse().ok()
    };
    match setting("overcommit_memory") {
        Some(2) => 0,
        // The kernel's own default.
        _ => setting("max_map_count").unwrap_or(65_530) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_at_least_what_is_held() {
        let held = rss().unwrap();
        assert!(held > Bytes(0));
        assert!(rss_peak().unwrap() >= held);
    }

    #[test]
    fn what_the_disk_read_never_shrinks() {
        let before = disk_read_bytes().unwrap();
        assert!(disk_read_bytes().unwrap() >= before);
    }

    #[test]
    fn kilobytes_are_bytes() {
        let status = "Name:\tnmos\nVmRSS:\t    1234 kB\nVmRSSX:\t1 kB\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(Bytes(1234 * 1024)));
        assert_eq!(kilobytes(status, "VmHWM"), None);
    }
}
