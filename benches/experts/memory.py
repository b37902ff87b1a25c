"""Which `--ram` gives a model's experts which share of their bytes.

`nmos plan --json` divides a budget without loading a model. First come all that is fixed, the
other weights and the experts of a wide pass; what is left is for more experts, byte for byte:

    --ram | program, KV cache ... | what every token uses | experts |
                                                            fit_bytes of bytes = share
"""

import math
from dataclasses import asdict, dataclass

import cage
from planning import MIB, ask, owner

# All experts fit.
ALL = "all"
KIB = 1 << 10
# --ram is a multiple of this.
GRANULE = 64 * KIB
# What the program itself holds differs a little from run to run.
SPARE_BYTES = 16 * MIB
CLOSE = 0.003
CLOSE_ENOUGH = 0.01
ATTEMPTS = 16


class Impossible(cage.CageError):
    """No memory gives experts this share, on this machine."""


@dataclass(frozen=True)
class Placement:
    ram_bytes: int
    form: str
    # Of all experts, and what they would have to have.
    share: float
    experts_bytes: int
    # Most tokens that are computed together.
    widest_pass: int
    predicted_hit_rate: float
    # What every pass reads besides experts.
    dense_bytes_a_pass: int

    @property
    def ram(self):
        return f"{self.ram_bytes // KIB}KiB"


def is_share(text):
    try:
        return 0 < float(text) < 100
    except ValueError:
        return False


def shown(share):
    return share if share == ALL else f"{share}%"


class Planner:
    """Asks for one model; `key` says what all answers depend on, `results` remembers them."""

    def __init__(self, nmos, model, ctx, threads, env, key, results):
        self.nmos, self.model, self.env = nmos, model, env
        self.flags = ["--oracle", str(model.path), "--draft", "none", "--ctx", str(ctx), "--threads", str(threads)]
        self.key, self.results = key, results

    def place(self, share):
        """The memory for that share in percent, or ALL."""
        key = self.key | {"share": share}
        known = self.results.find("plan", key)
        if known is None:
            report = self._all() if share == ALL else self._find(float(share) / 100)
            known = {"kind": "plan", "key": key, "placement": asdict(_placement(report))}
            self.results.add(known)
        return Placement(**known["placement"])

    def _all(self):
        report = self._ask(None)
        if _share(report) < 1:
            raise Impossible(f"not all experts of {self.model.name} fit in the memory there is")
        spare = owner(report, "not used") - SPARE_BYTES
        return self._ask(report["ram_bytes"] - spare) if spare > 0 else report

    def _find(self, wanted):
        ram, best = int(self.model.path.stat().st_size * wanted) + 128 * MIB, None
        # Memory in which experts are known to have too little, and too much.
        low, high = 0, math.inf
        for _ in range(ATTEMPTS):
            report = self._ask(ram)
            found = _share(report)
            if best is None or abs(found - wanted) < abs(_share(best) - wanted):
                best = report
            if abs(found - wanted) <= CLOSE:
                break
            if report["ram_bytes"] > ram + GRANULE:
                # That was refused: it is of the least that certainly works.
                low = max(low, ram)
            if found < wanted:
                low = max(low, report["ram_bytes"])
            else:
                high = min(high, report["ram_bytes"])
            ram = report["ram_bytes"] + int((wanted - found) * report["experts"]["bytes"])
            if not low < ram < high:
                ram = (low + high) // 2
            if high - low <= GRANULE:
                break
        if abs(_share(best) - wanted) > CLOSE_ENOUGH:
            raise Impossible(f"no --ram gives experts of {self.model.name} {wanted:.1%}; the nearest is"
                             f" {_share(best):.1%} with {best['ram_bytes'] / MIB:.0f} MiB")  # fmt: skip
        return best

    def _ask(self, ram_bytes):
        report = ask(self.nmos, self.flags, ram_bytes and -(-ram_bytes // GRANULE) * GRANULE, self.env)
        if report.get("experts") is None:
            raise cage.CageError(f"{self.model.path} is no mixture whose experts come and go")
        return report


def _share(report):
    return report["experts"]["fit_bytes"] / report["experts"]["bytes"]


def _placement(report):
    experts = report["experts"]
    return Placement(
        ram_bytes=report["ram_bytes"],
        form=report["form"],
        share=_share(report),
        experts_bytes=experts["bytes"],
        widest_pass=experts["widest_pass"],
        predicted_hit_rate=experts["predicted_hit_rate"],
        dense_bytes_a_pass=report["predicted_bytes_a_pass"] - experts["predicted_bytes_a_token"],
    )
