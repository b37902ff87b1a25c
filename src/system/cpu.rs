//! The processor.

use crate::units::Bytes;
use std::collections::BTreeSet;
use std::path::Path;

/// The instruction sets that ggml has kernels for, as `/proc/cpuinfo` spells them.
const FEATURES: [&str; 18] = [
    "sse4_2",
    "avx",
    "avx2",
    "f16c",
    "fma",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vbmi",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    // arm64
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "sve",
];

/// What the processor is and can do.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CpuFacts {
    pub model: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Those that ggml has kernels for.
    pub features: Vec<&'static str>,
}

/// Cores that this process may use: affinity and control group counted.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The number of threads that was `asked` for, or of cores if that is less: more threads would wait
/// for each other at every step.
pub fn usable_threads(asked: usize) -> usize {
    asked.min(cores()).max(1)
}

/// Says that fewer threads are used than were `asked` for, if so.
pub fn threads_notice(asked: usize) -> Option<String> {
    let usable = usable_threads(asked);
    let cores = match usable {
        1 => "the only core".to_owned(),
        n => format!("the {n} cores"),
    };
    (usable < asked).then(|| {
        format!("{asked} threads are taken down to {usable}, for {cores} that this process may use")
    })
}

/// Reads what the kernel says of the processor.
pub fn cpu_facts() -> CpuFacts {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let (model, features) = parse(&text);
    CpuFacts {
        model,
        cores: cores(),
        features,
    }
}

/// The largest cache that a core reaches, shared with others or not.
pub fn cpu_cache() -> Option<Bytes> {
    cache_under(Path::new("/"))
}

fn cache_under(root: &Path) -> Option<Bytes> {
    let caches = std::fs::read_dir(root.join("sys/devices/system/cpu/cpu0/cache")).ok()?;
    caches
        .flatten()
        // As in `32768K`, which is binary.
        .filter_map(|cache| std::fs::read_to_string(cache.path().join("size")).ok())
        .filter_map(|size| size.parse().ok())
        .max()
}

fn parse(cpuinfo: &str) -> (Option<String>, Vec<&'static str>) {
    let field = |name: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let flags: BTreeSet<&str> = field("flags")
        .or_else(|| field("Features"))
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    (
        field("model name").map(str::to_owned),
        FEATURES.into_iter().filter(|f| flags.contains(f)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_cpuinfo_are_read() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 fma avx\n";
        assert_eq!(
            parse(x86),
            (Some("Some CPU @ 2GHz".into()), vec!["avx", "avx2", "fma"])
        );
        let arm = "processor\t: 0\nFeatures\t: fp asimd asimddp\n";
        assert_eq!(parse(arm), (None, vec!["asimd", "asimddp"]));
        assert_eq!(parse(""), (None, vec![]));
    }

    #[test]
    fn there_are_no_more_threads_than_cores() {
        let cores = cores();
        assert_eq!(usable_threads(cores), cores);
        assert_eq!(usable_threads(1), 1);
        assert_eq!(usable_threads(1024), cores);
        assert_eq!(threads_notice(cores), None);
        let notice = threads_notice(cores + 1).unwrap();
        let begins = format!("{} threads are taken down to {cores}, for the", cores + 1);
        assert!(notice.starts_with(&begins), "{notice}");
    }

    #[test]
    fn the_largest_cache_counts() {
        let root = tempfile::tempdir().unwrap();
        let caches = root.path().join("sys/devices/system/cpu/cpu0/cache");
        for (index, size) in [("index0", "48K\n"), ("index3", "32768K\n"), ("uevent", "")] {
            std::fs::create_dir_all(caches.join(index)).unwrap();
            std::fs::write(caches.join(index).join("size"), size).unwrap();
        }
        assert_eq!(cache_under(root.path()), Some(Bytes::mib(32)));
        assert_eq!(cache_under(Path::new("/nowhere")), None);
    }
}
