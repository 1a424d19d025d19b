"""Risk against coverage: how often it would be wrong if it answered only what it is surest of.

Images are put in the order of an uncertainty, surest first. At coverage c the first c N of them are answered, and the risk is
the share of wrong ones among these. Equally unsure images have no order: the risk among them is the mean over all orders, which
has a closed form, so that neither the order of files nor chance decides. The area under the curve, AURC, is the mean of the
risks at 1/N, 2/N, … 1 (Geifman & El-Yaniv 2017; Geifman, Uziel & El-Yaniv 2019): in an order at random it is the risk of all.
E-AURC is what it has more than the best order, in which every right answer comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError, UsageError
from visum.judge import intervals, metrics
from visum.judge.calibrate import labelled
from visum.judge.sound import case, enough
from visum.judge.uncertainty import DRAWN, MEASURES
from visum.types import Floats, Predictions, Score

Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.float32]], Array]
LEAST = 50
"""Images below which nothing is said."""
BASE = "max_softmax"
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
POINTS = 100
"""Of a curve that is kept."""
DRAWS, RESAMPLES = 5_000_000, (500, 1000)
"""Images drawn over all resamples; fewest and most of these."""


def curve(uncertainty: Array, loss: Array) -> tuple[Array, Array]:
    """(coverage, risk) after 1, 2, … N images, float64 ``[N]`` each.

    Args:
        uncertainty: float ``[N]``, finite.
        loss: of each image, float ``[N]`` >= 0: 1 where the answer is wrong.
    """
    order, _, group = _ordered(uncertainty)
    n = np.bincount(group).astype(np.float64)
    mean = np.bincount(group, loss[order]) / n
    return np.arange(1, len(loss) + 1) / len(loss), np.cumsum(mean[group]) / np.arange(1, len(loss) + 1)


def aurc(uncertainty: Array, loss: Array) -> float:
    """Area under ``curve``: the mean of its risks."""
    return float(curve(uncertainty, loss)[1].mean())


def excess_aurc(uncertainty: Array, loss: Array) -> float:
    """``aurc`` less that of the best order, >= 0."""
    return aurc(uncertainty, loss) - aurc(loss, loss)


def area(uncertainty: Array, loss: Array) -> Statistic:
    """``aurc`` as a function of whole image weights ``[B, N]`` → ``[B]``, in closed form.

    Of w equally unsure images with mean loss e behind C images with total loss E, the j-th has the expected risk
    (E + j e) / (C + j); these add up to w e + (E - e C) (H(C + w) - H(C)), with harmonic numbers H.
    """
    order, groups, group = _ordered(uncertainty)
    sorted_loss = loss[order].astype(np.float64)
    starts = np.searchsorted(group, np.arange(groups))

    def value(weights: NDArray[np.float32]) -> Array:
        w = weights[:, order].astype(np.float64)
        count, total = (np.add.reduceat(each, starts, axis=1) for each in (w, w * sorted_loss))
        before, wrong = np.cumsum(count, 1) - count, np.cumsum(total, 1) - total
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        most = round(float(w.sum(1).max()))
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
        at = before.round().astype(np.int64)
        steps = harmonic[at + count.round().astype(np.int64)] - harmonic[at]
        return np.asarray((total + (wrong - mean * before) * steps).sum(1) / w.sum(1))

    return value


def _ordered(uncertainty: Array) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """Rows surest first, how many different values there are, and the number of its value for each sorted row."""
    values, group = np.unique(uncertainty, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return order, len(values), np.asarray(group[order], np.int64)


def measured(predictions: Predictions, draws: Mapping[str, Floats] | None = None) -> dict[str, Array]:
    """Every uncertainty that these predictions and opinions give, by name: those of ``MEASURES``, and ``NAME variation``, ``NAME
    information``, ``NAME mean_entropy`` of each set of opinions.

    Args:
        predictions: labelled or not.
        draws: name → probabilities of several opinions about the same rows, float ``[S, N, K]``, S >= 2.

    Raises:
        UsageError: opinions of another shape.
        DataError: opinions that are NaN.
    """
    p, _, answers, task = case(predictions)
    found = {name: measure(p, task) for name, measure in MEASURES.items()}
    for name, opinions in (draws or {}).items():
        if opinions.ndim != 3 or opinions.shape[1:] != p.shape or len(opinions) < 2:
            raise UsageError(
                f"opinions of {name} of shape {list(opinions.shape)}",
                allowed=f"[2 or more, {p.shape[0]}, {p.shape[1]}]",
            )
        if not np.isfinite(opinions).all():
            raise DataError(f"opinions of {name} are NaN or infinite", allowed="probabilities")
        found |= {f"{name} {kind}": measure(opinions, answers, task) for kind, measure in DRAWN.items()}
    return found


def risk_block(predictions: Predictions, draws: Mapping[str, Floats] | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Which uncertainty says best where it is wrong, and how often it would be if it kept silent: for the trust page.

    Keys, JSON-ready: ``n``; ``risk``: share of wrong answers at full coverage, a score (``{"value", "low", "high", "n",
    "method"}``); ``measures``: for each, lowest AURC first, ``{"name", "aurc": score, "e_aurc": score, "difference": {"value",
    "low", "high"}`` (its AURC less that of max_softmax, paired; None for that one itself), ``"curve": [[coverage, risk, low,
    high], …]`` (about 100 points, Wilson intervals), ``"at": {coverage: {"risk", "low", "high", "n", "threshold"}}`` (50, 70, 80,
    90, 95, 100 %; ``threshold``: the uncertainty up to which is answered)``}``; ``best``; ``better`` (whether ``best`` is better
    than max_softmax beyond chance, allowing for how many were tried); ``optimum``: the AURC of the best order; ``sentence`` and
    ``advice`` for people.

    Args:
        predictions: labelled test images, at least 50.
        draws: as for ``measured``: e.g. ``{"dropout": …, "ensemble": …}``.
        seed: of the bootstrap.

    Raises:
        NotEnoughData: fewer than 50 labelled images, or one class only.
        DataError, UsageError: logits or opinions that are NaN, or of another shape.
    """
    known = enough(predictions, LEAST, "to weigh risk against coverage with")
    kept = labelled(predictions.labels)
    opinions = {name: each[:, kept] if each.ndim == 3 else each for name, each in (draws or {}).items()}
    found = measured(known, opinions)
    loss = (~metrics.right(known.labels, case(known)[2])).astype(np.float64)
    n, names = len(loss), list(found)
    areas = [*(area(each, loss) for each in found.values()), area(loss, loss)]

    def statistic(weights: NDArray[np.float32]) -> Array:
        return np.stack([each(weights) for each in areas], 1)

    times = int(np.clip(DRAWS // n, *RESAMPLES))
    values = intervals.resample(statistic, n, resamples=times, seed=seed)
    plain = statistic(np.ones((1, n), np.float32))[0]
    base, others = names.index(BASE), len(names) - 1
    rows = []
    for at, name in enumerate(names):
        low, high = intervals.expanded(values[:, [at]] - values[:, [base]], n, 1 - 0.05 / others)
        difference = {"value": float(plain[at] - plain[base]), "low": float(low[0]), "high": float(high[0])}
        rows.append(
            {
                "name": name,
                "aurc": _score("aurc", plain[at], values[:, at], n),
                "e_aurc": _score("e_aurc", plain[at] - plain[-1], values[:, at] - values[:, -1], n),
                "difference": None if name == BASE else difference,
                **_drawn(found[name], loss),
            }
        )
    rows.sort(key=lambda row: float(row["aurc"]["value"]))
    best = rows[0]
    better = best["difference"] is not None and best["difference"]["high"] < 0
    wrong = int(loss.sum())
    ends = intervals.wilson(wrong, n)
    block = {
        "n": n,
        "risk": {"value": wrong / n, "low": float(ends[0]), "high": float(ends[1]), "n": n, "method": "wilson"},
        "measures": rows,
        "best": best["name"],
        "better": bool(better),
        "optimum": float(plain[-1]),
    }
    return {**block, **_words(block)}


def _score(name: str, value: float, values: Array, n: int) -> dict[str, Any]:
    ends = _ends(float(value), values, n)
    whole = asdict(Score(name, float(value), *ends, n, "bootstrap" if ends[0] == ends[0] else ""))
    return {key: each for key, each in whole.items() if key != "name"}


def _ends(value: float, values: Array, n: int) -> tuple[float, float]:
    """95 % interval of a number above 0, symmetric on the scale of its logarithm, with the spread that resamples have there.

    Percentiles of these skewed areas hold the truth in 90 of 100 draws of 200 images, this in 92 to 95."""
    from scipy.stats import t

    above = values[values > 1e-12]
    if value <= 1e-12 or 2 * len(above) < len(values):
        return float("nan"), float("nan")
    wide = float(t.ppf(0.975, n - 1)) * float(np.log(above).std()) * np.sqrt(n / (n - 1))
    return float(value * np.exp(-wide)), float(value * np.exp(wide))


def _drawn(uncertainty: Array, loss: Array) -> dict[str, Any]:
    """The curve and its values at round coverages."""
    n = len(loss)
    coverage, risk = curve(uncertainty, loss)
    low, high = intervals.wilson(risk * np.arange(1, n + 1), np.arange(1, n + 1))
    picked = np.unique(np.ceil(np.linspace(1, n, min(POINTS, n))).astype(int)) - 1
    sure = np.sort(uncertainty)
    at = {}
    for share in COVERAGES:
        row = max(int(np.floor(share * n + 1e-9)), 1) - 1
        at[f"{share:g}"] = {
            "risk": float(risk[row]),
            "low": float(low[row]),
            "high": float(high[row]),
            "n": row + 1,
            "threshold": float(sure[row]),
        }
    return {"curve": np.stack([coverage, risk, low, high], 1)[picked].tolist(), "at": at}


def _words(block: Mapping[str, Any]) -> dict[str, str]:
    """What it means, and what to do."""
    best = block["measures"][0]
    some, whole = best["at"]["0.8"], block["risk"]
    some_risk = f"{100 * some['risk']:.1f} % of these ({100 * some['low']:.1f} to {100 * some['high']:.1f})"
    sentence = (
        f"It is wrong on {100 * whole['value']:.1f} % of the images. "
        f"If it answered only the 80 % that it is surest of, it would be wrong on {some_risk}."
    )
    if block["better"]:
        return {
            "sentence": sentence,
            "advice": f"Sort by {best['name']}: it knows better than the probability of the answer.",
        }
    if some["high"] >= whole["value"]:
        return {
            "sentence": sentence,
            "advice": "These images do not show that its doubts are worth more than chance; do not rely on them yet.",
        }
    return {
        "sentence": sentence,
        "advice": "Have people look at what it is least sure of; no other measure is better beyond chance than its probability.",
    }
