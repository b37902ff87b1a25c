"""Tables and verdicts from the records of a results file. Pure: records in, lines out."""

import shlex
from statistics import median

import grid
import open60
from cage import DISTURBED
from figures import judge, parting, show, spread, unique

MIB = 1 << 20
# `auto` may be so much slower than the best fixed budget.
WITHIN = 0.95


def of(records):
    """All tables of the runs that are like the newest one in build, models and settings."""
    every = [record for record in records if record["kind"] == "run"]
    if not every:
        return ["no runs yet"]
    builds = [run["key"]["build"] for run in every if is_ours(run)]
    runs = [
        run for run in every
        if _common(run) == _common(every[-1]) and (not is_ours(run) or run["key"]["build"] == builds[-1])
    ]  # fmt: skip
    lines = _head(records, runs, len(every) - len(runs), builds)
    gridded = [run for run in runs if run["key"]["suite"] == "grid"]
    if gridded:
        lines += _tokens_a_pass(gridded) + _settings(gridded)
    sixty = [run for run in runs if run["key"]["suite"] == open60.SUITE]
    if sixty:
        lines += _open60(sixty)
    return lines + _texts(runs)


def _common(run):
    return [run["key"][name] for name in ("tokens", "ctx", "threads", "oracle", "draft")]


def is_ours(run):
    return "width_class" in run["stats"]


def _head(records, runs, others, builds):
    session = [record for record in records if record["kind"] == "session"][-1]
    machine = session["machine"]
    times = sorted(run["time"] for run in runs)
    disturbed = sum(run["others_cpu_share"] > DISTURBED for run in runs)
    short = sum(run["tokens"] < run["key"]["tokens"] for run in runs)
    lines = [
        f"{builds[-1] if builds else 'rivals alone'}; {machine['cpu']}, {machine['cores']} cores",
        f"{len(runs)} runs of {runs[0]['key']['tokens']} tokens, {times[0]} to {times[-1]}",
    ]
    if others:
        lines.append(f"{others} runs of other builds or settings are in the file and left out")
    if disturbed:
        lines.append(f"{disturbed} runs had more than {DISTURBED:.0%} of the CPU taken by other processes")
    if short:
        lines.append(f"{short} answers ended before their length")
    lines.append("intervals: the middle half of the values; of five, the second to the fourth")
    return lines


# Groups and figures.


def _by_variant(runs):
    order = [variant.name for variant in grid.VARIANTS]
    names = sorted(unique(runs, lambda run: run["key"]["variant"]), key=order.index)
    return {name: [run for run in runs if run["key"]["variant"] == name] for name in names}


def _groups(runs):
    """Settings and kinds of prompt: (title, runs) each, those of most memory last."""
    def of_run(run):
        key = run["key"]
        return key["resident"], key["temperature"], run["class"]

    def place(group):
        resident, temperature, kind = group
        return (101 if resident == grid.PINNED else int(resident)), temperature, kind

    for group in sorted(unique(runs, of_run), key=place):
        resident, temperature, kind = group
        where = "all pinned" if resident == grid.PINNED else f"{resident}% resident"
        how = "greedy" if temperature == 0 else f"T = {temperature:g}"
        yield f"{where}, {how}, {kind}", [run for run in runs if of_run(run) == group]


def pooled_tokens_a_pass(runs):
    """All tokens over all passes that yielded tokens."""
    return sum(run["tokens"] for run in runs) / sum(run["tokens"] / run["tokens_a_pass"] for run in runs)


def ratios(runs, base):
    """Speed over that of `base` for each prompt and round that both have."""
    def speeds(some):
        return {(run["key"]["prompt"], run["key"]["round"]): run["tokens_per_s"] for run in some if run["tokens_per_s"]}

    ours, theirs = speeds(runs), speeds(base)
    return [ours[pair] / theirs[pair] for pair in ours if pair in theirs]


def best_fixed(by_variant):
    """The budget that is fastest in pairs with `auto`; without any, the one of the best median."""
    budgets = {name: by_variant[name] for name in grid.BUDGETS if name in by_variant}
    values = {name: ratios(runs, by_variant.get(grid.AUTO, [])) for name, runs in budgets.items()}
    if not any(values.values()):
        values = {name: [run["tokens_per_s"] for run in runs if run["tokens_per_s"]] for name, runs in budgets.items()}
    return max((name for name in values if values[name]), key=lambda name: median(values[name]), default=None)


# Tables.


def _tokens_a_pass(runs):
    names = list(_by_variant(runs))
    lines = ["", "TOKENS A PASS", f"{'':32}" + "".join(f"{name:>13}" for name in names)]
    for title, group in _groups(runs):
        by_variant = _by_variant(group)
        cells = (f"{pooled_tokens_a_pass(by_variant[name]):13.2f}" if name in by_variant else f"{'-':>13}"
                 for name in names)  # fmt: skip
        lines.append(f"{title:32}" + "".join(cells))
    return lines


