"""Micro-batching, with engines whose work is known: nobody waits for company, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from visum.serve.batcher import Batcher, Told
from visum.types import Floats, Pixels, Preprocess

SPEC = Preprocess(size=2)
Stacks = dict[Preprocess, Pixels]


def square(number: int) -> dict[Preprocess, Pixels]:
    return {SPEC: np.full((2, 2, 3), number, np.uint8)}


def numbers(stacks: Stacks) -> Floats:
    """The number of each picture, as its logit."""
    return stacks[SPEC].mean(axis=(1, 2, 3))[:, None].astype(np.float32)


def asked(cores: int, work: Callable[[Batcher], object]) -> object:
    async def run() -> object:
        batcher = Batcher(cores, (1, 2, 4))
        try:
            return await work(batcher)  # type: ignore[misc]
        finally:
            batcher.close()

    return asyncio.run(run())


def test_everyone_gets_their_own_answer() -> None:
    def slowly(stacks: Stacks) -> Floats:
        time.sleep(0.002)
        return numbers(stacks)

    async def work(batcher: Batcher) -> list[Told]:
        return await asyncio.gather(*(batcher.ask("a", slowly, square(n)) for n in range(100)))

    told: list[Told] = asked(2, work)  # type: ignore[assignment]
    assert [float(each.logits[0]) for each in told] == list(range(100))
    assert {each.batch for each in told} <= {1, 2, 4}
    assert max(each.batch for each in told) == 4
    assert all(each.waited >= 0 and each.ran > 0 for each in told)


def test_a_single_picture_runs_at_once_and_alone() -> None:
    async def work(batcher: Batcher) -> Told:
        return await batcher.ask("a", numbers, square(7))

    told: Told = asked(2, work)  # type: ignore[assignment]
    assert told.batch == 1
    assert told.waited < 0.05


def test_cores_share_what_waits() -> None:
    gate, sizes = threading.Event(), []

    def held(stacks: Stacks) -> Floats:
        sizes.append(len(stacks[SPEC]))
        gate.wait(5)
        return numbers(stacks)

    async def work(batcher: Batcher) -> None:
        first = [asyncio.create_task(batcher.ask("a", held, square(n))) for n in range(2)]
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.ask("a", held, square(n))) for n in range(4)]
        await asyncio.sleep(0.05)
        assert (batcher.free, batcher.waiting) == (0, 4)
        gate.set()
        await asyncio.gather(*first, *rest)

    asked(2, work)
    assert sorted(sizes) == [1, 1, 4] or sorted(sizes) == [1, 1, 2, 2]


def test_models_are_never_mixed_and_the_oldest_is_next() -> None:
    order: list[str] = []

    def of(name: str) -> Callable[[Stacks], Floats]:
        def run(stacks: Stacks) -> Floats:
            order.append(f"{name}{len(stacks[SPEC])}")
            time.sleep(0.02)
            return numbers(stacks) + (1000 if name == "b" else 0)

        return run

    async def work(batcher: Batcher) -> list[Told]:
        a, b = of("a"), of("b")
        await asyncio.sleep(0)
        return await asyncio.gather(
            *(batcher.ask(name, run, square(1)) for name, run in [("x", a), ("b", b), ("a", a), ("b", b)])
        )

    told: list[Told] = asked(1, work)  # type: ignore[assignment]
    assert [float(each.logits[0]) for each in told] == [1, 1001, 1, 1001]
    assert order == ["a1", "b2", "a1"]


def test_what_is_given_up_does_not_run() -> None:
    gate, seen = threading.Event(), []

    def held(stacks: Stacks) -> Floats:
        seen.extend(numbers(stacks)[:, 0].tolist())
        gate.wait(5)
        return numbers(stacks)

    async def work(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.ask("a", held, square(0)))
        await asyncio.sleep(0.02)
        given_up, kept = (asyncio.create_task(batcher.ask("a", held, square(n))) for n in (1, 2))
        await asyncio.sleep(0.02)
        given_up.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, kept)
        assert batcher.free == 1

    asked(1, work)
    assert seen == [0, 2]


def test_an_error_reaches_those_who_asked_and_nobody_else() -> None:
    def broken(stacks: Stacks) -> Floats:
        raise ValueError("broken")

    async def work(batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="broken"):
            await batcher.ask("a", broken, square(0))
        assert float((await batcher.ask("b", numbers, square(3))).logits[0]) == 3
        assert batcher.free == 2

    asked(2, work)
