"""``torch.export`` programs: a real network traced, no pickle inside, and archives with one are not opened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.errors import BundleError, UnsafeFile
from visum.models.weights import untrained
from visum.ship.export import reference
from visum.ship.export import torch as target
from visum.types import Bundle

Photos = dict[str, NDArray[np.uint8]]


def small(classes: int = 3) -> Bundle:
    """A network of textbook layers with random weights and a random head."""
    backbone = untrained("cnn:widths=8-16", size=32)
    rng = np.random.default_rng(0)
    tensors = {f"backbone.{name}": value for name, value in backbone.weights.items()}
    d = 8 + 16 + 16 if backbone.stages == () else 16
    tensors |= {
        "head.weight": rng.normal(size=(d, classes)).astype(np.float32),
        "head.bias": rng.normal(size=classes).astype(np.float32),
    }
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    return Bundle("multiclass", tuple("abcdef"[:classes]), architecture, backbone.preprocess, tensors, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
def test_the_program_answers_as_the_bundle_at_any_size(fit: str, photos: Photos) -> None:
    base = small()
    bundle = replace(base, preprocess=replace(base.preprocess, fit=fit))
    files = target.export(bundle, {})
    run = target.load(files)
    seen = [
        np.ascontiguousarray(p[:h, :w])
        for p, (h, w) in zip(photos.values(), ((64, 48), (40, 64), (20, 21)), strict=True)
    ]
    got = np.concatenate([run(picture[None]) for picture in seen])
    np.testing.assert_allclose(got, reference.probabilities(bundle, seen), rtol=0, atol=1e-4)
    together = run(np.stack([seen[0]] * 3))
    np.testing.assert_allclose(together, got[[0, 0, 0]], rtol=0, atol=1e-6)
    with zipfile.ZipFile(io.BytesIO(files["model.pt2"])) as archive:
        assert not [e.filename for e in archive.infolist() if e.filename.endswith(".pt") and e.file_size]


def archive(change: Callable[[zipfile.ZipFile], None]) -> dict[str, bytes]:
    """Something like a program, with one thing added."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("archive/archive_format", "pt2")
        made.writestr("archive/data/weights/weight_0", b"\x80\x02 numbers may begin like a pickle")
        made.writestr("archive/models/model.json", "{}")
        change(made)
    return {"model.pt2": out.getvalue()}


def nested(made: zipfile.ZipFile) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("data.pkl", pickle.dumps({"a": 1}))
    made.writestr("archive/data/sample_inputs/model.pt", inner.getvalue())


def asked_for(made: zipfile.ZipFile) -> None:
    table = {"config": {"w": {"path_name": "weight_0", "use_pickle": True}}}
    made.writestr("archive/data/weights/model_weights_config.json", json.dumps(table))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made.writestr("archive/data/constants/custom_obj_0", pickle.dumps([1])), "custom_obj_0.*pickle"),
        (nested, "sample_inputs/model.pt.*pickle inside"),
        (asked_for, "holds pickled tensors"),
        (lambda made: made.writestr("archive/x", b"0" * 10**6, zipfile.ZIP_DEFLATED), "is compressed"),
    ],
)
def test_a_program_with_a_pickle_is_not_opened(change: Callable[[zipfile.ZipFile], None], words: str) -> None:
    with pytest.raises(UnsafeFile, match=words):
        target.load(archive(change))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive"])
def test_what_is_no_archive_says_so(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.pt2 is not a PyTorch program"):
        target.load({"model.pt2": data})


def test_an_archive_without_a_program_says_so() -> None:
    with pytest.raises(BundleError, match=r"PyTorch cannot load model\.pt2"):
        target.load(archive(lambda made: None))
