//! What the kernel and its drivers offer beyond processor and memory.

use super::kilobytes;
use crate::units::Bytes;
use std::fs;
use std::path::Path;

/// How large pages can be had.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HugePages {
    /// Of transparent ones: `always`, `madvise` (who asks gets them, and we do) or `never`;
    /// `None` where the kernel has none.
    pub transparent: Option<String>,
    /// Set aside by the administrator, in use or not. Nothing here takes them.
    pub reserved: Bytes,
}

impl HugePages {
    /// Whether large buffers get transparent ones.
    pub fn granted(&self) -> bool {
        matches!(self.transparent.as_deref(), Some("always" | "madvise"))
    }
}

/// Reads how large pages can be had.
pub fn huge_pages() -> HugePages {
    huge_pages_under(Path::new("/"))
}

fn huge_pages_under(root: &Path) -> HugePages {
    let modes = fs::read_to_string(root.join("sys/kernel/mm/transparent_hugepage/enabled"));
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    HugePages {
        // As in `always [madvise] never`: the one in brackets is in force.
        transparent: modes.ok().and_then(|modes| {
            let (_, rest) = modes.split_once('[')?;
            Some(rest.split_once(']')?.0.to_owned())
        }),
        reserved: kilobytes(&meminfo, "Hugetlb").unwrap_or_default(),
    }
}

/// The names of the graphics processors that NVIDIA's driver drives; none without the driver.
pub fn gpus() -> Vec<String> {
    gpus_under(Path::new("/"))
}

fn gpus_under(root: &Path) -> Vec<String> {
    let Ok(devices) = fs::read_dir(root.join("proc/driver/nvidia/gpus")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = devices
        .flatten()
        .map(|device| {
            let text = fs::read_to_string(device.path().join("information")).unwrap_or_default();
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
            model.unwrap_or("of unknown model").trim().to_owned()
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn the_mode_in_brackets_is_in_force() {
        let root = tree(&[
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
            ("proc/meminfo", "MemTotal: 9 kB\nHugetlb:  4096 kB\n"),
        ]);
        let pages = huge_pages_under(root.path());
        assert_eq!(pages.transparent.as_deref(), Some("madvise"));
        assert_eq!(pages.reserved, Bytes::mib(4));
        assert!(pages.granted());
        let none = huge_pages_under(Path::new("/nowhere"));
        assert_eq!((none.transparent.clone(), none.reserved), (None, Bytes(0)));
        assert!(!none.granted());
    }

    #[test]
    fn graphics_processors_are_named_by_their_driver() {
        let root = tree(&[
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA H100\nIRQ: 1\n",
            ),
            ("proc/driver/nvidia/gpus/0000:02:00.0/information", ""),
        ]);
        assert_eq!(gpus_under(root.path()), ["NVIDIA H100", "of unknown model"]);
        assert!(gpus_under(Path::new("/nowhere")).is_empty());
    }
}
