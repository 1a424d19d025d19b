"""What fits into a budget: the working size is chosen before anything is paid for, from what this machine was seen to do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visum.data.load import in_order
from visum.models import compiled, gauge
from visum.models import weights as pretrained
from visum.models.compiled import BATCH
from visum.models.embed import Network
from visum.models.sizes import taken
from visum.runtime import threads
from visum.types import Preprocess
from visum.workflow.ready import LARGEST, SMALLEST, STEP, Glance, fitting_size

SIZES = (224, 208, 192, 176, 160, 144, 128, 112, 96, 64)
RESERVE, RESERVE_PER_IMAGE = 4.0, 0.0016
"""Seconds kept for everything but decoding, embedding and the classical rungs (looks, copies, probe, doubts, test, report):
measured on 2 cores with 3,781 photos; scaled with the cores."""
RESERVE_PER_IMAGE_FROM_SCRATCH = 0.0004
"""The same where there are no embeddings that doubt labels: shortcuts, test and report. Measured with 60,000 tiny pictures."""
RUNG, RUNG_PER_IMAGE = 2.0, 0.0018
"""Seconds of the dearest rung of the default ladder, measured alike."""
FIRST = 6.0
"""Seconds that the first run on a machine takes longer, although its network is built while pictures are decoded."""
SURE = 0.92
"""Share of a budget that a plan may expect to take: a plan of 30 of 30 seconds took 33."""
LARGER = 9 / 7
"""Of a network's own size, where a budget leaves time to train it: 288 px for 224. Trained so, it learns detail that it was never
shown (Touvron et al. 2019, "Fixing the train-test resolution discrepancy"); a probe alone gains nothing from it."""
LONG_EPOCHS, LONG_VIEWS = 6, 3
"""Of the training that must fit before a larger size is taken: with less, more epochs at the own size teach more."""
STEP_COST, VIEW_COST = 1.4, 0.7
"""What a training step behind the first cut, and the prefix, cost an image: in runs of the compiled network; measured."""
_PROBE_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """What was decided.

    Attributes:
        size: working size in pixels.
        seconds: expected for the whole run, start-up included.
        why: one sentence for the log.
    """

    size: int
    seconds: float
    why: str


def sizes(backbone: str, weights: str | None, side: float, native: int) -> tuple[int, ...]:
    """Working sizes to choose from where nobody has named one, the best first.

    Args:
        backbone, weights: as for ``weights.find``.
        side: median of the pictures' longer sides in pixels, 0 if unknown.
        native: the size that the network was trained with; the only one if it does not take what would suit the pictures.
    """
    if weights == pretrained.UNTRAINED:
        return own_size(backbone, side, native)
    best = fitting_size(side, native)
    smaller = [size for size in SIZES if size < best]
    possible = taken(backbone, weights, (best, *smaller))
    return possible if best in possible else (native,)


def larger(backbone: str, weights: str | None, side: float, native: int) -> int | None:
    """The size beyond the network's own that training may take; None where the pictures or the network do not have it.

    Args:
        backbone, weights, side, native: as for ``sizes``.
    """
    wanted = STEP * round(native * LARGER / STEP)
    possible = wanted <= LARGEST and side >= wanted and bool(taken(backbone, weights, (wanted,)))
    return wanted if possible else None


def enlarged(
    plan: Plan, size: int, images: int, learnt: int, spent: float, budget: float, glance: Glance, per_image: float
) -> Plan:
    """The plan for ``size`` if a long training at it fits the budget, else ``plan``.

    Args:
        plan: what was chosen, at the size that ``per_image`` is of.
        size: of ``larger``.
        images, learnt: in the whole data set, and of the train split.
        spent, budget, glance, per_image: as for ``choose``.
    """
    each = per_image * (size / plan.size) ** 2
    runs = images + learnt * (LONG_EPOCHS * STEP_COST + LONG_VIEWS * VIEW_COST)
    expected = spent + rest(images) + images * glance.seconds / threads() + runs * each
    if expected > budget:
        return plan
    words = f"{size} px: {budget:.0f} s leave time to train the network on more detail than its own {plan.size} px show"
    return Plan(size, expected, words)


def own_size(backbone: str, side: float, native: int) -> tuple[int, ...]:
    """The one size to train at from scratch: the pictures' own, where the network takes it, and never more than the network's."""
    wanted = round(side) if side else native
    return (wanted,) if wanted < native and taken(backbone, pretrained.UNTRAINED, (wanted,)) else (native,)


def prepare(backbone: str, weights: str | None, spec: Preprocess, engine: str, seed: int = 0) -> Network:
    """The network; its graph is built and compiled now if this machine has never done so, else when it is needed.

    Args:
        backbone, weights, spec, engine: see ``train``.
        seed: of random weights, where there are no others.
    """
    if weights == pretrained.UNTRAINED:
        return Network(pretrained.untrained(backbone, size=spec.size, seed=seed), spec, engine)
    network = Network(pretrained.find(backbone, weights, size=spec.size), spec, engine)
    if not compiled.graph_path(network.backbone, spec).is_file():
        _ = network.engine
    return network


def kept(facts: Mapping[str, Any], budget: float) -> Plan | None:
    """The plan of the run that is gone on with: another measurement could choose another size, and then nothing is reused.

    None for another budget, and for a record that somebody has edited into no plan at all.
    """
    match facts.get("plan"):
        case {"budget": for_, "size": int(size), "seconds": int(seconds) | float(seconds), "why": str(why)}:
            if for_ == budget and SMALLEST <= size <= LARGEST and 0 <= seconds < 1e9:
                return Plan(size, float(seconds), why)
    return None


def speed(network: Network) -> float:
    """Seconds per image of the compiled backbone on this machine, measured on a few batches of noise."""
    run, size = network.engine.run, network.preprocess.size
    shape = (BATCH, size, size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batches = [noise] * _PROBE_BATCHES
    list(in_order(run, batches[: threads()]))
    begin = time.perf_counter()
    list(in_order(run, batches))
    return (time.perf_counter() - begin) / (_PROBE_BATCHES * BATCH)


def measure(backbone: str, weights: str | None, spec: Preprocess, engine: str) -> tuple[float, bool]:
    """(Seconds per image at ``spec.size``, whether the network must still be built): told by a few layers where it must, since
    building it first would cost what the budget is short of; measured elsewhere."""
    known = pretrained.PACKAGED.get(backbone) if weights is None else None
    if known is not None and not pretrained.prepared(backbone):
        work = known.multiply_adds * (spec.size / known.size) ** 2
        return work / gauge.multiply_adds_per_second(engine), True
    return speed(Network(pretrained.find(backbone, weights, size=spec.size), spec, engine)), False


def choose(
    images: int,
    spent: float,
    budget: float,
    glance: Glance,
    per_image: float,
    size: int,
    sizes: Sequence[int] = SIZES,
    *,
    first: bool = False,
) -> Plan:
    """The largest size whose expected time fits the budget.

    Args:
        images: in the whole data set.
        spent, budget: seconds so far, and allowed.
        glance: what decoding costs.
        per_image: seconds that the network takes for one image at ``size``; other sizes cost in proportion to their area.
        size: the largest size that makes sense.
        first: whether the network must be built.
    """
    fixed = spent + rest(images) + images * glance.seconds / threads() + FIRST * first
    tried = [each for each in (size, *sizes) if each <= size]
    for each in dict.fromkeys(tried):
        expected = fixed + images * per_image * (each / size) ** 2
        if expected <= SURE * budget:
            break
    words = f"{each} px: about {expected:.0f} of {budget:.0f} s"
    if expected > budget:
        words += " (the smallest there is; the budget is too short for this many images)"
    return Plan(each, expected, words)


def rest(images: int, scratch: bool = False) -> float:
    """Seconds for what comes after embedding, classical rungs left out; from scratch, for what comes after training."""
    return RESERVE + images * (RESERVE_PER_IMAGE_FROM_SCRATCH if scratch else RESERVE_PER_IMAGE) * 2 / threads()


def rung(images: int) -> float:
    """Seconds for one classical rung."""
    return RUNG + images * RUNG_PER_IMAGE * 2 / threads()


def fits(budget: float | None, spent: float, cost: float) -> bool:
    """Whether something of that cost still fits."""
    return budget is None or spent + cost <= budget
