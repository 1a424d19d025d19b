"""From predictions to the block that ``metrics.json`` holds for one split."""

from __future__ import annotations

from typing import Any

from visum.errors import UsageError
from visum.judge import metrics, scores
from visum.judge.calibrate import reliability
from visum.judge.mistakes import confused, wrong
from visum.judge.sound import case as given
from visum.judge.sound import sound
from visum.types import Predictions, Score, Task

WRONG, CONFUSED = 200, 50


def headline(task: Task) -> str:
    """The metric by which a model is chosen: accuracy; micro F1 when multilabel, where accuracy asks for every class of
    an image at once and a macro average would let the rarest class decide."""
    return "micro_f1" if task == "multilabel" else "accuracy"


def score(predictions: Predictions, name: str, *, seed: int = 0) -> Score:
    """One metric of ``METRICS`` with its 95 % interval; unlabelled images are left out.

    Raises:
        UsageError: no such metric.
        NotEnoughData: no labelled image.
        DataError: logits that are NaN or infinite, or shapes that do not fit together.
    """
    if name not in metrics.METRICS:
        raise UsageError(f"there is no metric {name!r}", allowed=", ".join(metrics.METRICS))
    case = given(sound(predictions))
    return scores.score(name, case, scores.resample(case, [name], seed))


def evaluate(predictions: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """The block of ``metrics.json`` for one split (docs/design.md, "Files of a run"), plain Python values throughout.

    Beside the keys of the design it holds ``unlabelled``, the number of images left out for want of a label. Scores that
    are not defined on these images are NaN; metrics that the task does not have (top-5 below six classes or when
    multilabel; hamming loss elsewhere) are not there. ``wrong`` has at most 200 images, ``confused`` at most 50 pairs.

    Args:
        predictions: with the temperature and thresholds that are in use.
        seed: of the bootstrap.

    Raises:
        NotEnoughData: no labelled image.
        DataError: logits that are NaN or infinite (ids named), or shapes that do not fit together.
    """
    known = sound(predictions)
    case = given(known)
    p, labels, answers, task = case
    names = [name for name in metrics.METRICS if scores.exists(name, task, p.shape[1])]
    ends = scores.resample(case, names, seed)
    cells = None if task == "multilabel" else metrics.confusion(labels, answers, p.shape[1]).tolist()
    return {
        "n": len(known),
        "unlabelled": len(predictions) - len(known),
        "metrics": {name: _plain(scores.score(name, case, ends)) for name in names},
        "per_class": [
            {
                "class": known.classes[k],
                "n": int((labels[:, k] if labels.ndim == 2 else labels == k).sum()),
                **{kind: _plain(value) for kind, value in row.items()},
                "threshold": _threshold(known, k),
            }
            for k, row in enumerate(scores.class_scores(case, ends))
        ],
        "confusion": cells,
        "confused": confused(known, CONFUSED),
        "reliability": reliability(p, labels, task),
        "wrong": wrong(known, WRONG),
    }


def _plain(value: Score) -> dict[str, Any]:
    return {"value": value.value, "low": value.low, "high": value.high, "n": value.n, "method": value.method}


def _threshold(predictions: Predictions, k: int) -> float | None:
    """The probability from which on class k is answered, where there is one."""
    if predictions.task == "multilabel":
        return float(predictions.thresholds[k]) if predictions.thresholds else 0.5
    return float(predictions.thresholds[0]) if predictions.task == "binary" and predictions.thresholds and k else None
