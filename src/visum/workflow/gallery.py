"""``visum serve BUNDLE --neighbours RUN``: the training pictures of a run as a file that a server may show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from visum import safefile
from visum.errors import UsageError, VisumError
from visum.explain import examples
from visum.models import predict as running
from visum.models import stages as inside
from visum.models.embed import embed
from visum.runtime import Stages
from visum.ship import gallery
from visum.types import rows, targets
from visum.workflow import insight, origin, ready
from visum.workflow.thumbnails import thumbnails

MOST = 5000
"""Training pictures that are kept; drawn by class where there are more."""


def prepared(run: Path, engine: str = "auto") -> Path:
    """The file with the training pictures of a run, beside its bundle; made where it is not there or of another network.

    Raises:
        UsageError: not the folder of a run.
        ModelError: its bundle is a classical model or an ensemble.
    """
    stages = Stages()
    path = run / gallery.FILE
    with stages.stage("read"):
        shipped = origin.opened(run)
        inside.check(shipped, "--neighbours")
        space = gallery.space_of(shipped)
        if not (run / "manifest.parquet").is_file():
            raise UsageError(
                f"{run} is not the folder of a run, so that its training images are not known",
                allowed="what visum train wrote with --out",
                next="--neighbours RUN",
            )
        known = insight.training(run, None, shipped)
    if _of(path) == space:
        return path
    ready.check_machine()
    y = targets(known)
    known = rows(known, insight.drawn(len(known), MOST, 0, y if y.ndim == 1 else None))
    known, _ = insight.indexed(known, shipped.preprocess, stages)
    first = {digest: row for row, digest in reversed(list(enumerate(known.sha256.tolist())))}
    known = rows(known, np.array(sorted(first.values()), np.int64))
    model = running.Model(shipped, engine)
    with stages.stage("embed", len(known)) as stage:
        raw = np.asarray(
            embed(known, model.network, step=stage.step)["plain"].vectors[:, model.stage_columns], np.float32
        )
    with stages.stage("write"):
        picture = thumbnails(known, shipped.preprocess)
        jpegs = {digest: picture(name) for name, digest in zip(known.ids, known.sha256, strict=True)}
        there = np.array([jpegs[digest] is not None for digest in known.sha256])
        known, raw = rows(known, there), raw[there]
        mean, scale = examples.moments(raw)
        vectors = (raw - mean) * scale
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        labels = tuple(", ".join(known.classes[k] for k in label) or "none" for label in known.labels)
        small = {digest: jpeg for digest, jpeg in jpegs.items() if jpeg is not None}
        digests = tuple(known.sha256.tolist())
        gallery.write(gallery.Gallery(space, mean, scale, vectors, labels, digests, small), path)
    return path


def _of(path: Path) -> str:
    """Which network a file was made for; "" where there is none that can be read."""
    try:
        return str(json.loads(safefile.safe_tensors(path)["facts"].tobytes())["space"])
    except (VisumError, KeyError, ValueError, TypeError):
        return ""
