"""``visum explain BUNDLE --map DATA``: pictures laid out by how the network sees them, so that like lies beside like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import UsageError
from visum.explain import examples, projection
from visum.models import predict as running
from visum.models import stages as inside
from visum.models.embed import embed
from visum.runtime import Stages
from visum.types import Column, Integers, rows, targets
from visum.workflow import insight, origin, ready
from visum.workflow.checked import checked
from visum.workflow.thumbnails import thumbnails

MOST, LEAST = 400, 20
"""Pictures on a map; few enough that each can be looked at."""


@dataclass(frozen=True, eq=False)
class Map:
    """Where pictures lie.

    Attributes:
        ids, labels: of the pictures; the number of the class, or, with several labels, of the first (-1: none).
        classes: their names.
        method: of ``projection.PROJECTIONS``.
        places: float64 ``[N, 2]``.
        kept: share of each picture's ten nearest neighbours that are still nearest on the map.
        agreed: of each picture's ten nearest neighbours on the map, the share with its label, float64 ``[N]``.
    """

    ids: Column
    labels: Integers
    classes: tuple[str, ...]
    method: str
    places: projection.Array
    kept: float
    agreed: projection.Array

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        pictures = [
            {"id": name, "label": self.classes[k] if k >= 0 else None, "x": float(x), "y": float(y)}
            for name, k, (x, y) in zip(self.ids.tolist(), self.labels.tolist(), self.places.tolist(), strict=True)
        ]
        return {"method": self.method, "n": len(self.ids), "kept": self.kept, "pictures": pictures}


@checked
def explain_map(
    bundle: Path,
    data: Path,
    *,
    method: str = "tsne",
    out: Path | None = None,
    most: int = MOST,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Map:
    """Labelled pictures on a sheet of paper, by the embeddings that the bundle's head sees.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled images, as for ``train``; of data with a validation split, that one.
        method: tsne or pca.
        out: folder for ``map.html``; None writes nothing.
        most: images, drawn so that each class keeps its share.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of what is drawn, and of t-SNE.

    Raises:
        UsageError: no such method.
        ModelError: a classical bundle or an ensemble.
        NotEnoughData: fewer than twenty images.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    if method not in projection.PROJECTIONS:
        raise UsageError(f"method is {method!r}", allowed=", ".join(projection.PROJECTIONS), next="method tsne")
    stages = Stages()
    with stages.stage("read"):
        shipped = origin.opened(bundle)
        inside.check(shipped, "--map")
        table = insight.labelled(data, shipped)
        held = table.splits == "validation"
        table = rows(table, held) if held.sum() >= LEAST else table
        y = targets(table)
        table = rows(table, insight.drawn(len(table), most, seed, y if y.ndim == 1 else None))
        insight.enough(len(table), LEAST, "labelled images", "a map")
    table, _ = insight.indexed(table, shipped.preprocess, stages, extra_formats)
    insight.enough(len(table), LEAST, "readable images", "a map")
    model = running.Model(shipped, engine)
    with stages.stage("embed", len(table)) as stage:
        raw = embed(table, model.network, step=stage.step)["plain"].vectors[:, model.stage_columns]
    with stages.stage("lay out"):
        x = examples.standardised(raw, raw)
        places = projection.PROJECTIONS[method](x, seed)
        labels = np.array([label[0] if label else -1 for label in table.labels], np.int64)
        kept, agreed = projection.kept(x, places), projection.agreed(places, labels)
    found = Map(table.ids, labels, shipped.classes, method, places, kept, agreed)
    if out is not None:
        from visum.explain import map_page

        picture = thumbnails(table, shipped.preprocess)
        insight.write_page(out, "map.html", map_page.page(found, origin.name(bundle), picture))
    return found
