"""What the tests of the story share: children that run the command line, and files of a run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTINGS = ("--size", "64", "--ladder", "majority,hog+linear_svm")
MAIN = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; "


def facts(folder: Path, name: str = "run.json") -> Any:
    """A JSON file of a run."""
    return json.loads((folder / name).read_text())


def timeless(folder: Path) -> dict[str, Any]:
    """``metrics.json`` without what differs from run to run, the seconds and the moment of each rung; and so ``history.csv``."""
    found: dict[str, Any] = facts(folder, "metrics.json")
    for rung in found["ladder"]:
        del rung["seconds"], rung["at"]
    with (folder / "history.csv").open(newline="") as file:
        found["history"] = list(csv.DictReader(file))
    for line in found["history"]:
        del line["seconds"]
    return found


def child(*arguments: object, before: str = "", **environment: str) -> subprocess.Popen[str]:
    """``visum …`` in a process of its own; ``before`` is Python that runs first."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{MAIN}{before}\nmain()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def until(said: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def limited(size: int) -> str:
    """Python for a child whose files may not grow beyond ``size`` bytes, as on a full disk."""
    return f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
"""
