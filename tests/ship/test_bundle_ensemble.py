"""Ensembles on disk: written, read and sealed like any bundle; a member that does not fit is refused by its number."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundled import model
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from visum.errors import BundleError
from visum.models import ensemble
from visum.ship import bundle as bundles
from visum.types import Bundle

Photos = dict[str, NDArray[np.uint8]]
Head = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def joined(photos: Photos) -> Bundle:
    """A probe, and a classical model whose classes are in another order."""
    probe = model(photos)
    first, second, third = probe.classes
    architecture = {"kind": "classical", "descriptor": "hog", "classifier": "linear_svm"}
    weights = {"classifier.weight": np.zeros((4, 3), np.float32)}
    other = replace(probe, classes=(third, first, second), architecture=architecture, weights=weights, temperature=2.0)
    return ensemble.join([probe, other], "probabilities")


@pytest.fixture(scope="module")
def sealed(joined: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write(joined, tmp_path_factory.mktemp("run") / "bundle", []).folder or Path()


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "copy"))


def edited(folder: Path, change: Callable[[Head, Tensors], Any]) -> Path:
    """What somebody does who edits a bundle and knows of the seal."""
    head, tensors = json.loads((folder / "bundle.json").read_text()), load_file(folder / "weights.safetensors")
    change(head, tensors)
    (folder / "bundle.json").write_text(json.dumps(head))
    (folder / "weights.safetensors").write_bytes(save(tensors))
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / "SHA256SUMS").write_text(sums)
    return folder


def test_the_round_trip(joined: Bundle, sealed: Path) -> None:
    read = bundles.read(sealed)
    assert (read.task, read.classes, read.preprocess) == (joined.task, joined.classes, joined.preprocess)
    assert set(load_file(sealed / "weights.safetensors")) == set(joined.weights)
    for part, wanted in zip(ensemble.members_of(read), ensemble.members_of(joined), strict=True):
        assert (part.classes, part.temperature, part.preprocess) == (
            wanted.classes,
            wanted.temperature,
            wanted.preprocess,
        )
        assert part.weights.keys() == wanted.weights.keys()
        for name, value in wanted.weights.items():
            np.testing.assert_array_equal(part.weights[name], value)
    card = (sealed / "MODEL_CARD.md").read_text()
    assert "An ensemble of 2 models, combined by probabilities" in card
    assert "Each member has its own preprocessing" in card


def test_a_member_that_was_changed_is_another_file(copy: Path) -> None:
    tensors = load_file(copy / "weights.safetensors")
    tensors["members.1.classifier.weight"] = tensors["members.1.classifier.weight"] + 1
    (copy / "weights.safetensors").write_bytes(save(tensors))
    with pytest.raises(BundleError, match=r"weights\.safetensors is not the file that was written"):
        bundles.read(copy)


def member(number: int, **values: Any) -> Callable[[Head, Tensors], Any]:
    return lambda head, tensors: head["architecture"]["members"][number].update(values)


def overall(**values: Any) -> Callable[[Head, Tensors], Any]:
    return lambda head, tensors: head["architecture"].update(values)


def nested(head: Head, tensors: Tensors) -> None:
    inner = json.loads(json.dumps(head["architecture"]))
    head["architecture"]["members"][1]["architecture"] = inner


def spec(**values: Any) -> Callable[[Head, Tensors], Any]:
    return lambda head, tensors: head["architecture"]["members"][1]["preprocess"].update(values)


MISFITS: dict[str, tuple[Callable[[Head, Tensors], Any], str]] = {
    "an ensemble inside": (nested, "member 1: an ensemble itself, wanted a plain bundle"),
    "a tensor of a member is gone": (lambda h, t: t.pop("members.0.head.bias"), r"member 0: no tensor head\.bias"),
    "a member's backbone is gone": (
        lambda h, t: [t.pop(name) for name in list(t) if name.startswith("members.0.backbone.")],
        "member 0: a probe without the weights of its backbone",
    ),
    "a tensor of another shape": (
        lambda h, t: t.update({"members.0.head.weight": np.zeros((3, 2), np.float32)}),
        r"member 0: head\.weight is float32 \[3, 2\], wanted float32 \[D, 3\]",
    ),
    "a tensor that is not a number": (
        lambda h, t: t.update({"members.1.classifier.weight": np.full((4, 3), np.nan, np.float32)}),
        r"members\.1\.classifier\.weight is NaN or infinite",
    ),
    "a tensor of no member": (
        lambda h, t: t.update({"members.10.x": np.zeros(1), "head.x": np.zeros(1)}),
        r"tensors of no member: '.*', '.*'",
    ),
    "an unknown way": (overall(combine="guess"), "combines by 'guess', wanted probabilities, logits, vote"),
    "a way that is a list": (overall(combine=["vote"]), r"combines by \['vote'\]"),
    "no members": (overall(members=[]), r"an ensemble of \[\], wanted a list of 2 to 64"),
    "members that are a number": (overall(members=3), "an ensemble of 3"),
    "members that are text": (overall(members=["a", "b"]), "member 0: 'a', wanted architecture, order"),
    "too many members": (
        lambda h, t: h["architecture"].update(members=h["architecture"]["members"] * 33), "wanted a list of 2 to 64"),
    "an entry with other words": (member(0, gamma=1), "member 0: {.*, wanted architecture, order"),
    "an architecture that is text": (member(0, architecture="probe"), "member 0: architecture is 'probe'"),
    "a member without a kind": (member(1, architecture={}), "member 1: architecture of kind None"),
    "a preprocessing with other words": (spec(gamma=2), "member 1: preprocess has"),
    "a preprocessing that cannot be": (spec(size=-1), "member 1: input size -1"),
    "temperature 0": (member(1, temperature=0), "member 1: temperature 0, wanted a number over 0"),
    "a temperature that is text": (member(1, temperature="1"), "member 1: temperature '1'"),
    "thresholds where none belong": (member(0, thresholds=[0.5]), "member 0: 1 thresholds, wanted none"),
    "thresholds that are text": (member(0, thresholds="abc"), "member 0: thresholds is 'abc'"),
    "an order with a class twice": (member(1, order=[0, 0, 1]), r"member 1: order \[0, 0, 1\], wanted each of 0 … 2 once"),
    "an order that is too short": (member(1, order=[1, 0]), "member 1: order"),
    "an order of text": (member(1, order=["0", "1", "2"]), "member 1: order"),
    "an order of true and false": (member(1, order=[True, False, 2]), "member 1: order"),
    "another number of classes": (lambda h, t: h.update(classes=["a", "b"]), r"member 0: order .* wanted each of 0 … 1"),
    "classes that are numbers": (lambda h, t: h.update(classes=[1, 2, 3]), "class names that are not text"),
    "an unknown task": (lambda h, t: h.update(task="regression"), "task 'regression'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_members_that_do_not_fit_are_refused_even_when_they_are_sealed(copy: Path, name: str) -> None:
    change, words = MISFITS[name]
    with pytest.raises(BundleError, match=words):
        bundles.read(edited(copy, change))


def test_nesting_without_end_is_refused(copy: Path) -> None:
    def bottomless(head: Head, tensors: Tensors) -> None:
        inner: Any = {"kind": "ensemble"}
        for _ in range(200):
            inner = {"kind": "ensemble", "combine": "vote", "members": [inner]}
        head["architecture"]["members"][0]["architecture"] = inner

    with pytest.raises(BundleError):
        bundles.read(edited(copy, bottomless))


def test_what_cannot_be_read_is_not_written(joined: Bundle, tmp_path: Path) -> None:
    entries = [dict(each) for each in joined.architecture["members"]]
    entries[1]["architecture"] = dict(joined.architecture)
    with pytest.raises(BundleError, match="cannot be bundled: member 1: an ensemble itself"):
        bundles.write(replace(joined, architecture={**joined.architecture, "members": entries}), tmp_path / "b", [])
    assert not (tmp_path / "b").exists()
