"""One start of the benchmark: what all jobs share, and the loop that makes those that are missing."""

import subprocess
import time

import cage
import engines
from kept import Kept
from memory import Impossible, Planner
from planning import MIB
from programs import Binary, build_rivals
from prompts import SYSTEM
from rival import note

FAILURES_IN_A_ROW = 3
# Depth and bytes of what is read of a file to tell the disk's speed.
DISK_DEPTH = 4
DISK_BYTES = 512 * MIB


class Job:
    """Anything that ends in one line of the results file."""

    # Of its record.
    kind = ""

    def key(self, bench):
        """All that its record depends on; one whose key is in the file is not made again."""
        raise NotImplementedError

    def make(self, bench):
        """Does it; what the record holds besides."""
        raise NotImplementedError

    def words(self, record):
        """Progress, in less than a line."""
        raise NotImplementedError

    def is_done(self, bench):
        return bench.find(self) is not None


class Bench:
    """Settings, build, results file, and what is kept of each model."""

    def __init__(self, args, models, results):
        self.args, self.models, self.results = args, models, results
        with cage.Cgroup(64 * MIB):
            pass  # Without the right to make one, nothing else can begin.
        self.binary = Binary(args.nmos)
        self.rivals = args.rivals.absolute() if args.rivals else None
        self.settings = {"ctx": args.ctx, "threads": args.threads}
        self.kept = {model: Kept(args.keep, model) for model in models}
        self.planners = {
            model: Planner(self.binary.path, model, args.ctx, args.threads, self.kept[model].env,
                           self.key_of(model), results)
            for model in models
        }  # fmt: skip
        # Both engines or none: an answer that ends early is shorter.
        self.endless = self.knows("run", "--ignore-eos")
        if not self.endless:
            note("! this NMOS cannot suppress ends (run --ignore-eos): answers may end early, the rival's too")
        self.skipped = set()

    def knows(self, command, *flags):
        """Whether this NMOS has such options, with such values."""
        argv = [self.binary.path, command, *flags, "--help"]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def key_of(self, model):
        """Of a record of ours."""
        return model.identity | self.settings | {"build": self.binary.version}

    def rival_key_of(self, model):
        """A rival is the same whatever NMOS becomes."""
        return model.identity | self.settings | {"build": str(self.need_rivals()), "endless": self.endless}

    def need_rivals(self):
        if self.rivals is None:
            self.rivals = build_rivals()
        return self.rivals

    def place(self, model, share):
        return self.planners[model].place(share)

    def place_most(self, model):
        """The largest of the shares that are measured."""
        return self.place(model, max(self.args.shares, key=float))

    def setting(self, model, placement, **options):
        return engines.Setting(
            oracle=model.path, draft=None, ram=placement.ram, threads=self.args.threads, ctx=self.args.ctx,
            chain=0, system=SYSTEM, endless=self.endless, **options,
        )  # fmt: skip

    def nmos(self, model, placement, **options):
        return engines.Nmos(self.setting(model, placement, **options), self.binary.path)

    def llama(self, model, placement):
        return engines.Llama(self.setting(model, placement), self.need_rivals())

    def replaying(self, model, placement, report, tokens, traces, *flags):
        """The command of `nmos bench`, which always suppresses ends."""
        return [
            str(self.binary.path), "--config", "/dev/null", "bench", "--json", str(report), "-n", str(tokens),
            "--ram", placement.ram, "--oracle", str(model.path), "--draft", "none",
            "--threads", str(self.args.threads), "--ctx", str(self.args.ctx), *flags, *map(str, traces),
        ]  # fmt: skip

    def run(self, argv, model, placement, timeout_s=None):
        """Runs it in its memory group over a cold file; (outcome, what a record has of it)."""
        limit = placement.ram_bytes + self.args.headroom_mib * MIB
        before = self.kept[model].reset
        outcome, left = cage.run_calmly(
            argv, limit, [model.path], timeout_s or self.args.timeout, self.args.attempts, self.kept[model].env, before
        )
        return outcome, {
            "small": model.is_small,
            "ram_bytes": placement.ram_bytes,
            "share_met": placement.share,
            "cgroup_bytes": limit,
            **outcome.figures(),
            "cached_before_bytes": left,
            "argv": argv,
        }

    def disk_bytes_per_s(self, model):
        return cage.disk_bytes_per_s(model.path, DISK_DEPTH, DISK_BYTES)

    def find(self, job):
        return self.results.find(job.kind, job.key(self))

    def play(self, jobs):
        """Makes those that are not in the file. A failed one is said and left out."""
        missing = [job for job in jobs if not job.is_done(self)]
        if len(missing) < len(jobs):
            note(f"{len(jobs) - len(missing)} of {len(jobs)} jobs are in {self.results.path} already")
        failed = in_a_row = 0
        for number, job in enumerate(missing, 1):
            try:
                self.binary.check()
                record = job.make(self)
            except Impossible as error:
                self.skip(f"  ! left out: {error}")
                continue
            except (cage.CageError, engines.OutputError) as error:
                failed, in_a_row = failed + 1, in_a_row + 1
                note(f"  ! {job}: {error}")
                if in_a_row == FAILURES_IN_A_ROW:
                    raise cage.CageError(f"{in_a_row} jobs failed in a row") from error
                continue
            in_a_row = 0
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.results.add({"kind": job.kind, "key": job.key(self), "time": now} | record)
            note(f"{f'[{number}/{len(missing)}]':>10} {job}: {job.words(record)}")
        if failed:
            note(f"{failed} jobs failed; the same command tries them again")
        return not failed

    def skip(self, words):
        """Says it once."""
        if words not in self.skipped:
            self.skipped.add(words)
            note(words)
