//! The plan in lines for people.

use super::{Computes, NodesFrom, Report};
use crate::oracle::WidthClass;
use crate::plan::{Limit, cores_in_use};
use crate::tui::clean_line;
use crate::units::Bytes;
use std::io::{self, Write};

/// Prints all of `report`.
pub(super) fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    model(report, out)?;
    memory(report, out)?;
    disk(report, out)?;
    passes(report, out)?;
    checked(report, out)
}

fn model(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let m = &report.model;
    let types: Vec<_> = m.types.iter().map(|(t, n)| format!("{t} {n}")).collect();
    writeln!(
        out,
        "{}: {}, {} layers, {}",
        clean_line(&m.name),
        clean_line(&m.arch),
        m.layers,
        m.bytes
    )?;
    writeln!(out, "  {}", m.path)?;
    let types = types.join(", ");
    writeln!(out, "  {:.2} bits a weight: {types}", m.bits_per_weight)?;
    writeln!(out, "chat template: {}", report.chat_template)?;
    match &report.draft {
        Some(path) => {
            let on_gpu = report.draft_on == Some(Computes::Gpu);
            let place = if on_gpu { " (on the GPU)" } else { "" };
            writeln!(out, "draft: {path}{place}")?;
        }
        None => writeln!(out, "draft: none")?,
    }
    match &report.draft_left_out {
        Some(why) => writeln!(out, "  {why}"),
        None => Ok(()),
    }
}

fn memory(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let source = if report.ram_is_default {
        "what is available less a margin"
    } else {
        "as set"
    };
    writeln!(out, "\nmemory: {} ({source})", report.ram_bytes)?;
    for o in &report.budget {
        // One unit for all, so that the lines can be added up.
        let mib = o.bytes.0 as f64 / Bytes::MIB as f64;
        writeln!(out, "  {:<18} {mib:>9.1} MiB  {}", o.owner, o.figure.name())?;
    }
    if let Some(gpu) = &report.gpu {
        let source = if gpu.vram_is_default {
            "what is free less a margin"
        } else {
            "as set"
        };
        writeln!(out, "\n{}: {} ({source})", gpu.name, gpu.vram_bytes)?;
        for o in &gpu.budget {
            let mib = o.bytes.0 as f64 / Bytes::MIB as f64;
            writeln!(out, "  {:<18} {mib:>9.1} MiB  {}", o.owner, o.figure.name())?;
        }
        writeln!(
            out,
            "  of {} shards {} stay there, {} pass through {} slots: {} a pass (predicted)",
            gpu.shards_stay + gpu.shards_pass,
            gpu.shards_stay,
            gpu.shards_pass,
            gpu.window_slots,
            gpu.predicted_bytes_a_pass
        )?;
    }
    writeln!(
        out,
        "\nform: {}; of {} shards {} stay, {} stream",
        report.form,
        report.shards_stay + report.shards_stream,
        report.shards_stay,
        report.shards_stream
    )?;
    if let Some(why) = &report.llama_cpp_since {
        writeln!(out, "  by llama.cpp's graph, since {why}")?;
    }
    experts(report, out)?;
    writeln!(
        out,
        "a pass has at most {} ({})",
        match report.max_nodes {
            1 => "one node: nothing is guessed".to_owned(),
            nodes => format!("{nodes} nodes"),
        },
        match report.max_nodes_from {
            NodesFrom::Setting => "as set",
            NodesFrom::Auto => "auto: as many as pay, up to this",
            NodesFrom::NoDraft => "auto: few, since only repetitions are guessed",
            NodesFrom::ShortMemory => "auto: few, since memory is short",
        }
    )
}

fn experts(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Some(e) = &report.experts else {
        return Ok(());
    };
    writeln!(
        out,
        "experts: {} in each of {} layers, {} used by a token",
        e.experts_a_layer, e.layers, e.experts_a_token
    )?;
    if e.fit_bytes >= e.bytes {
        return writeln!(out, "  all {} of them fit: each is read once", e.bytes);
    }
    writeln!(
        out,
        "  {} of {} fit: {:.0}% of what a token uses is here, {} are read (predicted {})",
        e.fit_bytes,
        e.bytes,
        100.0 * e.predicted_hit_rate,
        e.predicted_bytes_a_token,
        e.predicted_from.name()
    )?;
    if e.widest_pass < WidthClass::BATCH.max {
        writeln!(
            out,
            "  prompts are computed in pieces of {}, since no more of what a layer's tokens choose \
             fits: more memory makes them wider",
            match e.widest_pass {
                1 => "one token".to_owned(),
                tokens => format!("at most {tokens} tokens"),
            }
        )?;
    } else if e.widest_pass > WidthClass::BATCH.max {
        writeln!(
            out,
            "  prompts are read in passes of up to {} tokens, each of which has nearly all experts read",
            e.widest_pass
        )?;
    }
    Ok(())
}

