"""Is this picture like anything that was learnt? Detectors that give each picture a strangeness; the more, the stranger.

Each is fitted on what is known alone: the embeddings of train pictures and what the model says of them. No picture of
something unknown, and no test picture, has a part in fitting or choosing. The threshold keeps a promised share of known
pictures: it is the conformal quantile of the strangeness of validation pictures (``conformal.quantile``), so that of new
pictures of what is known at most 5 %, within the Beta law, are called unknown. How many unknown pictures are caught depends
on what comes; nothing is promised about that.

``USUAL`` is ViM, one choice for every data set, made without anything unknown and without test pictures, by hiding one class of
the known ones after the other (``benchmarks/unknown.py``). What lies outside of the main axes tells pictures of another kind, the
energy tells things of the same kind that are of no known class, and ViM adds the two; of those that look at embeddings it finds
hidden classes best or nearly so. Pictures with several labels have no such energy; their detector is the nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers

Arrays = dict[str, NDArray[np.floating]]
Wide = NDArray[np.float64]
KEPT = 0.95
"""Share of known pictures that are not called unknown."""
BANK = 600
"""Train pictures that detectors remember, or are fitted on, at most."""
NEIGHBOURS, AXES, WHITENED = 10, 128, 64
RIDGE = 1e-3
"""Added to the variances of whitened columns, which are 1."""


@dataclass(frozen=True)
class Detector:
    """How strangeness is found.

    Attributes:
        fit: ``(embeddings [N, D], labels [N], calibrated logits [N, K]) -> arrays``, float16 or float32, all that is kept.
        score: ``(arrays, embeddings [N, D], calibrated logits [N, K]) -> strangeness float32 [N]``.
        embeds: whether it looks at embeddings.
    """

    fit: Callable[[Floats, Integers, Floats], Arrays]
    score: Callable[[Mapping[str, NDArray[np.floating]], Floats, Floats], Floats]
    embeds: bool = True


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def _axes(x: Floats, most: int) -> tuple[Floats, Wide]:
    """The ``[D, d]`` main axes of rows about the origin, d <= ``most`` and <= their rank, and the mean square along each."""
    from scipy.linalg import eigh

    d = min(most, *x.shape)
    rows = len(x) <= x.shape[1]  # whichever product is smaller
    gram = (x @ x.T if rows else x.T @ x).astype(np.float64)
    found: Any = eigh(gram, subset_by_index=(len(gram) - d, len(gram) - 1))
    real = found[0] > 1e-6 * max(found[0][-1], 1e-12)  # what is below is rounding
    values, vectors = found[0][real][::-1], found[1][:, real][:, ::-1]
    axes = x.T @ (vectors / np.sqrt(values)) if rows else vectors
    return np.asarray(axes, np.float32), values / len(x)


def _seen(arrays: Mapping[str, NDArray[np.floating]], x: Floats) -> Floats:
    """Along the axes, and the length of what lies outside of them, ``[N, d + 1]``."""
    unit = _unit(x)
    inside = unit @ np.asarray(arrays["axes"], np.float32)
    outside = np.sqrt(np.maximum(1 - (inside**2).sum(axis=1, keepdims=True), 0))
    return np.concatenate([inside, outside], axis=1)


def _fit_neighbours(x: Floats, y: Integers, z: Floats) -> Arrays:
    axes = {"axes": _axes(_unit(x), AXES)[0].astype(np.float16)}
    return {**axes, "bank": _seen(axes, x).astype(np.float16)}


def _neighbours(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    bank, asked = np.asarray(arrays["bank"], np.float32), _seen(arrays, x)
    squares = (asked**2).sum(1)[:, None] - 2 * asked @ bank.T + (bank**2).sum(1)
    at = min(NEIGHBOURS, len(bank)) - 1
    return np.asarray(np.sqrt(np.maximum(np.partition(squares, at, axis=1)[:, at], 0)), np.float32)


def _standard(arrays: Mapping[str, NDArray[np.floating]], x: Floats) -> Floats:
    return np.asarray((x - arrays["mean"]) / arrays["spread"], np.float32)


def _moments(x: Floats) -> Arrays:
    spread = x.std(0)
    return {
        "mean": x.mean(0).astype(np.float32),
        "spread": np.maximum(spread, max(1e-3 * spread.max(), 1e-6), dtype=np.float32),
    }


def _fit_mahalanobis(x: Floats, y: Integers, z: Floats) -> Arrays:
    arrays = _moments(x)
    axes, variance = _axes(_standard(arrays, x), WHITENED)
    arrays["axes"] = (axes / np.sqrt(variance)).astype(np.float16)
    seen = _standard(arrays, x) @ np.asarray(arrays["axes"], np.float32)
    means = np.stack([seen[y == k].mean(0) for k in np.unique(y[y >= 0])])
    apart = seen[y >= 0] - means[np.searchsorted(np.unique(y[y >= 0]), y[y >= 0])]
    ridge = RIDGE * np.eye(seen.shape[1])
    arrays["means"], arrays["centre"] = means.astype(np.float32), seen.mean(0).astype(np.float32)
    for name, rows in (("within", apart), ("whole", seen - seen.mean(0))):  # L of L L' = inverse covariance
        covariance = (rows.T @ rows / len(rows)).astype(np.float64) + ridge
        arrays[name] = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    return arrays


def _mahalanobis(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    seen = _standard(arrays, x) @ np.asarray(arrays["axes"], np.float32) @ arrays["within"]
    means = arrays["means"] @ arrays["within"]
    squares = (seen**2).sum(1)[:, None] - 2 * seen @ means.T + (means**2).sum(1)
    return np.asarray(squares.min(1), np.float32)


def _relative(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    seen = _standard(arrays, x) @ np.asarray(arrays["axes"], np.float32)
    whole = (((seen - arrays["centre"]) @ arrays["whole"]) ** 2).sum(1)
    return np.asarray(_mahalanobis(arrays, x, z) - whole, np.float32)


def _fit_virtual(x: Floats, y: Integers, z: Floats) -> Arrays:
    most = max(1, min(AXES, min(x.shape) // 4))  # with all axes nothing would lie outside of them but rounding
    arrays: Arrays = {"axes": _axes(_unit(x), most)[0].astype(np.float16)}
    outside = float(_seen(arrays, x)[:, -1].mean())
    return {**arrays, "scale": np.asarray([z.max(1).mean() / max(outside, 1e-6)], np.float32)}


def _energy(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    top = z.max(1)
    return np.asarray(-top - np.log(np.exp(z - top[:, None]).sum(1)), np.float32)


def _virtual_logit(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    return np.asarray(float(arrays["scale"][0]) * _seen(arrays, x)[:, -1] + _energy(arrays, x, z), np.float32)


def _max_softmax(arrays: Mapping[str, NDArray[np.floating]], x: Floats, z: Floats) -> Floats:
    return np.asarray(-1 / np.exp(z - z.max(1, keepdims=True)).sum(1), np.float32)


def _nothing(x: Floats, y: Integers, z: Floats) -> Arrays:
    return {}


DETECTORS: dict[str, Detector] = {
    "max_softmax": Detector(_nothing, _max_softmax, embeds=False),
    "energy": Detector(_nothing, _energy, embeds=False),
    "mahalanobis": Detector(_fit_mahalanobis, _mahalanobis),
    "relative_mahalanobis": Detector(_fit_mahalanobis, _relative),
    "vim": Detector(_fit_virtual, _virtual_logit),
    "neighbours": Detector(_fit_neighbours, _neighbours),
}
"""Name → how strangeness is found.

