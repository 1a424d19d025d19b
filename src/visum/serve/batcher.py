"""Adaptive micro-batching: whatever waits when a core gets free runs together, and nothing ever waits for company.

An idle server answers a single picture at once; under load batches grow by themselves, up to the largest that the engine is
compiled for. All models share the cores: who has waited longest is next, with those behind it that ask the same model.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from visum.types import Floats, Pixels, Preprocess

Squares = Mapping[Preprocess, Pixels]
"""One picture in every way that a model looks at it: uint8 ``[S, S, 3]`` each."""
Run = Callable[[dict[Preprocess, Pixels]], Floats | tuple[Floats, Floats | None] | tuple[Floats, Floats | None, Any]]
"""From B pictures, stacked, to logits float32 ``[B, K]``, perhaps with the strangeness of each, float32 ``[B]``, and what the
head saw, ``[B, D]``; runs on a thread of its own."""


@dataclass(frozen=True)
class Told:
    """What a model said about one picture.

    Attributes:
        logits: float32 ``[K]``.
        waited, ran: seconds in the queue and in the engine.
        batch: pictures that ran together.
        strange: how strange the picture is, where that was found.
        features: what the head saw, ``[D]``, where that was asked for.
    """

    logits: Floats
    waited: float
    ran: float
    batch: int
    strange: float | None = None
    features: Any = None


@dataclass(frozen=True, eq=False)
class _Waiting:
    model: Hashable
    run: Run
    squares: Squares
    answer: asyncio.Future[Told]
    since: float


class Batcher:
    """The queue in front of the cores.

    Attributes:
        free: cores that have nothing to do.
    """

    def __init__(self, cores: int, sizes: Sequence[int]) -> None:
        self.free, self._sizes = cores, sorted(sizes)
        self._queue: deque[_Waiting] = deque()
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="engine")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Pictures that no core has taken yet."""
        return sum(not each.answer.done() for each in self._queue)

    async def ask(self, model: Hashable, run: Run, squares: Squares) -> Told:
        """What ``run`` says of one picture, perhaps together with others that ask the same ``model``."""
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(model, run, squares, answer, time.perf_counter()))
        self._go()
        return await answer

    def close(self) -> None:
        """End the threads once they have finished what they do."""
        self._threads.shutdown(wait=True)

    def _go(self) -> None:
        while self.free and (batch := self._taken()):
            self.free -= 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _taken(self) -> list[_Waiting]:
        """The next batch off the queue; requests that were given up are dropped."""
        alive = deque(each for each in self._queue if not each.answer.done())
        if not alive:
            self._queue.clear()
            return []
        same = sum(each.model == alive[0].model for each in alive)
        share = -(-same // self.free)  # the cores that are free share what waits
        size = max(n for n in self._sizes if n <= max(share, self._sizes[0]))
        taken: list[_Waiting] = []
        self._queue = deque()
        for each in alive:
            if len(taken) < size and each.model == alive[0].model:
                taken.append(each)
            else:
                self._queue.append(each)
        return taken

    async def _run(self, batch: list[_Waiting]) -> None:
        begin = time.perf_counter()
        try:
            logits, strange, features = await asyncio.get_running_loop().run_in_executor(self._threads, _stacked, batch)
            ran = time.perf_counter() - begin
            for each, row, how, what in zip(batch, logits, strange, features, strict=True):
                if not each.answer.done():
                    each.answer.set_result(Told(row, begin - each.since, ran, len(batch), how, what))
        except Exception as error:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
        finally:
            self.free += 1
            self._go()


def _stacked(batch: Sequence[_Waiting]) -> tuple[Any, Sequence[float | None], Sequence[Any]]:
    """Logits, strangeness and features of each."""
    specs = batch[0].squares
    said = batch[0].run({spec: np.stack([each.squares[spec] for each in batch]) for spec in specs})
    logits, strange, features, *_ = (*said, None) if isinstance(said, tuple) else (said, None, None)
    nothing: list[Any] = [None] * len(batch)
    return (
        logits,
        nothing if strange is None else [float(value) for value in strange],
        nothing if features is None else features,
    )
