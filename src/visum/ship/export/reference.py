"""What an export must answer, computed without any part of it: visum's own ``fit``, the compiled network, heads in NumPy."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from visum.data.pixels import fit_batch
from visum.models import ensemble as joining
from visum.models import predict
from visum.models.compiled import BATCH
from visum.types import Bundle, Floats, Pixels, Preprocess, said
from visum.types import probabilities as calibrated

ENGINE = "onnxruntime"
"""float32 on every machine."""


def probabilities(bundle: Bundle, pictures: Sequence[Pixels]) -> Floats:
    """Calibrated probabilities float32 ``[N, K]`` of upright RGB pictures uint8 ``[H, W, 3]`` of any sizes."""
    model = predict.Model(bundle, ENGINE)
    if model.members:
        told = [_logits(member, pictures) for member in model.members]
        z = joining.combined(bundle, [member.bundle for member in model.members], told)
    else:
        z = _logits(model, pictures)
    return calibrated(said(bundle, z))


def _logits(model: predict.Model, pictures: Sequence[Pixels]) -> Floats:
    """As ``predict.Model`` without the rounding to float16 that the store needs: an export keeps nothing."""
    run, spec = model.network.engine.run, model.bundle.preprocess
    parts = [fit_batch(pictures[at : at + BATCH], spec) for at in range(0, len(pictures), BATCH)]
    return model.head(np.concatenate([run(part) for part in parts])[:, model.stage_columns])


def halving(picture: Pixels, spec: Preprocess) -> Pixels:
    """The picture at such a size that ``fit`` takes exactly every second pixel's worth of it.

    The filter's weights are then sums of powers of two, and so are the products with pixels: every machine and every runtime
    gets the same square, whatever the order in which it adds. At another ratio one sample in fifty thousand lies so near
    to a half that it falls one way here and the other way there, which moves a probability by up to 1e-3. Pixels are picked and
    not averaged, so that the picture stays as sharp as it can be, and shows which filter it went through.
    """
    sides = picture.shape[:2]
    side = min(sides) if spec.fit == "crop" else max(sides)
    wanted = [2 * (spec.size if spec.fit == "squash" else max(1, round(n * spec.size / side))) for n in sides]
    rows, columns = ((np.arange(m) * n + n // 2) // m for n, m in zip(sides, wanted, strict=True))
    return np.ascontiguousarray(picture[rows][:, columns])


def png(picture: Pixels) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()