max_softmax: minus the largest probability (Hendrycks & Gimpel 2017). energy: minus log sum exp of the logits (Liu et al. 2020).
mahalanobis: squared distance to the nearest class mean under the covariance within classes (Lee et al. 2018), in the first
``WHITENED`` axes of standardised embeddings. relative_mahalanobis: less that to the mean of all (Ren et al. 2021). vim: the
length outside of the ``AXES`` main axes (a quarter of all at most) as one more logit, scaled to the largest ones (Wang et al.
2022), compared before the softmax and on embeddings of length one. neighbours: distance to the 10th nearest of at most ``BANK``
train embeddings of length one (Sun et al. 2022), where what lies outside of ``AXES`` axes counts with its length.
"""
USUAL, OF_SEVERAL_LABELS, WITHOUT_EMBEDDINGS = "vim", "neighbours", "max_softmax"


def sample(n: int, most: int, seed: int) -> Integers:
    """Rows to remember: all of n, or ``most`` of them, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most]).astype(np.int64)


def auroc(known: NDArray[np.floating], strange: NDArray[np.floating]) -> float:
    """How often a strange picture is stranger than a known one, ties counting half: 0.5 is chance, 1 is perfect."""
    from scipy.stats import rankdata

    rank = rankdata(np.concatenate([known, strange]))[len(known) :]
    return float((rank.sum() - len(strange) * (len(strange) + 1) / 2) / (len(known) * len(strange)))


def missed(known: NDArray[np.floating], strange: NDArray[np.floating], kept: float = KEPT) -> float:
    """Share of strange pictures that pass where the share ``kept`` of known ones does (FPR at 95 % TPR)."""
    return float((strange <= np.quantile(known, kept)).mean())
