"""The whole graph against visum's own way with the same weights: every head, every combination, every task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from exported import cosine, model, network, wanted
from numpy.typing import NDArray

from visum.errors import BundleError
from visum.models import ensemble as joining
from visum.models.combine import COMBINE
from visum.models.heads import HEADS
from visum.ship.export import RUNNERS, classify, whole
from visum.types import Bundle, Floats, Pixels

Photos = dict[str, NDArray[np.uint8]]
MAKERS: dict[str, Callable[..., Bundle]] = {"linear": model, "cosine": cosine}


def exported(bundle: Bundle) -> Callable[[Pixels], Floats]:
    data = whole.model(bundle, {}, network).SerializeToString()
    return RUNNERS["onnx"]({"model.onnx": data})


def pictures(photos: Photos) -> list[Pixels]:
    """Pieces of photos, of 64 x 48 pixels, so that all machines make the same squares of them."""
    return [
        np.ascontiguousarray(p[y : y + 64, x : x + 48])
        for p in photos.values()
        for y, x in ((0, 0), (90, 120), (200, 80))
    ]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("head", HEADS)
def test_the_graph_answers_as_the_heads_do(head: str, task: Any, photos: Photos) -> None:
    bundle, seen = MAKERS[head](task=task), pictures(photos)
    got = exported(bundle)(np.stack(seen))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted(bundle, seen), rtol=0, atol=2e-6)
    assert np.ptp(got, axis=0).max() > 0.1  # they differ from picture to picture


def test_temperature_and_fit_are_inside(photos: Photos) -> None:
    base, seen = model(), pictures(photos)
    bundle = replace(base, temperature=0.3, preprocess=replace(base.preprocess, fit="crop", filter="bilinear"))
    np.testing.assert_allclose(exported(bundle)(np.stack(seen)), wanted(bundle, seen), rtol=0, atol=5e-6)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("combine", COMBINE)
def test_an_ensemble_is_combined_in_the_graph(combine: str, task: Any, photos: Photos) -> None:
    """Members with other classes' order, other temperatures, thresholds, sizes and heads."""
    thresholds: dict[str, tuple[float, ...]] = {"binary": (0.35,), "multilabel": (0.3, 0.6, 0.5)}
    members = [
        model(1, task=task, thresholds=thresholds.get(task, ())),
        cosine(2, task=task, classes=("c", "a", "b"), temperature=0.7),
        model(3, task=task, preprocess=replace(model().preprocess, size=16)),
    ]
    if task == "binary":
        members = [two(member) for member in members]
    bundle = replace(joining.join(members, combine), temperature=1.25)
    seen = pictures(photos)
    np.testing.assert_allclose(exported(bundle)(np.stack(seen)), wanted(bundle, seen), rtol=0, atol=1e-5)


def two(bundle: Bundle) -> Bundle:
    """Of its classes a and b alone."""
    where = sorted(range(3), key=bundle.classes.__getitem__)[:2]
    ends = ("head.weight", "head.bias", "classifier.weight")
    weights = {name: np.ascontiguousarray(v[..., where]) if name in ends else v for name, v in bundle.weights.items()}
    return replace(bundle, classes=("a", "b"), weights=weights)


def test_members_with_one_network_share_it() -> None:
    base = model(1)
    other = replace(base, weights={**base.weights, "head.bias": base.weights["head.bias"] + 1})
    graph = whole.model(joining.join([base, other], "logits"), {}, network)
    assert sum(node.op_type == "Conv" for node in graph.graph.node) == 1
    assert sum(node.op_type == "Round" for node in graph.graph.node) == 2


def test_pixels_of_any_size_and_number_go_in(photos: Photos) -> None:
    run = exported(model())
    for n, h, w in ((1, 5, 9), (3, 64, 64), (2, 400, 301)):
        batch = np.stack([np.resize(photo, (h, w, 3)) for photo in photos.values()])[:n]
        got = run(batch)
        assert got.shape == (n, 3)
        np.testing.assert_allclose(got.sum(1), 1, rtol=0, atol=1e-6)


def test_the_graph_says_what_it_is() -> None:
    import json

    made = whole.model(model(), {"classes": ["å", "b", "c"]}, network)
    assert json.loads({entry.key: entry.value for entry in made.metadata_props}["visum"]) == {
        "classes": ["å", "b", "c"]
    }
    (entrance,), (exit_,) = made.graph.input, made.graph.output
    assert [entrance.name, exit_.name] == ["pixels", "probabilities"]
    assert [axis.dim_param or axis.dim_value for axis in entrance.type.tensor_type.shape.dim] == [
        "images",
        "height",
        "width",
        3,
    ]


def test_every_head_and_every_combination_has_nodes() -> None:
    assert set(classify.HEADS) == set(HEADS)
    assert set(classify.COMBINE) == set(COMBINE)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"kind": "classical", "descriptor": "hog", "classifier": "linear_svm"}, r"hog\+linear_svm"),
        ({"kind": "probe", "backbone": "x", "stages": [], "classifier": "knn"}, r"embedding\+knn"),
    ],
)
def test_what_is_no_network_is_refused_with_what_serves_it(architecture: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=rf"{words}.*Allowed: networks with a linear or a cosine head.*visum predict"):
        whole.check(replace(model(), architecture=architecture))
