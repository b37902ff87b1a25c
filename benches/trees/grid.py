"""What is run, and in which order.

    round 1   setting 1   prompt 1   variant 1, 2, ... n
                          prompt 2   variant 1, 2, ... n
              setting 2   ...
    round 2   the same, with variant 2 first

A *setting* is a residency (how much of the oracle's weights stays in memory) and a
temperature. A *variant* is an engine with a size of tree. Within a round the variants
take turns on a prompt, so that a slow spell of the machine meets all of them, and two
runs of one prompt and round make a pair.
"""

from dataclasses import dataclass

from engines import UNSAID

# Most nodes of a pass; 1 is no guesses and no draft model.
BUDGETS = ("1", "8", "16", "64", "256")
NO_DRAFT = "1"
AUTO = "auto"
# No draft model, in the memory that `auto` gets with one.
NO_DRAFT_SAME_MEMORY = "1@auto"
# No draft model in that memory either, and a tree that chooses its size: of repetitions alone, and
# of what the oracle said before as well.
LOOKUP = "lookup@auto"
RECYCLE = "recycle@auto"
# Neither a tree nor a draft is named, in that memory too: NMOS decides both.
DEFAULT = "default"
# llama.cpp's chain of guesses, in NMOS.
CHAIN = "chain:8"
CHAIN_TOKENS = 8

# A variant's draft that is the one the benchmark is given.
NAMED = "named"

# Residencies besides a share of the weights in percent.
WHOLE = "100"  # all fits, and llama.cpp's graph runs it
PINNED = "pinned"  # all stays, under the graph that also streams


@dataclass(frozen=True)
class Variant:
    name: str
    # nmos, llama (no guesses), draft (a chain of the draft model's) or ngram.
    engine: str = "nmos"
    tree: str | None = None
    # NAMED, None or UNSAID: NMOS decides whether the default draft pays.
    draft: str | None = NAMED
    # The tree whose memory it gets; None: what it needs itself.
    memory_of: str | None = None
    recycle: bool = False

    @property
    def is_rival(self):
        return self.engine != "nmos"


OURS = (
    *(Variant(name, tree=name) for name in (*BUDGETS, AUTO, CHAIN)),
    Variant(NO_DRAFT_SAME_MEMORY, tree=NO_DRAFT, memory_of=AUTO),
    Variant(LOOKUP, tree=AUTO, draft=None, memory_of=AUTO),
    Variant(RECYCLE, tree=AUTO, draft=None, memory_of=AUTO, recycle=True),
    Variant(DEFAULT, draft=UNSAID, memory_of=AUTO),
)
RIVALS = tuple(Variant(f"llama-{engine}" if engine != "llama" else "llama", engine=engine, memory_of=AUTO)
               for engine in ("llama", "draft", "ngram"))  # fmt: skip
VARIANTS = OURS + RIVALS


@dataclass(frozen=True)
class Job:
    suite: str
    variant: Variant
    resident: str
    temperature: float
    seed: int
    prompt: dict
    round: int


def is_residency(text):
    return text in (WHOLE, PINNED) or (text.isdecimal() and 0 < int(text) < 100)


def jobs(variants, residencies, temperatures, prompts, rounds, seed):
    """Every run of the grid in order; round n draws with seed + n - 1."""
    for number in range(1, rounds + 1):
        for resident in residencies:
            for temperature in temperatures:
                chosen = [variant for variant in variants if _makes_sense(variant, resident)]
                for prompt in prompts:
                    for i in range(len(chosen)):
                        variant = chosen[(i + number - 1) % len(chosen)]
                        yield Job("grid", variant, resident, temperature, seed + number - 1, prompt, number)


def _makes_sense(variant, resident):
    # Where all stays, more memory changes nothing, and a draft takes none from the weights.
    return variant.name not in (NO_DRAFT_SAME_MEMORY, LOOKUP, RECYCLE, DEFAULT) or resident not in (WHOLE, PINNED)
