"""FAB: the nearest picture on the other side of the boundary, by projecting onto it again and again (Croce & Hein 2020b)."""

from __future__ import annotations

import torch
from torch import Tensor

from visum.judge.attack.apgd import TARGETS, rivals
from visum.judge.attack.ball import WHITE, Ball, Classifier, Norm, answers, gradient, holds

_OVERSHOOT, _TOWARDS, _BACK = 1.05, 0.1, 0.9
_TINY = 1e-12


def fab_t(
    classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 100, seed: int = 0, targets: int = TARGETS
) -> Tensor:
    """Targeted FAB towards each of the likeliest wrong classes, each from the picture itself.

    It looks for the shortest move whatever the ball; pictures whose shortest move is longer than the radius count as held and
    are returned as they came. Arguments and result else as for ``pgd.fgsm``; ``seed`` is not used.
    """
    out, left = x.clone(), torch.arange(len(x))
    for target in rivals(answers(classifier, x), y, targets).T:
        if not len(left):
            break
        at = left
        found, long = nearest(classifier, x[at], y[at], target[at], ball.norm, steps=steps, enough=ball.radius)
        short = ball.inside(x[at], found)  # what is longer by no more than rounding
        good = (long <= ball.radius * (1 + 1e-6)) & ~holds(answers(classifier, short), y[at])
        out[at[good]] = short[good]
        left = at[~good]
    return out


def nearest(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    norm: Norm,
    *,
    steps: int = 100,
    enough: float = 0.0,
    halvings: int = 3,
) -> tuple[Tensor, Tensor]:
    """The shortest move that was found to change each answer.

    Args:
        classifier, x, y: as for ``pgd.fgsm``; all rows answered rightly.
        target: int64 ``[B]``: the boundary towards which class.
        norm: how length is measured.
        steps: projections, of which each costs a gradient.
        enough: a row is left alone once its move is not longer than this.
        halvings: of the last stretch of each move, to end nearer to the boundary; each costs an answer.

    Returns:
        Pixels like ``x``, answered wrongly where the second, the moves' lengths ``[B]``, is finite.
    """
    measure = Ball(norm, 1.0)
    best, shortest = x.clone(), torch.full((len(x),), torch.inf)
    at, here = torch.arange(len(x)), x.clone()
    for _ in range(steps):
        own = x[at]
        slope, lead, _ = gradient(classifier, here, lambda logits, at=at: _lead(logits, y[at], target[at]))  # type: ignore[misc]
        from_here = project(here, slope, lead, norm)
        # the same plane seen from the picture itself: lead there, by the plane, is lead here + slope * (own - here)
        from_own = project(own, slope, lead + (slope * (own - here)).flatten(1).sum(1), norm)
        a, b = (measure.length(move).clamp_min(1e-8) for move in (from_here, from_own))
        share = (a / (a + b)).clamp(0, _TOWARDS)
        here = ((1 - share) * (here + _OVERSHOOT * from_here) + share * (own + _OVERSHOOT * from_own)).clamp(0, WHITE)
        wrong = ~holds(answers(classifier, here), y[at])
        long = measure.length(here - own).view(-1)
        better = wrong & (long < shortest[at])
        best[at[better]], shortest[at[better]] = here[better], long[better]
        here = torch.where(wrong.view(-1, 1, 1, 1), own + _BACK * (here - own), here)
        stay = shortest[at] > enough
        at, here = at[stay], here[stay]
        if not len(at):
            break
    return _closer(classifier, x, y, best, shortest, measure, halvings, enough)


def _closer(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    best: Tensor,
    shortest: Tensor,
    measure: Ball,
    halvings: int,
    enough: float,
) -> tuple[Tensor, Tensor]:
    """Bisection between 0.9 of each move, where steps started again, and its end."""
    at = torch.nonzero(shortest.isfinite() & (shortest > enough))[:, 0]
    inner = torch.full((len(at), 1, 1, 1), _BACK)
    outer = torch.ones_like(inner)
    own, move = x[at], best[at] - x[at]
    for _ in range(halvings if len(at) else 0):
        middle = (inner + outer) / 2
        wrong = ~holds(answers(classifier, own + middle * move), y[at]).view(-1, 1, 1, 1)
        inner, outer = torch.where(wrong, inner, middle), torch.where(wrong, middle, outer)
    best[at] = torch.where(outer < 1, own + outer * move, best[at])
    shortest[at] = measure.length(best[at] - own).view(-1)
    return best, shortest


def _lead(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """How far the true class leads the target: the boundary is where it is 0."""
    return logits.gather(1, y[:, None])[:, 0] - logits.gather(1, target[:, None])[:, 0]


def project(x: Tensor, slope: Tensor, lead: Tensor, norm: Norm) -> Tensor:
    """The shortest move from each x to the plane ``lead + slope . move = 0`` that stays in 0 … 255, exactly; where the box does
    not reach the plane, the move to its nearest corner.

    Let t be the length that each value would move if there were no box: then it moves min(rate * t, room), and what that takes
    from the lead grows piecewise linearly with t; the pieces end where a value has no room left. Sorted by that, t is read off.

    Args:
        x: ``[B, 3, S, S]``.
        slope: like ``x``.
        lead: ``[B]``, of either sign.
        norm: how length is measured.
    """
    shape, x, slope = x.shape, x.flatten(1).double(), slope.flatten(1).double()
    w, c = slope * lead.sign().view(-1, 1), lead.abs().double()  # now c >= 0 is to be taken away, moving against w
    room = torch.where(w > 0, x, WHITE - x)
    steep = w.abs()
    rate = torch.ones_like(steep) if norm == "linf" else steep
    ends = torch.where(steep > 0, room / rate.clamp_min(1e-300), torch.inf)
    ends, order = ends.sort(1)
    ends = ends.nan_to_num(posinf=0.0)  # values without slope, last in order, move nothing
    fall = (steep * rate).gather(1, order)  # what one unit of t takes while the value still moves
    filled = (fall * ends).cumsum(1)
    moving = fall.flip(1).cumsum(1).flip(1)
    taken = filled - fall * ends + moving * ends  # by the time that each value stops
    at = torch.searchsorted(taken.contiguous(), c[:, None].contiguous()).clamp_max(taken.shape[1] - 1)
    done = (filled - fall * ends).gather(1, at)
    t = ((c[:, None] - done) / moving.gather(1, at).clamp_min(_TINY)).clamp_min(0)
    t = torch.where(c[:, None] > taken.amax(1, keepdim=True), torch.inf, t)
    move = torch.where(steep > 0, torch.minimum(rate * t, room), 0.0)
    return (-w.sign() * move).view(shape).float()
