#!/usr/bin/env python3
"""How fast answers come while other programs have the cores.

For every number of busy loops (each in a session of its own, as a program that was started from
another terminal is) and every form of the oracle, in turn, for so many rounds:

    nmos, as many threads as cores        nmos, one thread        llama.cpp, as many threads

and next to them what two plain loops, in the place of a program with two threads, get of the
processors: the *share*. A report of ratios follows, with what is aimed at. With --traces the wait
after Enter is measured too, on typing traces next to one loop, against the same prompts cold.

    busy.py [--loops 0,1,2,3] [--rounds 3] [--tokens 48] [--traces 10] [--json FILE] [TRACE...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rival"))

from engines import Llama, Nmos, OutputError, Setting  # noqa: E402

PROMPT = "Write a long story about the tides and the moon."
SYSTEM = "You are a helpful assistant."
LOOP = [sys.executable, "-c", "while True: pass"]
# All in memory, and about half of the weights streamed.
FORMS = {"resident": "6GiB", "streamed": "960MiB"}


def cache():
    base = os.environ.get("NMOS_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nmos"


class Loops:
    """Busy loops, each in a session of its own."""

    def __init__(self, n):
        self.n = n

    def __enter__(self):
        self.running = [subprocess.Popen(LOOP, start_new_session=True) for _ in range(self.n)]
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.kill()
            process.wait()


def share(cores, seconds=2.0):
    """The part of the processors that as many plain loops as there are cores get together."""
    loops = (
        "import os, resource, time\n"
        f"end = time.monotonic() + {seconds}\n"
        f"for _ in range({cores}):\n"
        "    if os.fork() == 0:\n"
        "        while time.monotonic() < end: pass\n"
        "        os._exit(0)\n"
        f"for _ in range({cores}): os.wait()\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    argv = [sys.executable, "-c", loops]
    run = subprocess.run(argv, capture_output=True, text=True, check=True, start_new_session=True)
    return float(run.stdout) / (cores * seconds)


def measure(engine, tokens, group=None):
    """Tokens a second of one run."""
    argv = engine.argv(PROMPT, tokens)
    if group:
        argv = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs"; exec "$@"', "sh", *argv]
    run = subprocess.run(argv, capture_output=True, text=True, start_new_session=True)
    try:
        return engine.parse(run.stdout, run.stderr).tokens_per_s
    except OutputError as error:
        sys.exit(f"busy.py: {engine.label} failed: {error}\n{run.stderr[-800:]}")


def memory_group(ram):
    """A memory group of this size for the rival, as root with cgroup v1; None elsewhere."""
    folder = Path("/sys/fs/cgroup/memory") / f"nmos-busy-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(ram)
        return folder
    except OSError:
        return None


def throughput(args, binary, rivals):
    cores = len(os.sched_getaffinity(0))
    oracle = cache() / "models" / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    rows = []
    for form, ram in FORMS.items():
        def setting(threads):
            return Setting(oracle, None, ram, threads, 2048, 8, SYSTEM)

        engines = {"nmos": Nmos(setting(cores), binary), "one thread": Nmos(setting(1), binary)}
        if rivals:
            engines["llama.cpp"] = Llama(setting(cores), rivals)
        group = memory_group("960M") if rivals and form == "streamed" else None
        for loops in args.loops:
            for _ in range(args.rounds):
                with Loops(loops):
                    row = {"form": form, "loops": loops, "share": share(cores)}
                    for name, engine in engines.items():
                        slow = name == "llama.cpp" and (loops > 0 or form == "streamed")
                        row[name] = measure(engine, 8 if slow else args.tokens, group if name == "llama.cpp" else None)
                rows.append(row)
                print(json.dumps(row), flush=True)
        if group:
            group.rmdir()
    return rows


def table(rows):
    print("\n| form | loops | share | nmos | one thread | llama.cpp | of one thread (>= 0.9) | of quiet x share (aim 0.7) |")
    print("|---|---|---|---|---|---|---|---|")
    middle = statistics.median
    for form in FORMS:
        mine = [row for row in rows if row["form"] == form]
        quiet = [row["nmos"] for row in mine if row["loops"] == 0]
        for loops in sorted({row["loops"] for row in mine}):
            these = [row for row in mine if row["loops"] == loops]
            of = {name: middle([row[name] for row in these]) for name in ("share", "nmos", "one thread")}
            rival = [row["llama.cpp"] for row in these if "llama.cpp" in row]
            ratio = middle([row["nmos"] / row["one thread"] for row in these])
            aim = f"{of['nmos'] / (middle(quiet) * of['share']):.2f}" if quiet and loops else ""
            print(
                f"| {form} | {loops} | {of['share']:.2f} | {of['nmos']:.2f} | {of['one thread']:.2f} | "
                f"{f'{middle(rival):.2f}' if rival else ''} | {ratio:.2f} | {aim} |"
            )


def waits(args, binary):
    """The wait after Enter on traces next to one loop: anticipated, and cold in the same run."""
    traces = args.files or sorted((HERE.parents[1] / "tests" / "data" / "traces").glob("*.jsonl"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        argv = [
            str(binary), "--config", os.devnull, "--ram", FORMS["streamed"], "bench",
            "--limit", str(args.traces), "--speed", str(args.speed), "-n", "16", "--baseline", "--json", str(report),
            *map(str, traces),
        ]  # fmt: skip
        with Loops(1):
            subprocess.run(argv, check=True, start_new_session=True)
        rows = json.loads(report.read_text())["rows"]
    pairs = [(row["ttft_ms"], row["cold_ttft_ms"]) for row in rows if row["ttft_ms"] and row["cold_ttft_ms"]]
    for name, q in (("p50", 0.5), ("p90", 0.9)):
        warm, cold = (sorted(column)[min(int(q * len(column)), len(column) - 1)] for column in zip(*pairs))
        print(f"wait after Enter next to one loop, {len(pairs)} traces, {name}: {warm:.0f} ms, cold {cold:.0f} ms")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="TRACE", help="recorded typing (default: those of the tests)")
    parser.add_argument("--loops", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--traces", type=int, default=10, help="0: none")
    parser.add_argument("--speed", type=float, default=4, help="of typing, times as recorded")
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--binary", type=Path, help="nmos (default: as make build leaves it)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", cache() / "target"))
    binary = args.binary or target / "release" / "nmos"
    rivals = None
    if not args.no_rival:
        built = subprocess.run([HERE.parent / "rival" / "build.sh"], stdout=subprocess.PIPE, text=True, check=True)
        rivals = Path(built.stdout.strip().splitlines()[-1])
    result = {"throughput": throughput(args, binary, rivals) if args.rounds else []}
    if result["throughput"]:
        table(result["throughput"])
    if args.traces:
        result["waits"] = waits(args, binary)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
