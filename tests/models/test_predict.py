"""Bundles at work: a stream and a table say the same, whatever the pictures come as, and errors keep their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.data import load
from visum.data.decode import decode
from visum.data.pixels import fit
from visum.data.sources import images, read
from visum.errors import BundleError, UnreadableImage
from visum.learn import probe
from visum.models import predict, weights
from visum.models.classical import CLASSIFIERS, DESCRIPTORS, codebook
from visum.models.embed import Network, describe, embed
from visum.models.predict import Model, describer_key, features, of_table, stream
from visum.types import Bundle, Floats, Manifest, Pixels, targets

SIZE = 64


@pytest.fixture(scope="module")
def folder(photos: dict[str, Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of three photos as class folders of PNG files: eleven of each."""
    root = tmp_path_factory.mktemp("parts")
    for name, photo in photos.items():
        (root / name).mkdir()
        for number in range(11):
            part = photo[14 * number :, 20 * number :][:120, : 100 + 4 * number]
            Image.fromarray(part).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def table(folder: Path, cache: Path) -> Manifest:
    found, bad = load.index(read(folder).manifest, weights.find(size=SIZE).preprocess)
    assert not bad
    return found


@pytest.fixture(scope="module")
def places(table: Manifest) -> list[str]:
    return [load.location(table, row) for row in range(len(table))]


def network_bundle(table: Manifest, classifier: str) -> Bundle:
    backbone = weights.find(size=SIZE)
    x, y = embed(table, Network(backbone, backbone.preprocess))["plain"].vectors, targets(table)
    tensors: dict[str, NDArray[Any]] = {f"backbone.{name}": value for name, value in backbone.weights.items()}
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    if classifier == "probe":
        tensors.update({f"head.{name}": value for name, value in probe.fit(x, y, 3).items()})
    else:
        architecture["classifier"] = classifier
        arrays = CLASSIFIERS[classifier].fit(np.asarray(x, np.float32), y, 3, 0)
        tensors.update({f"classifier.{name}": value for name, value in arrays.items()})
    return Bundle("multiclass", table.classes, architecture, backbone.preprocess, tensors, temperature=0.5)


def classical_bundle(table: Manifest, descriptor: str, classifier: str) -> Bundle:
    spec = weights.find(size=SIZE).preprocess
    extra: dict[str, NDArray[Any]] = {}
    if DESCRIPTORS[descriptor].words:
        side = DESCRIPTORS[descriptor].size
        squares = (predict.to_side(fit(picture, spec), side) for picture in load.pictures(table, spec))
        extra["codebook"] = codebook(squares, 16, 0)
    x = describe(table, describer_key(descriptor, extra), predict.described(descriptor, extra), spec, square=True)
    arrays = CLASSIFIERS[classifier].fit(np.asarray(x, np.float32), targets(table), 3, 0)
    tensors = {**{f"classifier.{name}": value for name, value in arrays.items()}, **extra}
    architecture = {"kind": "classical", "descriptor": descriptor, "classifier": classifier}
    return Bundle("multiclass", table.classes, architecture, spec, tensors)


BUNDLES: dict[str, Callable[[Manifest], Bundle]] = {
    "embedding+probe": lambda table: network_bundle(table, "probe"),
    "embedding+knn": lambda table: network_bundle(table, "knn"),
    "hog+rbf_svm": lambda table: classical_bundle(table, "hog", "rbf_svm"),
    "sift+linear_svm": lambda table: classical_bundle(table, "sift", "linear_svm"),
}


@pytest.fixture(scope="module", params=list(BUNDLES))
def model(request: pytest.FixtureRequest, table: Manifest) -> Model:
    return Model(BUNDLES[request.param](table))


@pytest.fixture(scope="module")
def simple(table: Manifest) -> Model:
    """One that answers in microseconds."""
    return Model(classical_bundle(table, "colour_histogram", "naive_bayes"))


def logits(results: Iterator[Floats | UnreadableImage]) -> Floats:
    found = list(results)
    assert not any(isinstance(result, UnreadableImage) for result in found), found
    return np.stack(found)  # type: ignore[arg-type]


def test_a_stream_says_what_a_table_says(model: Model, table: Manifest, places: list[str]) -> None:
    said = of_table(table, model, digest="abc")
    streamed = logits(stream(places, model))
    assert said.logits.dtype == streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, said.logits, rtol=1e-4, atol=1e-4)
    assert (said.logits.argmax(1) == targets(table)).mean() > 0.9  # they are its own training pictures
    assert (said.ids.tolist(), said.classes, said.model) == (table.ids.tolist(), table.classes, "abc")
    assert said.temperature == model.bundle.temperature
    np.testing.assert_array_equal(said.labels, targets(table))


def test_one_by_one_says_what_a_batch_says(model: Model, places: list[str]) -> None:
    together = logits(stream(places[:11], model))
    alone = np.concatenate([logits(stream([place], model)) for place in places[:11]])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)


def test_a_picture_is_a_picture_whatever_it_comes_as(model: Model, places: list[str]) -> None:
    path = Path(places[12])
    pixels = decode(path).pixels
    image = Image.open(path)
    said = logits(stream([str(path), path, path.read_bytes(), pixels, image, Image.fromarray(pixels)], model))
    np.testing.assert_allclose(said, np.repeat(said[:1], 6, axis=0), rtol=1e-5, atol=1e-5)
    other = logits(stream([places[0]], model))
    assert np.abs(other - said[:1]).max() > 1e-2


def test_a_probe_is_the_embedding_times_its_head(table: Manifest) -> None:
    model = Model(network_bundle(table, "probe"), "onnxruntime")
    x = features(table, model)
    assert x.shape == (33, 1904)
    w = model.bundle.weights
    expected = np.asarray(x, np.float64) @ w["head.weight"] + w["head.bias"]
    np.testing.assert_allclose(of_table(table, model).logits, expected, rtol=1e-4, atol=1e-4)


