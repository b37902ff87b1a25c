#!/usr/bin/env python3
"""Throws damaged model headers at `nmos plan` and `nmos run -n 1`.

Writes tiny models of four architectures (two that NMOS has graphs for, two that are left to
llama.cpp), damages the header of one for each case, and opens it. However damaged a file is,
the process must end by itself, with a refusal in words or an answer, within its memory.

    headers.py NMOS [--cases N] [--seed S] [--jobs J] [--budget MiB] [--keep FOLDER]

As root, each job runs in a memory group of the budget. Exits with 1 where something aborted, hung
or took more memory than it may; the files that did are kept.
"""
import argparse
import array
import collections
import multiprocessing
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time

# A file that is tried in a process of its own may take 20 s of a processor, which others may use.
HANG_S = 90
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
# Values at which sums and comparisons go wrong.
NUMBERS = [0, 1, 2, 3, 7, 31, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 31, 1 << 32,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
REALS = [0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan")]


class Model:
    """A GGUF file under construction; knows where each field of its header lies."""

    def __init__(self, arch):
        self.arch, self.entries, self.tensors = arch, [], []
        self.text("general.architecture", arch)

    def text(self, key, value):
        self.entries.append((key, STRING, value))

    def u32(self, key, value):
        self.entries.append((f"{self.arch}.{key}", U32, value))

    def f32(self, key, value):
        self.entries.append((f"{self.arch}.{key}", F32, value))

    def array(self, key, kind, values):
        self.entries.append((key, ARRAY, (kind, values)))

    def tensor(self, name, *dims):
        self.tensors.append((name, dims))

    def build(self, dice):
        """The header, its fields by kind as (kind, place, bytes), and the data."""
        out, fields = bytearray(), []

        def field(kind, data):
            fields.append((kind, len(out), len(data)))
            out.extend(data)

        def string(value):
            data = value.encode()
            field("length", struct.pack("<Q", len(data)))
            field("text", data)

        def scalar(kind, value):
            if kind == STRING:
                string(value)
            else:
                form = {U32: "<I", I32: "<i", F32: "<f"}[kind]
                field("real" if kind == F32 else "number", struct.pack(form, value))

        field("magic", b"GGUF")
        field("number", struct.pack("<I", 3))
        field("length", struct.pack("<Q", len(self.tensors)))
        field("length", struct.pack("<Q", len(self.entries)))
        for key, kind, value in self.entries:
            string(key)
            field("type", struct.pack("<I", kind))
            if kind == ARRAY:
                kind, values = value
                field("type", struct.pack("<I", kind))
                field("length", struct.pack("<Q", len(values)))
                for value in values:
                    scalar(kind, value)
            else:
                scalar(kind, value)
        offset, data = 0, bytearray()
        for name, dims in self.tensors:
            string(name)
            field("number", struct.pack("<I", len(dims)))
            n = 1
            for dim in dims:
                field("dim", struct.pack("<Q", dim))
                n *= dim
            field("type", struct.pack("<I", 0))
            field("offset", struct.pack("<Q", offset))
            weights = array.array("f", [dice.gauss(0, 0.1) for _ in range(n)])
            data += weights.tobytes()
            data += b"\0" * (-len(data) % 32)
            offset = len(data)
        out.extend(b"\0" * (-len(out) % 32))
        return bytes(out), fields, bytes(data)


def base(arch, layers=2, d=64, ff=96, heads=4, kv=2):
    model = Model(arch)
    head = d // heads
    model.u32("block_count", layers)
    model.u32("context_length", 512)
    model.u32("embedding_length", d)
    model.u32("feed_forward_length", ff)
    model.u32("attention.head_count", heads)
    model.u32("attention.head_count_kv", kv if arch != "phi3" else heads)
    model.f32("attention.layer_norm_rms_epsilon", 1e-5)
    model.u32("rope.dimension_count", head)
    model.f32("rope.freq_base", 10000.0)
    if arch == "gemma3":
        model.u32("attention.key_length", head)
        model.u32("attention.value_length", head)
        model.u32("attention.sliding_window", 128)
    if arch == "phi3":
        model.u32("attention.sliding_window", 0)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += ["\u2581"] + [chr(c) for c in range(33, 127)] + ["<|im_start|>", "<|im_end|>"]
    tokens += [f"[PAD{i}]" for i in range(-len(tokens) % 32)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * 95 + [3] * 2
    kinds += [5] * (len(tokens) - len(kinds))
    model.text("tokenizer.ggml.model", "llama")
    model.array("tokenizer.ggml.tokens", STRING, tokens)
    model.array("tokenizer.ggml.scores", F32, [-float(i) for i in range(len(tokens))])
    model.array("tokenizer.ggml.token_type", I32, kinds)
    for key, token in (("bos", 1), ("eos", 2), ("unknown", 0)):
        model.entries.append((f"tokenizer.ggml.{key}_token_id", U32, token))
    model.tensor("token_embd.weight", d, len(tokens))
    model.tensor("output_norm.weight", d)
    if arch != "gemma3":
        model.tensor("output.weight", d, len(tokens))
    for i in range(layers):
        tensor = lambda name, *dims: model.tensor(f"blk.{i}.{name}", *dims)
        tensor("attn_norm.weight", d)
        tensor("ffn_norm.weight", d)
        if arch == "phi3":
            tensor("attn_qkv.weight", d, 3 * d)
            tensor("ffn_up.weight", d, 2 * ff)
        else:
            tensor("attn_q.weight", d, d)
            tensor("attn_k.weight", d, kv * head)
            tensor("attn_v.weight", d, kv * head)
            tensor("ffn_gate.weight", d, ff)
            tensor("ffn_up.weight", d, ff)
        if arch == "qwen2":
            for name, n in (("q", d), ("k", kv * head), ("v", kv * head)):
                tensor(f"attn_{name}.bias", n)
        if arch == "gemma3":
            tensor("post_attention_norm.weight", d)
            tensor("post_ffw_norm.weight", d)
            tensor("attn_q_norm.weight", head)
            tensor("attn_k_norm.weight", head)
        tensor("attn_output.weight", d, d)
        tensor("ffn_down.weight", ff, d)
    return model


def damage(dice, header, fields, data):
    """A damaged file. Fields of every kind are as likely, though most are of the vocabulary."""
    header = bytearray(header)
    by_kind = collections.defaultdict(list)
    for kind, at, size in fields:
        by_kind[kind].append((at, size))
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        way = dice.choice(["bit", "field", "field", "field", "field", "cut"])
        if way == "bit":
            at = dice.randrange(len(header))
            header[at] ^= 1 << dice.randrange(8)
            continue
        if way == "cut":
            if dice.random() < 0.1:
                return bytes(header[:dice.randrange(len(header))])
            data = data[:dice.randrange(len(data) + 1)] if dice.random() < 0.2 else data
            continue
        kind = dice.choice(list(by_kind))
        places = by_kind[kind]
        # What is not of the vocabulary lies at both ends.
        few = places[:60] + places[-200:]
        at, size = dice.choice(few if dice.random() < 0.8 else places)
        if size == 0:
            continue
        if kind in ("text", "magic"):
            i = at + dice.randrange(size)
            header[i] = dice.choice([0, 0x1B, 0x80, 0xFF, dice.randrange(256)])
        elif kind == "real":
            header[at:at + size] = struct.pack("<f", dice.choice(REALS))
        elif kind == "type":
            header[at:at + size] = struct.pack("<I", dice.choice([*range(0, 45), 0xFFFFFFFF]))
        else:
            old = int.from_bytes(header[at:at + size], "little")
            near = [old + 1, old - 1, old * 2, old // 2, old * 3, old ^ (1 << dice.randrange(size * 8))]
            new = dice.choice(dice.choice([NUMBERS, near])) % (1 << (8 * size))
            header[at:at + size] = new.to_bytes(size, "little")
    return bytes(header) + data


class Group:
    """A memory group of this many bytes, where the machine lends one."""

    def __init__(self, name, most):
        self.path = None
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                            ("/sys/fs/cgroup", "memory.max")):
            path = f"{root}/{name}"
            try:
                os.mkdir(path)
                with open(f"{path}/{limit}", "w") as file:
                    file.write(str(most))
                self.path = path
                return
            except OSError:
                if os.path.isdir(path):
                    os.rmdir(path)

    def join(self):
        if self.path:
            with open(f"{self.path}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))

    def remove(self):
        for _ in range(50):
            try:
                if self.path:
                    os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


def launch(command, env, group, log):
    """Runs it; its exit status, whether it hung, and the most memory that it held."""
    child = os.fork()
    if child == 0:
        try:
            group.join()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.setsid()
            os.execve(command[0], command, env)
        finally:
            os._exit(127)
    signal.alarm(HANG_S)
    try:
        _, status, usage = os.wait4(child, 0)
        hung = False
    except TimeoutError:
        os.killpg(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        hung = True
    signal.alarm(0)
    return os.waitstatus_to_exitcode(status), hung, usage.ru_maxrss << 10


def work(job, options, results):
    def over(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, over)
    models = [base(arch).build(random.Random(7)) for arch in ("qwen2", "llama", "gemma3", "phi3")]
    folder = tempfile.mkdtemp(prefix="nmos-headers-")
    group = Group(f"nmos-headers-{os.getpid()}", options.budget << 20)
    env = {**os.environ, "NMOS_CACHE": folder, "NMOS_LOG_LEVEL": "off"}
    path, log = f"{folder}/case.gguf", f"{folder}/log"
    shared = ["--oracle", path, "--draft", "none", "--scout", "none", "--ram",
              f"{options.budget}MiB", "--vram", "0", "--ctx", "256", "--threads", "1"]
    ways = {"plan": [options.nmos, "plan", *shared],
            "run": [options.nmos, "run", "-n", "1", *shared, "a"]}
    try:
        for case in range(job, options.cases, options.jobs):
            dice = random.Random(f"{options.seed}-{case}")
            with open(path, "wb") as file:
                file.write(damage(dice, *models[case % len(models)]))
            for name, command in ways.items():
                code, hung, peak = launch(command, env, group, log)
                if hung:
                    end = "hung"
                elif code == -signal.SIGKILL or peak > options.budget << 20:
                    end = "over the budget"
                elif code < 0 or code > 128:
                    end = "aborted"
                else:
                    end = {0: "ran", 1: "refused"}.get(code, f"exit code {code}")
                if end not in ("ran", "refused"):
                    kept = f"{options.keep}/{options.seed}-{case}-{name}"
                    os.makedirs(options.keep, exist_ok=True)
                    shutil.copy(path, f"{kept}.gguf")
                    shutil.copy(log, f"{kept}.txt")
                results.put((name, end, peak))
    finally:
        group.remove()
        shutil.rmtree(folder, ignore_errors=True)
        results.put(None)


def main():
    parser = argparse.ArgumentParser(description="damaged headers against nmos")
    parser.add_argument("nmos", help="the executable")
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=int, default=128, help="MiB")
    parser.add_argument("--keep", default="headers-failed", help="where files that fail go")
    options = parser.parse_args()
    options.nmos = os.path.abspath(options.nmos)
    results = multiprocessing.Queue()
    jobs = [multiprocessing.Process(target=work, args=(job, options, results))
            for job in range(options.jobs)]
    began = time.time()
    for job in jobs:
        job.start()
    counts, peak, left, done = collections.Counter(), 0, len(jobs), 0
    while left:
        result = results.get()
        if result is None:
            left -= 1
            continue
        name, end, held = result
        counts[name, end] += 1
        peak, done = max(peak, held), done + 1
        if done % 500 == 0:
            rate = done / (time.time() - began)
            print(f"{done} of {2 * options.cases}, {rate:.0f} a second", file=sys.stderr, flush=True)
    for job in jobs:
        job.join()
    for (name, end), n in sorted(counts.items()):
        print(f"{name:5} {end:16} {n}")
    print(f"peak  {peak / 2**20:.0f} MiB of {options.budget}; {time.time() - began:.0f} s; seed {options.seed}")
    fine = sum(counts[name, end] for name in ("plan", "run") for end in ("ran", "refused"))
    return 0 if fine == done == 2 * options.cases else 1


if __name__ == "__main__":
    sys.exit(main())
