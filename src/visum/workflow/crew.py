"""A run of several processes: the first one does everything, the others come in where a network is trained.

Each process is started with the same command (torchrun, ``accelerate launch``, mpirun). The first goes through the story; it
alone writes into the run folder, decides, prints and opens the test. The others wait, asleep, until it calls them with a function
and its arguments, and do that function beside it. In the end all of them return what the first one returns.

What is sent are objects of this program between processes of this run, by PyTorch's own means; nothing of it is ever on disk.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from visum import runtime
from visum.errors import TrainingError

if TYPE_CHECKING:
    from visum.learn.parallel import Team

_P = ParamSpec("_P")
_R = TypeVar("_R")
_team: Team | None = None


def together(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function``, which the first of several processes runs, and during which the others do what they are called for."""

    @functools.wraps(function)
    def everywhere(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        here = runtime.place()
        if here.size == 1:
            return function(*args, **kwargs)
        global _team
        from visum.learn import parallel

        _team = parallel.joined(here)
        try:
            if not _team.first:
                return _called(_team)  # type: ignore[no-any-return]
            result = function(*args, **kwargs)
            call(None, result)
            return result
        finally:
            _team = None
            parallel.left()

    return everywhere


def team() -> Team:
    """The processes of this run, this one alone if nobody else was started. Loads torch."""
    from visum.learn.parallel import ALONE

    return _team or ALONE


def call(function: Callable[..., Any] | None, *given: Any) -> None:
    """Let the other processes do ``function(*given)`` of a module; or go home, with ``given``, where it is None.

    They begin at once. What the first does then must meet them in the same collective operations.
    """
    if _team is not None and _team.first:
        _team.agreed(lambda: (function, given))


def _nothing() -> tuple[Callable[..., Any] | None, tuple[Any, ...]]:
    """Only the first process has something to say."""
    return None, ()


def _called(team: Team) -> Any:
    """Wait and work until the first process has ended; what it returned."""
    old = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM):  # it is for the first to stop; without it we end by ourselves
            old[each] = signal.signal(each, signal.SIG_IGN)
    except ValueError:  # not the main thread: signals are the caller's business
        pass
    try:
        while True:
            try:
                function, given = team.agreed(_nothing)
                if function is None:
                    return given[0]
                function(*given)
            except TrainingError as error:
                if isinstance(error.__cause__, RuntimeError):  # the first has ended, and its message says why
                    raise SystemExit(1) from None
                raise
    finally:
        for each, handler in old.items():
            signal.signal(each, handler)
