"""Predictions that can be judged: shapes that fit together, finite logits, labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from visum.errors import DataError, NotEnoughData
from visum.judge.calibrate import labelled
from visum.judge.scores import Case
from visum.types import Predictions, decisions, probabilities


def sound(predictions: Predictions) -> Predictions:
    """The labelled rows, after all that could be wrong with them was looked for.

    Raises:
        NotEnoughData: no labelled image.
        DataError: logits that are NaN or infinite (ids named), or shapes that do not fit together.
    """
    n, k = len(predictions.ids), len(predictions.classes)
    wanted = (n, k) if predictions.task == "multilabel" else (n,)
    if predictions.logits.shape != (n, k) or predictions.labels.shape != wanted:
        got = f"logits {list(predictions.logits.shape)} and labels {list(predictions.labels.shape)}"
        raise DataError(f"{got} for {n} images and {k} classes", allowed=f"logits {[n, k]} and labels {list(wanted)}")
    bad = np.flatnonzero(~np.isfinite(predictions.logits).all(1))
    if len(bad):
        first = ", ".join(str(predictions.ids[row]) for row in bad[:5]) + (" …" if len(bad) > 5 else "")
        raise DataError(
            f"logits of {len(bad)} of {n} images are NaN or infinite: {first}",
            allowed="finite logits",
            next="look at these images, and train again if nothing is wrong with them",
        )
    keep = labelled(predictions.labels)
    if not keep.any():
        got = f"none of {n} images has a label" if n else "there are no images"
        raise NotEnoughData(f"{got}, so nothing can be scored", allowed="one or more labelled images")
    return predictions if keep.all() else taken(predictions, np.flatnonzero(keep))


def enough(predictions: Predictions, least: int, what: str) -> Predictions:
    """``sound``, with at least ``least`` labelled images that do not all say the same.

    Args:
        least: images.
        what: is to be done with them, for the message: "to calibrate with".

    Raises:
        NotEnoughData: fewer, or one class only; the message gives the number needed.
    """
    known = sound(predictions)
    if len(known) < least:
        raise NotEnoughData(
            f"{len(known)} labelled images {what}",
            allowed=f"{least} or more",
            next=f"{least - len(known)} more labelled images",
        )
    if (known.labels == known.labels[0]).all():
        one = known.classes[int(known.labels[0])] if known.labels.ndim == 1 else "one and the same set of labels"
        raise NotEnoughData(
            f"all {len(known)} images {what} are {one}", allowed="images of two classes or more", next="other images"
        )
    return known


def taken(predictions: Predictions, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Predictions:
    """Some rows, int64 ``[M]``, in that order."""
    return replace(
        predictions,
        ids=predictions.ids[order],
        logits=predictions.logits[order],
        labels=predictions.labels[order],
    )


def case(predictions: Predictions) -> Case:
    """(probabilities, labels, answers, task): what metrics take."""
    return probabilities(predictions), predictions.labels, decisions(predictions), predictions.task
