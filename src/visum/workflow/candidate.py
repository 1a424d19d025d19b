"""One way of exporting a bundle, made and measured: how large, how fast, and how many answers it loses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from visum.errors import UsageError
from visum.judge import paired
from visum.models.weights import Backbone
from visum.runtime import Step, no_step
from visum.ship.export import EXPORTERS, proving, quantise, reference, whole
from visum.types import Bundle, Floats, Manifest, Pixels, Preprocess, decisions, said, targets
from visum.workflow import held

WORDS = {"float32": "float32", "bfloat16": "bf16", "int8": "int8"}
"""Precision → what people type and read."""
PRECISIONS: dict[str, tuple[str, ...]] = {
    "torch": ("float32", "bfloat16"),
    **dict.fromkeys(("tensorflow", "litert", "jax", "tensorrt"), ("float32",)),
}
"""Targets that do not take every precision."""
WHOLE, OWN, TAUGHT = "whole", "own", "taught"
TIMED = 9
"""Runs of one picture, of which the median counts."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An export in memory.

    Attributes:
        target, precision: what it is.
        bundle: whose answers it gives; of another input size than the one shipped where a smaller one was tried.
        files: name → bytes.
        run: uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.
        head: own, or taught.
    """

    target: str
    precision: str
    bundle: Bundle
    files: Mapping[str, bytes]
    run: Callable[[Pixels], Floats]
    head: str = OWN

    @property
    def megabytes(self) -> float:
        """Of its graph."""
        return sum(map(len, self.files.values())) / 1e6


@dataclass(frozen=True)
class Measured:
    """What one candidate reaches.

    Attributes:
        precision: float32, bfloat16 or int8.
        size: input side in pixels.
        network: whole, or the stage after which it ends.
        head: own, or taught by the bundle (``workflow.students``).
        megabytes: of the graph.
        milliseconds: for one picture on one core of this machine, resize included; median.
        accuracy: share of n validation images that it answers right (every class, when multilabel); NaN where none were asked.
        change, low, high: of that share from the bundle's in float32, with its 95 % interval (``judge.paired``).
        n: images.
        best: whether no other one is at least as accurate, as small and as fast, and better in one of these.
        chosen: whether this is the one that was written.
    """

    precision: str
    size: int
    network: str
    head: str
    megabytes: float
    milliseconds: float
    accuracy: float = np.nan
    change: float = 0.0
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    best: bool = False
    chosen: bool = False


def words(size: int, last: str) -> str:
    """A student by name.

    Args:
        size: input side in pixels.
        last: the stage that its network ends after; "" for the whole one.
    """
    return f"{size} px" + (f" to {last}" if last else "")


def named(found: Measured) -> str:
    """One candidate by name."""
    end = "" if found.network == WHOLE else found.network
    taught = ", taught" if found.head == TAUGHT else ""
    return f"{WORDS[found.precision]} at {words(found.size, end)}{taught}"


def check_precision(target: str, precision: str) -> None:
    """Refuse what a target cannot be made in.

    Raises:
        UsageError: and what it can.
    """
    able = PRECISIONS.get(target, tuple(WORDS))
    if precision not in able:
        raise UsageError(
            f"--to {target} in {WORDS[precision]}",
            allowed=", ".join(WORDS[each] for each in able),
            next=f"--to onnx --{WORDS[precision]}",
        )


def make(
    target: str,
    precision: str,
    bundle: Bundle,
    facts: Mapping[str, Any],
    table: Manifest | None,
    head: str = OWN,
) -> Candidate:
    """Export in memory.

    Args:
        target, precision: what to make.
        bundle: of what.
        facts: kept in the graph.
        table: validation images, for int8.
        head: the bundle's own, or taught.
    """

    def network(backbone: Backbone, spec: Preprocess) -> Any:
        plain = whole.network(backbone, spec)
        if precision == "bfloat16":
            return quantise.bfloat16(plain)
        if precision == "int8" and table is not None:
            return quantise.int8(plain, list(held.squares(table, spec)))
        return plain

    files = EXPORTERS[target](bundle, {**facts, "precision": precision}, network)
    return Candidate(target, precision, bundle, files, proving(target, files), head)


def milliseconds(run: Callable[[Pixels], Floats], picture: Pixels) -> float:
    """Median time of one picture."""
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        run(picture[None])
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def measured(
    made: Candidate, picture: Pixels, table: Manifest | None, right: Mapping[int, bool], step: Step = no_step
) -> Measured:
    """Size and speed; and where there are images, what changes.

    Args:
        made: the candidate.
        picture: to time it with.
        table: validation images.
        right: row → whether the bundle answers it right, as ``reference_right`` says.
        step: told of finished images.
    """
    b = made.bundle
    network = str(b.architecture.get("last", "")) or WHOLE
    quick = milliseconds(made.run, picture)
    plain = Measured(made.precision, b.preprocess.size, network, made.head, made.megabytes, quick)
    if table is None:
        return plain
    seen = answered(made.bundle, table, lambda pictures: np.concatenate([made.run(p[None]) for p in pictures]), step)
    shared = sorted(set(seen) & set(right))
    better = sum(seen[row] and not right[row] for row in shared)
    worse = sum(right[row] and not seen[row] for row in shared)
    change, low, high = paired.difference(better, worse, len(shared))
    accuracy = sum(seen[row] for row in shared) / len(shared)
    return replace(plain, accuracy=accuracy, change=change, low=low, high=high, n=len(shared))


def frontier(tried: Sequence[Measured]) -> tuple[Measured, ...]:
    """The same with ``best`` set."""

    def beaten(one: Measured) -> bool:
        own = (-one.change, one.megabytes, one.milliseconds)
        others = [(-each.change, each.megabytes, each.milliseconds) for each in tried]
        return any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in others)

    return tuple(replace(each, best=not beaten(each)) for each in tried)


def choice(tried: Sequence[Measured], drop: float, milliseconds: float | None) -> int | None:
    """Number of the one to write; None where none will do.

    Args:
        tried: at least one.
        drop: share of validation images that it may lose.
        milliseconds: that a picture may take. Then it is the most accurate of those that are fast enough, the smaller one of
            equals; without, the fastest.
    """
    able = [at for at, each in enumerate(tried) if each.change >= -drop]
    if milliseconds is None:
        return min(able, key=lambda at: tried[at].milliseconds, default=None)
    able = [at for at in able if tried[at].milliseconds <= milliseconds]
    return min(able, key=lambda at: (-tried[at].change, tried[at].megabytes), default=None)


def reference_right(bundle: Bundle, table: Manifest, step: Step = no_step) -> dict[int, bool]:
    """Row → whether the bundle itself, in float32, answers it right; rows that cannot be read are left out."""
    return answered(bundle, table, lambda pictures: reference.probabilities(bundle, pictures), step)


def answered(bundle: Bundle, table: Manifest, ask: Callable[[Sequence[Pixels]], Floats], step: Step) -> dict[int, bool]:
    """Row → whether all that is said of it is right."""
    truth, out = targets(table), dict[int, bool]()
    waiting: list[tuple[int, Pixels]] = []

    def tell() -> None:
        said = decided(bundle, ask([picture for _, picture in waiting]))
        for (row, _), one in zip(waiting, said, strict=True):
            out[row] = bool(np.all(one == truth[row]))
        step(len(waiting))
        waiting.clear()

    for pair in held.pictures(table, bundle.preprocess):
        waiting.append(pair)
        if len(waiting) == 16:
            tell()
    if waiting:
        tell()
    return out


def decided(bundle: Bundle, p: Floats) -> Any:
    """The answers behind probabilities, by the bundle's thresholds: class index ``[N]``, or 0/1 ``[N, K]``."""
    tiny = np.float32(1e-30)
    z = np.log(np.maximum(p, tiny))
    if bundle.task == "multilabel":
        z = z - np.log(np.maximum(1 - p, tiny))
    z = np.asarray(z, np.float32)
    return decisions(said(replace(bundle, temperature=1.0), z))
