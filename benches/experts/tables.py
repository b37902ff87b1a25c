"""The tables of a report, in Markdown, and which aims their figures meet. Pure: groups in, lines out."""

from dataclasses import dataclass, field

from answers import LLAMA, NMOS, WHOLE
from figures import judge
from groups import middle, pair_ratios
from planning import MIB
from rival import cell
from typists import POLICIES


def show(interval, unit="", form=".2f"):
    """As figures.show, but a single value is alone."""
    if interval is None:
        return "-"
    value, low, high = (f"{each:{form}}" for each in interval)
    return f"{value}{unit}" if low == high else f"{value}{unit} ({low}..{high})"


@dataclass
class Table:
    title: str
    # What its figures are.
    about: str
    head: list
    rows: list = field(default_factory=list)
    # In words, met or not.
    aims: list = field(default_factory=list)

    def lines(self):
        if not self.rows:
            return []
        return [
            "", f"## {self.title}", "", self.about, "",
            "| " + " | ".join(self.head) + " |",
            "|" + "---|" * len(self.head),
            *("| " + " | ".join(row) + " |" for row in self.rows),
        ]  # fmt: skip

    def at_least(self, what, interval, bound):
        if interval:
            self.aims.append(f"- {what}, at least {bound:g}: {judge(interval, bound)}; {show(interval)}")

    def at_most(self, what, interval, bound):
        if interval:
            value, low, high = interval
            self.aims.append(f"- {what}, at most {bound:g}: {judge((-value, -high, -low), -bound)}; {show(interval)}")


def speeds(groups):
    table = Table(
        "Tokens a second",
        "Of the answer, prompt and loading left out. Ratios are of pairs, two runs of one prompt and round; to"
        " computing alone, of one prompt.",
        ["model", "experts in memory", "`--ram`", "nmos", "whole layers", "llama.cpp", "nmos / whole",
         "nmos / llama.cpp", "nmos / computing alone"],
    )  # fmt: skip
    for model, share in groups.settings("run"):
        ours, whole, theirs = (groups.runs(model, variant, share) for variant in (NMOS, WHOLE, LLAMA))
        alone = groups.compute_s(model)
        to_whole, to_llama = (middle(pair_ratios(ours, base)) for base in (whole, theirs))
        to_alone = middle(
            r["tokens_per_s"] * alone[r["key"]["prompt"]]
            for r in ours if r["tokens_per_s"] and r["key"]["prompt"] in alone
        )  # fmt: skip
        one = (ours or whole or theirs)[-1]
        table.rows.append([
            model, f"{share}%", f"{one['ram_bytes'] / MIB:.0f} MiB",
            *(show(middle(r["tokens_per_s"] for r in some)) for some in (ours, whole, theirs)),
            show(to_whole, "x"), show(to_llama, "x"), show(to_alone, "x"),
        ])  # fmt: skip
        where = f"{model}, {share}%"
        if one["small"]:
            table.at_least(f"{where}: nmos to computing alone", to_alone, 0.95)
        elif float(share) <= 25:
            table.at_least(f"{where}: nmos to llama.cpp", to_llama, 3)
        elif float(share) >= 75:
            table.at_least(f"{where}: nmos to llama.cpp", to_llama, 1.5)
    return table


def token_times(groups):
    table = Table(
        "A token's time",
        "Of nmos. Hits are of the answer's tokens, of plain LRU simulated for the same tokens. Misses: bytes that a"
        " token has read, divided by the speed of O_DIRECT reads of the same file just before. The last columns hold"
        " a token's time against the larger of computing alone and misses.",
        ["model", "experts in memory", "hits", "LRU's hits", "MB a token", "disk GB/s", "a token, ms",
         "computing, ms", "misses, ms", "to the larger", "beyond it, ms"],
    )  # fmt: skip
    for model, share in groups.settings("run"):
        alone = groups.compute_s(model)
        runs = [r for r in groups.runs(model, NMOS, share) if r["tokens_per_s"]]
        if not runs:
            continue
        times = [_parts(r, alone.get(r["key"]["prompt"])) for r in runs]
        to_larger = middle(token / max(compute, misses) for token, compute, misses in times if compute)
        stats = [r["stats"] for r in runs]
        table.rows.append([
            model, f"{share}%",
            *(show(middle(s[name] for s in stats), form=".1%") for name in ("expert_hit_rate", "expert_lru_hit_rate")),
            show(middle(_read_a_token(r) / 1e6 for r in runs)),
            show(middle(r["disk_bytes_per_s"] / 1e9 for r in runs)),
            *(show(middle(_ms(parts[i]) for parts in times)) for i in range(3)),
            show(to_larger, "x"),
            show(middle(_ms(token - max(compute, misses)) for token, compute, misses in times if compute)),
        ])  # fmt: skip
        table.at_most(f"{model}, {share}%: a token's time to the larger of its parts", to_larger, 1.1)
    return table


