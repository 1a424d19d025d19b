"""Work in another thread that ends when the main one must."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

from visum.runtime import Step


@contextlib.contextmanager
def ended() -> Iterator[Step]:
    """Yields a ``step`` for work beside this block: once the block ended by an error or a signal, it ends that work, too.

    Without it Ctrl-C would wait until the last picture is finished.
    """
    over = threading.Event()

    def step(_: int) -> None:
        if over.is_set():
            raise CancelledError

    try:
        yield step
    except BaseException:
        over.set()
        raise
