//! Facts about the machine and this process, as the kernel tells them.
//!
//! Owns the reading of `/proc` and of the control group's limits, the rule for how much memory
//! to take where nobody says, and measurements of what the kernel does not tell ([`measure`]).
//! A fact that cannot be read is `None`, never zero.

pub mod cache;
mod cgroup;
mod cpu;
mod features;
mod filesystem;
pub mod measure;
mod memory;
mod process;

pub use cpu::{CpuFacts, cores, cpu_cache, cpu_facts, threads_notice, usable_threads};
pub use features::{HugePages, gpus, huge_pages};
pub use filesystem::{FileSystem, file_system, free_bytes, rename_new};
pub use memory::{BudgetError, MemoryFacts, budget, memory};
pub use process::{
    addresses, anonymous, disk_read_bytes, locked_memory_limit, mappings_to_spare, rss, rss_peak,
    thread_cpu_ns,
};

/// The kernel's name and release, such as `Linux 6.12.1`.
pub fn kernel() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy()
    )
}

/// The time of this place, for texts: nothing is timed by it.
pub fn local_time() -> chrono::NaiveDateTime {
    chrono::Local::now().naive_local()
}

/// The value in kilobytes of a line such as `VmRSS:   1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<crate::units::Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number = line.strip_prefix(':')?.trim().strip_suffix("kB")?.trim();
    Some(crate::units::Bytes(number.parse::<u64>().ok()? * 1024))
}

/// A folder with these files in it, to be read as if it were the root.
#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file's folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    root
}
