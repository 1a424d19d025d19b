"""Which input sides a network takes: vision transformers, for one, are often built for a single one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visum.models.weights import PACKAGED


def taken(name: str, weights: str | Path | None, sides: Sequence[int]) -> tuple[int, ...]:
    """Those of the sides in pixels that a network takes, in their order; of packaged ones all, which needs no torch to know.

    Args:
        name, weights: as for ``weights.find``.
    """
    return tuple(sides) if weights is None or name in PACKAGED else tried(name, sides)


def tried(name: str, sides: Sequence[int]) -> tuple[int, ...]:
    """Those of the sides that an architecture takes in a trial run without numbers, on torch's ``meta`` device.

    A network that cannot be run so at its own side is believed to take them all.
    """
    import torch

    from visum.models import zoo

    network = zoo.build(name).to("meta")

    def takes(side: int) -> bool:
        try:
            with torch.inference_mode():
                network(torch.empty(2, 3, side, side, device="meta"))
        except Exception:  # networks refuse sizes in words and errors of their own
            return False
        return True

    return tuple(filter(takes, sides)) if takes(zoo.preprocess(name).size) else tuple(sides)
