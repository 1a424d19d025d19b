"""Bundles of bundles: what members say comes back through the store and past it, in whatever order their classes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.data import load
from visum.data import pixels as fitting
from visum.data.sources import read
from visum.errors import BundleError, UnreadableImage
from visum.learn import probe
from visum.models import embed as embedding
from visum.models import ensemble, predict, weights
from visum.models.combine import COMBINE
from visum.models.embed import Network
from visum.models.predict import Model, of_table, stream
from visum.types import Bundle, Floats, Manifest, Predictions, Preprocess, column, decisions, probabilities, targets

SIZE = 64
Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def table(photos: Photos, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Manifest:
    """Large parts of three photos as JPEG files, which decode at a scale of their own for each size."""
    root = tmp_path_factory.mktemp("parts")
    for name, photo in photos.items():
        (root / name).mkdir()
        for number in range(6):
            Image.fromarray(photo[9 * number :, 15 * number :][:290, :300]).save(root / name / f"{number}.jpg")
    found, bad = load.index(read(root).manifest, Preprocess(size=SIZE))
    assert not bad
    return found


@pytest.fixture(scope="module")
def places(table: Manifest) -> list[str]:
    return [load.location(table, row) for row in range(len(table))]


@pytest.fixture(scope="module")
def network(table: Manifest) -> Bundle:
    backbone = weights.find(size=SIZE)
    x = embedding.embed(table, Network(backbone, backbone.preprocess))["plain"].vectors
    tensors: dict[str, NDArray[Any]] = {f"backbone.{name}": value for name, value in backbone.weights.items()}
    tensors |= {f"head.{name}": value for name, value in probe.fit(x, targets(table), 3).items()}
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    return Bundle("multiclass", table.classes, architecture, backbone.preprocess, tensors, temperature=3.0)


@pytest.fixture(scope="module")
def classical(table: Manifest) -> Bundle:
    """A classical one that sees pictures at another size and cropped."""
    spec = Preprocess(size=48, fit="crop", background=(0, 0, 0))
    key = predict.describer_key("colour_histogram", {})
    x = embedding.describe(table, key, predict.described("colour_histogram", {}), spec, square=True)
    arrays = predict.CLASSIFIERS["linear_svm"].fit(np.asarray(x, np.float32), targets(table), 3, 0)
    tensors = {f"classifier.{name}": value for name, value in arrays.items()}
    architecture = {"kind": "classical", "descriptor": "colour_histogram", "classifier": "linear_svm"}
    return Bundle("multiclass", table.classes, architecture, spec, tensors, temperature=0.7)


def turned(bundle: Bundle, order: Sequence[int]) -> Bundle:
    """The same probe with its classes in another order."""
    head = {f"head.{name}": bundle.weights[f"head.{name}"][..., list(order)] for name in ("weight", "bias")}
    names = tuple(bundle.classes[k] for k in order)
    return replace(bundle, classes=names, weights={**bundle.weights, **head})


def streamed(places: list[str], bundle: Bundle) -> Floats:
    found = list(stream(places, Model(bundle)))
    assert not [each for each in found if isinstance(each, UnreadableImage)]
    return np.stack(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("combine", COMBINE)
def test_one_bundle_twice_answers_like_the_bundle(combine: str, network: Bundle, table: Manifest) -> None:
    alone = of_table(table, Model(network))
    twice = of_table(table, Model(ensemble.join([network, network], combine)))
    np.testing.assert_array_equal(decisions(twice), decisions(alone))
    if combine != "vote":
        np.testing.assert_allclose(probabilities(twice), probabilities(alone), atol=1e-6)
    assert twice.temperature == 1


@pytest.mark.parametrize("combine", COMBINE)
def test_a_stream_says_what_a_table_says_whatever_members_see(
    combine: str, network: Bundle, classical: Bundle, table: Manifest, places: list[str]
) -> None:
    made = ensemble.join([network, classical], combine)
    said = of_table(table, Model(made), digest="abc")
    np.testing.assert_allclose(streamed(places, made), said.logits, rtol=1e-4, atol=1e-4)
    assert (said.model, said.ids.tolist()) == ("abc", table.ids.tolist())
    other = of_table(table, Model(ensemble.join([classical, network], combine)))
    np.testing.assert_allclose(other.logits, said.logits, rtol=1e-5, atol=1e-5)


def test_a_mean_is_that_of_what_members_say_alone(network: Bundle, classical: Bundle, table: Manifest) -> None:
    mean = np.mean([probabilities(of_table(table, Model(each))) for each in (network, classical)], axis=0)
    made = ensemble.join([network, classical], "probabilities")
    np.testing.assert_allclose(probabilities(of_table(table, Model(made))), mean, atol=1e-6)


@pytest.mark.parametrize("combine", COMBINE)
def test_classes_in_another_order_are_put_in_order(combine: str, network: Bundle, table: Manifest) -> None:
    other = turned(network, (2, 0, 1))
    wanted = of_table(table, Model(ensemble.join([network, network], combine)))
    said = of_table(table, Model(ensemble.join([network, other], combine)))
    assert said.classes == network.classes
    np.testing.assert_allclose(said.logits, wanted.logits, rtol=1e-5, atol=1e-5)
    first = ensemble.join([other, network], combine)
    assert first.classes == other.classes
    assert ensemble.members_of(first)[1].classes == network.classes


def test_members_come_out_as_they_went_in(network: Bundle, classical: Bundle) -> None:
    parts = ensemble.members_of(ensemble.join([turned(network, (1, 2, 0)), classical], "vote"))
    for part, wanted in zip(parts, (turned(network, (1, 2, 0)), classical), strict=True):
        assert (part.classes, part.temperature, part.preprocess) == (
            wanted.classes,
            wanted.temperature,
            wanted.preprocess,
        )
        assert dict(part.architecture) == dict(wanted.architecture)
        assert part.weights.keys() == wanted.weights.keys()
        assert all(np.array_equal(part.weights[name], value) for name, value in wanted.weights.items())
    assert ensemble.members_of(network) == ()


def test_what_members_share_is_done_once(
    network: Bundle, table: Manifest, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three heads on one network: a picture is decoded once, fitted once, and runs through the network once."""
    decoded, fitted, ran = 0, 0, 0
    decode, fit = predict.decoder.decode, fitting.fit

    def counting_decode(*args: Any, **kwargs: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return decode(*args, **kwargs)

    def counting_fit(*args: Any, **kwargs: Any) -> Any:
        nonlocal fitted
        fitted += 1
        return fit(*args, **kwargs)

    model = Model(ensemble.join([network, turned(network, (1, 0, 2)), replace(network, temperature=0.2)], "logits"))
    assert len({id(member.network) for member in model.members}) == 1
    engine = model.members[0].network.engine
    run = engine.run

    def counting_run(batch: Any) -> Any:
        nonlocal ran
        ran += len(batch)
        return run(batch)

    monkeypatch.setattr(predict.decoder, "decode", counting_decode)
    monkeypatch.setattr(predict, "fit", counting_fit)
    object.__setattr__(engine, "run", counting_run)
    list(stream(places, model))
    assert (decoded, fitted, ran) == (len(places), len(places), len(places))


def test_every_picture_counts_once_and_a_bad_one_keeps_its_place(
    network: Bundle, classical: Bundle, table: Manifest, places: list[str]
) -> None:
    model = Model(ensemble.join([network, classical, classical], "probabilities"))
    told: list[int] = []
    of_table(table, model, step=told.append)
    assert sum(told) == len(table)
    found = list(stream([places[0], b"no picture", places[1]], model))
    assert [isinstance(each, UnreadableImage) for each in found] == [False, True, False]


def test_votes_are_decisions_with_the_thresholds_of_members() -> None:
    """Binary: two of three say yes at their thresholds, though no probability of yes is above one half."""
    spec = Preprocess(size=SIZE)
    member = Bundle("binary", ("no", "yes"), {"kind": "probe"}, spec, {}, 1.0, (0.3,))
    other = replace(member, classes=("yes", "no"), thresholds=())
    bundle = ensemble.join([member, member, other], "vote")
    p = np.array([[0.6, 0.4]], np.float32)
    said = ensemble.combined(bundle, [member, member, other], [np.log(p), np.log(p), np.log(p[:, ::-1])])
    assert said.argmax() == 1
    mean = ensemble.combined(replace(bundle, architecture={**bundle.architecture, "combine": "probabilities"}),
                             [member, member, other], [np.log(p), np.log(p), np.log(p[:, ::-1])])  # fmt: skip
    np.testing.assert_allclose(np.exp(mean), p, atol=1e-6)


def test_what_cannot_be_joined_is_said(network: Bundle) -> None:
    joined = ensemble.join([network, network], "vote")
    with pytest.raises(BundleError, match=r"a is an ensemble itself.*its members"):
        ensemble.check_alike([("a", joined), ("b", network)])
    with pytest.raises(BundleError, match="b is multilabel and a is multiclass"):
        ensemble.check_alike([("a", network), ("b", replace(network, task="multilabel"))])
    other = replace(network, classes=("astronaut", "chelsea", "tea"))
    with pytest.raises(BundleError, match=r"b has other classes than a: only a has 'coffee'; only b has 'tea'"):
        ensemble.check_alike([("a", network), ("b", other)])
    fewer = replace(network, classes=("astronaut", "chelsea"))
    with pytest.raises(BundleError, match=r"only a has 'coffee'\. "):
        ensemble.check_alike([("a", network), ("b", fewer)])
    for members in ([network], [network] * 65):
        with pytest.raises(BundleError, match=r"an ensemble of \d+\. Allowed: 2 to 64"):
            ensemble.join(members, "vote")


def test_several_labels_vote_class_by_class() -> None:
    member = Bundle("multilabel", ("a", "b"), {"kind": "probe"}, Preprocess(size=SIZE), {}, 1.0, (0.9, 0.1))
    z = np.array([[1.0, -1.0]], np.float32)  # 0.73 and 0.27: only the second is above its threshold
    bundle = ensemble.join([member, member], "vote")
    said = ensemble.combined(bundle, [member, member], [z, z])
    found = decisions(Predictions(column(["x"]), said, np.zeros((1, 2), np.int64), ("a", "b"), "multilabel"))
    assert found.tolist() == [[0, 1]]
