"""What clients send back about answers, kept as Parquet for ``visum monitor``.

``FILE.parquet`` is a folder of parts, as Parquet readers take it: a part is written once and never changed, at most every
``EVERY`` seconds. Only answers that this server gave lately can be spoken of.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visum import storage
from visum.errors import UsageError
from visum.serve.refusal import Refusal, busy

if TYPE_CHECKING:
    from visum.serve.models import Served

EVERY = 2.0
"""Seconds after which labels are on disk."""
REMEMBERED = 100_000
"""Answers that can be spoken of."""
WAITING = 10_000
"""Labels that wait for the disk at most."""
COLUMNS = ("time", "id", "model", "version", "label", "answer", "top", "probability")


@dataclass
class Feedback:
    """Labels on their way to disk.

    Attributes:
        folder: of the parts.
    """

    folder: Path
    _known: OrderedDict[str, tuple[Served, str, str, float]] = field(default_factory=OrderedDict)
    _rows: list[tuple[Any, ...]] = field(default_factory=list)

    def remember(self, id: str, model: Served, labels: list[str], top: Mapping[str, Any]) -> None:
        """An answer was given."""
        self._known[id] = (model, "|".join(labels), top["class"], top["probability"])
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def add(self, id: str, label: str) -> None:
        """Somebody says what it really was.

        Raises:
            Refusal: 404, no such answer; 400, no such class; 503, the disk does not keep up.
        """
        if id not in self._known:
            raise Refusal(404, "No answer with this id was given lately", "the id of an answer of POST /v1/predict")
        model, answer, top, probability = self._known[id]
        classes = model.bundle.classes
        several = label.split("|") if model.bundle.task == "multilabel" else ()
        if label not in classes and not (several and (label == "" or set(several) <= set(classes))):
            raise Refusal(400, "The model has no such class", "one of the classes of GET /v1/models")
        if len(self._rows) >= WAITING:
            raise busy("labels wait to be written")
        self._rows.append((time.time(), id, model.name, model.version, label, answer, top, probability))

    def flush(self) -> int:
        """Write what waits as one part; returns how many labels that were.

        Raises:
            StorageError: no space, or not writable; they go on waiting.
        """
        rows = self._rows
        if not rows:
            return 0
        self._rows = []
        try:
            storage.write_atomic(self.folder / f"part-{time.time_ns()}-{uuid.uuid4().hex[:8]}.parquet", _parquet(rows))
        except BaseException:
            self._rows = [*rows, *self._rows]
            raise
        return len(rows)


def opened(path: str | Path) -> Feedback:
    """Feedback into ``path``, which is a folder of parts or will be one.

    Raises:
        UsageError: it is a file.
        StorageError: it cannot be written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--feedback {path} is a file", allowed="a new name, or a folder of earlier feedback")
    storage.check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return Feedback(folder)


def _parquet(rows: list[tuple[Any, ...]]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (pa.timestamp("ms", "UTC"), *[pa.string()] * 6, pa.float32())
    cells = [list(column) for column in zip(*rows, strict=True)]
    cells[0] = [int(1000 * value) for value in cells[0]]
    table = pa.table({name: pa.array(cell, kind) for name, cell, kind in zip(COLUMNS, cells, kinds, strict=True)})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()
