"""The programs that are measured: our binary, which must not change meanwhile, and the rivals'."""

import subprocess
from pathlib import Path

import cage

HERE = Path(__file__).resolve().parent


class Rebuilt(Exception):
    """The binary is another than at the start: no run may follow under the old name."""


class Binary:
    """Our executable as it is at the start."""

    def __init__(self, path):
        if not path.is_file():
            raise cage.CageError(f"{path} is not there")
        self.path = path.absolute()
        self.identity = self._identity()
        done = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True)
        self.version = " ".join(done.stdout.splitlines()[:1])

    def check(self):
        if self._identity() != self.identity:
            raise Rebuilt(f"{self.path} was built anew; the same command goes on with the new build")

    def _identity(self):
        stat = self.path.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def build_rivals():
    """Builds llama.cpp's tools unless they are there; the directory that has them."""
    built = subprocess.run([HERE / "build.sh"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise cage.CageError("the rivals could not be built (see above)")
    return Path(built.stdout.strip())
