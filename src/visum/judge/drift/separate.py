"""Which of the four has happened to the pictures of one window? The order of the questions is reasoned in the package's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift import accuracy, concept, exchange, labels, unknown
from visum.judge.drift.sample import Reference, Sample, pick
from visum.judge.drift.shift import Shift, shift
from visum.judge.intervals import wilson
from visum.types import Integers

Status = Literal["alarm", "quiet", "unclear", "too_few", "not_judged"]
KINDS = ("covariate", "label", "concept", "unknown")
NEEDED = {"covariate": 20, "label": 20, "concept": 10, "unknown": 20}
"""New pictures (of concept: labelled ones) below which a kind is not judged."""
LOOKED_AT = 1000
"""Pictures that two-sample tests look at, old and new ones each; more of them cost time and find nothing that matters. Tests that
need no distances look at five times as many."""
TRIMMED = 0.8
"""Quantile of strangeness up to which pictures are compared where there are strangers."""


@dataclass(frozen=True)
class Verdict:
    """One question and its answer.

    Attributes:
        kind: of ``KINDS``.
        status: alarm; quiet; unclear (another kind explains it and nothing can be said); too_few; not_judged.
        p: of the test; NaN where there was none.
        n: pictures that it rests on.
        needed: how many it takes.
        numbers: figures behind it.
        because: what made it unclear or not judged.
    """

    kind: str
    status: Status
    p: float
    n: int
    needed: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    because: str = ""


@dataclass(frozen=True, eq=False)
class Findings:
    """What is found in one window.

    Attributes:
        verdicts: by kind, in the order of ``KINDS``.
        n: pictures.
        shares: of the classes now, float64 ``[K]``; with a 95 % bootstrap interval ``shares_low``, ``shares_high``.
        by_answers: the same by black-box shift estimation.
        estimates: of the accuracy; empty when multilabel.
        shifted: whether shares are taken as new ones (label alarm) by the estimates.
    """

    verdicts: Mapping[str, Verdict]
    n: int
    shares: NDArray[np.float64]
    shares_low: NDArray[np.float64]
    shares_high: NDArray[np.float64]
    by_answers: NDArray[np.float64]
    estimates: tuple[accuracy.Estimate, ...]
    shifted: bool


def judge(
    reference: Reference,
    new: Sample,
    *,
    alpha: float = 0.05,
    gate: float | None = None,
    draws: int = exchange.DRAWS,
    seed: int = 0,
) -> Findings:
    """Judge the pictures of one window.

    Args:
        reference: what they are compared with.
        new: the window's pictures.
        alpha: false alarms of each kind, per window; in (0, 1).
        gate: p from which on one kind is allowed for when another is judged; None: ``alpha``.
        draws: splits to draw; 1 / (draws + 1) is the smallest p.
        seed: of everything that draws.
    """
    rng = np.random.default_rng(seed)
    old, n = reference.sample, len(new)
    verdicts: dict[str, Verdict] = {}
    gate = alpha if gate is None else gate
    several = reference.task == "multilabel"
    if not new.points.shape[1]:
        return _answers_alone(reference, new, alpha, draws, rng)
    enough = n >= NEEDED["covariate"]

    p_label, shares = 1.0, reference.prior
    low, high = shares, shares
    if enough and not several:
        p_label = _labels(old, new, draws, rng)
        shares = labels.em(new.p, reference.prior)
    moved = p_label <= gate
    looked = old
    if moved:
        ratio = shares / np.maximum(reference.prior, labels.LEAST)
        looked = pick(old, labels.thinned(old.labels, old.answers, ratio, rng))
    looked = pick(looked, exchange.rows_at_most(len(looked), LOOKED_AT, rng))
    seen = pick(new, exchange.rows_at_most(n, LOOKED_AT, rng))

    strangers = calm = None
    if enough:
        pictures, strangers = _pictures(looked, seen, draws, rng)
        if strangers <= gate and pictures.p <= gate:
            edge = np.quantile(old.strange, TRIMMED)
            inner = pick(seen, seen.strange <= edge)
            if len(inner) >= max(NEEDED["covariate"], len(seen) * TRIMMED / 4):
                calm, _ = _pictures(pick(looked, looked.strange <= edge), inner, draws, rng)
        final = calm or pictures
        verdicts["covariate"] = _verdict(
            "covariate", final.p, len(seen), alpha, {**_numbers(final), "p_all": pictures.p}
        )
    else:
        verdicts["covariate"] = _too_few("covariate", n)
    changed = verdicts["covariate"].status == "alarm"

    if strangers is None:
        verdicts["unknown"] = _too_few("unknown", n)
    else:
        scores, answers, fresh = _both(looked, seen, "strange"), _both(looked, seen, "answers"), _fresh(looked, seen)
        value, least, most = unknown.share(scores, answers, fresh, seed=seed)  # type: ignore[arg-type]
        found = _verdict("unknown", strangers, len(seen), alpha, {"share": value, "low": least, "high": most})
        verdicts["unknown"] = (
            replace(found, status="unclear", because="covariate") if changed and strangers <= alpha else found
        )

    if several:
        verdicts["label"] = Verdict("label", "not_judged", float("nan"), n, NEEDED["label"], because="multilabel")
    elif not enough:
        verdicts["label"] = _too_few("label", n)
    else:
        if verdicts["unknown"].status == "alarm":  # known ones alone
            edge = np.quantile(old.strange, TRIMMED)
            known = pick(new, new.strange <= edge)
            p_label = _labels(pick(old, old.strange <= edge), known, draws, rng)
            shares = labels.em(known.p, reference.prior)
        found = _verdict("label", p_label, n, alpha, {"moved": float(np.abs(shares - reference.prior).sum() / 2)})
        verdicts["label"] = replace(found, status="unclear", because="covariate") if changed and moved else found
    shifted = verdicts["label"].status == "alarm"

    verdicts["concept"] = _concept(reference, new, changed, alpha, draws, rng)
    if enough and not several:
        low, high = _interval(new, reference.prior, shares, rng)
    return Findings(
        {kind: verdicts[kind] for kind in KINDS},
        n,
        shares,
        low,
        high,
        _by_answers(reference, new) if n and not several else reference.prior,
        () if several or n < NEEDED["covariate"] else estimates(reference, new, shares if shifted else None, seed),
        shifted,
    )


def _answers_alone(reference: Reference, new: Sample, alpha: float, draws: int, rng: np.random.Generator) -> Findings:
    """Where there are answers and labels without pictures."""
    none = {k: Verdict(k, "not_judged", float("nan"), len(new), NEEDED[k], because="no pictures") for k in KINDS}
    verdicts = {**none, "concept": _concept(reference, new, False, alpha, draws, rng)}
    prior = reference.prior
    return Findings(verdicts, len(new), prior, prior, prior, prior, (), False)


def _numbers(found: Shift) -> dict[str, float]:
    return {"auc": found.auc, **{f"p_{name}": p for name, p in found.each.items()}}


def _fresh(old: Sample, new: Sample) -> NDArray[np.bool_]:
    return np.arange(len(old) + len(new)) >= len(old)


def _both(old: Sample, new: Sample, name: str) -> NDArray[np.generic]:
    return np.concatenate([getattr(old, name), getattr(new, name)])


def _labels(old: Sample, new: Sample, draws: int, rng: np.random.Generator) -> float:
    new = pick(new, exchange.rows_at_most(len(new), 5 * LOOKED_AT, rng))
    fresh = _fresh(old, new)
    split = exchange.splits(np.zeros(len(fresh), np.int64), fresh, draws, rng)
    return exchange.p_value(labels.statistic(_both(old, new, "p"), split))  # type: ignore[arg-type]


def _pictures(old: Sample, new: Sample, draws: int, rng: np.random.Generator) -> tuple[Shift, float]:
    """The tests on embeddings, and p of the tail of strangeness."""
    strata: Integers = _both(old, new, "answers")  # type: ignore[assignment]
    split = exchange.splits(strata, _fresh(old, new), draws, rng)
    tails = unknown.tail(_both(old, new, "strange"), strata, split)  # type: ignore[arg-type]
    return shift(_both(old, new, "points"), strata, split), exchange.p_value(tails)  # type: ignore[arg-type]


def _verdict(kind: str, p: float, n: int, alpha: float, numbers: Mapping[str, float]) -> Verdict:
    return Verdict(kind, "alarm" if p <= alpha else "quiet", p, n, NEEDED[kind], dict(numbers))


def _too_few(kind: str, n: int) -> Verdict:
    return Verdict(kind, "too_few", float("nan"), n, NEEDED[kind])


def _concept(
    reference: Reference, new: Sample, changed: bool, alpha: float, draws: int, rng: np.random.Generator
) -> Verdict:
    """Errors of labelled pictures, within their true classes."""
    told = pick(new, new.labels >= 0)
    told = pick(told, exchange.rows_at_most(len(told), 5 * LOOKED_AT, rng))
    if not len(told):
        return Verdict("concept", "not_judged", float("nan"), 0, NEEDED["concept"], because="no labels")
    known = np.isin(told.labels, reference.sample.labels)
    if int(known.sum()) < NEEDED["concept"]:
        return _too_few("concept", int(known.sum()))
    old = reference.sample
    strata: Integers = _both(old, told, "labels")  # type: ignore[assignment]
    split = exchange.splits(strata, _fresh(old, told), draws, rng)
    values = _both(old, told, "excess")
    p = exchange.p_value(concept.statistic(values, strata, split))  # type: ignore[arg-type]
    wrong = np.rint(told.excess + 1 - told.sure) if reference.task != "multilabel" else told.excess + 1 - told.sure
    before = old.excess + 1 - old.sure
    low, high = wilson(wrong.sum(), len(told))
    by_class = exchange.contrasts(split[:1], strata)[0]
    difference = float(by_class @ np.concatenate([before, wrong]).astype(np.float32))
    numbers = {
        "errors": float(wrong.mean()),
        "low": float(low),
        "high": float(high),
        "expected": float(wrong.mean()) - difference,
    }
    found = _verdict("concept", p, len(told), alpha, numbers)
    return replace(found, status="unclear", because="covariate") if changed and p <= alpha else found


def _interval(
    new: Sample, prior: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % of the shares over resamples of the new pictures."""
    some = new.p[exchange.rows_at_most(len(new), 5 * LOOKED_AT, rng)]
    drawn = rng.multinomial(len(new), np.full(len(some), 1 / len(some)), 200).astype(np.float64)
    values = labels.em(some, prior, drawn, start=shares, rounds=50)
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return low, high


