"""The run around the work: seed, threads, versions, the run folder, signals and progress."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from visum.errors import Interrupted, UsageError

Step = Callable[[int], None]
"""Called with the number of images finished since the last call."""


PLACES = {
    "rank": ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"),
    "size": ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
    "near": ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"),
}
"""Where torchrun, Open MPI and MPICH say which of several processes this is."""


def no_step(_: int) -> None:
    """For callers that do not watch."""


def threads() -> int:
    """Processors that this process may use, at least 1; ``VISUM_THREADS`` overrides."""
    if chosen := os.environ.get("VISUM_THREADS"):
        if not chosen.isascii() or not chosen.isdigit() or len(chosen) > 4:
            raise UsageError(
                f"VISUM_THREADS is {chosen!r}", allowed="a whole number of threads", next="unset VISUM_THREADS"
            )
        return max(1, int(chosen))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Place:
    """Which of several processes of one run this is.

    Attributes:
        rank: from 0; the first one leads.
        size: how many there are.
        near: how many of them are on this machine.
    """

    rank: int = 0
    size: int = 1
    near: int = 1


def place() -> Place:
    """As torchrun, ``accelerate launch`` or mpirun tell it in the environment; alone if nobody does.

    Raises:
        UsageError: what they tell is no place among processes.
    """
    told = {}
    for what, names in PLACES.items():
        name = next((name for name in names if os.environ.get(name)), None)
        told[what] = (name, os.environ[name]) if name else None
    if told["rank"] is None or told["size"] is None:
        return Place()
    try:
        rank, size = int(told["rank"][1]), int(told["size"][1])
        near = int(told["near"][1]) if told["near"] else size
    except ValueError:
        rank, size, near = -1, 0, 0
    if not 0 <= rank < size or not 1 <= near <= size:
        said = ", ".join(f"{pair[0]}={pair[1]}" for pair in told.values() if pair)
        raise UsageError(
            f"the environment says {said}",
            allowed="whole numbers, the rank from 0 and below the size",
            next="torchrun --nproc-per-node 2 -m visum train …, or unset RANK and WORLD_SIZE",
        )
    return Place(rank, size, near)


_sharing = Lock()
_shares = 0
_limits: Any = None


@contextlib.contextmanager
def one_core_each() -> Iterator[None]:
    """Within the block a matrix product stays on the thread that asks for it: for pools that keep every core busy already.

    The threads that BLAS starts of its own wait by spinning, and would take from the pool a quarter of its speed. Blocks
    may overlap; the last one to end gives BLAS its threads back.
    """
    global _shares, _limits
    with _sharing:
        _shares += 1
        if _shares == 1:
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

            _limits = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _sharing:
            _shares -= 1
            if not _shares:
                _limits.restore_original_limits()


def machine() -> dict[str, Any]:
    """What the figures of this run were measured on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    memory = 0.0
    with contextlib.suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": cpu,
        "cores": threads(),
        "memory_gb": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, read from metadata without importing anything."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    with contextlib.suppress(
        OSError, ValueError, StopIteration
    ):  # Linux's getrusage also counts the parent before exec
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def interruptible(next: str) -> Iterator[None]:
    """SIGINT and SIGTERM raise ``Interrupted`` (exit 130, 143), so that every ``with`` block closes and keeps its work.

    Args:
        next: what to type to go on, for the message.
    """

    def stop(number: int, _: Any) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # closing takes milliseconds; a second signal must not tear it
        raise Interrupted(number, next=next)

    old = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are the caller's business
        old = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in old.items():
            signal.signal(each, handler)


class Watch(Protocol):
    """Who draws progress. ``started``: ``time.monotonic()`` from which a run counts its seconds."""

    started: float

    def begin(self, name: str, total: int) -> None:
        """A stage begins; ``total`` images are ahead, 0 where that is not known."""

    def step(self, count: int) -> None:
        """``count`` more images are finished."""

    def end(self, name: str, seconds: float, detail: str) -> None:
        """The stage is over, or was interrupted."""


class Quiet:
    """Draws nothing, and counts from now: a library call does not pay for the start of its process."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def begin(self, name: str, total: int) -> None:
        """Nothing."""

    def step(self, count: int) -> None:
        """Nothing."""

    def end(self, name: str, seconds: float, detail: str) -> None:
        """Nothing."""


_watch: ContextVar[Watch | None] = ContextVar("visum_watch", default=None)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Stages begun within the block report to ``watch``, however deep below they are."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


class Stages:
    """The clock of a run: what was done and how long it took.

    Attributes:
        rows: finished stages, ``{"name", "seconds", "detail"}``, in order.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._watch = _watch.get() or Quiet()

    @contextlib.contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[Stage]:
        """Time one stage; its block calls ``stage.step(n)`` as images are finished and may set ``stage.detail``."""
        stage = Stage(self._watch.step)
        self._watch.begin(name, total)
        begin = time.monotonic()
        try:
            yield stage
        finally:
            seconds = time.monotonic() - begin
            self._watch.end(name, seconds, stage.detail)
        self.rows.append({"name": name, "seconds": round(seconds, 3), "detail": stage.detail})

    def seconds(self) -> float:
        """Since the run began; on the command line, since the process was started."""
        return time.monotonic() - self._watch.started


@dataclass
class Stage:
    """One stage under way: ``step(n)`` tells of n finished images, ``detail`` is shown when it ends."""

    step: Step
    detail: str = ""


def process_start() -> float:
    """``time.monotonic()`` of this process's first instruction, so that start-up is counted."""
    return time.monotonic() - _process_age()


def _process_age() -> float:
    """Seconds since this process was started by the operating system; 0 where that cannot be told."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
