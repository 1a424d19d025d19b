"""JSON of annotation tools as tables: COCO (categories of each image), Label Studio (choices), or plain records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from visum.data.sources.places import locate
from visum.data.sources.rows import LABEL, PATH
from visum.data.sources.tables import Table, check_size, from_records, parse
from visum.data.sources.words import quoted
from visum.errors import DataError

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


def read_json(path: str, wanted: Sequence[str] = ()) -> Table:
    """One JSON document.

    Raises:
        DataError: it is no JSON, too large, or of no known shape.
    """
    check_size(path)
    document = parse(Path(path).read_bytes(), quoted(path))
    if isinstance(document, dict) and isinstance(document.get("images"), list):
        return _coco(path, document)
    if isinstance(document, list) and document and all(isinstance(each, dict) for each in document):
        if any(isinstance(each.get("data"), dict) for each in document):
            return _label_studio(path, document)
        return from_records(path, document)
    raise _strange(path)


def _strange(path: str) -> DataError:
    return DataError(
        f"{quoted(path)} is JSON of no known shape",
        allowed='COCO, Label Studio, or a list of objects such as {"path": "a.jpg", "label": "cat"}',
        next="export it in one of these shapes, or as CSV",
    )


def _coco(path: str, document: dict[str, Any]) -> Table:
    """Each image with the names of the categories of its annotations; boxes and outlines are not read."""
    try:
        names = {each["id"]: str(each["name"]) for each in document.get("categories", ())}
        found: dict[Any, dict[str, None]] = {each["id"]: {} for each in document["images"]}
        for each in document.get("annotations", ()):
            found[each["image_id"]][names[each["category_id"]]] = None
        files = [str(each["file_name"]) for each in document["images"]]
        labels = [list(found[each["id"]]) for each in document["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{quoted(path)} looks like COCO but has no {quoted(str(error))}",
            allowed="images with id and file_name, categories with id and name, annotations with image_id and category_id",
            next="export it again",
        ) from error
    return _table(path, files, labels)


def _label_studio(path: str, tasks: Sequence[dict[str, Any]]) -> Table:
    """Each task's first text value that leads to a file, with the choices of its newest annotation that was not cancelled."""
    folder = str(Path(path).parent)
    files, labels = [], []
    for task in tasks:
        data = task.get("data")
        values = [v for v in data.values() if isinstance(v, str)] if isinstance(data, dict) else []
        candidates = [name for value in values for name in _spellings(value)]
        hits = [found for found, why in locate(folder, candidates) if not why]
        files.append(hits[0] if hits else (values[0] if values else ""))
        labels.append(_choices(task.get("annotations")))
    return _table(path, files, labels)


def _spellings(value: str) -> list[str]:
    """Where a Label Studio address may lie beside the export: below its root, or by its bare name."""
    parts = urlsplit(value) if "\n" not in value and "[" not in value else urlsplit("")
    name = unquote(parts.path)
    bare = name.rpartition("/")[2]
    inner = parse_qs(parts.query).get("d", [])
    return [value, *inner, name.lstrip("/"), bare, _UPLOAD.sub("", bare), f"images/{bare}"]


def _choices(annotations: Any) -> list[str]:
    for annotation in reversed(annotations if isinstance(annotations, list) else []):
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            results = annotation.get("result")
            values = [r.get("value") for r in results if isinstance(r, dict)] if isinstance(results, list) else []
            chosen = [v.get("choices") for v in values if isinstance(v, dict)]
            return [str(each) for choices in chosen if isinstance(choices, list) for each in choices]
    return []


def _table(path: str, files: list[str], labels: list[list[str]]) -> Table:
    """Lists of labels only if some image has several, so that the task is told from the data."""
    several = any(len(label) > 1 for label in labels)
    cells: list[Any] = list(labels) if several else [label[0] if label else None for label in labels]
    if not files:
        raise _strange(path)
    return Table(path, {PATH: files, LABEL: cells})