def _by_answers(reference: Reference, new: Sample) -> NDArray[np.float64]:
    """Black-box shift estimation."""
    old, k = reference.sample, len(reference.classes)
    confusion = np.bincount(old.answers * k + old.labels, minlength=k * k).reshape(k, k) / len(old)
    return labels.bbse(confusion, np.bincount(new.answers, minlength=k) / len(new))


def estimates(
    reference: Reference, new: Sample, shares: NDArray[np.float64] | None, seed: int = 0
) -> tuple[accuracy.Estimate, ...]:
    """Two estimates of the accuracy, by ATC and by mean confidence; under new shares of classes where these are given."""
    new = pick(new, exchange.rows_at_most(len(new), 5 * LOOKED_AT, np.random.default_rng(seed)))
    old, p, weight = reference.sample, new.p, None
    right = (old.answers == old.labels).astype(np.float32)
    before = old.p[np.arange(len(old)), old.answers].astype(np.float32)
    if shares is not None:
        p = labels.corrected(p, reference.prior, shares)
        weight = (shares / np.maximum(reference.prior, labels.LEAST))[old.labels]
        before = labels.corrected(old.p, reference.prior, shares)[np.arange(len(old)), old.answers].astype(np.float32)
    sure = p[np.arange(len(new)), new.answers].astype(np.float32)
    return tuple(
        method(sure, before, right, weight, seed=seed) for method in (accuracy.by_confidence, accuracy.by_threshold)
    )
