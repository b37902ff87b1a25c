//! The memory limit of the control group that this process runs in, version 1 or 2.
//!
//! A limit of any ancestor binds too, so the whole way up is read:
//!
//! ```text
//!  v2  /sys/fs/cgroup/a/b/memory.max                     "max" or bytes
//!  v1  /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes   a number near 2^63 where there is none
//! ```

use crate::units::Bytes;
use std::path::{Path, PathBuf};

/// The limit that binds first, and what the group that sets it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub limit: Bytes,
    /// Without file pages that the kernel gives up by itself.
    pub used: Bytes,
    /// 1 or 2.
    pub version: u8,
}

/// A limit at or above this is how version 1 writes "none".
const NO_LIMIT: u64 = 1 << 60;

/// Finds the limit that leaves the least memory. `root` is `/` but in tests.
pub(super) fn limit(root: &Path) -> Option<Limit> {
    let own = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounted = root.join("sys/fs/cgroup");
    own.lines()
        .filter_map(|line| {
            // hierarchy:controllers:path
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.is_empty() {
                tightest(&mounted, path, &V2)
            } else if controllers.split(',').any(|c| c == "memory") {
                tightest(&mounted.join("memory"), path, &V1)
            } else {
                None
            }
        })
        .min_by_key(|l| l.limit.saturating_sub(l.used))
}

/// The names that a version gives to its files.
struct Files {
    version: u8,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: file pages, used lately or not. All are given up before anything
    /// fails, and reading a model through the page cache makes most of them "used lately".
    reclaimable: [&'static str; 2],
}

const V1: Files = Files {
    version: 1,
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

const V2: Files = Files {
    version: 2,
    limit: "memory.max",
    used: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

fn tightest(base: &Path, path: &str, files: &Files) -> Option<Limit> {
    let group = base.join(path.trim_start_matches('/'));
    // In a container the path is the host's while the mount shows only our own group: where
    // the path leads nowhere, its ancestors down to the mount are still read.
    let ways: Vec<PathBuf> = group
        .ancestors()
        .take_while(|dir| dir.starts_with(base))
        .map(Path::to_owned)
        .collect();
    ways.iter()
        .filter_map(|dir| read(dir, files))
        .min_by_key(|l| l.limit.saturating_sub(l.used))
}

fn read(dir: &Path, files: &Files) -> Option<Limit> {
    let number = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(dir.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let limit = number(files.limit).filter(|limit| *limit < NO_LIMIT)?;
    let used = number(files.used)?;
    let stat = std::fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(key, _)| files.reclaimable.contains(key))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum();
    Some(Limit {
        limit: Bytes(limit),
        used: Bytes(used).saturating_sub(Bytes(reclaimable)),
        version: files.version,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn version_2_with_the_limit_on_a_parent() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/app/worker\n"),
            ("sys/fs/cgroup/app/worker/memory.max", "max\n"),
            ("sys/fs/cgroup/app/worker/memory.current", "1000\n"),
            ("sys/fs/cgroup/app/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/app/memory.current", "5000\n"),
            (
                "sys/fs/cgroup/app/memory.stat",
                "anon 3000\ninactive_file 1500\nactive_file 500\n",
            ),
        ]);
        assert_eq!(
            limit(root.path()),
            Some(Limit {
                limit: Bytes(1 << 30),
                used: Bytes(3000),
                version: 2,
            })
        );
    }

    #[test]
    fn version_1_seen_from_inside_a_container() {
        let root = tree(&[
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "96000\n"),
        ]);
        assert_eq!(
            limit(root.path()),
            Some(Limit {
                limit: Bytes(4_096_000),
                used: Bytes(96_000),
                version: 1,
            })
        );
    }

    #[test]
    fn no_limit_is_none() {
        let root = tree(&[
            ("proc/self/cgroup", "4:memory:/\n0::/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "96000\n"),
        ]);
        assert_eq!(limit(root.path()), None);
        assert_eq!(limit(Path::new("/nowhere")), None);
    }
}
