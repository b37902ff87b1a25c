"""Prompts, and the traces by which `nmos bench` is given them.

    measured   two of each label: what figures are of
    training   four of each label: what the profile of experts is learnt from
    long       the texts of all, one after the other, cut to some 512 tokens

A DOCS prompt brings a short text along. A prompt becomes a trace of one paste and Enter.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

BOOK = json.loads((Path(__file__).resolve().parent / "prompts.json").read_text())
SYSTEM = BOOK["system"]
# Of English with a vocabulary of 49 thousand this is 512 tokens with the template; each run says
# how many they were.
LONG_CHARS = 2160


@dataclass(frozen=True)
class Prompt:
    name: str
    label: str
    text: str


MEASURED = tuple(Prompt(**entry) for entry in BOOK["measured"])
TRAINING = tuple(Prompt(**entry) for entry in BOOK["training"])


def long_prompt():
    texts = "\n\n".join(prompt.text for prompt in (*MEASURED, *TRAINING))
    return Prompt("long", "DOCS", texts[:LONG_CHARS].rpartition(" ")[0])


def chosen(names):
    """Measured ones by name; `one` is the first of them."""
    if names == "all":
        return list(MEASURED)
    if names == "one":
        return list(MEASURED[:1])
    unknown = set(names.split(",")) - {prompt.name for prompt in MEASURED}
    if unknown:
        raise ValueError(f"--prompts: there is no {', '.join(sorted(unknown))}")
    return [prompt for prompt in MEASURED if prompt.name in names.split(",")]


def write_trace(prompt, directory):
    """A trace that pastes the prompt and submits it; its path."""
    header = {
        "version": 1, "id": prompt.name, "label": prompt.label, "final_chars": len(prompt.text),
        "final_sha256": hashlib.sha256(prompt.text.encode()).hexdigest(),
    }  # fmt: skip
    events = [
        {"t_us": 0, "kind": "insert", "text": prompt.text, "paste": True},
        {"t_us": 0, "kind": "enter"},
    ]
    path = directory / f"{prompt.name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *events)))
    return path
