"""An export as one sealed folder: the graph, what it is, and golden images that prove it.

    model.onnx …    export.json    golden/000.png …    golden/expected.json    SHA256SUMS

``export.json`` holds ``format`` (1), ``visum``, ``target``, ``precision``, ``task``, ``classes``, ``thresholds``, ``preprocess``,
``background``, ``input``, ``output``, ``bundle`` (the digest of the bundle), ``tolerance``, ``changed`` and ``notes``.
``expected.json`` also says the ``label`` of each image, so that names that changed places are noticed. Everything else is as
in ``ship.bundle``: what is hashed is what is used, links and extra files are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from visum import safefile, storage
from visum.errors import BundleError
from visum.ship import bundle as bundles
from visum.ship.bundle import Golden, seal
from visum.ship.bundle.faults import class_faults, golden_faults, short
from visum.types import Task

FORMAT = 1
HEAD = "export.json"
MEANT = "a folder with export.json and SHA256SUMS, as visum export BUNDLE --to onnx makes it"
_MODEL = r"model\.(onnx|xml|bin|pt2|tflite|safetensors|json)|model/[A-Za-z0-9._/-]+|build_engine\.py"
LAYOUT = seal.Layout(
    head=HEAD,
    format=FORMAT,
    required=(HEAD, "golden/expected.json"),
    others=f"{seal.IMAGE}|{_MODEL}",
    large=_MODEL,
    raw=r"model\.(bin|pt2)|model/variables/.*",
    folders=("golden", "model", "model/variables", "model/assets"),
    meant=MEANT,
    again="make it anew with visum export BUNDLE",
)
PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True, eq=False)
class Export:
    """A classifier in the language of another runtime.

    Attributes:
        target: name of ``EXPORTERS``.
        precision: of its weights: float32, bfloat16 or int8.
        task, classes, thresholds: as in the bundle.
        preprocess: the bundle's, or of its first member; it is in the graph, and here for people.
        background: RGB under transparent pixels, which whoever decodes has to know.
        bundle: digest of the bundle.
        tolerance: largest absolute difference of a probability from what a golden image must get.
        changed: how many golden images may get another top class than that.
        files: name → bytes of the graph.
        golden: (name, encoded image, expected probabilities float32 ``[K]``).
        notes: JSON-like facts: sizes, speeds, accuracy, versions.
        folder: where it was read from; None before it was written.
    """

    target: str
    precision: str
    task: Task
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    preprocess: Mapping[str, Any]
    background: tuple[int, int, int]
    bundle: str
    tolerance: float
    changed: int
    files: Mapping[str, bytes]
    golden: tuple[Golden, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None


def write(made: Export, folder: str | Path) -> Export:
    """Write an export, read it back, and only then put it in the place of an older one.

    Args:
        made: what to write.
        folder: new, empty, or an older export, which is replaced whole.

    Raises:
        BundleError: ``folder`` is something else than an export, or parts that do not fit each other.
        StorageError: no space, or not writable. In every case an older export is as it was.
    """
    folder = Path(os.path.realpath(folder))
    check_target(folder)
    k = len(made.classes)
    images = [
        {**bundles.golden_entry(n, *each, k=k, task=made.task), "label": made.classes[int(each[2].argmax())]}
        for n, each in enumerate(made.golden)
    ]
    with storage.atomic_folder(folder) as draft:
        (draft / "golden").mkdir()
        for entry, (_, data, _) in zip(images, made.golden, strict=True):
            storage.write_atomic(draft / "golden" / entry["file"], data)
        storage.write_json(draft / "golden" / "expected.json", {"images": images})
        for name, blob in made.files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            storage.write_atomic(draft / name, blob)
        storage.write_json(draft / HEAD, head(made))
        listed = sorted((*LAYOUT.required, *made.files, *(f"golden/{entry['file']}" for entry in images)))
        storage.write_atomic(draft / seal.SUMS, "".join(f"{storage.digest_file(draft / n)}  {n}\n" for n in listed))
        return replace(_read(draft), folder=folder)


def check_target(folder: Path) -> None:
    """Only an export may be replaced: a slip in --out must not empty somebody's pictures.

    Raises:
        BundleError: something else is there.
    """
    target = "a new or empty folder, or an older export"
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is not a folder", allowed=target)
    kept = (seal.SUMS, HEAD)
    if folder.is_dir() and any(folder.iterdir()) and not all((folder / name).is_file() for name in kept):
        raise BundleError(f"{folder} holds other files than an export", allowed=target)


def is_export(folder: str | Path) -> bool:
    """Whether a folder says that it is an export, whole or not."""
    return "\0" not in str(folder) and (Path(folder) / HEAD).is_file()


def read(folder: str | Path) -> Export:
    """The export in ``folder``, every byte checked before it is believed; no graph is opened.

    Raises:
        BundleError: not an export; a file edited, missing, extra or a link, by name; parts that do not fit each other; or a
            newer format, with the version that wrote it.
        UnsafeFile: a file inside is or may hold a pickle, or would exhaust the machine.
    """
    if "\0" in str(folder):
        raise BundleError(f"{short(str(folder))} is no path", allowed=MEANT)
    place = Path(os.path.realpath(folder))
    if place.is_file():
        safefile.refuse_pickle(place)
        raise BundleError(f"{folder} is a file", allowed=MEANT)
    if not is_export(place):
        got = "has no export in it" if place.is_dir() else "does not exist"
        raise BundleError(f"{folder} {got}", allowed=MEANT)
    return _read(place)


def head(made: Export) -> dict[str, Any]:
    """What ``export.json`` holds."""
    shape = ["images", "height", "width", 3]
    return {
        "format": FORMAT,
        "visum": seal.version(),
        "target": made.target,
        "precision": made.precision,
        "task": made.task,
        "classes": list(made.classes),
        "thresholds": [float(t) for t in made.thresholds],
        "preprocess": dict(made.preprocess),
        "background": list(made.background),
        "input": {"name": "pixels", "type": "uint8", "shape": shape, "channels": "RGB"},
        "output": {"name": "probabilities", "type": "float32", "shape": ["images", len(made.classes)]},
        "bundle": made.bundle,
        "tolerance": float(made.tolerance),
        "changed": int(made.changed),
        "notes": dict(made.notes),
    }


def _read(place: Path) -> Export:
    kept = seal.contents(place, LAYOUT)
    told = seal.as_json(kept[HEAD], place, HEAD, LAYOUT)
    if found := _faults(told):
        raise BundleError(f"{place}/{HEAD}: {'; '.join(found)}", next=LAYOUT.again)
    expected = seal.as_json(kept["golden/expected.json"], place, "golden/expected.json", LAYOUT)
    if found := golden_faults(kept, expected, len(told["classes"]), told["task"]):
        raise BundleError(f"{place}: the parts do not fit: {'; '.join(found)}", next=LAYOUT.again)
    golden = bundles.golden_of(kept, expected)
    for entry, (_, _, row) in zip(expected["images"], golden, strict=True):
        if entry.get("label") != (name := told["classes"][int(row.argmax())]):
            raise BundleError(
                f"{place}: golden/{entry['file']} is {short(entry.get('label'))}, and by the order of classes in {HEAD} it "
                f"would be {short(name)}",
                next=LAYOUT.again,
            )
    return Export(
        target=told["target"],
        precision=told["precision"],
        task=told["task"],
        classes=tuple(told["classes"]),
        thresholds=tuple(told["thresholds"]),
        preprocess=told["preprocess"],
        background=tuple(told["background"]),
        bundle=told["bundle"],
        tolerance=told["tolerance"],
        changed=told["changed"],
        files={name: bytes(blob) for name, blob in kept.items() if re.fullmatch(_MODEL, name)},
        golden=tuple(golden),
        notes=told["notes"],
        folder=place,
    )


def _faults(told: Mapping[str, Any]) -> list[str]:
    """What keeps a stranger's ``export.json`` from being read; types are not trusted."""
    kinds: dict[str, type] = {
        "target": str,
        "precision": str,
        "classes": list,
        "thresholds": list,
        "preprocess": dict,
        "notes": dict,
    }
    kinds |= {"background": list, "bundle": str, "changed": int}
    found = [f"{key} is {short(told.get(key))}" for key, kind in kinds.items() if not isinstance(told.get(key), kind)]
    if found:
        return found
    if told["precision"] not in PRECISIONS:
        found.append(f"precision {short(told['precision'])}, wanted {', '.join(PRECISIONS)}")
    if told.get("task") not in get_args(Task):
        return [*found, f"task {short(told.get('task'))}, wanted {', '.join(get_args(Task))}"]
    found += class_faults(told["task"], told["classes"])
    tolerance = told.get("tolerance")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
        found.append(f"tolerance {short(tolerance)}, wanted a number between 0 and 1")
    if len(told["background"]) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in told["background"]):
        found.append(f"background {short(told['background'])}, wanted three whole numbers of 0 … 255")
    return found
