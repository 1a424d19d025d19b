"""Several opinions of one bundle about the same pictures: passes of Monte Carlo dropout, or members of an ensemble.

What they disagree about is an uncertainty besides the probability of the answer (``judge.uncertainty``). Pictures pass the
network once, through the store; an opinion is a small matrix product.
"""

from __future__ import annotations

import numpy as np

from visum.models import uncertain
from visum.models.predict import Model, features
from visum.runtime import Step, no_step
from visum.types import Floats, Manifest, probabilities, said

PASSES = 20
"""Of dropout: with 20, the spread of a probability is known to a sixth of itself."""


def opinions(table: Manifest, model: Model, *, passes: int = PASSES, step: Step = no_step) -> dict[str, Floats]:
    """name → calibrated probabilities float32 ``[S, N, K]``: ``dropout`` of a bundle that was trained with it, ``members`` of an
    ensemble in its order of classes; nothing of any other bundle, which has one opinion.

    Args:
        table: indexed rows, with the classes of the bundle.
        passes: of dropout, >= 2.
        step: told of finished pictures.
    """
    bundle = model.bundle
    if model.members:
        told = []
        for member, entry in zip(model.members, bundle.architecture["members"], strict=True):
            each = probabilities(said(member.bundle, member.head(features(table, member, step=step))))
            told.append(each[:, entry["order"]])
        return {"members": np.stack(told)}
    if uncertain.MEAN not in bundle.weights:
        return {}
    rows, mean = features(table, model, step=step), bundle.weights[uncertain.MEAN]
    draws = uncertain.dropped(rows, mean, float(bundle.architecture[uncertain.RATE]), passes)
    return {"dropout": np.stack([probabilities(said(bundle, model.head(seen))) for seen in draws])}
