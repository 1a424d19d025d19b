"""The run folder: who owns it, what it says about the run, and what may be put into it again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from visum import __version__, config, runtime, storage
from visum.errors import Interrupted, UsageError
from visum.types import SPLITS, Manifest, digest_of, in_split, targets

VERSIONED = ("numpy", "torch", "timm", "openvino", "onnxruntime", "scikit-learn", "pillow", "simplejpeg")
_SAME = ("overwrite", "out", "budget")  # settings that may change without making it another run


def own_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide what a run finds."""
    return {key: value for key, value in settings.items() if key not in _SAME}


@contextlib.contextmanager
def opened(out: Path, settings: Mapping[str, Any], command: str) -> Iterator[dict[str, Any]]:
    """Own the folder ``out`` for a run and yield its record, which is on disk as ``run.json`` from the first moment on.

    When the block ends the record is written once more, its status saying how the block ended.

    Raises:
        StorageError: ``out`` cannot be written.
        Locked: another run is writing there.
        UsageError: ``out`` holds something else, or a run with other settings.
    """
    storage.check_writable(out)
    with storage.lock(out):
        before = _before(out)
        if before is None and any(path.name != ".lock" for path in out.iterdir()):
            raise UsageError(
                f"{out} holds other files", allowed="a new, empty or visum run folder", next="another --out"
            )
        wanted = digest_of(json.loads(json.dumps(own_numbers(settings), default=str)))
        if before and before.get("settings") != wanted and not settings["overwrite"]:
            raise UsageError(
                f"{out} holds a run with other data or settings",
                allowed="the same command again, which goes on where it stopped",
                next="another --out, or --overwrite to replace it",
            )
        record: dict[str, Any] = {
            "visum": __version__,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command,
            "settings": wanted,
            "status": "running",
            "seed": settings["seed"],
            "machine": runtime.machine(),
            "versions": runtime.versions(*VERSIONED),
            "test_openings": int((before or {}).get("test_openings") or 0),
            "test_digest": (before or {}).get("test_digest"),
        }
        storage.write_json(out / "run.json", record)
        storage.write_atomic(out / "recipe.toml", config.dump(settings))
        try:
            yield record
            record["status"] = "finished"
        except BaseException as error:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            record["status"] = "interrupted" if stopped else "failed"
            raise
        finally:
            storage.write_json(out / "run.json", record)


def _before(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def open_test(record: dict[str, Any], table: Manifest) -> None:
    """Count that the test images are looked at; other test images start a new count."""
    digest = digest_of(sorted(table.sha256[in_split(table, "test")].tolist()))
    record["test_openings"] = 1 + (record["test_openings"] if record.get("test_digest") == digest else 0)
    record["test_digest"] = digest


def data_facts(table: Manifest, unreadable: list[dict[str, str]], data: Path) -> dict[str, Any]:
    """The ``data`` block of ``run.json``."""
    y = targets(table)
    counts: dict[str, list[int]] = {}
    for split in SPLITS:
        rows = in_split(table, split)
        if rows.any():
            member = y[rows] if table.task == "multilabel" else y[rows][:, None] == range(len(table.classes))
            counts[split] = member.sum(axis=0).tolist()
    return {
        "path": str(data),
        "digest": digest_of(sorted(table.sha256.tolist())),
        "n": len(table),
        "classes": list(table.classes),
        "splits": {split: int(in_split(table, split).sum()) for split in counts},
        "counts": counts,
        "unreadable": unreadable,
    }
