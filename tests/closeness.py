"""How close two computations of the same thing are, and how close they must be in the precision that this processor takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CLOSE = {"float32": 1e-3, "bfloat16": 8e-2}
"""Largest difference between engines, as a share of the length of what they compute; bfloat16 rounds every layer to 8 bits."""


def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Length of the difference, as a share of the length of ``b``."""
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