BAD: list[Any] = [b"no picture", "/nowhere/at/all.jpg", np.zeros((4, 4)), None, b""]


@pytest.mark.parametrize(
    "where",
    [
        {0},
        {10},
        {20},
        {0, 1, 2, 19, 20},
        {7, 8, 9},
        set(range(8)),
        set(range(8, 21)),
        set(range(0, 21, 2)),
        set(range(20)),
        set(range(21)),
    ],
)
def test_errors_keep_their_place(where: set[int], simple: Model, places: list[str]) -> None:
    given = [BAD[at % len(BAD)] if at in where else places[at] for at in range(21)]
    found = list(stream(given, simple))
    assert [isinstance(result, UnreadableImage) for result in found] == [at in where for at in range(21)]
    good = [at for at in range(21) if at not in where]
    if good:
        expected = logits(stream([places[at] for at in good], simple))
        # not to the last bit: a matrix product of seven rows may add up in another order than one of eight
        np.testing.assert_allclose(np.stack([found[at] for at in good]), expected, atol=1e-5)  # type: ignore[arg-type]


def test_what_is_wrong_is_said_of_each(simple: Model) -> None:
    said = [str(error) for error in stream(BAD, simple)]
    assert len(said) == len(BAD)
    for words, message in zip(("not", "nowhere", "array of float64", "NoneType", "empty"), said, strict=True):
        assert words in message
        assert "Allowed" in message or "Try" in message


def test_a_stream_takes_what_it_needs_and_gives_what_it_has(simple: Model, photos: dict[str, Pixels]) -> None:
    """An endless camera: answers come while pictures go on, and few are held."""
    taken = [0]

    def camera() -> Iterator[Pixels]:
        while True:
            taken[0] += 1
            yield photos["chelsea"]

    answers = stream(camera(), simple)
    for number in range(100):
        next(answers)
        assert taken[0] < number + 100
    answers.close()  # type: ignore[attr-defined]


def test_errors_do_not_hold_their_files(simple: Model, places: list[str]) -> None:
    for error in stream([b"GIF89a" + bytes(1000), places[0], b"\xff\xd8\xff", "/nowhere.png"], simple):
        if isinstance(error, UnreadableImage):  # frames of a traceback would hold the bytes until all answers are given
            assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_transparent_pictures_are_seen_on_the_bundles_background(simple: Model, photos: dict[str, Pixels]) -> None:
    clear = np.dstack([photos["coffee"], np.zeros(photos["coffee"].shape[:2], np.uint8)])
    for colour in ((255, 0, 0), (127, 127, 127)):
        spec = replace(simple.bundle.preprocess, background=colour)
        model = Model(replace(simple.bundle, preprocess=spec))
        flat = np.broadcast_to(np.array(colour, np.uint8), photos["coffee"].shape)
        np.testing.assert_array_equal(
            logits(stream([clear], model)), logits(stream([np.ascontiguousarray(flat)], model))
        )


def test_bundles_of_a_newer_version_name_what_they_need(table: Manifest, places: list[str]) -> None:
    bundle = classical_bundle(table, "colour_histogram", "naive_bayes")
    for key, word in (("descriptor", "vlad"), ("classifier", "gradient_boosting")):
        newer = Model(replace(bundle, architecture={**bundle.architecture, key: word}))
        with pytest.raises(BundleError, match=rf"this bundle needs the {key} '{word}'\. Allowed: .* Try: pip install"):
            list(stream(places[:1], newer))


def test_nothing_is_compiled_before_the_first_picture(table: Manifest) -> None:
    model = Model(network_bundle(table, "probe"))
    assert list(stream([], model)) == []
    assert len(list(stream([b"nothing"] * 20, model))) == 20
    assert "network" not in model.__dict__


def test_imagenet_knows_a_cat_and_a_cup(photos: dict[str, Pixels]) -> None:
    bundle = predict.imagenet()
    assert len(bundle.classes) == 1000
    cat, cup = logits(stream([photos["chelsea"], photos["coffee"]], Model(bundle)))
    assert bundle.classes[int(cat.argmax())].split(",")[0] in ("Egyptian cat", "tabby", "tiger cat")
    best = [bundle.classes[k].split(",")[0] for k in np.argsort(-cup)[:3]]
    assert {"espresso", "cup"} & set(best[:1])
    assert {"espresso", "cup"} <= set(best)


def test_imagenet_is_timms_network_to_the_last_logit(photos: dict[str, Pixels]) -> None:
    import timm
    import torch

    from visum.data.pixels import fit_batch, tensor

    bundle = predict.imagenet()
    network = timm.create_model(bundle.architecture["backbone"], pretrained=False).eval()
    state = {k[9:]: torch.from_numpy(np.array(v)) for k, v in bundle.weights.items() if k.startswith("backbone.")}
    network.load_state_dict(state)
    pictures = list(photos.values())
    with torch.inference_mode():
        expected = network(torch.from_numpy(tensor(fit_batch(pictures, bundle.preprocess), bundle.preprocess))).numpy()
    said = logits(stream(pictures, Model(bundle, "onnxruntime")))
    np.testing.assert_allclose(said, expected, atol=5e-3 * np.abs(expected).max())
    np.testing.assert_array_equal(said.argmax(1), expected.argmax(1))


def test_unlabelled_tables_have_predictions(simple: Model, folder: Path) -> None:
    table, _ = load.index(images([folder / "coffee"]), simple.bundle.preprocess)
    said = of_table(table, simple)
    assert said.labels.tolist() == [-1] * 11
    assert said.logits.shape == (11, 3)
