"""Attacks: the picture nearest by that is answered wrongly, looked for within a ball.

Each is ``attack(classifier, x, y, ball, *, steps, seed) -> pixels``: it takes any function of pixels (``ball.Classifier``), knows
no bundle, and returns pixels inside the ball whether it succeeded or not; who is fooled, the classifier itself says. Loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from visum.errors import UsageError
from visum.judge.attack import apgd, fab, pgd, square


class Attack(NamedTuple):
    """One attack.

    Attributes:
        run: ``(classifier, x, y, ball, *, steps, seed) -> pixels``.
        steps: as many as its authors use.
        gradients: whether it needs them; otherwise answers do.
        words: what it does, in a few words.
    """

    run: Callable[..., Tensor]
    steps: int
    gradients: bool
    words: str


ATTACKS: dict[str, Attack] = {
    "fgsm": Attack(pgd.fgsm, 1, True, "one step along the gradient"),
    "pgd": Attack(pgd.pgd, 40, True, "many steps along the gradient from a random start"),
    "apgd-ce": Attack(apgd.apgd_ce, 100, True, "gradient steps that find their own size, on the cross entropy"),
    "apgd-t": Attack(apgd.apgd_t, 100, True, "the same towards nine other classes, on differences of logits"),
    "fab-t": Attack(fab.fab_t, 100, True, "the nearest boundary, towards nine other classes"),
    "square": Attack(square.square, 5000, False, "random squares, from answers alone"),
}
"""Name → attack. ``named`` takes a number of steps behind a name: pgd10."""

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The standard version of AutoAttack: each is handed what held against those before it (Croce & Hein 2020, section 5)."""


def named(name: str) -> tuple[Attack, int]:
    """An attack and its number of steps, from e.g. ``pgd``, ``pgd10`` or ``square500``.

    Raises:
        UsageError: no such attack.
    """
    match = re.fullmatch(r"(.*?)(\d*)", name)
    attack = ATTACKS.get(match[1]) if match else None
    steps = int(match[2]) if match and match[2] else attack.steps if attack else 0
    if attack is None or not 1 <= steps <= 100_000 or (attack.steps == 1 and steps > 1):
        known = ", ".join(ATTACKS)
        raise UsageError(
            f"no attack is called {name!r}",
            allowed=f"{known}, with a number of steps where there are several (pgd10)",
            next="--attacks fgsm,pgd10",
        )
    return attack, steps
