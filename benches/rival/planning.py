"""Asks `nmos plan` how it would divide a memory, without loading a model."""

import json
import os
import re
import subprocess

import cage

MIB = 1 << 20


class Unsupported(cage.CageError):
    """This NMOS does not know such an option."""


def ask(nmos, flags, ram_bytes, env=None):
    """One plan; where that is too little memory, one in the least that works."""
    argv = [str(nmos), "--config", os.devnull, "plan", "--json", *flags]
    if ram_bytes is not None:
        argv += ["--ram", str(ram_bytes)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode == 0:
        return json.loads(done.stdout)
    least = re.search(r"the least that works is (\d+) MiB", done.stderr)
    if least and ram_bytes is not None and int(least[1]) * MIB > ram_bytes:
        return ask(nmos, flags, int(least[1]) * MIB, env)
    kind = Unsupported if done.returncode == 2 else cage.CageError
    raise kind(f"nmos plan {' '.join(flags)}: {(done.stderr.strip() or 'no word').splitlines()[0]}")


def owner(report, name):
    """The bytes that one owner has of a plan's budget."""
    return sum(owner["bytes"] for owner in report["budget"] if owner["owner"] == name)
