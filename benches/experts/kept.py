"""What NMOS keeps of a model between runs, and that every run begins with the same.

A session learns a profile of experts from what it answers, in the user's cache. Here each model
has a cache directory of its own, and before each run the profile is put back to what was learnt
from the training prompts:

    bench/experts/MODEL/cache     NMOS_CACHE: what the user's has on disks and models, and a profile
    bench/experts/MODEL/taught    the profile after the training prompts
    bench/experts/MODEL/          recorded routing, traces, reports of `nmos bench`
"""

import os
import shutil

from rival import CACHE

# Of the user's cache: how disks are read best, and which models were tried out.
FROM_USER = ("disks.json", "trials.txt")


class Kept:
    """The directories of one model."""

    def __init__(self, root, model):
        self.dir = root / model.name
        self.cache, self.taught = self.dir / "cache", self.dir / "taught"
        self.cache.mkdir(parents=True, exist_ok=True)
        for name in FROM_USER:
            if (CACHE / name).is_file():
                shutil.copy(CACHE / name, self.cache / name)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("NMOS_")}
        self.env["NMOS_CACHE"] = str(self.cache)

    def unteach(self):
        """Later runs begin with nothing learnt, until `keep`."""
        shutil.rmtree(self.taught, ignore_errors=True)

    def keep(self):
        """What has been learnt now is what every later run begins with."""
        self.unteach()
        shutil.copytree(self.cache / "experts", self.taught)

    def is_taught(self):
        return self.taught.is_dir()

    def reset(self):
        """As it was taught; without that as good as new."""
        shutil.rmtree(self.cache / "experts", ignore_errors=True)
        if self.is_taught():
            shutil.copytree(self.taught, self.cache / "experts")

    def recording(self, name):
        return self.dir / f"{name}.routing"
