//! What was measured, and what it means for the oracle.

use super::{Check, Prospects};
use crate::plan::{Forecast, Limit, cores_in_use};
use crate::system::measure::disk::{Candidate, Tuned};
use crate::system::measure::memory::Bandwidth;
use crate::system::measure::{Tuning, Tunings};
use crate::units::Bytes;
use std::path::Path;

/// A disk slower than this makes every pass long.
const SLOW_GB_S: f64 = 0.5;

pub fn bandwidth(found: &Bandwidth) -> Check {
    Check::ok(
        "memory speed",
        format!(
            "reads {:.1} GB/s, copies {:.1} GB/s ({} threads over {})",
            found.read_gb_s, found.copy_gb_s, found.threads, found.bytes
        ),
    )
}

/// How fast the oracle's file is read. `None`: there is no such file.
pub fn reading(tuned: Option<&std::io::Result<Option<Tuned>>>) -> Check {
    let name = "disk reads";
    let tuned = match tuned {
        None => {
            return Check::warn(
                name,
                "not measured: the oracle is not there",
                "run `nmos models pull` first",
            );
        }
        Some(Err(error)) => {
            return Check::fail(
                name,
                format!("the oracle's file cannot be read: {error}"),
                "make it readable, or look at the disk's health",
            );
        }
        Some(Ok(None)) => {
            return Check::fail(name, "the oracle's file is empty", "fetch it again");
        }
        Some(Ok(Some(tuned))) => tuned,
    };
    let found = tried(tuned);
    if !tuned.direct {
        Check::warn(
            name,
            found,
            "this file system refuses O_DIRECT: reads go through the page cache, which takes \
             memory; keep models on a local disk",
        )
    } else if tuned.tuning.gb_s < SLOW_GB_S {
        Check::warn(name, found, "a faster disk makes streamed answers faster")
    } else {
        Check::ok(name, found)
    }
}

/// The way that is chosen, plain reads, and a line for each size of what else was tried.
fn tried(tuned: &Tuned) -> String {
    let Tuning {
        depth, block_bytes, ..
    } = tuned.tuning;
    let around = if tuned.direct {
        "O_DIRECT"
    } else {
        "through the page cache"
    };
    let size = |bytes: usize| Bytes(bytes as u64);
    let reader = tuned.candidates.first().map_or("no reader", |c| c.reader);
    let mut text = format!(
        "{:.2} GB/s with {depth} of {} in flight ({reader}, {around})",
        tuned.tuning.gb_s,
        size(block_bytes),
    );
    let plain = &tuned.pread;
    text.push_str(&format!(
        "\n{:.2} GB/s with pread, one of {} at a time",
        plain.gb_s,
        size(plain.block_bytes)
    ));
    for sizes in tuned
        .candidates
        .chunk_by(|a, b| a.block_bytes == b.block_bytes)
    {
        let speed = |c: &Candidate| format!("{} -> {:.2}", c.depth, c.gb_s);
        let speeds: Vec<_> = sizes.iter().map(speed).collect();
        text.push_str(&format!(
            "\n{} in flight, of {}: GB/s",
            speeds.join(", "),
            size(sizes[0].block_bytes)
        ));
    }
    text
}

/// Keeps what was found for sessions. Says so only where it cannot be kept.
pub fn keep(oracle: &Path, tuned: &Tuned) -> Option<Check> {
    let kept = Tunings::of_user()?;
    let error = kept.put(oracle, tuned.tuning).err()?;
    Some(Check::warn(
        "disk sizes",
        format!("cannot be kept: {error}"),
        "sessions read with default sizes; make the place writable",
    ))
}

/// What would limit the oracle, and by how much.
pub fn limit(prospects: &anyhow::Result<Prospects>) -> Check {
    let name = "speed limit";
    match prospects {
        Err(error) => Check::warn(
            name,
            format!("not known: {error:#}"),
            "with a model and a budget that work it can be predicted",
        ),
        Ok(prospects) => Check::ok(
            name,
            format!(
                "{}\n{}",
                bytes(prospects),
                match &prospects.passes {
                    Some(passes) => limits(passes),
                    None if prospects.placement.device.is_some() => {
                        "how long the GPU computes is not known before it does".to_owned()
                    }
                    None => format!(
                        "how long computing takes is not known: llama.cpp's graph computes it, \
                         since {}",
                        prospects.left_to_llama.as_deref().unwrap_or_default()
                    ),
                }
            ),
        ),
    }
}

