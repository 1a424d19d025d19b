"""Steps about what a bundle promises: prediction sets that hold the truth, and a detector of what it never learnt.

A bundle made before there were promises gets them for these questions from the run around it; nothing is written.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import NotEnoughData, UsageError
from visum.judge import conformal, promise, unknown
from visum.judge.intervals import wilson
from visum.types import Bundle, Floats, Pixels, in_split, rows, targets
from visum.workflow import promise as promises
from visum.workflow import reference
from visum.workflow.trust.context import Context, example

TILES = 7
"""Tiles a side into which pictures are cut, to be put together in another order."""
STRANGERS = 64
"""Pictures of each made-up kind, at most."""
SHARE = 0.05
"""Of the time that is left, for hiding one class after the other."""
FEW = 5
"""Images of a class below which it is not hidden."""


def equipped(context: Context) -> Bundle:
    """The bundle, with promises from the run around it where it has none of its own."""
    b = context.bundle
    if promise.CONFORMAL in b.notes or context.made is None or context.validation is None:
        return b
    made = promises.equip(b, {"validation": context.validation}, context.made, context.model)
    return made


def conformal_step(context: Context) -> dict[str, Any]:
    """Whether prediction sets hold the truth as often as they promise.

    Keys: ``n``, ``calibrated_on`` (validation images), ``classes`` and ``levels``: of each coverage ``promised``, ``low_law``
    and ``high_law`` (central 95 % of the Beta law for that many validation images), ``value`` with Wilson's ``low``, ``high`` on
    the judged images, ``p`` (how often so few or fewer would be covered if the promise held: beta-binomial), ``size`` (mean
    number of classes), ``single``, ``empty`` (shares of sets of one class and of none), ``worst`` (``class``, ``n``, ``value``,
    ``low``, ``high`` of the class that is covered least).
    """
    from scipy.stats import betabinom

    b = equipped(context)
    if not context.one_label:
        raise UsageError("prediction sets are for pictures with one class each")
    note = b.notes.get(promise.CONFORMAL)
    if not isinstance(note, dict) or "why" in note:
        why = str((note or {}).get("why") or "this bundle has no prediction sets, and no run around it")
        raise NotEnoughData(why, next="visum train, which makes a bundle that has")
    y, p, n = context.predictions.labels, context.p, int(note["n"])
    levels = []
    for coverage in conformal.COVERAGES:
        if n < conformal.needed(coverage):
            continue
        found = promise.set_maker(b, coverage)(p)
        hit = found[np.arange(len(y)), y]
        misses = conformal.misses(n, coverage)
        _, low_law, high_law = conformal.coverage_law(n, coverage)
        low, high = wilson(int(hit.sum()), len(y))
        levels.append(
            {
                "promised": coverage,
                "low_law": low_law,
                "high_law": high_law,
                "value": float(hit.mean()),
                "low": float(low),
                "high": float(high),
                "p": float(betabinom.cdf(int(hit.sum()), len(y), n + 1 - misses, misses)),
                "size": float(found.sum(1).mean()),
                "single": float((found.sum(1) == 1).mean()),
                "empty": float((found.sum(1) == 0).mean()),
                "worst": _worst(hit, y, b.classes),
            }
        )
    if not levels:
        raise NotEnoughData(f"{n} validation images to promise a coverage", allowed=f"{conformal.needed(0.8)} or more")
    return {"n": len(y), "calibrated_on": n, "classes": len(b.classes), "levels": levels}


def _worst(hit: NDArray[np.bool_], y: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any] | None:
    rows_ = [(float(hit[y == k].mean()), k) for k in range(len(classes)) if (y == k).sum() >= FEW]
    if not rows_:
        return None
    value, k = min(rows_)
    n = int((y == k).sum())
    low, high = wilson(
        int(hit[y == k].sum()), n, 1 - 0.05 / len(rows_)
    )  # the least of several, so for all of them at once
    return {"class": classes[k], "n": n, "value": value, "low": float(low), "high": float(high)}


def unknown_step(context: Context) -> dict[str, Any]:
    """Whether the detector lets known pictures pass as promised, and what it catches.

    Keys: ``n``, ``detector``, ``promised``, ``kept`` (share of the judged images that pass: ``value``, ``low``, ``high``, ``p``
    as in ``conformal_step``), ``strangers``: a list of ``name``, ``words``, ``n``, ``caught`` (share that is called unknown) with
    ``low``, ``high`` and ``auroc``; ``pictures``. Strangers are judged pictures cut into tiles and put together in another
    order, noise, and, where the run around the bundle has its training images, real pictures of each class in turn while the
    detector is made without that class.
    """
    b = equipped(context)
    note = b.notes.get(promise.UNKNOWN)
    if not isinstance(note, dict) or "why" in note:
        why = str((note or {}).get("why") or "this bundle has no detector of unknown pictures, and no run around it")
        raise NotEnoughData(why, next="visum train, which makes a bundle that has")
    from scipy.stats import betabinom

    strangeness, limit = promise.detector(b)
    seen, said = reference.features(context.table, context.model)
    embeds = unknown.DETECTORS[str(note["detector"])].embeds
    known = strangeness(seen if embeds else None, said.logits)
    n, share = int(note["n"]), float(note["kept"])
    kept, misses = known <= limit, conformal.misses(int(note["n"]), float(note["kept"]))
    low, high = wilson(int(kept.sum()), len(kept))
    strangers, pictures = [], []
    if context.one_way and not context.model.members:
        made_up = (
            ("scrambled", "judged pictures cut into tiles, in another order", _scrambled),
            ("noise", "noise of the size of pictures", _noise),
        )
        for name, words, make in made_up:
            where = context.turns(FEW, "to make strangers of")[:STRANGERS]
            squares = make(context.squares(where), np.random.default_rng(context.seed))
            found = strangeness(*_asked(context, squares, embeds))
            strangers.append(_caught(name, words, found > limit, known, found))
            pictures.append(example(squares[0], name))
    if embeds and context.made is not None:
        strangers += _hidden(context, note, seen)
    return {
        "n": len(known),
        "detector": note["detector"],
        "promised": share,
        "kept": {
            "value": float(kept.mean()),
            "low": float(low),
            "high": float(high),
            "p": float(betabinom.cdf(int(kept.sum()), len(kept), n + 1 - misses, misses)),
        },
        "strangers": strangers,
        "pictures": pictures,
    }


def _asked(context: Context, squares: Pixels, embeds: bool) -> tuple[Floats | None, Floats]:
    """Features (None where the detector looks at answers alone) and logits of squares, by the compiled engine."""
    from visum.data.load import in_order
    from visum.models.compiled import BATCH
    from visum.models.embed import stored

    model, parts = context.model, [squares[at : at + BATCH] for at in range(0, len(squares), BATCH)]
    if not embeds:
        return None, np.concatenate(list(in_order(model.logits, parts)))
    if model.uses_network:
        run = model.network.engine.run
        seen = np.concatenate([stored(run(part)[:, model.stage_columns]) for part in parts]).astype(np.float32)
    else:
        seen = np.stack([model.describer(square) for square in squares])
    return seen, model.head(seen)


def _hidden(context: Context, note: dict[str, Any], seen: Floats) -> list[dict[str, Any]]:
    """Real pictures of each class in turn, for a detector that was made without that class."""
    made = context.made
    if made is None or context.bundle.task == "multilabel":
        return []
    detector = unknown.DETECTORS[str(note["detector"])]
    rng, head = np.random.default_rng(context.seed), context.model.head
    train = np.sort(rng.permutation(np.flatnonzero(in_split(made, "train")))[: 2 * unknown.BANK])
    bank, _ = reference.features(rows(made, train), context.model)
    taught, y = targets(rows(made, train)), context.predictions.labels
    caught: list[float] = []
    aurocs: list[float] = []
    begin = time.monotonic()
    for k in range(len(context.bundle.classes)):
        if caught and time.monotonic() - begin > SHARE * (context.deadline - begin):
            break
        if (y == k).sum() < FEW or (taught == k).sum() < FEW:
            continue
        others = np.flatnonzero((taught != k) & (taught >= 0))[: unknown.BANK]
        if len(others) <= unknown.NEIGHBOURS:
            continue
        z = head(bank[others]) / context.bundle.temperature
        arrays = detector.fit(bank[others], taught[others], z)
        scores = detector.score(arrays, seen, np.asarray(head(seen) / context.bundle.temperature, np.float32))
        known, strange = scores[y != k], scores[y == k]
        caught.append(strange > np.quantile(known, unknown.KEPT))
        aurocs.append(unknown.auroc(known, strange))
    if not caught:
        return []
    all_caught = np.concatenate(caught)
    low, high = wilson(int(all_caught.sum()), len(all_caught))
    words = f"real pictures of {len(caught)} classes in turn, for a detector made without the class"
    facts = {
        "caught": float(all_caught.mean()),
        "low": float(low),
        "high": float(high),
        "auroc": float(np.mean(aurocs)),
    }
    return [{"name": "a class it was not told of", "words": words, "n": len(all_caught), **facts}]


def _caught(name: str, words: str, caught: NDArray[np.bool_], known: Floats, strange: Floats) -> dict[str, Any]:
    low, high = wilson(int(caught.sum()), len(caught))
    facts = {"caught": float(caught.mean()), "low": float(low), "high": float(high)}
    return {"name": name, "words": words, "n": len(caught), **facts, "auroc": unknown.auroc(known, strange)}


def _scrambled(squares: Pixels, rng: np.random.Generator) -> Pixels:
    """Each picture cut into ``TILES`` x ``TILES`` tiles that change places; what is left over at the edge stays."""
    out, side = squares.copy(), squares.shape[1] // TILES
    at = [(side * (k // TILES), side * (k % TILES)) for k in range(TILES * TILES)]
    for square, new in zip(squares, out, strict=True):
        for (y, x), k in zip(at, rng.permutation(len(at)), strict=True):
            v, u = at[k]
            new[y : y + side, x : x + side] = square[v : v + side, u : u + side]
    return out


def _noise(squares: Pixels, rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, squares.shape).astype(np.uint8)
