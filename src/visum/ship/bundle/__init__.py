"""A trained classifier as one folder that can be moved, checked and refused: no pickle, no code, every byte accounted for.

    weights.safetensors    bundle.json    golden/000.jpg …    golden/expected.json    MODEL_CARD.md    SHA256SUMS

``bundle.json`` holds ``format`` (1), ``visum``, ``task``, ``classes``, ``architecture``, ``preprocess``, ``temperature``,
``thresholds`` and ``notes``; ``golden/expected.json`` holds ``{"images": [{"file", "name", "probabilities"}]}``;
``SHA256SUMS`` lists every other file and is what ``sha256sum -c`` reads. ``seal`` holds the files to it, ``faults`` says
what does not fit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import safefile, storage
from visum.data.decode import sniff
from visum.errors import BundleError, CorruptFile, ModelError
from visum.ship import card
from visum.ship.bundle import seal
from visum.ship.bundle.faults import PICTURES, faults, golden_faults, not_finite, probability_fault, short
from visum.ship.bundle.seal import FORMAT, version
from visum.types import Bundle, Floats, Preprocess, Task

__all__ = ["FORMAT", "Golden", "digest", "golden_entry", "golden_of", "locate", "read", "read_golden", "write"]

Golden = tuple[str, bytes, Floats]
_HEAD = {"task": str, "classes": list, "architecture": dict, "preprocess": dict, "thresholds": list, "notes": dict}
_TARGET = "a new or empty folder, or an older bundle"


def write(bundle: Bundle, folder: str | Path, golden: Sequence[Golden]) -> Bundle:
    """Write a bundle, read it back, and only then put it in the place of an older one.

    Args:
        bundle: what to ship; NaN in its notes becomes None, since JSON has no NaN.
        folder: new, empty, or an older bundle, which is replaced whole.
        golden: (file name, encoded image, expected probabilities float32 ``[K]``) of pictures whose answers are to be
            replayed wherever the bundle arrives; the images are stored under numbers, their names beside them.

    Returns:
        The bundle as read back, with ``folder`` set.

    Raises:
        ModelError: weights that are NaN, infinite or of a type that safetensors lacks, by name.
        BundleError: parts that do not fit each other, all of them; or ``folder`` is something else than a bundle.
        StorageError: no space, or not writable. In every case an older bundle is as it was.
    """
    folder = Path(os.path.realpath(folder))
    _check_target(folder)
    weights = {name: _storable(name, value) for name, value in bundle.weights.items()}
    if broken := not_finite(weights):
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ModelError(
            f"weights are NaN or infinite in {', '.join(broken[:5])}{more}",
            allowed="finite numbers",
            next="a lower learning rate, or look for damaged images with visum audit",
        )
    if found := faults(bundle):
        raise BundleError(f"this model cannot be bundled: {'; '.join(found)}")
    images = [
        golden_entry(number, *each, k=len(bundle.classes), task=bundle.task) for number, each in enumerate(golden)
    ]
    with storage.atomic_folder(folder) as draft:
        from safetensors.numpy import save

        (draft / "golden").mkdir()
        storage.write_atomic(draft / "weights.safetensors", save(weights))
        for entry, (_, data, _) in zip(images, golden, strict=True):
            storage.write_atomic(draft / "golden" / entry["file"], data)
        storage.write_json(draft / "golden" / "expected.json", {"images": images})
        storage.write_json(draft / "bundle.json", _head(bundle))
        storage.write_atomic(draft / "MODEL_CARD.md", card.text(bundle))
        listed = sorted((*seal.REQUIRED, *(f"golden/{entry['file']}" for entry in images)))
        storage.write_atomic(draft / seal.SUMS, "".join(f"{storage.digest_file(draft / n)}  {n}\n" for n in listed))
        return replace(_read(draft)[0], folder=folder)


def read(folder: str | Path) -> Bundle:
    """The bundle in ``folder`` (or in ``folder/bundle``, so that a run will do), every byte checked before it is believed.

    Each file is read once and what was hashed is what is used, so that nothing can be swapped in between and a bundle
    may be replaced on disk while it serves.

    Raises:
        BundleError: not a bundle; a file edited, missing, extra or a link, by name; parts that do not fit each other;
            or a newer format, with the version that wrote it.
        UnsafeFile: a file inside is or may hold a pickle, or would exhaust the machine.
    """
    return _read(locate(folder))[0]


def read_golden(folder: str | Path) -> tuple[Bundle, list[Golden]]:
    """As ``read``, and (name, encoded image, expected probabilities float32 ``[K]``) of each golden image."""
    return _read(locate(folder))


def locate(folder: str | Path) -> Path:
    """The absolute bundle folder that is meant by ``folder``: itself, or ``bundle`` inside a run.

    Raises:
        BundleError: neither is there, and what would be.
        UnsafeFile: a model file of a kind that is never opened.
    """
    if "\0" in str(folder):
        raise BundleError(f"{short(str(folder))} is no path", allowed=seal.MEANT)
    path = Path(os.path.realpath(folder))
    if path.is_file():
        safefile.refuse_pickle(path)
        raise BundleError(f"{folder} is a file", allowed=seal.MEANT)
    if (path / "export.json").is_file() and not (path / "bundle.json").is_file():
        raise BundleError(
            f"{folder} is an export, which answers and is verified, but has neither gradients nor a head to work with",
            allowed="the bundle that it was made from",
            next=f"visum verify {folder}, or the same command with that bundle",
        )
    for place in (path, path / "bundle"):
        if (place / "bundle.json").is_file() or (place / seal.SUMS).is_file():
            if place.is_symlink():
                raise BundleError(f"{place} is a link", next=f"the folder itself: {os.path.realpath(place)}")
            return place
    got = "has no bundle in it" if path.is_dir() else "does not exist"
    raise BundleError(f"{folder} {got}", allowed=seal.MEANT)


def digest(source: Bundle | str | Path) -> str:
    """Hex SHA-256 of ``SHA256SUMS``: the identity of everything in the bundle.

    Raises:
        BundleError: not a bundle, or one that was not written yet.
    """
    place = source.folder if isinstance(source, Bundle) else locate(source)
    if place is None:
        raise BundleError("this bundle was not written yet", next="visum.ship.bundle.write")
    return storage.digest_bytes(seal.read_file(place, seal.SUMS, seal.TEXT_BYTES))


def _check_target(folder: Path) -> None:
    """Only a bundle may be replaced: a slip in --out must not empty somebody's pictures."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is not a folder", allowed=_TARGET)
    kept = (seal.SUMS, "bundle.json")
    if folder.is_dir() and any(folder.iterdir()) and not all((folder / name).is_file() for name in kept):
        raise BundleError(f"{folder} holds other files than a bundle", allowed=_TARGET)


