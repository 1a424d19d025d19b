"""Randomised smoothing: answers that no change shorter than a radius can alter, proven by asking under noise (Cohen et al. 2019).

The smoothed classifier answers what a base classifier says most often of a picture under Gaussian noise. The base classifier here
is the shipped bundle behind one fixed step that rounds noisy values to 0 … 255; since that step comes after the noise, it is
part of the base classifier, and the theorem holds for the picture as it is, for changes of any real size. Lengths are Euclidean,
over all values of the fitted square, with black to white as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError
from visum.types import Floats, Integers, Pixels

ABSTAIN = -1
AT_ONCE = 256
"""Noisy pictures made at a time."""
_NORMAL = NormalDist()
Ask = Callable[[Pixels], Floats]
"""Squares uint8 ``[N, S, S, 3]``, any N → logits float32 ``[N, K]`` whose largest is the answer."""


@dataclass(frozen=True)
class Certificate:
    """What is proven of one picture.

    Attributes:
        answer: class index; -1: abstained, nothing is proven.
        radius: > 0: no change that is shorter alters the smoothed answer; 0 where it abstained. Black to white is 1.
        low: the probability of the answer under noise is at least this, unless the draw was one of the ``alpha`` unlucky ones.
    """

    answer: int
    radius: float
    low: float


def lower_bound(successes: int, n: int, alpha: float) -> float:
    """One-sided lower limit of a share (Clopper & Pearson 1934): with probability 1 - alpha, the true share is not below it.

    Args:
        successes: 0 … n.
        n: draws, >= 1.
        alpha: in (0, 1).
    """
    from scipy.special import betaincinv

    return 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha))


def radius(sigma: float, low: float) -> float:
    """Cohen et al. 2019, section 3.2.2: sigma times the normal quantile of the lower bound; 0 where that is 1/2 or less."""
    return sigma * _NORMAL.inv_cdf(low) if low > 0.5 else 0.0


def largest(sigma: float, n: int, alpha: float) -> float:
    """The radius that n draws can prove at best: when all of them agree."""
    return radius(sigma, lower_bound(n, n, alpha))


def noisy(square: Pixels | Floats, sigma: float, n: int, draw: np.random.Generator) -> Pixels:
    """n times the same picture under noise, rounded to whole values in 0 … 255: uint8 ``[n, S, S, 3]``.

    Args:
        square: ``[S, S, 3]``, 0 … 255, not necessarily whole.
        sigma: of the noise, black to white is 1.
        n: how many.
        draw: of the noise.
    """
    out = draw.standard_normal((n, *square.shape), dtype=np.float32)
    out *= np.float32(255 * sigma)
    out += square
    np.rint(out, out=out)
    return np.clip(out, 0, 255, out=out).astype(np.uint8)


def counts(
    ask: Ask, square: Pixels | Floats, sigma: float, n: int, draw: np.random.Generator, classes: int
) -> Integers:
    """How often each class is answered in n draws of noise, int64 ``[K]``.

    Raises:
        ModelError: logits that are not numbers.
    """
    found = np.zeros(classes, np.int64)
    for start in range(0, n, AT_ONCE):
        logits = ask(noisy(square, sigma, min(AT_ONCE, n - start), draw))
        if not np.isfinite(logits).all():
            raise ModelError("logits of noisy pictures are not numbers", next="visum verify BUNDLE")
        found += np.bincount(logits.argmax(axis=1), minlength=classes)
    return found


def certify(
    ask: Ask,
    square: Pixels | Floats,
    *,
    sigma: float,
    classes: int,
    draw: np.random.Generator,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
) -> Certificate:
    """CERTIFY of Cohen et al. 2019, section 3.2.2: the answer is guessed from n0 draws and proven from n others.

    Args:
        ask: the base classifier, on rounded pictures.
        square: ``[S, S, 3]``, 0 … 255.
        sigma: of the noise, black to white is 1.
        classes: K.
        draw: of the noise.
        n0, n: draws.
        alpha: probability that the certificate is false.
    """
    guess = int(counts(ask, square, sigma, n0, draw, classes).argmax())
    low = lower_bound(int(counts(ask, square, sigma, n, draw, classes)[guess]), n, alpha)
    return Certificate(guess, radius(sigma, low), low) if low > 0.5 else Certificate(ABSTAIN, 0.0, low)


def predict(
    ask: Ask,
    square: Pixels | Floats,
    *,
    sigma: float,
    classes: int,
    draw: np.random.Generator,
    n: int = 1000,
    alpha: float = 0.001,
) -> int:
    """PREDICT of Cohen et al. 2019, section 3.2.1: the answer of the smoothed classifier, or -1 where the draws do not settle it.

    Arguments as for ``certify``; with probability 1 - alpha, an answer that is given is that of the smoothed classifier.
    """
    from scipy.stats import binomtest

    found = counts(ask, square, sigma, n, draw, classes)
    order = np.argsort(-found, kind="stable")
    first, second = (int(found[k]) for k in order[:2])
    return int(order[0]) if binomtest(first, first + second, 0.5).pvalue <= alpha else ABSTAIN


def curve(found: list[Certificate], labels: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Certified accuracy against radius: a falling staircase.

    Args:
        found: of N pictures.
        labels: int64 ``[N]``.

    Returns:
        Radii float64 ``[M]``, rising from 0, and beside each the share of pictures whose answer is right and proven for it.
    """
    proven = np.array(
        [each.radius if each.answer == label else -math.inf for each, label in zip(found, labels, strict=True)]
    )
    radii = np.unique(np.concatenate([[0.0], proven[np.isfinite(proven)]]))
    return radii, np.array([(proven >= r).mean() for r in radii])
