"""Recorded routing: what the profile is learnt from, and what policies are compared on.

    training prompts --nmos bench--> train.routing, and the profile that all runs begin with
    measured prompts --nmos bench--> test.routing --nmos experts replay, after train.routing-->
                                     hit rates of LRU, by intent, Belady's at each share

A recording has the short prompt in it with which `nmos bench` warms up. Which experts a token
uses does not depend on memory, so that both are made with the most that is measured.
"""

import json
import subprocess
from dataclasses import dataclass

import cage
from bench import Job
from models import Model
from prompts import MEASURED, TRAINING, write_trace
from rival import cell

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Recording(Job):
    model: Model
    # TRAIN or TEST.
    name: str

    kind = "recording"

    def key(self, bench):
        return bench.key_of(self.model) | {"name": self.name, "tokens": bench.args.tokens}

    def is_done(self, bench):
        """Its files have to be there as well."""
        kept = bench.kept[self.model]
        known = bench.find(self)
        path = kept.recording(self.name)
        is_whole = known and path.is_file() and path.stat().st_size == known["bytes"]
        return bool(is_whole and (self.name == TEST or kept.is_taught()))

    def make(self, bench):
        kept, placement = bench.kept[self.model], bench.place_most(self.model)
        prompts = {TRAIN: TRAINING, TEST: MEASURED}[self.name]
        if self.name == TRAIN:
            kept.unteach()
        traces = [write_trace(prompt, kept.dir) for prompt in prompts]
        path, report = kept.recording(self.name), kept.dir / f"{self.name}.json"
        argv = bench.replaying(
            self.model, placement, report, bench.args.tokens, traces, "--record-routing", str(path)
        )
        _, measured = bench.run(argv, self.model, placement, len(traces) * bench.args.timeout)
        if self.name == TRAIN:
            kept.keep()
        return measured | {"bytes": path.stat().st_size}

    def words(self, record):
        return f"{record['bytes']} bytes of routing, {record['wall_s']:.0f} s"

    def __str__(self):
        return f"{self.model.name} {self.name} prompts, recorded"


@dataclass(frozen=True)
class Replay(Job):
    model: Model
    share: str

    kind = "policy"

    def key(self, bench):
        return bench.key_of(self.model) | {"share": self.share, "tokens": bench.args.tokens}

    def make(self, bench):
        kept = bench.kept[self.model]
        ram = int(bench.place(self.model, self.share).experts_bytes * float(self.share) / 100)
        learn = ["--learn", str(kept.recording(TRAIN))]
        argv, report = replay(bench, kept.recording(TEST), ram, learn)
        budget = report["budgets"][0]
        return {"small": self.model.is_small, "argv": argv, "turns": report["turns"]} | budget

    def words(self, record):
        return f"gap closed {cell(record['answer_gap_closed'], '.0%')}"

    def __str__(self):
        return f"{self.model.name} {self.share}% policy"


def replay(bench, recording, ram_bytes, flags=()):
    """(the command, what it printed) of a replay in one size of memory."""
    argv = [
        str(bench.binary.path), "--config", "/dev/null", "experts", "replay", str(recording), "--json",
        "--ram", str(ram_bytes), *flags,
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise cage.CageError(f"nmos experts replay: {(done.stderr.strip() or 'no word').splitlines()[0]}")
    return argv, json.loads(done.stdout)
