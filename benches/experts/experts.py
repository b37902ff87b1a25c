#!/usr/bin/env python3
"""Measures mixtures of experts in a part of their memory; see README.md next to it."""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent / "rival"))

import answers  # noqa: E402
import learning  # noqa: E402
import long_prompt  # noqa: E402
import models  # noqa: E402
import prompts  # noqa: E402
import report  # noqa: E402
import resumable  # noqa: E402
import typists  # noqa: E402
from bench import Bench  # noqa: E402
from cage import CageError  # noqa: E402
from memory import ALL, is_share  # noqa: E402
from results import Results  # noqa: E402
from rival import CACHE, TARGET  # noqa: E402

POLICY, TYPING = "policy", "typing"
PARTS = (*answers.VARIANTS, answers.COMPUTE, long_prompt.VARIANT, POLICY, TYPING)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--models", nargs="*", metavar="NAME=PATH",
                        help="models that do not fit in memory, or none; without it experts-9.gguf and experts-19.gguf"
                        " of --forged, which `make bench-experts mixture=FILE` makes")
    parser.add_argument("--small", nargs="+", type=Path, default=[], metavar="PATH",
                        help="small trained mixtures, which are compared with computing alone")
    parser.add_argument("--forged", type=Path, default=CACHE / "forged", help="where forged models are")
    parser.add_argument("--only", default="all", help="parts: " + ", ".join(PARTS))
    parser.add_argument("--shares", default="12.5,25,50,75", help="percent of the experts' bytes in memory")
    parser.add_argument("--prompts", default="all", help="names of prompts in prompts.json; one: the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="answer length")
    parser.add_argument("--traces", type=Path, metavar="DIR",
                        help="typing traces; without them typing is left out")
    parser.add_argument("--limit", type=int, default=20, help="so many traces, spread over them")
    parser.add_argument("--speed", type=float, default=1, help="how many times faster traces are typed")
    parser.add_argument("--typing-model", help="the model of typing; without it the largest")
    parser.add_argument("--json", type=Path, default=CACHE / "bench/experts.jsonl",
                        help="results file; what is in it is not made again")
    parser.add_argument("--keep", type=Path, default=CACHE / "bench/experts",
                        help="where recordings, profiles and traces of prompts are kept")
    parser.add_argument("--report", action="store_true", help="only print the tables of what is in the file")
    parser.add_argument("--fresh", action="store_true", help="start over; the old file gets the ending .old")
    parser.add_argument("--attempts", type=int, default=2,
                        help="runs at the most until one is not disturbed by other processes; the calmest counts")
    parser.add_argument("--headroom-mib", type=int, default=64, help="the memory group's limit above --ram")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ctx", type=int, default=2048, help="context of all engines")
    parser.add_argument("--timeout", type=float, default=900, help="seconds an answer may take")
    parser.add_argument("--nmos", type=Path, default=TARGET / "release/nmos", help="our binary")
    parser.add_argument("--rivals", type=Path, help="directory of llama.cpp's tools; without it,"
                        " ../rival/build.sh makes them once")
    args = parser.parse_args()
    args.shares = args.shares.split(",")
    wrong = [share for share in args.shares if not is_share(share)]
    if wrong:
        parser.error(f"--shares: {wrong[0]!r} is not a percentage between 0 and 100")
    for option in ("rounds", "tokens", "limit", "attempts"):
        if getattr(args, option) < 1:
            parser.error(f"--{option}: at least 1")
    args.parts = PARTS if args.only == "all" else tuple(args.only.split(","))
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    try:
        args.prompts = prompts.chosen(args.prompts)
    except ValueError as error:
        parser.error(str(error))
    return args  # fmt: skip


def plays(bench, some):
    """Lists of jobs, each of which needs those before it."""
    args = bench.args
    if set(args.parts) != {answers.LLAMA}:
        yield [learning.Recording(model, learning.TRAIN) for model in some]
    if answers.COMPUTE in args.parts:
        yield [answers.Compute(model, prompt) for model in some for prompt in args.prompts]
        # Texts are the same where all experts stay.
        yield [answers.Answer(model, answers.NMOS, ALL, prompt, 1) for model in some for prompt in args.prompts]
    variants = [variant for variant in answers.VARIANTS if variant in args.parts]
    if answers.WHOLE in variants and not bench.knows("run", "--experts", answers.WHOLE_LAYERS):
        bench.skip(f"! {answers.WHOLE} is left out: this NMOS has no --experts {answers.WHOLE_LAYERS}")
        variants.remove(answers.WHOLE)
    yield list(answers.jobs(some, variants, args.shares, args.prompts, args.rounds))
    if long_prompt.VARIANT in args.parts:
        yield list(long_prompt.jobs(some, args.shares, args.rounds))
    if POLICY in args.parts:
        yield [learning.Recording(model, learning.TEST) for model in some]
        yield [learning.Replay(model, share) for model in some for share in args.shares]
    if TYPING in args.parts:
        if args.traces is None:
            bench.skip("! typing is left out: --traces DIR names recorded typing")
        else:
            yield list(typists.jobs(bench, typing_model(args, some), traces(args.traces), args.rounds))


def typing_model(args, some):
    named = [model for model in some if model.name == args.typing_model]
    if args.typing_model and not named:
        raise CageError(f"--typing-model: there is no {args.typing_model}")
    return named[0] if named else max(some, key=lambda model: model.path.stat().st_size)


def traces(directory):
    found = tuple(sorted(directory.glob("*.jsonl")))
    if not found:
        raise CageError(f"--traces: no *.jsonl in {directory}")
    return found


def measure(args):
    """Makes what is missing; says whether all went well."""
    some = models.chosen(args.models, args.small, args.forged)
    results = Results(args.json, args.fresh)
    bench = Bench(args, some, results)
    results.add(resumable.session(bench.binary.version, sys.argv[1:]) | {"endless": bench.endless})
    # All of them, whatever became of those before.
    return all([bench.play(jobs) for jobs in plays(bench, some)])


def main():
    return resumable.run("experts.py", arguments(), measure, report.of)


if __name__ == "__main__":
    sys.exit(main())
