#!/usr/bin/env python3
"""Measures token trees of every size against each other and llama.cpp; see README.md next to it."""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rival"))

import grid  # noqa: E402
import open60  # noqa: E402
import report  # noqa: E402
import resumable  # noqa: E402
from results import Results  # noqa: E402
from rival import CACHE, TARGET  # noqa: E402
from runner import Runner  # noqa: E402

RIVAL_PROMPTS = HERE.parent / "rival" / "prompts.json"
# The system prompt of all runs, and the four prompts of the grid.
GRID_PROMPTS = "parse-size,lru-cache,tides,weekend"


def arguments():
    models = CACHE / "models"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", type=Path, default=CACHE / "bench/trees.jsonl",
                        help="results file; runs that are in it are not repeated")
    parser.add_argument("--report", action="store_true", help="only print the tables of what is in the file")
    parser.add_argument("--fresh", action="store_true", help="start over; the old file gets the ending .old")
    parser.add_argument("--open60", action="store_true", help="the 60 prompts of prompts60.json instead of the grid")
    parser.add_argument("--only", default="all", help="variants: " + ", ".join(v.name for v in grid.VARIANTS))
    parser.add_argument("--prompts", default=GRID_PROMPTS, help="names of prompts in ../rival/prompts.json")
    parser.add_argument("--resident", default="25,100",
                        help="percent of the weights that stay in memory; 100: all fits, and llama.cpp's graph"
                        " runs it; pinned: all stay, under the graph that also streams")
    parser.add_argument("--temps", default="0,0.8", help="temperatures")
    parser.add_argument("--seed", type=int, default=1, help="of round 1; round 2 takes the next number")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rival-rounds", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=2,
                        help="runs at the most until one is not disturbed by other processes; the calmest counts")
    parser.add_argument("--limit", type=int, help="with --open60: so many prompts of each label")
    parser.add_argument("--tokens", type=int, default=48, help="answer length")
    parser.add_argument("--headroom-mib", type=int, default=64, help="the memory group's limit above --ram")
    parser.add_argument("--ngram", default="ngram-cache", help="llama.cpp's --spec-type without a draft model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ctx", type=int, default=2048, help="context of all engines")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a run may take")
    parser.add_argument("--nmos", type=Path, default=TARGET / "release/nmos", help="our binary")
    parser.add_argument("--rivals", type=Path, help="directory of llama.cpp's tools; without it,"
                        " ../rival/build.sh makes them once")
    parser.add_argument("--oracle", type=Path, default=models / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    parser.add_argument("--draft", type=Path, default=models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    args = parser.parse_args()
    try:
        args.variants = chosen(args.only, {variant.name: variant for variant in grid.VARIANTS}, "--only")
        prompts = json.loads(RIVAL_PROMPTS.read_text())["prompts"]
        args.prompts = chosen(args.prompts, {prompt["name"]: prompt for prompt in prompts}, "--prompts")
        args.resident = args.resident.split(",")
        args.temps = [float(text) for text in args.temps.split(",")]
    except ValueError as error:
        parser.error(str(error))
    if args.attempts < 1:
        parser.error("--attempts: at least 1")
    wrong = [text for text in args.resident if not grid.is_residency(text)]
    if wrong:
        parser.error(f"--resident: {wrong[0]!r} is neither 1 to 100 nor {grid.PINNED}")
    return args  # fmt: skip


def chosen(names, known, option):
    """Those of `known` that are named, in their own order."""
    if names == "all":
        return list(known.values())
    unknown = set(names.split(",")) - set(known)
    if unknown:
        raise ValueError(f"{option}: there is no {', '.join(sorted(unknown))}")
    return [thing for name, thing in known.items() if name in names.split(",")]


def grid_jobs(args):
    """NMOS in all settings first, then its rivals."""
    for variants, rounds in (
        ([v for v in args.variants if not v.is_rival], args.rounds),
        ([v for v in args.variants if v.is_rival], args.rival_rounds),
    ):
        yield from grid.jobs(variants, args.resident, args.temps, args.prompts, rounds, args.seed)


def measure(args):
    """Makes the runs that are missing; says whether all went well."""
    results = Results(args.json, args.fresh)
    system = json.loads(RIVAL_PROMPTS.read_text())["system"]
    runner = Runner(args, system, results)
    results.add(resumable.session(runner.build, sys.argv[1:]))
    if args.open60:
        prompts = open60.prompts(args.limit)
        good = runner.play(list(open60.jobs(prompts)))
        return runner.play(list(open60.witnesses(prompts, runner.record))) and good
    return runner.play(list(grid_jobs(args)))


def main():
    return resumable.run("trees.py", arguments(), measure, report.of)


if __name__ == "__main__":
    sys.exit(main())