def _parts(run, compute_s):
    return 1 / run["tokens_per_s"], compute_s, _read_a_token(run) / run["disk_bytes_per_s"]


def _read_a_token(run):
    stats = run["stats"]
    dense = run["dense_bytes_a_pass"] / (stats["accepted_per_pass"] or 1)
    return (stats["expert_bytes_per_token"] or 0) + dense


def _ms(seconds):
    return None if seconds is None else seconds * 1e3


def long_prompts(groups):
    table = Table(
        "A prompt of some 512 tokens",
        "To the first token, loading left out. Used: the experts that its tokens choose, each once. The disk is read"
        " just before and just after.",
        ["model", "experts in memory", "tokens", "most at once", "first token, ms", "used MB", "read MB", "disk GB/s",
         "to used / disk", "to read / disk"],
    )  # fmt: skip
    for model, share in groups.settings("long"):
        runs, routing = groups.pick("long", model=model, share=share), groups.pick("long-routing", model=model)
        used = routing[-1]["used_bytes"] if routing else None
        seconds = [(r["ttft_ms"] / 1e3, r["stats"]["bytes_read"], r["disk_bytes_per_s"]) for r in runs]
        to_used = middle(s * disk / used for s, _, disk in seconds) if used else None
        table.rows.append([
            model, f"{share}%", str(runs[-1]["stats"]["prompt_tokens"]), str(runs[-1]["widest_pass"]),
            show(middle(s * 1e3 for s, _, _ in seconds), form=".0f"), cell(used, ".0f", scale=1e6),
            show(middle(read / 1e6 for _, read, _ in seconds), form=".0f"),
            show(middle(disk / 1e9 for _, _, disk in seconds)),
            show(to_used, "x"), show(middle(s * disk / read for s, read, disk in seconds if read), "x"),
        ])  # fmt: skip
        if not runs[-1]["small"]:
            table.at_most(f"{model}, {share}%: a long prompt's time to used / disk", to_used, 1.15)
    return table


def policies(groups):
    table = Table(
        "Which expert leaves",
        "Hit rates of the measured prompts and their answers by recorded routing, simulated, after the profile was"
        " learnt from the training prompts. Gap closed: the part that eviction by intent goes of the way from LRU's"
        " to Belady's.",
        ["model", "experts in memory", "answers: LRU", "by intent", "Belady's", "gap closed", "prompts: LRU",
         "by intent", "Belady's", "gap closed"],
    )  # fmt: skip
    for model, share in groups.settings("policy"):
        record = groups.pick("policy", model=model, share=share)[-1]
        rates = {policy["policy"]: policy for policy in record["policies"]}
        row = [model, f"{share}%"]
        for of in ("answer", "prompt"):
            row += [cell(rates[name][f"{of}_hit_rate"], ".1%") for name in ("lru", "intent", "belady")]
            row.append(cell(record[f"{of}_gap_closed"], ".0%"))
        table.rows.append(row)
        closed = record["answer_gap_closed"]
        if closed is not None:
            table.at_least(f"{model}, {share}%: gap closed", (closed,) * 3, 0.25 if share in ("25", "50") else 0)
    return table


def typed(groups):
    table = Table(
        "Typing",
        "Traces of typing, one session a row and round. Ratios are of pairs, one trace and round.",
        ["model", "who leaves", "traces", "first token, ms", "to LRU's", "hits of the first 16 tokens", "hits",
         "MB a token"],
    )  # fmt: skip
    models = dict.fromkeys(r["key"]["model"] for r in groups.pick("typing"))
    for model in models:
        waits = {policy: _waits(groups.pick("typing", model=model, policy=policy)) for policy in POLICIES}
        for policy in POLICIES:
            rows = [row for r in groups.pick("typing", model=model, policy=policy) for row in r["rows"]]
            if not rows:
                continue
            pairs = [waits[policy][at] / waits["lru"][at] for at in waits[policy] if waits["lru"].get(at)]
            hits = (middle(row[name] for row in rows) for name in ("expert_hit_rate_first16", "expert_hit_rate"))
            bytes_a_token = (row["expert_bytes_per_token"] for row in rows)
            table.rows.append([
                model, policy, str(len(rows)), show(middle(row["ttft_ms"] for row in rows), form=".0f"),
                show(middle(pairs), "x"),
                *(show(rate, form=".1%") for rate in hits), show(middle(n and n / 1e6 for n in bytes_a_token)),
            ])  # fmt: skip
    return table


def _waits(records):
    return {(row["id"], r["key"]["round"]): row["ttft_ms"] for r in records for row in r["rows"] if row["ttft_ms"]}


def all_of(groups):
    return [make(groups) for make in (speeds, token_times, long_prompts, policies, typed)]
