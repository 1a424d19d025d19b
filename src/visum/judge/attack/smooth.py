"""Attacks on a smoothed classifier: the same attacks, on the mean answer under noise (Salman et al. 2019, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from visum.judge.attack.ball import Classifier, generator


def smoothed(classifier: Classifier, sigma: float, *, draws: int = 8, seed: int = 0) -> Classifier:
    """The log of the mean probability over some draws of noise, as a classifier with gradients.

    Noise is drawn anew at each call, so that an attack averages over more draws than it holds at once. The rounding that a
    certificate's base classifier does has no gradient and is left out; who is deceived, the smoothed classifier itself says.

    Args:
        classifier: with gradients.
        sigma: of the noise, black to white is 1.
        draws: of noise for each picture and call.
        seed: of the noise.
    """
    draw = generator(seed)

    def mean(pixels: Tensor) -> Tensor:
        wide = pixels.repeat_interleave(draws, 0)
        noise = torch.randn(wide.shape, generator=draw) * (255 * sigma)
        logs = classifier((wide + noise).clamp(0, 255)).log_softmax(1)
        return torch.logsumexp(logs.reshape(len(pixels), draws, -1), 1)

    return mean
