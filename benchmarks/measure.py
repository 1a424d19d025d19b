"""Whole processes timed from outside, and the machine they ran on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
VISUM = str(Path(sys.executable).with_name("visum"))


@dataclass(frozen=True)
class Timed:
    """One finished process: seconds on the wall, seconds of processor, largest resident memory in MB, what it printed."""

    wall: float
    cpu: float
    memory: float
    out: str


def timed(command: Sequence[str], **environment: str) -> Timed:
    """Run a command and measure it as the operating system does; a failure shows its own words."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{err.read()[-3000:]}")
        return Timed(wall, used.ru_utime + used.ru_stime, _megabytes(used), out.read())


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@contextmanager
def fresh_cache() -> Iterator[str]:
    """An empty cache folder, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def machine() -> str:
    """For the head of a table: processor, cores, date."""
    code = "import json; from visum.runtime import machine; print(json.dumps(machine()))"
    facts = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    return f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, {time.strftime('%Y-%m-%d')}"
