"""The golden images of an export, asked again in a process of its own: a graph from a stranger may take its runtime down.

    python -m visum.ship.export.replay FOLDER [TOLERANCE]

prints the outcome as one line of JSON. The child reads the folder itself, so that the bytes that were hashed are the bytes
that run, and it may use no more than half of the machine's memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from visum import errors
from visum.data.decode import EXTRA_FORMATS, decode
from visum.errors import BundleError, VisumError
from visum.ship import verify as proof
from visum.ship.export import RUNNERS, folder
from visum.ship.verify import Row, Verification

SECONDS = 600.0
"""After which a graph that has not answered is given up."""


def replayed(place: str | Path, tolerance: float | None = None) -> Verification:
    """Verify an export here and now.

    Args:
        place: its folder.
        tolerance: another one than it states.

    Raises:
        BundleError: it is broken or edited, or its runtime is not installed or cannot run it.
        UnsafeFile: it asks for other files, or may hold code.
    """
    made = folder.read(place)
    if made.target not in RUNNERS:
        raise BundleError(
            f"{place} is an export for {ascii(made.target)[:40]}",
            allowed=", ".join(RUNNERS),
            next="pip install -U visum",
        )
    if not made.golden:
        return proof.nothing("export", made.tolerance)
    run = RUNNERS[made.target](made.files)
    pictures = [
        decode(data, background=made.background, extra_formats=EXTRA_FORMATS).pixels for _, data, _ in made.golden
    ]
    answers = [run(np.ascontiguousarray(picture)[None]) for picture in pictures]
    shapes = {each.shape for each in answers}
    told = np.concatenate(answers) if len(shapes) == 1 else np.zeros((0, 0), np.float32)
    return proof.compared(
        made.golden, told, made.classes, made.task, tolerance or made.tolerance, changed=made.changed, what="export"
    )


def verify(place: str | Path, tolerance: float | None = None) -> Verification:
    """As ``replayed``, in a child that may die of it.

    Raises:
        BundleError: as there, or that the runtime died or gave no answer.
    """
    command = [
        sys.executable,
        "-m",
        "visum.ship.export.replay",
        os.fspath(place),
        *([repr(tolerance)] if tolerance else []),
    ]
    path = os.pathsep.join([entry for entry in sys.path if entry])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{place} gave no answer within {SECONDS:.0f} s", next="visum export BUNDLE") from error
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        told = json.loads(done.stdout.decode().strip().splitlines()[-1])
        if "error" in told:
            kind = getattr(errors, told["kind"])
            raise kind(told["error"], allowed=told["allowed"], next=told["next"])
        return Verification(**{**told, "rows": tuple(Row(**row) for row in told["rows"])})
    if done.returncode < 0:
        how = f"died of {signal.Signals(-done.returncode).name}"
    else:
        how = (done.stderr.decode(errors="replace").strip().splitlines() or [f"ended with {done.returncode}"])[-1][:200]
    raise BundleError(f"the runtime {how} when it loaded {place}", next="visum export BUNDLE, and ship that")


def main() -> None:
    """What the child does."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        found = replayed(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else None)
        print(json.dumps(asdict(found)))
    except VisumError as error:
        said = {"error": error.got, "allowed": error.allowed, "next": error.next}
        print(json.dumps({**said, "kind": type(error).__name__}))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
