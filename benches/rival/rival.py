#!/usr/bin/env python3
"""Compares `nmos run` with llama.cpp in a memory cgroup; see README.md next to it."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import cage
import engines
import programs

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nmos"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
MIB = 1 << 20
ENGINES = ("nmos", "nmos-draft", "llama", "spec")


def arguments():
    models = CACHE / "models"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", default=",".join(ENGINES),
                        help="engines to run: nmos decides whether the draft model pays, nmos-draft has it")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each engine on each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="answer length")
    parser.add_argument("--short", type=int, default=16,
                        help="answer length of the extra run that tells loading from passes; 0 leaves it out")
    parser.add_argument("--prompts", default="all", help="names of prompts to run, separated by commas")
    parser.add_argument("--ram", default="960MiB", help="nmos's --ram")
    parser.add_argument("--cgroup-limit", type=size, default="1GiB", help="memory limit of every run")
    parser.add_argument("--chain", type=int, default=8, help="draft tokens a pass of llama.cpp with a draft")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ctx", type=int, default=2048, help="context of all engines")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a run may take")
    parser.add_argument("--nmos", type=Path, default=TARGET / "release/nmos", help="our binary")
    parser.add_argument("--rivals", type=Path, default=argparse.SUPPRESS,
                        help="directory of llama.cpp's tools; without it, build.sh makes them once")
    parser.add_argument("--oracle", type=Path, default=models / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    parser.add_argument("--draft", type=Path, default=models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    parser.add_argument("--json", type=Path, help="write every run and the summary here")
    return parser.parse_args()  # fmt: skip


def size(text):
    """Bytes of 960MiB, 1GiB, 1G or a plain number."""
    units = {"K": 1 << 10, "M": MIB, "G": 1 << 30}
    number = text.removesuffix("iB").removesuffix("B")
    factor = units.get(number[-1:].upper())
    try:
        return int(float(number[:-1]) * factor) if factor else int(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1GiB") from error


def chosen_prompts(names):
    book = json.loads((HERE / "prompts.json").read_text())
    prompts = book["prompts"]
    if names != "all":
        wanted = names.split(",")
        unknown = set(wanted) - {prompt["name"] for prompt in prompts}
        if unknown:
            raise cage.CageError(f"no prompt named {', '.join(sorted(unknown))} in prompts.json")
        prompts = [prompt for prompt in prompts if prompt["name"] in wanted]
    return book["system"], prompts


def chosen_engines(args, setting):
    wanted = args.only.split(",")
    unknown = set(wanted) - set(ENGINES)
    if unknown:
        raise cage.CageError(f"--only: no engine named {', '.join(sorted(unknown))}")
    if not hasattr(args, "rivals") and not {"llama", "spec"}.isdisjoint(wanted):
        args.rivals = programs.build_rivals()
    every = [
        ("nmos", lambda: engines.Nmos(replace(setting, draft=engines.UNSAID), args.nmos.absolute())),
        ("nmos-draft", lambda: engines.Nmos(setting, args.nmos.absolute())),
        ("llama", lambda: engines.Llama(setting, args.rivals.absolute())),
        ("spec", lambda: engines.Speculative(setting, args.rivals.absolute())),
    ]
    chosen = [make() for name, make in every if name in wanted]
    for path in {path for engine in chosen for path in [engine.binary, *engine.models()]}:
        if not path.is_file():
            raise cage.CageError(f"{path} is not there")
    return chosen


def measure(engine, prompt, tokens, args, everything):
    """One run: cold files, a fresh cgroup; returns its row."""
    left = cage.evict(everything)
    with cage.Cgroup(args.cgroup_limit) as cgroup:
        outcome = cage.run(engine.argv(prompt["text"], tokens), cgroup, args.timeout)
    answer = engine.parse(outcome.stdout, outcome.stderr)
    row = {
        "engine": engine.name,
        "prompt": prompt["name"],
        "class": prompt["class"],
        "asked_tokens": tokens,
        "tokens": answer.tokens,
        "tokens_per_s": answer.tokens_per_s,
        "passes": answer.passes,
        "tokens_a_pass": answer.tokens_a_pass,
        "read_bytes": outcome.read_bytes,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "peak_group_bytes": outcome.peak_group_bytes,
        "wall_s": outcome.wall_s,
        "cached_before_bytes": left,
        "cpu_s": outcome.cpu_s,
        "others_cpu_share": outcome.others_cpu_share,
        "stats": {key: value for key, value in answer.stats.items() if key != "text"},
        "text": answer.text,
    }
    note(
        f"  {engine.label:18} {prompt['name']:11} {answer.tokens:4} tokens {answer.tokens_per_s:6.2f}/s"
        f"  {answer.passes:4} passes  read {outcome.read_bytes / 1e9:6.1f} GB  {outcome.wall_s:5.0f} s"
        f"  (others {outcome.others_cpu_share:.0%} of the CPU)"
    )
    if answer.tokens < tokens:
        note(f"  ! the answer ended early, after {answer.tokens} of {tokens} tokens: choose another prompt")
    if left > 0.01 * sum(path.stat().st_size for path in engine.models()):
        note(f"  ! {left / MIB:.0f} MiB of the models stayed in the page cache: another process maps them")
    return row


def play(contestants, prompts, args, rows, short_rows, disk):
    """Alternates the engines over prompts and rounds; fills the three lists as it goes."""
    everything = sorted({path for engine in contestants for path in engine.models()})
    for number in range(1, args.rounds + 1):
        cage.evict(everything)
        disk.append({depth: cage.disk_bytes_per_s(args.oracle, depth) for depth in (1, 4)})
        note(
            f"round {number} of {args.rounds}: raw disk {disk[-1][1] / 1e9:.2f} GB/s with one read in flight,"
            f" {disk[-1][4] / 1e9:.2f} with four"
        )
        if args.short:
            for engine in contestants:
                short_rows.append(measure(engine, prompts[0], args.short, args, everything))
        for prompt in prompts:
            for engine in contestants:
                row = measure(engine, prompt, args.tokens, args, everything)
                rows.append(row | {"round": number})


def add_reads_a_pass(rows, short_rows, first_prompt):
    """Splits each run's reads into loading and passes.

    A run reads `fixed + passes * slope`. The short and the long runs on the first
    prompt give both: loading and the prompt are in `fixed`.
    """
    for name in {row["engine"] for row in short_rows} & {row["engine"] for row in rows}:
        long_runs = [row for row in rows if row["engine"] == name and row["prompt"] == first_prompt]
        short_runs = [row for row in short_rows if row["engine"] == name]
        reads, passes = (
            [statistics.median(row[key] for row in group) for group in (long_runs, short_runs)]
            for key in ("read_bytes", "passes")
        )
        if passes[0] <= passes[1]:
            continue
        slope = (reads[0] - reads[1]) / (passes[0] - passes[1])
        fixed = reads[1] - slope * passes[1]
        for row in rows:
            if row["engine"] == name:
                row["read_bytes_fixed"] = fixed
                row["read_bytes_a_pass"] = (row["read_bytes"] - fixed) / row["passes"]


def summarise(rows, names):
    """Medians of each prompt and class, and our ratio to each rival."""
    summary = []
    for kind in ("prompt", "class"):
        for group in dict.fromkeys(row[kind] for row in rows):
            entry = {"kind": kind, "name": group, "engines": {}}
            for name in names:
                runs = [row for row in rows if row[kind] == group and row["engine"] == name]
                if not runs:
                    continue
                entry["engines"][name] = {
                    key: median_of(runs, key)
                    for key in (
                        "tokens_per_s", "tokens_a_pass", "read_bytes", "read_bytes_a_pass",
                        "peak_rss_bytes", "peak_group_bytes", "wall_s",
                    )
                }  # fmt: skip
            ours = entry["engines"].get("nmos")
            if ours:
                entry["ratio"] = {
                    name: ours["tokens_per_s"] / entry["engines"][name]["tokens_per_s"]
                    for name in entry["engines"]
                    if name != "nmos"
                }
            summary.append(entry)
    return summary


def median_of(runs, key):
    values = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(values) if values else None


def print_table(summary, contestants):
    labels = {engine.name: engine.label for engine in contestants}
    print(f"\n{'':14} {'engine':18} {'tokens/s':>8} {'nmos is':>8} {'tok/pass':>8}"
          f" {'MB/pass':>8} {'GB read':>8} {'peak rss':>9} {'peak group':>10}")  # fmt: skip
    for entry in summary:
        title = entry["name"] if entry["kind"] == "prompt" else entry["name"].upper()
        for name, figures in entry["engines"].items():
            ratio = entry.get("ratio", {}).get(name)
            print(
                f"{title:14} {labels[name]:18} {figures['tokens_per_s']:8.2f} {cell(ratio, '.2f', 'x'):>8}"
                f" {figures['tokens_a_pass']:8.2f} {cell(figures['read_bytes_a_pass'], '.0f', scale=1e6):>8}"
                f" {figures['read_bytes'] / 1e9:8.1f} {figures['peak_rss_bytes'] / MIB:5.0f} MiB"
                f" {cell(figures['peak_group_bytes'], '.0f', ' MiB', MIB):>10}"
            )
            title = ""


def cell(value, form, unit="", scale=1):
    return "-" if value is None else f"{value / scale:{form}}{unit}"


def machine():
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
    }


def note(text):
    """Progress, on stderr so that stdout holds the table alone."""
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    # A plain kill ends like Ctrl-C: no child and no cgroup may stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows, short_rows, disk, status = [], [], [], 0
    try:
        system, prompts = chosen_prompts(args.prompts)
        setting = engines.Setting(
            oracle=args.oracle, draft=args.draft, ram=args.ram,
            threads=args.threads, ctx=args.ctx, chain=args.chain, system=system,
        )  # fmt: skip
        contestants = chosen_engines(args, setting)
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        play(contestants, prompts, args, rows, short_rows, disk)
    except (cage.CageError, engines.OutputError) as error:
        note(f"rival.py: {error}")
        status = 1
    except KeyboardInterrupt:
        note("rival.py: stopped")
        status = 130
    # What was measured before a failure is kept.
    if not rows:
        return status
    add_reads_a_pass(rows, short_rows, prompts[0]["name"])
    summary = summarise(rows, [engine.name for engine in contestants])
    print_table(summary, contestants)
    raw = {f"queue_depth_{depth}": statistics.median(round_[depth] for round_ in disk) for depth in (1, 4)}
    print("\nraw disk, O_DIRECT 4 MiB: " + ", ".join(f"{name} {speed / 1e9:.2f} GB/s" for name, speed in raw.items()))
    if args.json:
        report = {
            "started": started,
            "complete": status == 0,
            "machine": machine(),
            "arguments": {key: str(value) for key, value in vars(args).items()},
            "commands": {engine.name: engine.argv("PROMPT", args.tokens) for engine in contestants},
            "disk_bytes_per_s": raw,
            "summary": summary,
            "runs": rows,
            "short_runs": short_rows,
        }
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
