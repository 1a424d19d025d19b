"""torch in a process of its own.

Building a network from its Python definition costs seconds and half a gigabyte, and is done once per set of weights and size.
A child process does it, so that the caller stays small, decodes meanwhile on the other cores, and never imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from visum.errors import ModelError, StorageError, VisumError
from visum.types import Preprocess

_running: set[subprocess.Popen[str]] = set()
_guard = threading.Lock()


def run(job: str, order: Mapping[str, Any]) -> None:
    """Do one of ``JOBS`` in a child and wait for it.

    Raises:
        ModelError, StorageError: what the child said, or that it died.
    """
    path = os.pathsep.join([entry for entry in sys.path if entry])
    child = subprocess.Popen(
        [sys.executable, "-m", "visum.models.aside", job],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with _guard:
        _running.add(child)
    try:
        said = child.communicate(json.dumps(order))[1]
    finally:
        with _guard:
            _running.discard(child)
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        raise _told(said, child.returncode)


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """No child outlives an error or an interruption within the block; nothing half-made is left behind."""
    try:
        yield
    except BaseException:
        with _guard:
            for child in _running:
                child.kill()
        raise


def _told(said: str, code: int) -> VisumError:
    """The child's own error, or its last words."""
    last = said.strip().splitlines()[-1] if said.strip() else ""
    kind = StorageError if code == StorageError.exit_code else ModelError
    try:
        error = json.loads(last)
        return kind(error["got"], allowed=error["allowed"], next=error["next"])
    except (ValueError, KeyError, TypeError):
        why = last or f"exit code {code}"
        return ModelError(f"the network could not be built: {why}", next="--engine torch, or visum doctor")


def package(order: Mapping[str, Any]) -> None:
    """Packaged weights under timm's names; and, since torch is loaded anyway, their graph at the size that is asked for."""
    from visum.models import compiled, weights

    weights.convert(order["name"])
    if order["size"]:
        backbone = weights.find(order["name"], size=order["size"])
        compiled.write_graph(backbone, backbone.preprocess)


def export(order: Mapping[str, Any]) -> None:
    """The graph of a backbone whose weights wait in a file."""
    from visum import safefile
    from visum.models import compiled
    from visum.models.weights import Backbone

    spec = Preprocess.from_json(order["preprocess"])
    tensors = safefile.safe_tensors(order["weights"])
    stages, ends = tuple(order["stages"]), (order["cut"], order["pool"], order["last"])
    backbone = Backbone(order["name"], tensors, spec, stages, order["digest"], *ends)
    compiled.write_graph(backbone, spec)


def ordered(
    name: str, stages: tuple[str, ...], digest: str, preprocess: Preprocess, weights: str, ends: Mapping[str, str]
) -> dict[str, Any]:
    """What ``export`` takes; ``ends``: cut, pool and last of the backbone."""
    spec = {"preprocess": asdict(preprocess), "weights": weights, **ends}
    return {"name": name, "stages": list(stages), "digest": digest, **spec}


JOBS = {"package": package, "export": export}


def main() -> None:
    """``python -m visum.models.aside JOB`` with the order as JSON on standard input."""
    try:
        JOBS[sys.argv[1]](json.load(sys.stdin))
    except VisumError as error:
        print(json.dumps({"got": error.got, "allowed": error.allowed, "next": error.next}), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
