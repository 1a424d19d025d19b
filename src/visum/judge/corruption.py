"""What corruptions cost: error by kind and severity with intervals, the mean corruption error, and the worst kinds in words.

An *error* is what an image adds to the share of wrong answers: 0 or 1, or, with several labels, the share of its labels that are
wrong. All conditions see the same images, so that sums over conditions are sums for each image, and whatever is made of
them gets its interval by resampling images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import NotEnoughData
from visum.judge import intervals

Errors = NDArray[np.float64]
LEAST = 20
"""Images below which nothing is told: the interval of a share would be wider than 40 points."""
WORST = 3
"""Kinds that are named."""


def mean_corruption_error(error: Mapping[str, Errors], base: Mapping[str, Errors]) -> float:
    """mCE: the mean over kinds of the sum over severities of the error, by that of the baseline (Hendrycks & Dietterich 2019,
    section 4).

    Args:
        error, base: kind → error rates ``[severities]`` in [0, 1], of the same kinds and severities.

    Returns:
        1 where it errs as often as the baseline; NaN where the baseline never errs.
    """
    return _mean_ratio([_total(error[kind]) for kind in error], [_total(base[kind]) for kind in error])


def relative_mean_corruption_error(
    error: Mapping[str, Errors], clean: float, base: Mapping[str, Errors], base_clean: float
) -> float:
    """Relative mCE: the same of how many more errors there are than on clean pictures; 1 where corruptions cost as much as they
    cost the baseline, which may have been better or worse to begin with; NaN where they cost the baseline nothing."""
    more = [_total(error[kind] - clean) for kind in error]
    return _mean_ratio(more, [_total(base[kind] - base_clean) for kind in error])


def _total(rates: Errors) -> float:
    return float(np.sum(rates))


def _mean_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    if not above or min(below) <= 1e-12:
        return float("nan")
    return float(np.mean(np.divide(above, below)))


def block(
    errors: Mapping[str, Errors],
    clean: Errors,
    severities: Sequence[int],
    families: Mapping[str, Sequence[str]],
    *,
    held_out: Sequence[str] = (),
    base: tuple[str, Mapping[str, Errors], Errors] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What is told of the errors of one model, ready for JSON; means are over the kinds that are not held out.

    Args:
        errors: kind → what each image adds, float64 ``[severities, n]`` in [0, 1].
        clean: of the same images as they are, ``[n]``.
        severities: 1 … 5, rising.
        families: name → kinds.
        held_out: kinds that no mean counts.
        base: of a baseline on the same images: its name, its errors, and those on clean pictures.
        seed: of the bootstrap.

    Returns:
        ``n``, ``severities``; ``clean``, ``accuracy`` (of the mean over kinds and severities) and ``kept`` (its share of the
        clean one) as ``{"value", "low", "high", "n", "method"}``; ``mean``: of each severity the accuracy over kinds;
        ``baseline``: None, or ``{"name", "mean_corruption_error", "relative_mean_corruption_error"}`` of the same form;
        ``kinds``: worst first, of each ``kind``, ``family``, ``held_out``, ``accuracy``, ``drop`` (from clean, in shares) and
        ``curve``: of each severity, 0 for clean, ``severity`` and ``accuracy``; ``worst``: names; ``sentence``: one plain one.

    Raises:
        NotEnoughData: fewer than ``LEAST`` images.
    """
    n = len(clean)
    if n < LEAST:
        raise NotEnoughData(
            f"{n} labelled images are too few to tell what corruptions cost",
            allowed=f"at least {LEAST}",
            next="more images",
        )
    counted = [kind for kind in errors if kind not in held_out]
    mean = np.mean([errors[kind].mean(0) for kind in counted], axis=0)
    family = {kind: name for name, kinds in families.items() for kind in kinds}
    rows: list[dict[str, Any]] = [
        {
            "kind": kind,
            "family": family.get(kind, ""),
            "held_out": kind in held_out,
            "accuracy": _accuracy(errors[kind].mean(0)),
            "drop": float(errors[kind].mean() - clean.mean()),
            "curve": [
                {"severity": severity, "accuracy": _accuracy(row)}
                for severity, row in zip((0, *severities), (clean, *errors[kind]), strict=True)
            ],
        }
        for kind in errors
    ]
    rows.sort(key=lambda row: row["accuracy"]["value"])
    worst = [row["kind"] for row in rows if not row["held_out"]][:WORST]
    told = {
        "n": n,
        "severities": list(severities),
        "clean": _accuracy(clean),
        "accuracy": _accuracy(mean),
        "mean": [_accuracy(np.mean([errors[kind][at] for kind in counted], axis=0)) for at in range(len(severities))],
        "kept": _ratio(np.stack([1 - mean]), np.stack([1 - clean]), seed),
        "baseline": _against(base, errors, clean, counted, seed) if base else None,
        "kinds": rows,
        "worst": worst,
    }
    return {**told, "sentence": sentence(told)}


