"""The results file: one JSON object a line, appended as soon as it is known.

    {"kind": "session", ...}              once a start: machine, arguments, time
    {"kind": "plan", "key": {...}, ...}   how much memory gives a residency
    {"kind": "run", "key": {...}, ...}    one finished run

A record's key says all that it depends on; one whose key is there is not made again. A
line that was cut off by a kill is dropped when the file is opened next.
"""

import fcntl
import json
import os

import cage


def read(path):
    """The records of a file, without a last line that was cut off."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise cage.CageError(f"{path}: line {number} is not JSON; repair or remove it") from error
    return records


class Results:
    """The file, open for one writer."""

    def __init__(self, path, fresh):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh and path.exists():
            path.rename(path.with_name(path.name + ".old"))
        self.file = path.open("a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise cage.CageError(f"{path} is being written by another run of this benchmark") from error
        self._drop_partial_line()
        self.records = read(path)
        self.by_key = {_place(r["kind"], r["key"]): r for r in self.records if "key" in r}

    def find(self, kind, key):
        return self.by_key.get(_place(kind, key))

    def add(self, record):
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.records.append(record)
        if "key" in record:
            self.by_key[_place(record["kind"], record["key"])] = record

    def _drop_partial_line(self):
        text = self.path.read_bytes()
        self.file.truncate(text.rfind(b"\n") + 1)


def _place(kind, key):
    return kind, json.dumps(key, sort_keys=True)
