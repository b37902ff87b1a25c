"""The mixtures that are measured."""

from dataclasses import dataclass
from pathlib import Path

import cage

# Made by `make bench-experts` from a trained mixture, in the user's cache.
FORGED = ("experts-9", "experts-19")


@dataclass(frozen=True)
class Model:
    name: str
    path: Path
    # All of it would fit: such a model is compared with computing alone.
    is_small: bool

    @property
    def identity(self):
        """What figures depend on of the file, short of its content."""
        return {"model": self.name, "model_bytes": self.path.stat().st_size}


def chosen(named, small, forged_dir):
    """Those of the command line: `named` as name=path, or else the forged ones that are there."""
    if named is None:
        paths = [(name, forged_dir / f"{name}.gguf") for name in FORGED]
        paths = [(name, path) for name, path in paths if path.is_file()]
    else:
        paths = [_name_and_path(text) for text in named]
    models = [Model(name, path, False) for name, path in paths]
    models += [Model(path.stem, path, True) for path in small]
    for model in models:
        if not model.path.is_file():
            raise cage.CageError(f"{model.path} is not there")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise cage.CageError("two models have one name; --models NAME=PATH gives them others")
    if not models:
        raise cage.CageError(f"no model: there is none in {forged_dir}; --models or --small names some")
    return models


def _name_and_path(text):
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (Path(text).stem, Path(text))
