"""Makes runs: cold files, a memory cgroup of its own, one record in the results file."""

import time
from dataclasses import replace

import cage
import engines
import grid
from placement import Planner
from planning import MIB, Unsupported
from programs import Binary, build_rivals
from rival import cell, note

FAILURES_IN_A_ROW = 3


class Runner:
    """One start of the benchmark: settings, build and results file."""

    def __init__(self, args, system, results):
        self.args, self.results = args, results
        self.setting = engines.Setting(
            oracle=args.oracle, draft=args.draft, ram="", threads=args.threads, ctx=args.ctx,
            chain=grid.CHAIN_TOKENS, system=system,
        )  # fmt: skip
        self.binary = Binary(args.nmos)
        self.build = self.binary.version
        for path in (args.oracle, args.draft):
            if not path.is_file():
                raise cage.CageError(f"{path} is not there")
        with cage.Cgroup(64 * MIB):
            pass  # Without the right to make one, nothing else can begin.
        # What figures and texts depend on, besides the job.
        self.common = {
            "tokens": args.tokens, "ctx": args.ctx, "threads": args.threads,
            "oracle": args.oracle.name, "draft": args.draft.name,
        }  # fmt: skip
        place_key = {key: self.common[key] for key in self.common if key != "tokens"} | {"build": self.build}
        self.planner = Planner(self.binary.path, args.oracle, args.ctx, args.threads, place_key, results)
        self.rivals = args.rivals.absolute() if args.rivals else None
        self.unsupported = set()

    def play(self, jobs):
        """Makes those that are not in the file. A failed one is said and left out."""
        if self.rivals is None and any(job.variant.is_rival for job in jobs):
            self.rivals = build_rivals()
        missing = [job for job in jobs if not self.record(job)]
        if len(missing) < len(jobs):
            note(f"{len(jobs) - len(missing)} of {len(jobs)} runs are in {self.results.path} already")
        failed = in_a_row = 0
        for number, job in enumerate(missing, 1):
            try:
                self._run(job, f"[{number}/{len(missing)}]")
                in_a_row = 0
            except (cage.CageError, engines.OutputError) as error:
                failed, in_a_row = failed + 1, in_a_row + 1
                note(f"  ! {job.variant.name} on {job.prompt['name']}: {error}")
                if in_a_row == FAILURES_IN_A_ROW:
                    raise cage.CageError(f"{in_a_row} runs failed in a row") from error
        if failed:
            note(f"{failed} runs failed; the same command tries them again")
        return not failed

    def record(self, job):
        """The record of a finished run, or None."""
        return self.results.find("run", self._key(job))

    def _key(self, job):
        key = {
            "suite": job.suite, "variant": job.variant.name, "resident": job.resident,
            "temperature": job.temperature, "prompt": job.prompt["name"], "round": job.round,
            "seed": job.seed if job.temperature > 0 else None,
            # A rival is the same whatever NMOS becomes.
            "build": f"{self.rivals} {self._kind(job.variant)}" if job.variant.is_rival else self.build,
        }  # fmt: skip
        return key | self.common

    def _run(self, job, progress):
        variant = job.variant
        if variant.tree in self.unsupported:
            return
        self.binary.check()
        try:
            placement = self._placement(variant, job.resident)
        except Unsupported as error:
            self.unsupported.add(variant.tree)
            note(f"  ! left out, since this NMOS does not know it: {error}")
            return
        engine = self._engine(job, placement)
        limit = placement.ram_bytes + self.args.headroom_mib * MIB
        argv = engine.argv(job.prompt["text"], self.args.tokens)
        files = {self.args.oracle, self.args.draft}
        outcome, left = cage.run_calmly(argv, limit, files, self.args.timeout, self.args.attempts)
        answer = engine.parse(outcome.stdout, outcome.stderr)
        per_pass = answer.stats.get("accepted_per_pass") or answer.tokens_a_pass
        self.results.add({
            "kind": "run",
            "key": self._key(job),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "class": job.prompt["class"],
            "ram_bytes": placement.ram_bytes,
            "share": placement.share,
            "form": placement.form,
            "max_nodes": placement.max_nodes,
            "cgroup_bytes": limit,
            "tokens": answer.tokens,
            "tokens_per_s": answer.tokens_per_s,
            "tokens_a_pass": per_pass,
            "text": answer.text,
            "stats": {key: value for key, value in answer.stats.items() if key != "text"},
            **outcome.figures(),
            "cached_before_bytes": left,
            "argv": argv,
        })  # fmt: skip
        note(
            f"{progress:>10} {job.resident:>6}  T {job.temperature:<3g} {job.prompt['name']:12.12} round {job.round}"
            f"  {variant.name:11} {placement.ram:>8} {answer.tokens:4} tokens {cell(answer.tokens_per_s, '.2f'):>6}/s"
            f" {per_pass:5.2f} a pass {outcome.wall_s:5.1f} s (others {outcome.others_cpu_share:.0%} of the CPU)"
        )

    def _placement(self, variant, resident):
        lent, draft = variant.memory_of, self._draft(variant)
        if not lent:
            return self.planner.place(variant.tree, draft, resident)
        own = self.planner.place(lent, self.args.draft, resident)
        return own if variant.is_rival else self.planner.place_in(variant.tree, draft, own.ram_bytes)

    def _draft(self, variant):
        return self.args.draft if variant.draft == grid.NAMED else variant.draft

    def _engine(self, job, placement):
        variant = job.variant
        setting = replace(
            self.setting, ram=placement.ram, temperature=job.temperature, seed=job.seed, tree=variant.tree,
            draft=self._draft(variant), recycle=variant.recycle,
            # The copy fits only where all weights do.
            repack=job.resident == grid.WHOLE,
        )  # fmt: skip
        if variant.engine == "nmos":
            return engines.Nmos(setting, self.binary.path)
        if variant.engine == "llama":
            return engines.Llama(setting, self.rivals)
        return engines.Speculative(setting, self.rivals, self._kind(variant))

    def _kind(self, rival):
        """llama.cpp's name of where its guesses come from."""
        return {"llama": "none", "draft": "draft-simple", "ngram": self.args.ngram}[rival.engine]
