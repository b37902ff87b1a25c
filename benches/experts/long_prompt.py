"""A prompt of some 512 tokens: how long until its first token, and what the disk needs for that.

    used    bytes of the experts that its tokens choose, each once: from its recorded routing,
            replayed with memory for all
    disk    the model's file read with O_DIRECT just before and just after
"""

from dataclasses import dataclass

from bench import Job
from learning import replay
from models import Model
from prompts import long_prompt
from rival import cell

VARIANT = "prompt512"


@dataclass(frozen=True)
class LongRouting(Job):
    model: Model

    kind = "long-routing"

    def key(self, bench):
        return bench.key_of(self.model) | {"chars": len(long_prompt().text)}

    def make(self, bench):
        kept, placement = bench.kept[self.model], bench.place_most(self.model)
        path = kept.recording("long")
        engine = bench.nmos(self.model, placement, record_routing=path)
        outcome, measured = bench.run(engine.argv(long_prompt().text, 1), self.model, placement)
        tokens = engine.parse(outcome.stdout, outcome.stderr).stats["prompt_tokens"]
        argv, report = replay(bench, path, placement.experts_bytes)
        lru = next(policy for policy in report["budgets"][0]["policies"] if policy["policy"] == "lru")
        used = lru["bytes_a_prompt_token"] * tokens
        return measured | {"argv": argv, "prompt_tokens": tokens, "used_bytes": used}

    def words(self, record):
        return f"{record['prompt_tokens']} tokens use experts of {record['used_bytes'] / 1e6:.0f} MB"

    def __str__(self):
        return f"{self.model.name} long prompt, recorded"


@dataclass(frozen=True)
class LongPrompt(Job):
    model: Model
    share: str
    round: int

    kind = "long"

    def key(self, bench):
        return bench.key_of(self.model) | {
            "share": self.share, "round": self.round, "chars": len(long_prompt().text),
        }  # fmt: skip

    def make(self, bench):
        placement = bench.place(self.model, self.share)
        engine = bench.nmos(self.model, placement)
        before = bench.disk_bytes_per_s(self.model)
        outcome, measured = bench.run(engine.argv(long_prompt().text, 1), self.model, placement)
        after = bench.disk_bytes_per_s(self.model)
        stats = engine.parse(outcome.stdout, outcome.stderr).stats
        return measured | {
            "ttft_ms": stats["ttft_ms"],
            "disk_bytes_per_s": (before + after) / 2,
            "widest_pass": placement.widest_pass,
            "stats": {name: value for name, value in stats.items() if name != "text"},
        }

    def words(self, record):
        read = record["stats"]["bytes_read"]
        return f"{cell(record['ttft_ms'], '.0f')} ms, {read / 1e6:.0f} MB read"

    def __str__(self):
        return f"{self.model.name} {self.share}% long prompt round {self.round}"


def jobs(models, shares, rounds):
    yield from (LongRouting(model) for model in models)
    for number in range(1, rounds + 1):
        for model in models:
            yield from (LongPrompt(model, share, number) for share in shares)