fn bytes(prospects: &Prospects) -> String {
    let ram = prospects.placement.ledger.limit();
    let form = &prospects.placement.form;
    match (form.plan(), form.experts()) {
        (None, _) => format!("with --ram {ram} all weights stay, and a pass reads nothing"),
        (Some(plan), None) => format!(
            "with --ram {ram} a pass reads {} of {} (predicted)",
            Bytes(plan.streamed_bytes as u64),
            Bytes((plan.streamed_bytes + plan.pinned_bytes) as u64),
        ),
        (Some(_), Some(experts)) => format!(
            "with --ram {ram} a token reads {} (predicted); {} of {} of experts fit",
            form.token_bytes(),
            experts.bytes,
            experts.all,
        ),
    }
}

/// The disk's part and the processor's, and where one overtakes the other.
fn limits(passes: &[Forecast]) -> String {
    let parts: Vec<_> = passes
        .iter()
        .map(|p| {
            format!(
                "{} {}: {:.2} s = {:.2} disk, {:.2} compute",
                p.nodes,
                if p.nodes == 1 { "node" } else { "nodes" },
                p.predicted_pass_s,
                p.predicted_disk_s,
                p.predicted_compute_s
            )
        })
        .collect();
    let by_disk = passes.iter().filter(|p| p.limit == Limit::Disk);
    let verdict = match by_disk.map(|p| p.nodes).max() {
        None => "computing limits every pass: faster cores would help, a faster disk would not"
            .to_owned(),
        Some(most) if passes.iter().all(|p| p.nodes <= most) => {
            "the disk limits every pass: a faster one or more --ram would help".to_owned()
        }
        Some(most) => {
            format!("the disk limits passes of up to {most} nodes, computing larger ones")
        }
    };
    let in_use = cores_in_use(passes).map_or_else(String::new, |words| format!("\n{words}"));
    format!("{}\n{verdict} (predicted){in_use}", parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use crate::ggml::ThreadsUsed;

    fn pass(nodes: usize, disk_s: f64, compute_s: f64) -> Forecast {
        Forecast {
            nodes,
            threads: ThreadsUsed::default(),
            width: nodes,
            predicted_compute_s: compute_s,
            predicted_disk_s: disk_s,
            predicted_pass_s: disk_s.max(compute_s),
            predicted_tokens_per_s: 1.0,
            limit: if disk_s > compute_s {
                Limit::Disk
            } else {
                Limit::Compute
            },
        }
    }

    fn tuned(gb_s: f64, direct: bool) -> Tuned {
        let way = |depth, gb_s| Candidate {
            reader: "io_uring",
            depth,
            block_bytes: 4 << 20,
            gb_s,
        };
        Tuned {
            tuning: Tuning {
                depth: 4,
                block_bytes: 4 << 20,
                gb_s,
                measured_unix_s: Some(1),
            },
            direct,
            pread: Candidate {
                reader: "pread",
                ..way(1, gb_s / 2.0)
            },
            candidates: vec![way(1, gb_s / 2.0), way(4, gb_s)],
        }
    }

    #[test]
    fn the_verdict_says_where_the_limit_changes() {
        let text = limits(&[pass(1, 0.3, 0.2), pass(8, 0.3, 0.2), pass(32, 0.3, 0.4)]);
        assert!(
            text.contains("up to 8 nodes, computing larger ones"),
            "{text}"
        );
        assert!(text.starts_with("1 node: 0.30 s = 0.30 disk, 0.20 compute\n8 nodes"));
        let text = limits(&[pass(1, 0.5, 0.2), pass(8, 0.5, 0.4)]);
        assert!(text.contains("the disk limits every pass"), "{text}");
        let text = limits(&[pass(1, 0.0, 0.2)]);
        assert!(text.contains("computing limits every pass"), "{text}");
    }

    #[test]
    fn both_ways_of_reading_are_named() {
        let check = reading(Some(&Ok(Some(tuned(2.0, true)))));
        assert_eq!(check.grade, Grade::Ok);
        assert_eq!(
            check.found,
            "2.00 GB/s with 4 of 4 MiB in flight (io_uring, O_DIRECT)\n\
             1.00 GB/s with pread, one of 4 MiB at a time\n\
             1 -> 1.00, 4 -> 2.00 in flight, of 4 MiB: GB/s"
        );
    }

    #[test]
    fn a_slow_disk_and_one_without_o_direct_are_worth_a_warning() {
        assert_eq!(
            reading(Some(&Ok(Some(tuned(0.1, true))))).grade,
            Grade::Warn
        );
        let cached = reading(Some(&Ok(Some(tuned(9.0, false)))));
        assert_eq!(cached.grade, Grade::Warn);
        assert!(cached.found.contains("through the page cache"));
        assert_eq!(reading(None).grade, Grade::Warn);
        assert_eq!(reading(Some(&Ok(None))).grade, Grade::Fail);
        let broken = Err(std::io::Error::other("broken"));
        assert_eq!(reading(Some(&broken)).grade, Grade::Fail);
    }
}
