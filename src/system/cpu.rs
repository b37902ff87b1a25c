//! The processor.

use std::collections::BTreeSet;

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
}
