"""Answers of both engines at each share of experts, and computing alone.

    nmos     nmos run, experts in the memory that the share gives
    whole    the same with --experts whole-layers: a layer's experts come and go together
    llama    llama-completion with mmap in the same memory group, not repacked
    compute  nmos bench with all experts in memory, which answers the prompt twice: the second
             time every expert is there, so that a token takes what computing takes. By then the
             prompt is in the cache of tokens, and its last one is computed with other kernels:
             the text may part from the others' and is not compared
"""

import json
from dataclasses import dataclass

import cage
from bench import Job
from memory import ALL, shown
from models import Model
from prompts import Prompt, write_trace
from rival import cell

NMOS, WHOLE, LLAMA, COMPUTE = "nmos", "whole", "llama", "compute"
# In the order in which they take turns.
VARIANTS = (NMOS, WHOLE, LLAMA)
WHOLE_LAYERS = "whole-layers"


@dataclass(frozen=True)
class Answer(Job):
    model: Model
    variant: str
    share: str
    prompt: Prompt
    round: int

    kind = "run"

    def key(self, bench):
        base = bench.rival_key_of(self.model) if self.variant == LLAMA else bench.key_of(self.model)
        return base | {
            "variant": self.variant, "share": self.share, "prompt": self.prompt.name, "round": self.round,
            "tokens": bench.args.tokens,
        }  # fmt: skip

    def make(self, bench):
        placement = bench.place(self.model, self.share)
        if self.variant == LLAMA:
            engine, disk = bench.llama(self.model, placement), None
        else:
            experts = WHOLE_LAYERS if self.variant == WHOLE else None
            engine, disk = bench.nmos(self.model, placement, experts=experts), bench.disk_bytes_per_s(self.model)
        argv = engine.argv(self.prompt.text, bench.args.tokens)
        outcome, measured = bench.run(argv, self.model, placement)
        answer = engine.parse(outcome.stdout, outcome.stderr)
        return measured | {
            "label": self.prompt.label,
            "tokens": answer.tokens,
            "tokens_per_s": answer.tokens_per_s,
            "disk_bytes_per_s": disk,
            "dense_bytes_a_pass": placement.dense_bytes_a_pass,
            "widest_pass": placement.widest_pass,
            "text": answer.text,
            "stats": {name: value for name, value in answer.stats.items() if name != "text"},
        }

    def words(self, record):
        hits = record["stats"].get("expert_hit_rate")
        return (
            f"{record['tokens']} tokens {cell(record['tokens_per_s'], '.2f')}/s, hits {cell(hits, '.0%')},"
            f" {record['wall_s']:.1f} s (others {record['others_cpu_share']:.0%} of the CPU)"
        )

    def __str__(self):
        return f"{self.model.name} {shown(self.share)} {self.prompt.name} round {self.round} {self.variant}"


@dataclass(frozen=True)
class Compute(Job):
    model: Model
    prompt: Prompt

    kind = "run"

    def key(self, bench):
        return bench.key_of(self.model) | {
            "variant": COMPUTE, "share": ALL, "prompt": self.prompt.name, "round": 1, "tokens": bench.args.tokens,
        }  # fmt: skip

    def make(self, bench):
        placement, kept = bench.place(self.model, ALL), bench.kept[self.model]
        trace, report = write_trace(self.prompt, kept.dir), kept.dir / "compute.json"
        argv = bench.replaying(self.model, placement, report, bench.args.tokens, [trace, trace])
        _, measured = bench.run(argv, self.model, placement, 3 * bench.args.timeout)
        row = rows(report)[-1]
        return measured | {
            "label": self.prompt.label,
            "tokens": row["tokens"],
            "tokens_per_s": row["tokens_per_s"],
            "stats": {name: value for name, value in row.items() if name not in ("text", "cold")},
        }

    def words(self, record):
        hits = record["stats"].get("expert_hit_rate")
        return f"{cell(record['tokens_per_s'], '.2f')} tokens/s, hits {cell(hits, '.0%')}"

    def __str__(self):
        return f"{self.model.name} {self.prompt.name} {COMPUTE}"


def rows(report):
    """The rows of a report of `nmos bench`, all of which have an answer."""
    found = json.loads(report.read_text())["rows"]
    faults = [fault for row in found for fault in row["errors"]]
    if faults or any(row["tokens"] is None for row in found):
        raise cage.CageError(f"nmos bench: {faults[0] if faults else 'a trace without an answer'}")
    return found


def jobs(models, variants, shares, prompts, rounds):
    """Rounds outermost, variants in turn within a prompt; each round begins with another."""
    for number in range(1, rounds + 1):
        for model in models:
            for share in shares:
                for prompt in prompts:
                    for i in range(len(variants)):
                        variant = variants[(i + number - 1) % len(variants)]
                        yield Answer(model, variant, share, prompt, number)
