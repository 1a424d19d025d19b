"""Decoders on their own: what they send back is what the library sees, and what a picture may cost them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from served import jpeg

import corpus
from visum.data.decode import decode
from visum.data.pixels import fit
from visum.serve.decoding import Decoders
from visum.serve.models import squares_of
from visum.serve.refusal import Refusal
from visum.types import Preprocess

SPECS = (Preprocess(size=32), Preprocess(size=48, fit="crop", background=(1, 2, 3)))
ORDER = {"job": "picture", "specs": [json.dumps(asdict(spec)) for spec in SPECS], "formats": []}


def with_decoders(work: Callable[[Decoders], Awaitable[Any]], **limits: Any) -> Any:
    async def run() -> Any:
        decoders = Decoders(1, **limits)
        await decoders.start()
        try:
            return await work(decoders)
        finally:
            await decoders.stop()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def big() -> bytes:
    """A PNG of 64 MB as RGBA, and of some KB as a file."""
    return corpus.png(4000, 4000, colour=6, rows=bytes(4000 * 4 + 1) * 4000)


def test_squares_are_bit_for_bit_those_of_the_library(photos: dict[str, NDArray[np.uint8]]) -> None:
    data = jpeg(photos["coffee"])

    async def work(decoders: Decoders) -> Any:
        return await decoders.ask(ORDER, data)

    said, pixels = with_decoders(work)
    (found,) = squares_of(SPECS, pixels)
    for spec in SPECS:
        seen = decode(data, background=spec.background, shortest=spec.size).pixels
        np.testing.assert_array_equal(found[spec], fit(seen, spec))
    assert (said["pictures"][0]["width"], said["pictures"][0]["height"]) == (600, 400)
    assert said["seconds"] > 0


def test_a_picture_that_needs_too_much_memory_fails_alone(big: bytes) -> None:
    async def work(decoders: Decoders) -> str:
        with pytest.raises(Refusal) as refused:
            await decoders.ask(ORDER, big)
        await decoders.ask(ORDER, corpus.saved(corpus.photo(), "PNG"))
        return str(refused.value)

    said = with_decoders(work, memory=50 << 20)
    assert "more memory" in said


def test_a_picture_that_takes_too_long_ends_its_decoder_alone(big: bytes) -> None:
    async def work(decoders: Decoders) -> tuple[str, int]:
        with pytest.raises(Refusal) as refused:
            await decoders.ask(ORDER, big)
        await decoders.ask(ORDER, corpus.saved(corpus.photo(), "PNG"))
        return str(refused.value), decoders.replaced

    said, replaced = with_decoders(work, seconds=0.05)
    assert "too long" in said
    assert replaced == 1


def test_decoders_write_no_files(tmp_path: Path) -> None:
    code = "from visum.serve import decoder; decoder.confine(1 << 30); open('x', 'wb', 0).write(b'y')"
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=paths, check=False)
    assert done.returncode == 1
    assert (tmp_path / "x").read_bytes() == b""


def test_json_is_opened_there_too() -> None:
    async def work(decoders: Decoders) -> Any:
        with pytest.raises(Refusal, match="nested"):
            await decoders.ask({"job": "json", "formats": []}, b"[" * 10_000)
        return (await decoders.ask({"job": "json", "formats": []}, b'{"a": 1}'))[0]["value"]

    assert with_decoders(work) == {"a": 1}


def test_orders_come_back_to_those_who_gave_them_up_or_not() -> None:
    pictures = [jpeg(np.full((40, 40, 3), 10 * n, np.uint8), 100) for n in range(20)]

    async def work(decoders: Decoders) -> list[int]:
        tasks = [asyncio.create_task(decoders.ask(ORDER, data)) for data in pictures]
        await asyncio.sleep(0.01)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert decoders.replaced == 0
        return [
            round(float(np.frombuffer(each[1], np.uint8)[:3072].mean())) if isinstance(each, tuple) else -1
            for each in found
        ]

    for number, mean in enumerate(with_decoders(work)):
        assert mean == -1 if number % 3 == 0 and mean == -1 else abs(mean - 10 * number) <= 2
