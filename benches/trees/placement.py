"""Which `--ram` leaves which share of the oracle's weights in memory.

`nmos plan --json` divides a budget without loading a model. All but the weights takes the
same whatever the budget is, so that one plan tells the budget of a share, and a second one
confirms it; shards are whole, so that a share is met within a percent or two:

    --ram | program, draft, KV cache, logits of a wide tree ... | stay | in flight |
            fixed for a tree                                      share of the weights
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import cage
from engines import UNSAID
from grid import NO_DRAFT, PINNED, WHOLE
from planning import MIB, ask, owner

# What the program itself holds differs a little from run to run.
SPARE_BYTES = 16 * MIB
CLOSE = 0.005
CLOSE_ENOUGH = 0.02
ATTEMPTS = 6


@dataclass(frozen=True)
class Placement:
    ram_bytes: int
    # resident, streamed or hooked.
    form: str
    # Of the oracle's weights, those that stay.
    share: float
    max_nodes: int

    @property
    def ram(self):
        return f"{self.ram_bytes // MIB}MiB"


class Planner:
    """Asks `nmos plan`; `key` says what all answers depend on, `results` remembers them.

    A draft is a file, None or UNSAID, as in engines.Setting.
    """

    def __init__(self, nmos, oracle, ctx, threads, key, results):
        self.nmos, self.oracle = nmos, oracle
        self.ctx, self.threads = ctx, threads
        self.key, self.results = key, results

    def place(self, tree, draft, resident):
        """The memory with which that part of the weights stays."""
        find = {WHOLE: self._whole, PINNED: self._pinned}.get(resident, self._share(resident))
        return self._remembered({"tree": tree, "draft": _named(draft), "resident": resident},
                                lambda: find(tree, draft))  # fmt: skip

    def place_in(self, tree, draft, ram_bytes):
        """What stays in that much memory."""
        return self._remembered({"tree": tree, "draft": _named(draft), "ram_bytes": ram_bytes},
                                lambda: self._ask(tree, draft, ram_bytes))  # fmt: skip

    def _remembered(self, what, find):
        key = self.key | what
        known = self.results.find("plan", key)
        if known:
            return Placement(**known["placement"])
        found = _placement(find())
        self.results.add({"kind": "plan", "key": key, "placement": asdict(found)})
        return found

    def _share(self, resident):
        def find(tree, draft):
            wanted = int(resident) / 100
            ram, best = self._guess(tree, draft, wanted), None
            for _ in range(ATTEMPTS):
                report = self._ask(tree, draft, ram)
                if report["form"] == "resident":
                    ram = report["ram_bytes"] * 4 // 5
                    continue
                if best is None or abs(_stays(report) - wanted) < abs(_stays(best) - wanted):
                    best = report
                if abs(_stays(best) - wanted) <= CLOSE:
                    break
                ram = report["ram_bytes"] + int((wanted - _stays(report)) * _weights(report))
            if best is None or abs(_stays(best) - wanted) > CLOSE_ENOUGH:
                raise cage.CageError(f"no --ram found with which {resident}% of the weights stay (--tree {tree})")
            return best

        return find

    def _whole(self, tree, draft):
        report = self._ask(tree, draft, None)
        if report["form"] != "resident":
            raise cage.CageError(f"not all of the oracle fits in the memory there is (--tree {tree})")
        return self._ask(tree, draft, report["ram_bytes"] - owner(report, "not used") + SPARE_BYTES)

    def _pinned(self, tree, draft):
        report = self._share("50")(tree, draft)
        others = report["ram_bytes"] - sum(owner(report, name) for name in
                                           ("weights that stay", "weights in flight", "not used"))  # fmt: skip
        report = self._ask(tree, draft, others + _weights(report) + SPARE_BYTES)
        if report["form"] == "resident" or report["predicted_bytes_a_pass"] > 0:
            raise cage.CageError(f"no --ram found with which all weights stay in the streamed form (--tree {tree})")
        return report

    def _guess(self, tree, draft, share):
        drafting = draft.stat().st_size * 1.25 if draft and tree != NO_DRAFT else 0
        return int(self.oracle.stat().st_size * share + drafting + 256 * MIB)

    def _ask(self, tree, draft, ram_bytes):
        """The plan in that much memory, in whole mebibytes."""
        flags = [
            *(["--tree", tree] if tree else []),
            "--ctx", str(self.ctx), "--threads", str(self.threads), "--oracle", str(self.oracle),
            *([] if draft == UNSAID else ["--draft", str(draft or "none")]),
        ]  # fmt: skip
        return ask(self.nmos, flags, ram_bytes and -(-ram_bytes // MIB) * MIB)


def _named(draft):
    return draft.name if isinstance(draft, Path) else draft


def _placement(report):
    return Placement(report["ram_bytes"], report["form"], _stays(report), report["max_nodes"])


def _stays(report):
    return 1.0 if report["form"] == "resident" else owner(report, "weights that stay") / _weights(report)


def _weights(report):
    return owner(report, "weights that stay") + report["predicted_bytes_a_pass"]
