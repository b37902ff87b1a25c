"""The contestants: their command lines, and what their output says.

Every engine answers the same conversation (system prompt, user prompt) with the
same number of tokens, greedily unless the setting has a temperature. NMOS applies
the model's chat template itself; the rivals are given the same text already in
ChatML, the template of the Qwen models.

What `tokens_per_s` means for each, all without loading and prompt:

    nmos    answer tokens after the first / their time (its own JSON)
    llama   llama-completion's "eval time": tokens after the first / their time
    spec    llama-speculative-simple's "decoded": all tokens / their time; its
            first pass takes the prompt's last token and yields tokens like any
            other, so nothing is left out or counted twice
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path


# A draft that NMOS is not told of.
UNSAID = "unsaid"


class OutputError(Exception):
    """An engine printed something other than expected."""


@dataclass
class Answer:
    """What the engine says of its own run."""

    tokens: int
    # None of an answer of one token.
    tokens_per_s: float | None
    passes: int
    text: str
    stats: dict

    @property
    def tokens_a_pass(self):
        return self.tokens / self.passes


@dataclass
class Setting:
    """What all engines share."""

    oracle: Path
    # None: NMOS has no draft model. UNSAID: it decides for itself whether the default one pays.
    draft: Path | str | None
    ram: str
    threads: int
    ctx: int
    chain: int
    system: str
    # Zero is greedy. Above it tokens are drawn from all of the distribution.
    temperature: float = 0.0
    seed: int = 0
    # NMOS's --tree; None leaves it out.
    tree: str | None = None
    # NMOS's --recycle.
    recycle: bool = False
    # Whether llama.cpp copies the oracle's weights into the layout of its fastest
    # kernels, as it does unless told otherwise. Without memory for the copy that is slow.
    repack: bool = False
    # Whether tokens that end an answer are suppressed, so that each has its length.
    endless: bool = False
    # NMOS's --experts; None leaves it out.
    experts: str | None = None
    # The file of NMOS's --record-routing, if any.
    record_routing: Path | None = None

    def chatml(self, prompt):
        return (
            f"<|im_start|>system\n{self.system}<|im_end|>\n"
            f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        )


class Nmos:
    def __init__(self, setting, binary):
        self.setting, self.binary = setting, binary
        drafts = isinstance(setting.draft, Path)
        self.name, self.label = ("nmos-draft", "nmos + draft") if drafts else ("nmos", "nmos")

    def models(self):
        return [path for path in (self.setting.oracle, self.setting.draft) if path not in (None, UNSAID)]

    def argv(self, prompt, tokens):
        s = self.setting
        return [
            str(self.binary), "--config", os.devnull, "run", "--json", "--ram", s.ram, "-n", str(tokens),
            *(["--tree", s.tree] if s.tree else []), *(["--recycle"] if s.recycle else []),
            *(["--experts", s.experts] if s.experts else []), *(["--ignore-eos"] if s.endless else []),
            *(["--record-routing", str(s.record_routing)] if s.record_routing else []),
            "--temp", f"{s.temperature:g}", "--seed", str(s.seed),
            "--top-k", "0", "--top-p", "1", "--min-p", "0", "--repeat-penalty", "1",
            "--oracle", str(s.oracle),
            *([] if s.draft == UNSAID else ["--draft", str(s.draft or "none")]),
            "--threads", str(s.threads), "--ctx", str(s.ctx), "--system", s.system, prompt,
        ]  # fmt: skip

    def parse(self, stdout, _stderr):
        try:
            stats = json.loads(stdout)
            return Answer(stats["tokens"], stats["tokens_per_s"], stats["passes"], stats["text"], stats)
        except (ValueError, KeyError) as error:
            raise OutputError(f"nmos run --json: {error!r} in {stdout[-300:]!r}") from error


class Llama:
    """llama.cpp without a draft: one pass a token."""

    name = "llama"
    label = "llama.cpp"

    def __init__(self, setting, directory):
        self.setting, self.binary = setting, directory / "llama-completion"

    def models(self):
        return [self.setting.oracle]

    def argv(self, prompt, tokens):
        return [
            str(self.binary), *_shared_flags(self.setting, prompt, tokens),
            "-no-cnv", "--no-display-prompt", "--simple-io", "--no-warmup",
        ]  # fmt: skip

    def parse(self, stdout, stderr):
        # "eval time = 123.45 ms / 127 runs": the first token comes out of the
        # prompt's pass and is in neither figure, so both tokens and passes are one more.
        log = stdout + stderr
        found = _find(r"(?<!prompt )eval time =\s*([\d.]+) ms /\s*(\d+) runs", log)
        ms, runs = float(found[1]), int(found[2])
        # Of an answer that ended with its first token there is none.
        speed = runs / (ms / 1000) if ms > 0 else None
        prompt_ms = float(_find(r"prompt eval time =\s*([\d.]+) ms", log)[1])
        stats = {"eval_ms": ms, "prompt_ms": prompt_ms}
        return Answer(runs + 1, speed, runs + 1, stdout.strip("\n"), stats)


class Speculative:
    """llama.cpp with guesses, a chain of at most a fixed length a pass.

    `kind` says where they come from: `draft-simple` is NMOS's draft model, the others
    are llama.cpp's own ways to look them up in the text so far.
    """

    name = "spec"

    def __init__(self, setting, directory, kind="draft-simple"):
        self.setting, self.binary, self.kind = setting, directory / "llama-speculative-simple", kind
        self.label = "llama.cpp + draft" if self._has_model() else f"llama.cpp {kind}"

    def _has_model(self):
        return self.kind.startswith("draft")

    def models(self):
        return [self.setting.oracle, *([self.setting.draft] if self._has_model() else [])]

    def argv(self, prompt, tokens):
        s = self.setting
        # The other draft options stay at their defaults, of which n-min 0 and
        # p-min 0 mean: never drop a draft, never end a chain early.
        argv = [
            str(self.binary), *_shared_flags(s, prompt, tokens),
            "--spec-type", self.kind, "--spec-draft-n-max", str(s.chain),
        ]  # fmt: skip
        if self._has_model():
            argv += ["--spec-draft-model", str(s.draft), "--spec-draft-threads", str(s.threads)]
        return argv

    def parse(self, stdout, stderr):
        log = stdout + stderr
        found = _find(r"decoded\s+(\d+) tokens in\s+([\d.]+) seconds", log)
        tokens, seconds = int(found[1]), float(found[2])
        drafted = int(_find(r"n_drafted\s*=\s*(\d+)", log)[1])
        accepted = int(_find(r"n_accept\s*=\s*(\d+)", log)[1])
        stats = {"drafted": drafted, "accepted": accepted, "decode_s": seconds}
        # The tool echoes the prompt first. Each pass adds one token of the
        # oracle's to the accepted ones.
        text = stdout.rpartition("<|im_start|>assistant\n")[2].strip("\n")
        return Answer(tokens, tokens / seconds, tokens - accepted, text, stats)


def _shared_flags(setting, prompt, tokens):
    s = setting
    if s.temperature > 0:
        sampling = ["--samplers", "temperature", "--temp", f"{s.temperature:g}", "--seed", str(s.seed)]
    else:
        sampling = ["--samplers", "top_k", "--top-k", "1", "--temp", "0"]
    return [
        "-m", str(s.oracle), "-p", s.chatml(prompt), "--no-escape",
        "-n", str(tokens), "-c", str(s.ctx), "-t", str(s.threads), "-tb", str(s.threads),
        *sampling, *([] if s.repack else ["--no-repack"]), *(["--ignore-eos"] if s.endless else []),
        "--load-mode", "mmap", "--fit", "off", "--offline",
    ]  # fmt: skip


def _find(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise OutputError(f"no {pattern!r} in the output; it ends with {text[-300:]!r}")
    return found
