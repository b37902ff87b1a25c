"""Typing traces in one process after another, each with another rule for which expert leaves.

    by-label     the profile of the scout's label
    all-labels   one profile of all labels
    lru          none: the least recently used

The traces are the caller's, and none is copied.
"""

from dataclasses import dataclass

from answers import rows
from bench import Job
from models import Model
from rival import cell

BY_LABEL = "by-label"
POLICIES = (BY_LABEL, "all-labels", "lru")
SHARE = "25"
# As many as the hit rate of the first ones is of.
ANSWER_TOKENS = 16
# Of a row of the report, what is kept.
FIGURES = (
    "id", "label", "ttft_ms", "tokens", "tokens_per_s", "expert_hit_rate", "expert_hit_rate_first16",
    "expert_bytes_per_token", "scout_label", "bytes_read", "stall_ms",
)  # fmt: skip


@dataclass(frozen=True)
class Typing(Job):
    model: Model
    policy: str
    traces: tuple
    round: int

    kind = "typing"

    def key(self, bench):
        return bench.key_of(self.model) | {
            "policy": self.policy, "round": self.round, "traces": len(self.traces), "limit": bench.args.limit,
            "speed": bench.args.speed,
        }  # fmt: skip

    def make(self, bench):
        placement, kept = bench.place(self.model, SHARE), bench.kept[self.model]
        report = kept.dir / "typing.json"
        flags = ["--limit", str(bench.args.limit), "--speed", f"{bench.args.speed:g}"]
        # Without the option NMOS goes by label.
        if bench.knows("bench", "--experts", self.policy):
            flags += ["--experts", self.policy]
        argv = bench.replaying(self.model, placement, report, ANSWER_TOKENS, self.traces, *flags)
        _, measured = bench.run(argv, self.model, placement, bench.args.limit * bench.args.timeout)
        figures = [{name: row.get(name) for name in FIGURES} for row in rows(report)]
        # Each trace would be named.
        command = argv[: -len(self.traces)] + ["TRACE..."]
        return measured | {"argv": command, "rows": figures}

    def words(self, record):
        hits = [row["expert_hit_rate"] for row in record["rows"] if row["expert_hit_rate"] is not None]
        mean = sum(hits) / len(hits) if hits else None
        return f"{len(record['rows'])} traces, hits {cell(mean, '.0%')}, {record['wall_s']:.0f} s"

    def __str__(self):
        return f"{self.model.name} typing round {self.round}, {self.policy}"


def jobs(bench, model, traces, rounds):
    known = [policy for policy in POLICIES if policy == BY_LABEL or bench.knows("bench", "--experts", policy)]
    for policy in POLICIES:
        if policy not in known:
            bench.skip(f"! typing by {policy} is left out: this NMOS has no --experts {policy}")
    for number in range(1, rounds + 1):
        for i in range(len(known)):
            yield Typing(model, known[(i + number - 1) % len(known)], traces, number)