fn disk(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let d = &report.measured_disk;
    writeln!(
        out,
        "disk: {:.2} GB/s, measured just now: {} in {:.2} s, {}, {}",
        d.gb_s,
        d.bytes,
        d.seconds,
        d.reader,
        if d.direct {
            "O_DIRECT"
        } else {
            "through the page cache, so the disk may be slower"
        }
    )?;
    if let Some(gb_s) = d.computing_gb_s {
        writeln!(
            out,
            "  {gb_s:.2} GB/s while kernels run, by which passes are predicted"
        )?;
    }
    writeln!(
        out,
        "  {} reads of {} in flight, {}",
        d.depth,
        Bytes(d.block_bytes as u64),
        if d.tuned {
            "which `nmos doctor` measured to be enough"
        } else {
            "by default: `nmos doctor` measures what is enough"
        }
    )
}

fn passes(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\na {} reads {} (predicted)",
        // Each token of a pass chooses experts of its own.
        if report.experts.is_some() {
            "token"
        } else {
            "pass"
        },
        match report.predicted_bytes_a_pass {
            Bytes(0) => "nothing, since all weights stay".to_owned(),
            bytes => bytes.to_string(),
        }
    )?;
    let Some(passes) = &report.passes else {
        return unknown(report, out);
    };
    writeln!(out, "predicted, from kernels and disk as just measured:")?;
    writeln!(
        out,
        "  nodes   compute s   disk s   pass s   tokens/s   limit"
    )?;
    for pass in passes {
        writeln!(
            out,
            "  {:>5}   {:>9.3}   {:>6.3}   {:>6.3}   {:>8.2}   {}",
            pass.nodes,
            pass.predicted_compute_s,
            pass.predicted_disk_s,
            pass.predicted_pass_s,
            pass.predicted_tokens_per_s,
            pass.limit.name(),
        )?;
    }
    if let Some(in_use) = cores_in_use(passes) {
        writeln!(out, "{in_use}")?;
    }
    writeln!(
        out,
        "tokens/s are at one token a pass; accepted guesses make a pass yield more"
    )?;
    if let Some(padded) = passes.first().filter(|p| p.width > p.nodes) {
        writeln!(
            out,
            "a pass of fewer than {0} nodes is padded to {0}, so that all have the same kernels",
            padded.width
        )?;
    }
    if passes.iter().all(|p| p.limit == Limit::Disk) {
        writeln!(
            out,
            "the disk limits every pass: a faster one, or more memory, would help"
        )?;
    }
    Ok(())
}

/// Where the kernels are llama.cpp's choice, only what the disk allows is known.
fn unknown(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if let (Some(seconds), Some(_)) = (report.predicted_disk_s_a_pass, &report.experts) {
        return writeln!(
            out,
            "that takes at least {seconds:.3} s (predicted), and computing is added to it: experts are \
             read when they are chosen\ncompute: not known before the model runs, since llama.cpp's \
             graph computes it"
        );
    }
    if let Some(seconds) = report.predicted_disk_s_a_pass {
        writeln!(
            out,
            "at least {seconds:.3} s for that, {:.2} tokens/s at one token a pass (predicted)",
            seconds.recip()
        )?;
    }
    if report.gpu.is_some() {
        return writeln!(
            out,
            "compute: not known for the GPU before the model runs; a pass takes the longest of \
             disk, link and compute"
        );
    }
    writeln!(
        out,
        "compute: not known before the model runs, since llama.cpp's graph computes it; a pass \
         takes the longer of the two"
    )
}

fn checked(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Some(checked) = &report.checked else {
        return Ok(());
    };
    writeln!(out, "\nchecked with real passes")?;
    writeln!(
        out,
        "  nodes   predicted s   measured s   predicted/measured"
    )?;
    for check in checked {
        writeln!(
            out,
            "  {:>5}   {:>11.3}   {:>10.3}   {:>18.2}",
            check.nodes, check.predicted_pass_s, check.measured_pass_s, check.ratio
        )?;
    }
    Ok(())
}
