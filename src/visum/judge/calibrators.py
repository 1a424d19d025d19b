"""Ways to turn logits into probabilities that can be taken at their word: ``CALIBRATORS`` maps a name to how each is made.

``fit(logits [N, K], labels, task)`` learns from labelled validation images and returns arrays that are all the state there is;
``apply(state, logits, task)`` gives probabilities float32 ``[N, K]``. Multilabel: K questions, each with its own sigmoid.

Bundles store a temperature and nothing else. Vector scaling would be simple to store behind a linear head (weight times scale,
bias times scale plus shift), but not behind cosines, trees or neighbours, nor in an ensemble; it changes answers, so that
thresholds, golden images and every score of the run would have to be made anew; and with the few hundred validation images
that most data sets have, it is seldom better than temperature beyond chance: ``calibration.choice`` says so for each run, from
cross-fitting. Isotonic steps give equal probabilities to pictures that differ, which takes away what ranking, abstaining and
conformal sets live on. So these two are measured, to show what temperature leaves on the table, and not shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visum.judge.calibrate import labelled, temperature
from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
State = dict[str, NDArray[np.float64]]
SCALES, SHIFTS = (0.05, 20.0), (-20.0, 20.0)
"""Bounds of vector scaling, around the best temperature: classes that validation images separate perfectly have no optimum."""


@dataclass(frozen=True)
class Calibrator:
    """One way.

    Attributes:
        fit: ``(logits [N, K], labels [N] or [N, K], task) -> State``; unlabelled rows are left out.
        apply: ``(state, logits [N, K], task) -> probabilities [N, K]``.
        words: what it does, for people.
    """

    fit: Callable[[Floats, Integers, Task], State]
    apply: Callable[[State, Floats, Task], Floats]
    words: str


def squashed(z: Array, task: Task) -> Array:
    """Softmax of rows, or sigmoid of cells when multilabel; float64."""
    if task == "multilabel":
        small = np.exp(-np.abs(z))
        return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _nothing(logits: Floats, labels: Integers, task: Task) -> State:
    return {}


def _plain(state: State, logits: Floats, task: Task) -> Floats:
    return np.asarray(squashed(logits.astype(np.float64), task), np.float32)


def _fit_temperature(logits: Floats, labels: Integers, task: Task) -> State:
    return {"temperature": np.array([temperature(logits, labels, task)])}


def _apply_temperature(state: State, logits: Floats, task: Task) -> Floats:
    return np.asarray(squashed(logits.astype(np.float64) / state["temperature"], task), np.float32)


def _fit_vector(logits: Floats, labels: Integers, task: Task) -> State:
    """A scale and a shift for each class, of the lowest log loss (Guo et al. 2017, section 4.2; multilabel: Platt 1999).

    At the optimum the mean probability of each class is its share of the images. A class without images (multilabel: or without
    any other) keeps temperature's scale and no shift. The problem is convex, so that where it begins makes no difference.
    """
    from scipy.optimize import minimize

    keep = labelled(labels)
    t = temperature(logits, labels, task)
    z, classes = logits[keep].astype(np.float64) / t, logits.shape[1]
    y = labels[keep] if task == "multilabel" else labels[keep][:, None] == np.arange(classes)
    truth = y.astype(np.float64)
    known = (truth.any(0) & ((truth == 0).any(0) | (task != "multilabel"))).tolist()

    def loss(both: Array) -> tuple[float, Array]:
        scaled = z * both[:classes] + both[classes:]
        p = squashed(scaled, task)
        if task == "multilabel":
            value = np.logaddexp(0.0, np.where(truth == 1, -scaled, scaled)).sum()
        else:
            value = -np.log(np.maximum(p[truth == 1], 1e-300)).sum()
        off = p - truth
        return float(value) / len(z), np.concatenate([(off * z).sum(0), off.sum(0)]) / len(z)

    bounds = [SCALES if k else (1.0, 1.0) for k in known] + [SHIFTS if k else (0.0, 0.0) for k in known]
    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    options = {"maxiter": 500, "maxfun": 1000, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 30}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return {"scale": found[:classes] / t, "shift": found[classes:]}


def _apply_vector(state: State, logits: Floats, task: Task) -> Floats:
    return np.asarray(squashed(logits * state["scale"] + state["shift"], task), np.float32)


def _fit_isotonic(logits: Floats, labels: Integers, task: Task) -> State:
    """A rising step function of each class's probability, of the least squares, after temperature (Zadrozny & Elkan 2002: one
    against the rest). Pool adjacent violators; equal probabilities count as one."""
    from scipy.optimize import isotonic_regression

    keep = labelled(labels)
    state = _fit_temperature(logits, labels, task)
    p = squashed(logits[keep].astype(np.float64) / state["temperature"], task)
    y = labels[keep] if task == "multilabel" else labels[keep][:, None] == np.arange(p.shape[1])
    at, rises, ends = [], [], [0]
    for k in range(p.shape[1]):
        x, which, n = np.unique(p[:, k], return_inverse=True, return_counts=True)
        share = np.bincount(which, y[:, k].astype(np.float64)) / n
        at.append(x)
        rises.append(isotonic_regression(share, weights=n).x)
        ends.append(ends[-1] + len(x))
    whole = {"at": np.concatenate(at), "rises": np.concatenate(rises), "ends": np.array(ends, np.float64)}
    return {**state, **whole, "n": np.array([float(keep.sum())])}


def steps(state: State, p: Array) -> Array:
    """What the step functions make of temperature's probabilities ``[N, K]``: linear between what was seen, flat beyond."""
    ends = state["ends"].astype(int)
    columns = [
        np.interp(p[:, k], state["at"][low:high], state["rises"][low:high])
        for k, (low, high) in enumerate(pairwise(ends))
    ]
    return np.stack(columns, axis=1)


def _apply_isotonic(state: State, logits: Floats, task: Task) -> Floats:
    """Steps, made to sum to 1, and mixed with temperature's answer as with one image more: a step of 0 says that something is
    impossible because it did not happen among n images, and a single one that happens then costs an endless log loss."""
    p, n = squashed(logits.astype(np.float64) / state["temperature"], task), float(state["n"][0])
    risen = steps(state, p)
    if task != "multilabel":
        total = risen.sum(axis=1, keepdims=True)
        risen = np.divide(risen, total, out=p.copy(), where=total > 0)
    return np.asarray((n * risen + p) / (n + 1), np.float32)


CALIBRATORS: dict[str, Calibrator] = {
    "none": Calibrator(_nothing, _plain, "probabilities as the network gives them"),
    "temperature": Calibrator(_fit_temperature, _apply_temperature, "all logits divided by one number"),
    "vector": Calibrator(_fit_vector, _apply_vector, "a factor and a shift for each class"),
    "isotonic": Calibrator(_fit_isotonic, _apply_isotonic, "a rising curve for each class"),
}
"""Temperature changes no answer; the last two can."""
