"""Signs of masked gradients: an attack that fails because it cannot see is no proof that there is nothing to find.

The signs are those of Athalye, Carlini & Wagner 2018, section 3.1, and the share of pictures without any gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visum.judge import intervals
from visum.judge.attack import losses, named
from visum.judge.attack.ball import WHITE, Ball, Classifier, answers, batches, generator, gradient, holds
from visum.judge.attack.pgd import pgd
from visum.judge.attack.square import square
from visum.judge.attack.standard import BATCH, Assessment, Flags, assess

PICTURES, DRAWS, TRIES, STEPS = 32, 20, 200, 20
TOO_MANY = 0.05
"""Share of pictures that may have no gradient, or hold at any epsilon, without an alarm."""


def signs(
    classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, made: Assessment, *, batch: int = BATCH, seed: int = 0
) -> dict[str, Any]:
    """Look for five signs on up to 32 of the rightly answered pictures.

    Args:
        classifier, x, y, ball, batch, seed: as for ``standard.assess``.
        made: what came of the attacks.

    Returns:
        ``{"alarm": bool, "n", "words", "signs": [{"sign", "found": bool, "words", "numbers": {…}}]}``.
    """
    rows = torch.nonzero(torch.from_numpy(made.right))[:PICTURES, 0]
    x, y, number = x[rows], y[rows], len(rows)
    if not number:
        return {
            "alarm": False,
            "n": 0,
            "words": "No picture is answered rightly; there is nothing to attack.",
            "signs": [],
        }
    both = assess(classifier, x, y, ball, ("fgsm", f"pgd{STEPS}"), batch=batch, seed=seed)
    one, many = (each.held for each in both.attacks)
    own = rows.numpy()
    white = one & many
    for each in made.attacks:
        if named(each.name)[0].gradients:
            white &= each.held[own]
    left = torch.nonzero(torch.from_numpy(white))[:, 0]
    blind = np.array([bool(made.by[row]) and not named(made.by[row])[0].gradients for row in own], bool)
    found = [
        _more("fgsm beats pgd", one, many, "one step deceives where many steps along the same gradient do not", number),
        _more(
            "black box beats white box",
            _square(classifier, x, y, ball, left, batch, seed) & ~(blind & white),
            np.ones(number, bool),
            "a search without gradients deceives where attacks with gradients do not",
            number,
        ),
        _more(
            "noise beats attacks",
            _noise(classifier, x, y, ball, left, batch, seed),
            np.ones(number, bool),
            "random noise deceives where attacks do not",
            number,
        ),
        _any_epsilon(classifier, x, y, ball, batch, seed),
        _no_gradient(classifier, x, y, batch),
    ]
    said = [each["words"] for each in found if each["found"]]
    words = (
        "Gradients seem to be masked, so that the true accuracy under attack is lower than the table says: "
        + "; ".join(said)
        + "."
        if said
        else "No sign that gradients are masked: the attacks saw what they had to see."
    )
    return {"alarm": bool(said), "n": number, "words": words, "signs": found}


def _more(sign: str, weak: Flags, strong: Flags, words: str, number: int) -> dict[str, Any]:
    """Whether the weaker attack deceives on pictures where the stronger one fails, beyond a picture or two of luck.

    Args:
        weak, strong: which pictures held, bool ``[number]``.
    """
    only = int((~weak & strong).sum())
    other = int((weak & ~strong).sum())
    low, _ = intervals.wilson(only, number)
    return {
        "sign": sign,
        "found": only >= 2 and float(low) > 0.005 and only > other,
        "words": f"{words} ({only} of {number} pictures)",
        "numbers": {"only_weaker": only, "only_stronger": other, "n": number},
    }


def _square(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, left: Tensor, batch: int, seed: int) -> Flags:
    held = torch.ones(len(x), dtype=torch.bool)
    for part in batches(left, batch):
        moved = ball.inside(x[part], square(classifier, x[part], y[part], ball, steps=TRIES, seed=seed))
        held[part] = holds(answers(classifier, moved), y[part])
    return held.numpy()


def _noise(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, left: Tensor, batch: int, seed: int) -> Flags:
    held, draw = torch.ones(len(x), dtype=torch.bool), generator(seed)
    for part in batches(left, batch):
        for _ in range(DRAWS):
            held[part] &= holds(answers(classifier, ball.anywhere(x[part], draw)), y[part])
    return held.numpy()


def _any_epsilon(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, batch: int, seed: int) -> dict[str, Any]:
    """With half the range at every value, each picture can be made plain grey: no classifier can be right of all of them."""
    radius = WHITE / 2 * (1.0 if ball.norm == "linf" else float(np.sqrt(x[0].numel())))
    wide = Ball(ball.norm, radius)
    held = 0
    for own, label in zip(batches(x, batch), batches(y, batch), strict=True):
        moved = wide.inside(own, pgd(classifier, own, label, wide, steps=STEPS, seed=seed))
        held += int(holds(answers(classifier, moved), label).sum())
    return _share(
        "holds at any epsilon", held, len(x), "some pictures hold even where every one could be made plain grey"
    )


def _no_gradient(classifier: Classifier, x: Tensor, y: Tensor, batch: int) -> dict[str, Any]:
    """Pictures at which the slope of the cross entropy is 0 in every value: attacks do not know where to go."""
    dead = 0
    for own, label in zip(batches(x, batch), batches(y, batch), strict=True):
        slope, _, _ = gradient(classifier, own, lambda logits, label=label: losses.cross_entropy(logits, label))  # type: ignore[misc]
        dead += int((slope.flatten(1).abs().amax(1) == 0).sum())
    return _share("zero gradients", dead, len(x), "some pictures have no gradient at all")


def _share(sign: str, count: int, number: int, words: str) -> dict[str, Any]:
    return {
        "sign": sign,
        "found": count >= 1 and count / number > TOO_MANY,
        "words": f"{words} ({count} of {number})",
        "numbers": {"count": count, "n": number},
    }


SIGNS: Sequence[str] = (
    "fgsm beats pgd",
    "black box beats white box",
    "noise beats attacks",
    "holds at any epsilon",
    "zero gradients",
)