def _settings(runs):
    lines, verdicts = [], []
    for title, group in _groups(runs):
        by_variant = _by_variant(group)
        best, none = best_fixed(by_variant), by_variant.get(grid.NO_DRAFT, [])
        lines += ["", f"{title.upper()}: tokens/s"]
        lines.append(f"{'variant':12} {'runs':>4} {'--ram':>9} {'stays':>6} {'a pass':>7}  {'tokens/s':22}"
                     f"{'to no draft':22}{f'to the best fixed, {best}':24}")  # fmt: skip
        for name, some in by_variant.items():
            speeds = spread([run["tokens_per_s"] for run in some if run["tokens_per_s"]])
            memory = f"{some[-1]['ram_bytes'] // MIB} MiB" if is_ours(some[-1]) else "as auto"
            stays = f"{some[-1]['share']:.0%}" if is_ours(some[-1]) else "mmap"
            lines.append(
                f"{name:12} {len(some):4} {memory:>9} {stays:>6} {pooled_tokens_a_pass(some):7.2f}  {show(speeds):22}"
                f"{show(spread(ratios(some, none)), 'x'):22}"
                f"{show(spread(ratios(some, by_variant.get(best, []))), 'x'):24}".rstrip()
            )
        verdicts += [f"{title}:", *(f"    {line}" for line in _verdicts(by_variant, best))]
    return [*lines, "", "DOES NMOS CHOOSE WELL?", *verdicts]


def _verdicts(by_variant, best):
    """In words, of one setting and kind of prompt."""
    lines = []
    recycled = ratios(by_variant.get(grid.RECYCLE, []), by_variant.get(grid.LOOKUP, []))
    if recycled:
        interval, slower = spread(recycled), sum(pair < 1 for pair in recycled)
        lines.append(f"without a draft, recycling pays: {judge(interval, 1)}; {show(interval, 'x')}, slower in"
                     f" {slower} of {len(recycled)} pairs")  # fmt: skip
    chosen = [name for name in (grid.AUTO, grid.DEFAULT) if name in by_variant]
    if not chosen:
        return [*lines, "neither auto nor default was run"]
    for name in chosen:
        pairs = ratios(by_variant[name], by_variant.get(best, []))
        if pairs:
            interval = spread(pairs)
            lines.append(f"{name} within 5% of the best fixed budget, {best}: {judge(interval, WITHIN)};"
                         f" {show(interval, 'x')} of {len(pairs)} pairs")  # fmt: skip
        for other, words in ((grid.NO_DRAFT, "no draft with as much of the weights resident"),
                             (grid.NO_DRAFT_SAME_MEMORY, "no draft in the same memory")):  # fmt: skip
            pairs = ratios(by_variant[name], by_variant.get(other, []))
            if pairs:
                interval, slower = spread(pairs), sum(pair < 1 for pair in pairs)
                lines.append(f"{name} as fast as {words}: {judge(interval, 1)}; {show(interval, 'x')}, slower in"
                             f" {slower} of {len(pairs)} pairs")  # fmt: skip
    return lines or ["nothing to compare them with was run"]


def _open60(runs):
    autos = [run for run in runs if run["key"]["variant"] == grid.AUTO]
    lines = ["", f"SIXTY PROMPTS: auto, {open60.RESIDENT}% resident, greedy",
             f"{'label':8} {'prompts':>7} {'a pass':>7}  {'tokens/s':22}{'ended early':>12}{'class':>10}"]  # fmt: skip
    labels = unique(autos, lambda run: run["class"])
    for label in [*labels, "all"]:
        some = [run for run in autos if label in (run["class"], "all")]
        speeds = spread([run["tokens_per_s"] for run in some if run["tokens_per_s"]])
        early = sum(run["tokens"] < run["key"]["tokens"] for run in some)
        classes = " ".join(unique(some, lambda run: "{}-{}".format(*run["stats"]["width_class"])))
        lines.append(f"{label:8} {len(some):7} {pooled_tokens_a_pass(some):7.2f}  {show(speeds):22}"
                     f"{early:12}{classes:>10}")  # fmt: skip
    seen = {run["key"]["prompt"]: run["text"] for run in runs if run["key"]["variant"] != grid.AUTO}
    same = sum(seen[run["key"]["prompt"]] == run["text"] for run in autos if run["key"]["prompt"] in seen)
    lines.append(f"lossless: {same} of {len(seen)} texts are those of the witness without a draft model")
    return lines


# Texts.


def text_groups(runs):
    """Runs of ours whose texts must agree: one prompt and seed, one form and width class.

    Classes that begin at one width have the same kernels; they differ in size alone.
    """
    groups = {}
    for run in runs:
        if is_ours(run):
            key = run["key"]
            group = (key["prompt"], key["temperature"], key["seed"], key["tokens"], run["form"],
                     run["stats"]["width_class"][0])  # fmt: skip
            groups.setdefault(group, []).append(run)
    return groups


def _texts(runs):
    groups = {group: some for group, some in text_groups(runs).items() if len(some) > 1}
    parted = {group: some for group, some in groups.items() if len(unique(some, lambda run: run["text"])) > 1}
    lines = ["", f"TEXTS: {sum(map(len, groups.values()))} in {len(groups)} groups that must agree,"
             f" {len(parted)} groups do not"]  # fmt: skip
    for group, some in parted.items():
        prompt, temperature, seed, _, form, width = group
        lines.append(f"! {prompt}, T = {temperature:g}, seed {seed}, {form}, class from {width} on:")
        for text in unique(some, lambda run: run["text"]):
            those = [run for run in some if run["text"] == text]
            names = unique(those, lambda run: f"{run['key']['variant']} ({run['key']['resident']})")
            at = parting(some[0]["text"], text)
            lines.append(f"    {len(those)} of {', '.join(names)}: ...{text[max(0, at - 20):at + 20]!r}")
            lines.append(f"      {shlex.join(those[0]['argv'])}")
    return lines