def sentence(told: Mapping[str, Any]) -> str:
    """The block in one plain sentence."""
    named = {row["kind"]: row for row in told["kinds"]}
    worst = [f"{kind.replace('_', ' ')} ({_percent(named[kind]['accuracy']['value'])})" for kind in told["worst"]]
    clean, mean = _percent(told["clean"]["value"]), _percent(told["accuracy"]["value"])
    listed = worst[0] if len(worst) == 1 else f"{', '.join(worst[:-1])} and {worst[-1]}"
    return f"Of {told['n']:,} images {clean} are answered right as they are and {mean} when corrupted; worst: {listed}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _against(
    base: tuple[str, Mapping[str, Errors], Errors],
    errors: Mapping[str, Errors],
    clean: Errors,
    kinds: list[str],
    seed: int,
) -> dict[str, Any]:
    name, theirs, theirs_clean = base
    ours, other = (np.stack([each[kind].sum(0) for kind in kinds]) for each in (errors, theirs))
    severities = len(next(iter(errors.values())))
    return {
        "name": name,
        "mean_corruption_error": _ratio(ours, other, seed),
        "relative_mean_corruption_error": _ratio(ours - severities * clean, other - severities * theirs_clean, seed),
    }


def _ratio(above: Errors, below: Errors, seed: int) -> dict[str, Any]:
    """The mean over rows of the ratio of their means, ``[rows, n]`` each, with a percentile interval."""
    n = above.shape[1]

    def statistic(weights: NDArray[np.float32]) -> Errors:
        top, bottom = weights.astype(np.float64) @ above.T, weights.astype(np.float64) @ below.T
        known = (bottom > 1e-9).all(1)
        out = np.full(len(weights), np.nan)
        out[known] = (top[known] / bottom[known]).mean(1)
        return out

    value = float(statistic(np.ones((1, n), np.float32))[0])
    if value != value:
        return {"value": None, "low": None, "high": None, "n": n, "method": ""}
    low, high = intervals.bootstrap(statistic, n, seed=seed, method="percentile")
    ends = [float(end[0]) if np.isfinite(end[0]) else None for end in (low, high)]
    return {"value": value, "low": ends[0], "high": ends[1], "n": n, "method": "bootstrap"}


def _accuracy(errors: Errors) -> dict[str, Any]:
    """One less the mean, with Wilson's interval where each image is right or wrong; else with the number of images that its
    spread is worth."""
    n, value = len(errors), float(1 - errors.mean())
    if np.isin(errors, (0.0, 1.0)).all():
        low, high = (float(end) for end in intervals.wilson(round(value * n), n))
        return {"value": value, "low": low, "high": high, "n": n, "method": "wilson"}
    variance = float(errors.var(ddof=1) / n)
    low, high = intervals.effective_wilson(value, variance, float(n))
    return {"value": value, "low": low, "high": high, "n": n, "method": "effective wilson"}