def _storable(name: str, value: NDArray[Any]) -> NDArray[Any]:
    value = np.asarray(value, order="C")
    if value.dtype.newbyteorder("<").str not in safefile.DTYPES.values():
        raise ModelError(f"tensor {name!r} is of {value.dtype}", allowed="numbers and booleans that safetensors has")
    return np.asarray(value, value.dtype.newbyteorder("<"))


def _head(bundle: Bundle) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "visum": version(),
        "task": bundle.task,
        "classes": list(bundle.classes),
        "architecture": dict(bundle.architecture),
        "preprocess": asdict(bundle.preprocess),
        "temperature": float(bundle.temperature),
        "thresholds": [float(t) for t in bundle.thresholds],
        "notes": dict(bundle.notes),
    }


def golden_entry(number: int, name: str, data: bytes, expected: Floats, *, k: int, task: Task) -> dict[str, Any]:
    """What ``golden/expected.json`` says of one image.

    Raises:
        BundleError: no picture, too large, or probabilities that are none.
    """
    form = sniff(data[:1024])
    if form not in PICTURES:
        raise BundleError(f"golden image {name!r} is not a picture", allowed=", ".join(PICTURES))
    if len(data) > seal.TEXT_BYTES:
        raise BundleError(f"golden image {name!r} has {len(data):,} bytes", allowed=f"at most {seal.TEXT_BYTES:,}")
    p = np.asarray(expected, np.float32)
    if fault := probability_fault(p, k, task):
        raise BundleError(f"golden image {name!r}: {fault}")
    file = f"{number:03d}.{'jpg' if form == 'JPEG' else form.lower()}"
    plain = name.encode("utf-8", "backslashreplace").decode()
    return {"file": file, "name": plain, "probabilities": [float(v) for v in p]}


def _read(place: Path) -> tuple[Bundle, list[Golden]]:
    kept = seal.contents(place)
    try:
        weights = safefile.tensors_of(kept.pop("weights.safetensors"), f"{place}/weights.safetensors")
    except CorruptFile as error:
        raise BundleError(error.got, next=seal.AGAIN) from error
    head = seal.as_json(kept["bundle.json"], place, "bundle.json")
    wrong = [f"{key} is {short(head.get(key))}" for key, kind in _HEAD.items() if not isinstance(head.get(key), kind)]
    if not wrong and set(head["preprocess"]) != {field.name for field in fields(Preprocess)}:
        wrong = [f"preprocess has {', '.join(map(short, head['preprocess']))}"]
    if wrong:
        raise BundleError(f"{place}/bundle.json: {'; '.join(wrong)}", next=seal.AGAIN)
    bundle = Bundle(
        task=head["task"],
        classes=tuple(head["classes"]),
        architecture=head["architecture"],
        preprocess=Preprocess.from_json(head["preprocess"]),
        weights=weights,
        temperature=head.get("temperature"),
        thresholds=tuple(head["thresholds"]),
        notes=head["notes"],
        folder=place,
    )
    expected = seal.as_json(kept["golden/expected.json"], place, "golden/expected.json")
    found = faults(bundle) + [f"{name} is NaN or infinite" for name in not_finite(weights)[:5]]
    found += golden_faults(kept, expected, len(bundle.classes), bundle.task)
    if found:
        raise BundleError(f"{place}: the parts do not fit: {'; '.join(found)}", next=seal.AGAIN)
    return bundle, golden_of(kept, expected)


def golden_of(kept: Mapping[str, bytearray], expected: Mapping[str, Any]) -> list[Golden]:
    """The golden images of a sealed folder, in which nothing is at fault."""
    return [
        (entry["name"], bytes(kept[f"golden/{entry['file']}"]), np.asarray(entry["probabilities"], np.float32))
        for entry in expected["images"]
    ]
