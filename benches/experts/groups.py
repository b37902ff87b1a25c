"""The records that a report is of, and pairs of them."""

from dataclasses import dataclass

from answers import COMPUTE, LLAMA
from figures import spread, unique
from memory import ALL

# Records that differ in these do not belong together. Not each has them all.
SETTINGS = ("ctx", "threads", "tokens")
# Kinds of records that hold figures.
KINDS = ("run", "recording", "policy", "long-routing", "long", "typing")


@dataclass
class Groups:
    """Records that are like the newest in build and settings."""

    records: list
    build: str | None
    # Of other builds or settings, and left out.
    others: int

    def pick(self, kind, **key):
        return [r for r in self.records if r["kind"] == kind and all(r["key"].get(k) == v for k, v in key.items())]

    def runs(self, model, variant, share):
        return self.pick("run", model=model, variant=variant, share=share)

    def settings(self, kind):
        """(model, share) of all that there is of a kind, models in the file's order."""
        found = unique(self.pick(kind), lambda r: (r["key"]["model"], r["key"]["share"]))
        models = unique(found, lambda pair: pair[0])
        return sorted((pair for pair in found if pair[1] != ALL), key=lambda p: (models.index(p[0]), float(p[1])))

    def compute_s(self, model):
        """Seconds of a token by prompt, with all experts there."""
        some = self.runs(model, COMPUTE, ALL)
        return {r["key"]["prompt"]: 1 / r["tokens_per_s"] for r in some if r["tokens_per_s"]}


def of(records):
    every = [record for record in records if record["kind"] in KINDS]
    builds = [record["key"]["build"] for record in every if not is_rival(record)]
    build = builds[-1] if builds else None
    newest = {}
    for record in every:
        newest |= {name: record["key"][name] for name in SETTINGS if name in record["key"]}

    def is_like_the_newest(record):
        key = record["key"]
        same_settings = all(key[name] == newest[name] for name in SETTINGS if name in key)
        return same_settings and (is_rival(record) or key["build"] == build)

    kept = [record for record in every if is_like_the_newest(record)]
    return Groups(kept, build, len(every) - len(kept))


def is_rival(record):
    return record["key"].get("variant") == LLAMA


def pair_ratios(runs, base):
    """Speed over that of `base` for each prompt and round that both have."""
    def speeds(some):
        return {(r["key"]["prompt"], r["key"]["round"]): r["tokens_per_s"] for r in some if r["tokens_per_s"]}

    ours, theirs = speeds(runs), speeds(base)
    return [ours[pair] / theirs[pair] for pair in ours if pair in theirs]


def middle(values):
    """Median and middle half of those that are known."""
    return spread([value for value in values if value is not None])
