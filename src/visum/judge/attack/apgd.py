"""APGD: projected gradient ascent with momentum that finds its own step size (Croce & Hein 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from visum.judge.attack import losses
from visum.judge.attack.ball import Ball, Classifier, answers, generator, gradient, holds

TARGETS = 9
"""Classes that targeted attacks try, most likely ones first, as in the standard version of AutoAttack."""
_MOMENTUM, _RISES = 0.75, 0.75
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits ``[b, K]``, rows int64 ``[b]`` of the batch that they are of) → ``[b]``."""


def apgd_ce(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 100, seed: int = 0) -> Tensor:
    """On the cross entropy. Arguments and result as for ``pgd.fgsm``."""
    return _climb(
        classifier, x, y, ball, lambda logits, at: losses.cross_entropy(logits, y[at]), steps, generator(seed)
    )


def apgd_t(
    classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 100, seed: int = 0, targets: int = TARGETS
) -> Tensor:
    """On the difference of logits ratio towards each of the likeliest wrong classes. Arguments and result as for ``pgd.fgsm``."""
    draw, out, left = generator(seed), x.clone(), torch.arange(len(x))
    for target in rivals(answers(classifier, x), y, targets).T:
        at, towards, there = left, target[left], y[left]

        def loss(logits: Tensor, rows: Tensor, towards: Tensor = towards, there: Tensor = there) -> Tensor:
            return losses.dlr(logits, there[rows], towards[rows])

        out[at] = _climb(classifier, x[at], y[at], ball, loss, steps, draw)
        left = at[holds(answers(classifier, out[at]), y[at])]
        if not len(left):
            break
    return out


def rivals(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """Wrong classes, likeliest first: int64 ``[B, min(count, K - 1)]``."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.argsort(1, descending=True)[:, : min(count, logits.shape[1] - 1)]


def checkpoints(steps: int) -> list[int]:
    """After how many steps the step size may be halved: intervals of 22 % of ``steps``, each 3 % shorter, at least 6 % long."""
    interval, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    at, found = interval, []
    while at <= steps:
        found.append(at)
        interval = max(interval - shorter, least)
        at += interval
    return found


def _climb(
    classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, loss: Loss, steps: int, draw: torch.Generator
) -> Tensor:
    """One run from one random start. Pictures leave when they are answered wrongly.

    State has one row for each picture that is left: ``at`` its number, ``here`` and ``before`` the last two points, ``best`` and
    ``top`` the point with the largest loss and that loss, ``size`` of the next step.
    """
    out, ends, since = x.clone(), checkpoints(steps), 0
    at = torch.arange(len(x))
    here = ball.edge(x, draw)
    slope, top, logits = gradient(classifier, here, lambda logits: loss(logits, at))
    out[:] = here
    state = {"at": at, "here": here, "before": here, "best": here, "slope": slope, "best slope": slope, "top": top}
    state |= {"last top": top, "size": torch.full((len(x), 1, 1, 1), 2 * ball.radius), "now": top}
    state |= {"rises": torch.zeros(len(x)), "halved": torch.ones(len(x), dtype=torch.bool)}
    state = _kept(state, holds(logits, y))
    for step in range(1, steps + 1):
        at = state["at"]
        if not len(at):
            break
        own, here = x[at], state["here"]
        far = ball.inside(own, here + state["size"] * ball.uphill(state["slope"]))
        share = _MOMENTUM if step > 1 else 1.0
        new = ball.inside(own, here + share * (far - here) + (1 - share) * (here - state["before"]))
        slope, now, logits = gradient(classifier, new, lambda logits, at=at: loss(logits, at))  # type: ignore[misc]
        out[at] = new
        rows = now > state["top"]
        wide = rows.view(-1, 1, 1, 1)
        state |= {"before": here, "here": new, "slope": slope, "rises": state["rises"] + (now > state["now"])}
        state |= {"best": torch.where(wide, new, state["best"]), "now": now}
        state |= {
            "best slope": torch.where(wide, slope, state["best slope"]),
            "top": torch.where(rows, now, state["top"]),
        }
        state = _kept(state, holds(logits, y[at]))
        if step in ends:
            _halve(state, step - since)
            since = step
    return out


def _halve(state: dict[str, Tensor], steps: int) -> None:
    """At a checkpoint: half the step size and back to the best point, where the loss rose in less than three of four steps, or
    did not rise above the last checkpoint's best although the step size has stayed (conditions 1 and 2 of the paper)."""
    stuck = ~state["halved"] & (state["last top"] >= state["top"])
    halve = (state["rises"] <= _RISES * steps) | stuck
    wide = halve.view(-1, 1, 1, 1)
    state["size"] = torch.where(wide, state["size"] / 2, state["size"])
    state["here"] = torch.where(wide, state["best"], state["here"])
    state["slope"] = torch.where(wide, state["best slope"], state["slope"])
    state["halved"], state["last top"], state["rises"] = halve, state["top"], torch.zeros_like(state["rises"])


def _kept(state: dict[str, Tensor], where: Tensor) -> dict[str, Tensor]:
    return state if bool(where.all()) else {name: rows[where] for name, rows in state.items()}
