//! What the machine and its kernel offer.

use super::Check;
use crate::cli::version;
use crate::ggml::{self, Device};
use crate::system::{self, CpuFacts, HugePages, MemoryFacts};
use crate::units::Bytes;

pub fn processor(cpu: &CpuFacts, threads: usize) -> Check {
    let model = cpu.model.as_deref().unwrap_or("unknown model");
    let found = format!(
        "{model}, {} cores; {}",
        cpu.cores,
        if cpu.features.is_empty() {
            "no vector instructions known".to_owned()
        } else {
            cpu.features.join(" ")
        }
    );
    if threads > cpu.cores {
        let advice = format!(
            "--threads {threads} is more than the cores: they would wait for each other; use {}",
            cpu.cores
        );
        return Check::warn("processor", found, advice);
    }
    if cpu.features.is_empty() || (cfg!(target_arch = "x86_64") && !cpu.features.contains(&"avx2"))
    {
        return Check::warn(
            "processor",
            found,
            "without AVX2 or the like answers take several times as long",
        );
    }
    Check::ok("processor", found)
}

pub fn backends() -> Check {
    let found = version::backends();
    let names = found.iter().cloned().collect::<Vec<_>>().join(", ");
    match crate::ggml::init() {
        Ok(_) => Check::ok(
            "backends",
            match cpu_variant() {
                Some(variant) => format!("{names}; {variant} is the one for this processor"),
                None => names,
            },
        ),
        Err(error) => Check::fail(
            "backends",
            error.to_string(),
            "`make build` puts them where they are looked for",
        ),
    }
}

/// The library of the CPU backend that llama.cpp chose, by what is mapped into this process.
fn cpu_variant() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.rsplit('/').next())
        .find(|file| file.starts_with("libggml-cpu"))
        .map(str::to_owned)
}

pub fn memory(facts: &MemoryFacts, asked: Option<Bytes>) -> Check {
    let (Some(total), Some(available)) = (facts.total, facts.available) else {
        return Check::warn(
            "memory",
            "the kernel does not say how much there is",
            "give --ram SIZE",
        );
    };
    let group = match (facts.cgroup_limit, facts.cgroup_used) {
        (Some(limit), Some(used)) => {
            let binds = if facts.cgroup_binds() {
                "binds"
            } else {
                "does not bind"
            };
            let version = facts.cgroup_version.unwrap_or_default();
            format!("control group (version {version}) limit {limit}, {used} used ({binds})")
        }
        _ => "no control group limit".to_owned(),
    };
    let found = format!("{total}, {available} available; {group}");
    match system::budget(asked, facts, Bytes(0)) {
        Ok(budget) if asked.is_some() => Check::ok("memory", format!("{found}\n--ram {budget}")),
        Ok(budget) => Check::ok("memory", format!("{found}\n--ram would be {budget}")),
        Err(error) => Check::fail("memory", found, error.to_string()),
    }
}

pub fn locked_memory() -> Check {
    match system::locked_memory_limit() {
        None => Check::ok("locked memory", "no limit"),
        Some(limit) if limit >= Bytes::mib(64) => Check::ok("locked memory", limit.to_string()),
        Some(limit) => Check::warn(
            "locked memory",
            format!("at most {limit}"),
            "read buffers cannot all be registered with the kernel, which is hardly slower; \
             `ulimit -l unlimited` lifts the limit",
        ),
    }
}

pub fn io_uring() -> Check {
    match io_uring::IoUring::new(8) {
        Ok(_) => Check::ok("io_uring", "allowed"),
        Err(error) => Check::warn(
            "io_uring",
            format!("refused: {error}"),
            "plain reads are used instead; a container's seccomp profile or \
             kernel.io_uring_disabled may forbid it",
        ),
    }
}

pub fn huge_pages(found: &HugePages) -> Check {
    let mode = found.transparent.as_deref();
    let text = format!(
        "transparent: {}; {} set aside",
        mode.unwrap_or("not in this kernel"),
        found.reserved
    );
    if found.granted() {
        Check::ok("huge pages", text)
    } else {
        Check::warn(
            "huge pages",
            text,
            "weights lie in small pages, which computes a little slower; \
             'madvise' in /sys/kernel/mm/transparent_hugepage/enabled grants large ones",
        )
    }
}

/// The graphics processors that drivers name, and what ggml computes on of them.
pub fn gpus(names: &[String]) -> Check {
    const PIECE: usize = 64 << 20;
    let found = match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let device = ggml::init().ok().and_then(|_| Device::gpu());
    let Some(device) = device else {
        return match (ggml::no_gpu(), names) {
            (Some(why), _) => Check::warn("gpu", found, why),
            (None, []) => Check::ok("gpu", found),
            (None, _) => Check::warn(
                "gpu",
                format!("{found}; the processor computes"),
                "put ggml's library for it (libggml-cuda.so) beside the other backends, or name \
                 it in NMOS_GGML_CUDA",
            ),
        };
    };
    let (free, total) = device.memory();
    let device_found = format!(
        "{} ({}), {free} of {total} free",
        device.description(),
        device.name()
    );
    match ggml::link_gb_s(device, PIECE) {
        Ok(gb_s) => Check::ok(
            "gpu",
            format!("{device_found}; {gb_s:.1} GB/s from memory, measured just now"),
        ),
        Err(error) => Check::warn("gpu", device_found, error.to_string()),
    }
}
