"""Runs one command in a memory cgroup and counts what the kernel saw.

What is measured, and by whom:

    bytes read    /proc/<pid>/io `read_bytes` of the finished child, before it is
                  reaped: every block the process (all its threads) had fetched
                  from the disk, by read(2), O_DIRECT, io_uring or a page fault
                  on a mapped file, the kernel's readahead included.
    peak, group   the cgroup's high-water mark: anonymous memory, page cache and
                  kernel memory charged to the group.
    peak, process `ru_maxrss`: VmHWM of the child as it ended, mapped file pages
                  included. (A child is forked from this script, so a figure under
                  some 20 MiB would be the script's own.)

    others' CPU   the share of all cores that went to anything but the child while it
                  ran, so that a disturbed run can be told from a quiet one.

The page cache is charged to the group that read a page first, and pages that
another group holds are free to use. So files are evicted before a run, and what
could not be evicted (somebody else has it mapped) is reported, not ignored.
"""

import ctypes
import mmap
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = mmap.PAGESIZE
DIRECT_BLOCK_BYTES = 4 << 20
# Above this share of the CPU in other hands a run is called disturbed.
DISTURBED = 0.05


class CageError(Exception):
    """A failure to tell the user in one line."""


@dataclass
class Outcome:
    """What one child did, as the kernel counted it."""

    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    others_cpu_share: float
    read_bytes: int
    peak_rss_bytes: int
    peak_group_bytes: int | None

    def figures(self):
        """What a record has of it."""
        names = ("read_bytes", "peak_rss_bytes", "peak_group_bytes", "wall_s", "cpu_s", "others_cpu_share")
        return {name: getattr(self, name) for name in names}


class Cgroup:
    """A memory cgroup of its own for one run; removed at the end of `with`."""

    def __init__(self, limit_bytes):
        self.limit_bytes = limit_bytes
        self.version, root = _memory_controller()
        self.path = root / f"nmos-rival-{os.getpid()}"

    def __enter__(self):
        try:
            if self.version == 2:
                (self.path.parent / "cgroup.subtree_control").write_text("+memory")
            self.path.mkdir()
        except OSError as error:
            raise CageError(f"cannot create the cgroup {self.path}: {error.strerror}; run as root") from error
        try:
            if self.version == 1:
                self._write("memory.limit_in_bytes", self.limit_bytes)
                self._write_if_there("memory.memsw.limit_in_bytes", self.limit_bytes)
            else:
                self._write("memory.max", self.limit_bytes)
                self._write_if_there("memory.swap.max", 0)
        except OSError as error:
            self.path.rmdir()
            raise CageError(f"cannot set the limit of {self.path}: {error.strerror}") from error
        return self

    def __exit__(self, *_):
        # Pages that the run cached would outlive it and serve the next one.
        if self.version == 1:
            self._write_if_there("memory.force_empty", 0)
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)
        raise CageError(f"{self.path} does not empty; a process is left in it")

    def join(self):
        """Moves the calling process in; for use between fork and exec."""
        self._write("cgroup.procs", os.getpid())

    def peak_bytes(self):
        return self._read("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")

    def _write(self, name, value):
        (self.path / name).write_text(str(value))

    def _write_if_there(self, name, value):
        if (self.path / name).exists():
            self._write(name, value)

    def _read(self, name):
        file = self.path / name
        return int(file.read_text()) if file.exists() else None


def _memory_controller():
    """Finds the mounted memory controller: (cgroup version, its root)."""
    unified = None
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return 1, Path(where)
        if kind == "cgroup2":
            unified = Path(where)
    if unified and "memory" in (unified / "cgroup.controllers").read_text().split():
        return 2, unified
    raise CageError("no memory cgroup controller is mounted (v1 or v2)")


