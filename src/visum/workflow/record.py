"""The run folder: who owns it, what it says about the run, and what may be put into it again."""

from __future__ import annotations

import contextlib
import json
import shutil
import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from visum import __version__, config, runtime, storage
from visum.errors import Interrupted, UsageError
from visum.storage.files import explained
from visum.types import SPLITS, Manifest, digest_of, in_split, printable, targets
from visum.workflow import ready

VERSIONED = ("numpy", "torch", "timm", "openvino", "onnxruntime", "scikit-learn", "pillow", "simplejpeg")
FILES = (
    "recipe.toml",
    "run.json",
    "manifest.parquet",
    "findings.json",
    "metrics.json",
    "history.csv",
    "predictions",
    "bundle",
    "report.html",
    "trust.html",
    "trust.json",
    "tensorboard",
    "mlflow",
)
SHOWN = ("batch.png", "find_lr.png", "find_lr.csv")
"""What is looked at before a run (``show_batch``, ``find_learning_rate``): a run minds it not, and leaves it there."""
KEPT = ("plan", "finetune", "finetune_again")
"""Blocks of the record that a run which is gone on with takes from what it was."""
_SAME = ("overwrite", "out", "budget", "log")  # settings that may change without making it another run


def own_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide what a run finds."""
    return {key: value for key, value in settings.items() if key not in _SAME}


@contextlib.contextmanager
def opened(
    out: Path, settings: Mapping[str, Any], command: str, *, beyond: Mapping[str, Any] = types.MappingProxyType({})
) -> Iterator[dict[str, Any]]:
    """Own the folder ``out`` for a run and yield its record, which is on disk as ``run.json`` from the first moment on.

    When the block ends the record is written once more, its status saying how the block ended.

    Args:
        out: the run folder.
        settings: of the function that runs.
        command: as it was typed.
        beyond: what makes it another run besides (JSON-like): digests of what settings merely name.

    Raises:
        StorageError: ``out`` cannot be written.
        Locked: another run is writing there.
        UsageError: ``out`` holds something else, or a run with other settings.
    """
    ready.check_machine()
    ready.check_out(out, Path(settings["data"]))
    with storage.lock(out):
        _sweep(out)
        before = _before(out)
        if before is None:
            _check_ours(out)
        wanted = digest_of(json.loads(json.dumps({**own_numbers(settings), **beyond}, default=str)))
        if before and before.get("settings") != wanted:
            fruitless = before.get("status") == "failed" and not (out / "metrics.json").exists()
            if not settings["overwrite"] and not fruitless:
                raise UsageError(
                    f"{out} holds a run with other data or settings",
                    allowed="the same command again, which goes on where it stopped",
                    next="another --out, or --overwrite to replace it",
                )
            _clear(out)
        record: dict[str, Any] = {
            "visum": __version__,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": printable(command),
            "settings": wanted,
            "status": "running",
            "seed": settings["seed"],
            "machine": runtime.machine(),
            "versions": runtime.versions(*VERSIONED),
            "test_openings": openings(before or {}),
            "test_digest": (before or {}).get("test_digest"),
            **{key: before.get(key) if before and _goes_on(before, wanted, settings) else None for key in KEPT},
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


def _goes_on(before: Mapping[str, Any], wanted: str, settings: Mapping[str, Any]) -> bool:
    """Whether it is the same run, with as much time: then what was planned from measured seconds stays planned."""
    return before.get("settings") == wanted and before.get("budget") == settings.get("budget")


def home(data: Path, out: Path | None) -> Path:
    """The folder of a run: ``out``, or else ``runs/NAME`` after the data."""
    return out or Path("runs") / (Path(data).resolve().name.partition(".")[0] or "run")


def visited(data: Path, out: Path | None) -> Path:
    """The folder of a run that may be made later, for something to look at before it.

    Raises:
        StorageError: it cannot be written.
        UsageError: it holds something else.
    """
    folder = home(data, out)
    ready.check_machine()
    ready.check_out(folder, Path(data))
    if _before(folder) is None:
        _check_ours(folder)
    return folder


def _check_ours(out: Path) -> None:
    if any(path.name not in (".lock", *SHOWN) for path in out.iterdir()):
        raise UsageError(f"{out} holds other files", allowed="a new, empty or visum run folder", next="another --out")


@contextlib.contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Errors of libraries that write below ``path`` as sentences; a file is written to the draft yielded, then renamed."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with explained(path):
            yield draft
            if draft.exists():
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _sweep(out: Path) -> None:
    """Drafts that a killed run left behind; nobody else writes here, since the folder is ours."""
    for path in out.iterdir():
        if path.suffix in (".tmp", ".old") and path.name.startswith(tuple(f".{name}." for name in (*FILES, *SHOWN))):
            _remove(path)


def _clear(out: Path) -> None:
    """What another run left: its results must not be taken for those of this one."""
    for name in FILES:
        _remove(out / name)


def _remove(path: Path) -> None:
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _before(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "visum" in found else None


def openings(record: Mapping[str, Any]) -> int:
    """How often the test images were looked at, as far as a record (perhaps a stranger's) tells."""
    count = record.get("test_openings")
    return count if isinstance(count, int) else 0


def open_test(record: dict[str, Any], table: Manifest) -> None:
    """Count that the test images are looked at; other test images start a new count."""
    digest = digest_of(sorted(table.sha256[in_split(table, "test")].tolist()))
    record["test_openings"] = 1 + (openings(record) if record.get("test_digest") == digest else 0)
    record["test_digest"] = digest


def data_facts(table: Manifest, unreadable: list[dict[str, str]], data: Path) -> dict[str, Any]:
    """The ``data`` block of ``run.json``."""
    y = targets(table)
    counts: dict[str, list[int]] = {}
    for name in SPLITS:
        rows = in_split(table, name)
        if rows.any():
            member = y[rows] if table.task == "multilabel" else y[rows][:, None] == range(len(table.classes))
            counts[name] = member.sum(axis=0).tolist()
    return {
        "path": printable(str(data)),
        "digest": digest_of(sorted(table.sha256.tolist())),
        "n": len(table),
        "classes": list(table.classes),
        "splits": {name: int(in_split(table, name).sum()) for name in SPLITS if name in counts},
        "counts": counts,
        "unreadable": unreadable,
    }
