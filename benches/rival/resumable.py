"""A benchmark that is stopped and goes on: what its commands do around their runs."""

import signal
import time

from cage import CageError
from engines import OutputError
from programs import Rebuilt
from results import read
from rival import machine, note


def session(build, command):
    """What the results file has of one start of `command` with this build."""
    return {
        "kind": "session",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "build": build,
        "machine": machine(),
        "command": command,
    }


def run(name, args, measure, report):
    """Measures, unless only the report is asked for, and prints it; the exit status of the command `name`."""
    # A plain kill ends like Ctrl-C: no child and no cgroup may stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = 0
    try:
        if not args.report:
            status = 0 if measure(args) else 1
    except (CageError, OutputError, Rebuilt) as error:
        note(f"{name}: {error}")
        status = 1
    except KeyboardInterrupt:
        note(f"{name}: stopped; the same command goes on from here")
        status = 130
    try:
        lines = report(read(args.json))
    except CageError as error:
        note(f"{name}: {error}")
        return 1
    print("\n".join(lines))
    return status