def run_calmly(argv, limit_bytes, files, timeout_s, attempts, env=None, before=lambda: None):
    """Runs it over cold files until other processes leave it the CPU, or attempts end: then the
    calmest. With it the bytes of the files that stayed in the page cache before that run.
    `before` is called before each attempt.
    """
    calmest = None
    for _ in range(attempts):
        before()
        left = evict(files)
        with Cgroup(limit_bytes) as cgroup:
            outcome = run(argv, cgroup, timeout_s, env)
        if calmest is None or outcome.others_cpu_share < calmest[0].others_cpu_share:
            calmest = outcome, left
        if outcome.others_cpu_share <= DISTURBED:
            break
    return calmest


def run(argv, cgroup, timeout_s, env=None):
    """Runs `argv` inside `cgroup` and returns its Outcome."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start, busy_before = time.monotonic(), _busy_cpu_s()
        try:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=cgroup.join, env=env
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CageError(f"cannot start {argv[0]}: {error}") from error
        try:
            _wait_unreaped(child, start + timeout_s)
        except BaseException:
            child.kill()
            child.wait()
            raise
        wall_s, busy_s = time.monotonic() - start, _busy_cpu_s() - busy_before
        # The child is a zombie: its counters are final and still there to read.
        read_bytes = _io_counter(child.pid, "read_bytes")
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if child.returncode != 0:
        tail = "\n".join(texts[1].strip().splitlines()[-12:])
        raise CageError(f"{argv[0]} ended with {child.returncode} (-9: killed, perhaps for memory)\n{tail}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Outcome(
        stdout=texts[0],
        stderr=texts[1],
        wall_s=wall_s,
        cpu_s=cpu_s,
        others_cpu_share=max(0.0, busy_s - cpu_s) / (wall_s * os.cpu_count()),
        read_bytes=read_bytes,
        peak_rss_bytes=usage.ru_maxrss * 1024,
        peak_group_bytes=cgroup.peak_bytes(),
    )


def _wait_unreaped(child, deadline):
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            raise CageError(f"{child.args[0]} did not end in time (--timeout)")
        time.sleep(0.02)


def _busy_cpu_s():
    """CPU seconds that all cores together have spent on work since boot."""
    first_line = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first_line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _io_counter(pid, name):
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        key, value = line.split(": ")
        if key == name:
            return int(value)
    raise CageError("this kernel does not count I/O by process (CONFIG_TASK_IO_ACCOUNTING)")


def evict(paths):
    """Drops files from the page cache; returns the bytes that stayed."""
    left = 0
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            left += _cached_bytes(fd)
        finally:
            os.close(fd)
    return left


def _cached_bytes(fd):
    """Bytes of a file in the page cache, by mincore(2)."""
    size = os.fstat(fd).st_size
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        raise CageError(f"mmap: {os.strerror(ctypes.get_errno())}")
    try:
        pages = ctypes.create_string_buffer(-(-size // PAGE_BYTES))
        if libc.mincore(address, size, pages) != 0:
            raise CageError(f"mincore: {os.strerror(ctypes.get_errno())}")
    finally:
        libc.munmap(address, size)
    return sum(byte & 1 for byte in pages.raw) * PAGE_BYTES


def disk_bytes_per_s(path, depth, most_bytes=None):
    """O_DIRECT speed over the whole file in order, `depth` reads in flight.

    With `most_bytes` only so much is read, in blocks that lie evenly over the file.
    """
    size = os.path.getsize(path)
    blocks = range(0, size, DIRECT_BLOCK_BYTES)
    if most_bytes is not None:
        blocks = blocks[:: max(1, -(-size // most_bytes))]
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        raise CageError(f"{path}: O_DIRECT is refused here ({error.strerror})") from error
    lanes = [mmap.mmap(-1, DIRECT_BLOCK_BYTES) for _ in range(depth)]

    def read_lane(lane):
        return sum(os.preadv(fd, [lanes[lane]], offset) for offset in blocks[lane::depth])

    try:
        start = time.monotonic()
        with ThreadPoolExecutor(depth) as pool:
            total = sum(pool.map(read_lane, range(depth)))
        return total / (time.monotonic() - start)
    finally:
        os.close(fd)


