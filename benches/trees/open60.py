"""Sixty prompts, 20 of each label, that `auto` answers alone; and a witness for each text.

The witness answers in the same width class without a draft model, with all weights in
memory under the same graph, so that draft, tree and streaming all differ and the text must
not. Which tree that takes follows from the class that `auto` chose:

    class from 1 on   --tree 1 --draft none: nothing is guessed
    class from 8 on   --tree 8 --draft none: the least tree of that class; what remains are
                      guesses from repetitions in the text
"""

import json
from pathlib import Path

import grid

PROMPTS = Path(__file__).resolve().parent / "prompts60.json"
RESIDENT = "25"
SUITE = "open60"
AUTO = grid.Variant(grid.AUTO, tree=grid.AUTO)
WITNESSES = {
    1: grid.Variant("witness-1", tree="1", draft=None),
    8: grid.Variant("witness-8", tree="8", draft=None),
}


def prompts(limit):
    """All of them, or the first `limit` of each label."""
    every = json.loads(PROMPTS.read_text())["prompts"]
    by_label = {}
    for prompt in every:
        by_label.setdefault(prompt["class"], []).append(prompt)
    kept = [group[:limit] for group in by_label.values()]
    # Labels in turn, so that a run that is stopped has some of each.
    longest = max(len(group) for group in kept)
    return [group[i] for i in range(longest) for group in kept if i < len(group)]


def jobs(some):
    for prompt in some:
        yield _job(AUTO, RESIDENT, prompt)


def witnesses(some, record):
    """For every prompt of which `record` knows an answer by `auto`."""
    for prompt in some:
        answer = record(_job(AUTO, RESIDENT, prompt))
        if answer:
            yield _job(WITNESSES[answer["stats"]["width_class"][0]], grid.PINNED, prompt)


def _job(variant, resident, prompt):
    return grid.Job(SUITE, variant, resident, 0.0, 0, prompt, 1)
