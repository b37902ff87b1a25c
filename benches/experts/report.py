"""What a results file says, in Markdown: tables, aims, memory, texts. Pure: records in, lines out."""

import shlex

import groups
import tables
from answers import LLAMA, NMOS, WHOLE
from cage import DISTURBED
from figures import parting, unique
from memory import shown
from planning import MIB


def of(records):
    found = groups.of(records)
    if not found.records:
        return ["no figures yet"]
    made = tables.all_of(found)
    lines = _head(records, found)
    for table in made:
        lines += table.lines()
    aims = [line for table in made for line in table.aims]
    if aims:
        lines += ["", "## Aims", "", *aims]
    return lines + _memory(found) + _texts(found)


def _head(records, found):
    session = [record for record in records if record["kind"] == "session"][-1]
    machine, some = session["machine"], found.records
    times = sorted(record["time"] for record in some)
    disturbed = sum(record.get("others_cpu_share", 0) > DISTURBED for record in some)
    runs = found.pick("run")
    early = sum(run["tokens"] < run["key"]["tokens"] for run in runs)
    lines = [
        "# Experts", "",
        f"- {found.build or 'rivals alone'}; {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['memory_bytes'] / (1 << 30):.0f} GiB",
        f"- {len(some)} records, {times[0]} to {times[-1]}",
        "- values are medians, with the middle half of the values in brackets",
    ]  # fmt: skip
    if found.others:
        lines.append(f"- {found.others} records of other builds or settings are in the file and left out")
    if disturbed:
        lines.append(f"- {disturbed} runs had more than {DISTURBED:.0%} of the CPU taken by other processes")
    if early:
        lines.append(f"- {early} of {len(runs)} answers ended before their length")
    return lines


def _memory(found):
    """Of ours, the most that a process held, against what it was given."""
    runs = [r for r in found.records if "peak_rss_bytes" in r and not groups.is_rival(r)]
    if not runs:
        return []
    lines = [
        "", "## Memory", "",
        "| model | runs | highest peak of a process, of `--ram` | of its memory group, of `--ram` |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for model in unique(runs, lambda r: r["key"]["model"]):
        some = [r for r in runs if r["key"]["model"] == model]
        peaks = [max(r["peak_rss_bytes"] / r["ram_bytes"] for r in some)]
        peaks += [max((r["peak_group_bytes"] or 0) / r["ram_bytes"] for r in some)]
        lines.append(f"| {model} | {len(some)} | {peaks[0]:.1%} | {peaks[1]:.1%} |")
    over = [r for r in runs if r["peak_rss_bytes"] > r["ram_bytes"]]
    lines += ["", f"{len(over)} of {len(runs)} processes held more than `--ram`"]
    for r in over:
        lines.append(f"- {r['peak_rss_bytes'] / MIB:.1f} of {r['ram_bytes'] / MIB:.1f} MiB:")
        lines.append(f"  `{shlex.join(r['argv'])}`")
    return lines


def text_groups(found):
    """Runs of ours whose texts must agree: one model and prompt, whatever the memory."""
    together = {}
    for run in found.pick("run"):
        if run["key"]["variant"] in (NMOS, WHOLE):
            together.setdefault((run["key"]["model"], run["key"]["prompt"]), []).append(run)
    return {group: some for group, some in together.items() if len(some) > 1}


def _texts(found):
    together = text_groups(found)
    parted = {group: some for group, some in together.items() if len(unique(some, _text)) > 1}
    lines = ["", "## Texts", "", f"{sum(map(len, together.values()))} texts in {len(together)} groups of one model and"
             f" prompt, whatever the memory; {len(parted)} groups differ"]  # fmt: skip
    for (model, prompt), some in parted.items():
        lines.append(f"- {model}, {prompt}:")
        for text in unique(some, _text):
            those = [run for run in some if run["text"] == text]
            names = unique(those, lambda run: f"{run['key']['variant']} {shown(run['key']['share'])}")
            at = parting(some[0]["text"], text)
            lines.append(f"  - {len(those)} of {', '.join(names)}: `...{text[max(0, at - 20):at + 20]!r}`")
            lines.append(f"    `{shlex.join(those[0]['argv'])}`")
    theirs = found.pick("run", variant=LLAMA)
    if theirs:
        lines += ["", "llama.cpp computes in passes of other widths, so that its texts may part from these."]
    return lines


def _text(run):
    return run["text"]
