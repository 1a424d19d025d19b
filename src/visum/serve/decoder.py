"""The process that opens what strangers send. It reads orders from a socket and answers with fitted squares.

``python -m visum.serve.decoder FD`` is a *template*: it has everything imported, waits on its socket for other sockets, and
forks a decoder for each. So a decoder that died is replaced within milliseconds, and all of them share their memory.

A decoder may take so much memory (``RLIMIT_AS``) and so many seconds of a processor for an order (an alarm that ends it, even
within libjpeg); it can write no file. A message is ``>II``, the lengths of a JSON head and of the bytes behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from visum import safefile
from visum.data.decode import EXTRA_FORMATS, FORMATS, decode
from visum.data.pixels import fit
from visum.errors import UnreadableImage, VisumError
from visum.serve.refusal import Refusal, unreadable
from visum.serve.tensors import pictures_of
from visum.types import Pixels, Preprocess

HEAD = struct.Struct(">II")
"""Lengths in bytes: of the head, of what follows it."""

HUNGRY = Refusal(400, "This needs more memory than a request may take", "a smaller picture")

Reply = tuple[dict[str, Any], list[Pixels]]


def main() -> None:
    """The template: fork a decoder for each socket that comes, until the server is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    memory, seconds = int(sys.argv[2]), float(sys.argv[3])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server decides when it is over: what is under way is finished
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    warm()
    while True:
        said, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not said:
            return
        if os.fork() == 0:
            control.close()
            work(socket.socket(fileno=descriptors[0]), memory, seconds)
            os._exit(0)
        os.close(descriptors[0])


def warm() -> None:
    """Load what is loaded late, once for all decoders."""
    import io

    from PIL import Image

    for kind in FORMATS:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, kind)
        fit(decode(file.getvalue()).pixels, Preprocess(size=16))


def confine(memory: int) -> None:
    """Bounds of this process from now on: ``memory`` bytes more than now, no file written, no core."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # only Linux tells how much there is, and keeps to the limit
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what C libraries say of hostile files is not for our logs
        os.dup2(null, stream)


def work(place: socket.socket, memory: int, seconds: float) -> None:
    """A decoder: one order after the other, until the server closes the socket."""
    confine(memory)
    place.sendall(struct.pack(">I", os.getpid()))
    while (sizes := received(place, HEAD.size)) is not None:
        head, body = HEAD.unpack(sizes)
        order, payload = received(place, head), received(place, body)
        if order is None or payload is None:
            return
        begin = time.perf_counter()
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF is not caught: it ends the process
        said, squares = done(json.loads(bytes(order)), payload)
        signal.setitimer(signal.ITIMER_PROF, 0)
        said["seconds"] = time.perf_counter() - begin
        data = json.dumps(said).encode()
        place.sendall(HEAD.pack(len(data), sum(square.nbytes for square in squares)) + data)
        for square in squares:
            place.sendall(square.tobytes())


def received(place: socket.socket, size: int) -> bytearray | None:
    """So many bytes of a socket; None where it was closed before."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        count = place.recv_into(view[at:])
        if not count:
            return None
        at += count
    return data


def done(order: dict[str, Any], payload: bytearray) -> Reply:
    """An order carried out; what goes wrong is part of the reply."""
    try:
        return JOBS[order["job"]](order, payload)
    except UnreadableImage as error:
        if isinstance(error.__cause__, MemoryError):
            return told(HUNGRY), []
        return told(unreadable(error)), []
    except Refusal as error:
        return told(error), []
    except VisumError as error:
        return told(Refusal(400, error.got, error.allowed)), []
    except MemoryError:
        return told(HUNGRY), []
    except Exception as error:  # a fault of ours, found by a stranger's bytes
        return {**told(Refusal(400, "This picture cannot be read", "the picture saved again")), "bug": repr(error)}, []


def told(error: Refusal) -> dict[str, Any]:
    """A refusal as the server reads it."""
    return {"error": {"status": error.status, "message": error.got, "next": error.next}}


@lru_cache(maxsize=64)
def spec_of(text: str) -> Preprocess:
    """A ``Preprocess`` from its JSON."""
    return Preprocess.from_json(json.loads(text))


def fitted(data: bytes, specs: Sequence[str], formats: Sequence[str]) -> tuple[dict[str, Any], list[Pixels]]:
    """One encoded picture in every way that a model looks at it: notes, and uint8 ``[S, S, 3]`` for each spec."""
    seen: dict[tuple[Any, int], Any] = {}
    squares = []
    for spec in map(spec_of, specs):
        key = (spec.background, spec.size)
        if key not in seen:
            seen[key] = decode(data, background=spec.background, shortest=spec.size, extra_formats=formats)
        squares.append(np.ascontiguousarray(fit(seen[key].pixels, spec)))
    first = next(iter(seen.values()))
    worth = [note for note in first.notes if not note.startswith("decoded at 1/")]  # true of every large photo
    notes = {"notes": worth, "format": first.format, "width": first.width, "height": first.height}
    return notes, squares


def picture(order: dict[str, Any], payload: bytearray) -> Reply:
    """The payload is one encoded picture."""
    notes, squares = fitted(bytes(payload), order["specs"], _allowed(order))
    return {"pictures": [notes]}, squares


def infer(order: dict[str, Any], payload: bytearray) -> Reply:
    """The payload is a request of the Open Inference Protocol: pictures, pixels or encoded, in JSON and behind it."""
    request, found = pictures_of(bytes(payload), order["head"])
    notes: list[dict[str, Any]] = []
    squares: list[Pixels] = []
    for number, one in enumerate(found):
        if isinstance(one, bytes):
            try:
                note, ways = fitted(one, order["specs"], _allowed(order))
            except UnreadableImage as error:
                raise Refusal(400, f"picture {number}: {error.reason}", unreadable(error).next) from error
        else:
            note = {"notes": [], "width": one.shape[1], "height": one.shape[0]}
            ways = [np.ascontiguousarray(fit(one, spec)) for spec in map(spec_of, order["specs"])]
        notes.append(note)
        squares += ways
    return {"pictures": notes, "request": request}, squares


def parsed(order: dict[str, Any], payload: bytearray) -> Reply:
    """The payload is JSON, of which the server wants to be sure before it opens it."""
    return {"value": safefile.parse_json(payload, "the request")}, []


def _allowed(order: dict[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in order["formats"] if name in EXTRA_FORMATS)


JOBS: dict[str, Callable[[dict[str, Any], bytearray], Reply]] = {"picture": picture, "infer": infer, "json": parsed}
"""What a decoder can be told to do."""

if __name__ == "__main__":
    main()
