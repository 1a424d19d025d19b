"""Why a model said what it said of one picture: a map over what it saw, and how far the map can be believed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from visum.types.basic import Floats, Pixels, reading

Verdict = Literal["trustworthy", "weak", "meaningless", ""]
_FOR, _AGAINST = (255, 106, 0), (38, 120, 255)
"""RGB of what speaks for the class and of what speaks against it."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """One map.

    Attributes:
        id: the picture's path, or its number in the list.
        heat: float32 ``[H, W]``, the share of each pixel in the answer, in the method's own unit; positive speaks for
            ``target``, negative (methods that know it) against it.
        square: uint8 ``[H, W, 3]`` RGB: what the model saw, padding included.
        method: name of ``explain.attribution.EXPLAINERS``.
        target: class that is explained.
        contrast: class that it is explained against; "" for none.
        probability: calibrated, of ``target``.
        layer: of the network, that the method looked at; "" for methods that look at none.
        faithfulness: numbers of ``explain.faithfulness.judge``; empty where it was not measured.
        verdict: trustworthy, weak or meaningless; "" where it was not measured.
        heads: float32 ``[heads, h, w]``: the map of each head, for ``attention``; else None.
    """

    id: str
    heat: Floats
    square: Pixels
    method: str
    target: str
    contrast: str = ""
    probability: float = float("nan")
    layer: str = ""
    faithfulness: Mapping[str, float] = field(default_factory=dict)
    verdict: Verdict = ""
    heads: Floats | None = None

    def facts(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON has it."""
        plain = ("id", "method", "target", "contrast", "probability", "layer", "verdict")
        return {key: getattr(self, key) for key in plain} | {"faithfulness": dict(self.faithfulness)}

    def files(self) -> dict[str, bytes]:
        """Ending → bytes: ``.npz`` (heat, picture and facts) and ``.png`` (the map over the picture)."""
        from PIL import Image

        blob = np.frombuffer(json.dumps(self.facts()).encode(), np.uint8)
        arrays: dict[str, Any] = {"heat": self.heat, "square": self.square, "facts": blob}
        arrays |= {"heads": self.heads} if self.heads is not None else {}
        npz, png = io.BytesIO(), io.BytesIO()
        np.savez_compressed(npz, **arrays)
        Image.fromarray(overlay(self.square, self.heat)).save(png, "PNG", optimize=True)
        return {".npz": npz.getvalue(), ".png": png.getvalue()}

    def save(self, folder: str | Path, name: str) -> None:
        """Write ``files`` as ``name.npz`` and ``name.png``."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for kind, blob in self.files().items():
            (place / f"{name}{kind}").write_bytes(blob)

    @classmethod
    def load(cls, folder: str | Path, name: str) -> Self:
        """Read what ``save`` wrote. Raises like ``Manifest.load``."""
        path = Path(folder) / f"{name}.npz"
        with reading(path), np.load(path, allow_pickle=False) as held:
            facts = json.loads(held["facts"].tobytes())
            heat, square = np.asarray(held["heat"], np.float32), np.asarray(held["square"], np.uint8)
            heads = np.asarray(held["heads"], np.float32) if "heads" in held else None
            if heat.shape != square.shape[:2]:
                raise ValueError("a map as large as the picture is needed")
            return cls(heat=heat, square=square, heads=heads, **facts)


def scaled(heat: Floats) -> Floats:
    """-1 … 1: what all pixels have (of attention, a share that says nothing) is taken away; divided by the 99.5th percentile of
    the sizes, so that one pixel does not hide all others."""
    left = heat - max(float(heat.min()), 0.0)
    most = float(np.percentile(np.abs(left), 99.5)) or float(np.abs(left).max())
    flat = most <= 1e-3 * float(np.abs(heat).max())
    return np.asarray(np.zeros_like(heat) if flat else np.clip(left / most, -1, 1), np.float32)


def overlay(square: Pixels, heat: Floats) -> Pixels:
    """The map over a pale grey copy of the picture, uint8 ``[H, W, 3]``: orange speaks for the class, blue against it."""
    share = scaled(heat)[..., None]
    grey = square.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)
    pale = 40 + 0.72 * np.repeat(grey[..., None], 3, axis=2)
    colour = np.where(share >= 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    cover = 0.8 * np.abs(share)
    return np.asarray((pale * (1 - cover) + colour * cover).clip(0, 255), np.uint8)
