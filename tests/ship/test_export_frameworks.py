"""JAX, TensorFlow and LiteRT: the bundle's answers at any size, and whatever is tampered with fails, sums made to fit or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import cosine, export, model, network, sealed_again, wanted, written
from numpy.typing import NDArray

from visum.errors import BundleError, UnsafeFile
from visum.ship import export as targets
from visum.ship.export import EXPORTERS, RUNNERS, jax, litert, program, replay, tensorflow
from visum.types import Bundle

Photos = dict[str, NDArray[np.uint8]]
NEEDS = {"jax": ("jax",), "tensorflow": ("tensorflow",), "litert": ("tensorflow", "ai_edge_litert")}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(params=list(NEEDS))
def target(request: pytest.FixtureRequest) -> str:
    for name in NEEDS[request.param]:
        pytest.importorskip(name, reason=f"{name} is not installed")
    return str(request.param)


def channels_swapped() -> Bundle:
    """The same network on pictures whose red is blue."""
    base = model()
    weights = {**base.weights, "backbone.conv": np.ascontiguousarray(base.weights["backbone.conv"][:, ::-1])}
    spec = base.preprocess
    return replace(base, weights=weights, preprocess=replace(spec, mean=spec.mean[::-1], std=spec.std[::-1]))


def other_filter() -> Bundle:
    return replace(model(), preprocess=replace(model().preprocess, filter="bilinear"))


def classes_reordered() -> Bundle:
    base = model()
    turned = {name: np.ascontiguousarray(base.weights[name][..., [1, 0, 2]]) for name in ("head.weight", "head.bias")}
    return replace(base, weights={**base.weights, **turned})


def weights_edited() -> Bundle:
    """One number of the network, by a fifth."""
    kernel = model().weights["backbone.conv"].copy()
    kernel[1, 1, 1, 1] *= 1.2
    return replace(model(), weights={**model().weights, "backbone.conv": kernel})


@pytest.mark.slow
def test_it_answers_as_the_bundle_at_any_size(target: str, photos: Photos) -> None:
    for fit in ("pad", "crop", "squash"):
        bundle = replace(cosine(), preprocess=replace(cosine().preprocess, fit=fit))  # type: ignore[arg-type]
        run = RUNNERS[target](EXPORTERS[target](bundle, {}, network))
        sizes = ((64, 48), (40, 64), (20, 21))
        seen = [np.ascontiguousarray(p[:h, :w]) for p, (h, w) in zip(photos.values(), sizes, strict=True)]
        got = np.concatenate([run(picture[None]) for picture in seen])
        np.testing.assert_allclose(got, wanted(bundle, seen), rtol=0, atol=1e-5)
        np.testing.assert_allclose(run(np.stack([seen[0]] * 3)), got[[0, 0, 0]], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_verifies_and_what_is_tampered_with_does_not(target: str, photos: Photos, tmp_path: Path) -> None:
    place = written(tmp_path / "out", model(), photos, target)
    found = replay.verify(place)
    assert found.passed, found.message
    assert (found.images, found.tolerance) == (3, 1e-4)
    assert found.largest_difference < 1e-5
    for change in (channels_swapped, other_filter, classes_reordered, weights_edited):
        for name, data in EXPORTERS[target](change(), {}, network).items():
            (place / name).write_bytes(data)
        with pytest.raises(BundleError, match="is not the file that was written"):
            replay.replayed(place)
        sums = (place / "SHA256SUMS").read_text()
        sealed_again(place)
        found = replay.replayed(place)
        assert not found.passed, change
        assert found.largest_difference > 1e-3, change
        (place / "SHA256SUMS").write_text(sums)


@pytest.mark.slow
def test_an_ensemble_becomes_one_program(target: str, photos: Photos) -> None:
    from visum.models import ensemble as joining

    for combine in ("probabilities", "vote"):
        bundle = joining.join([model(0), model(1), cosine(2)], combine)
        run = RUNNERS[target](EXPORTERS[target](bundle, {}, network))
        seen = [np.ascontiguousarray(photo[:64, :48]) for photo in photos.values()]
        np.testing.assert_allclose(run(np.stack(seen)), wanted(bundle, seen), rtol=0, atol=1e-5)


def test_jax_is_written_and_proven_without_jax(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """No code and no pickle: JSON and safetensors, which ONNX Runtime runs too."""
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    files = jax.export(model(), {}, network)
    assert sorted(files) == ["model.json", "model.safetensors"]
    seen = [np.ascontiguousarray(photo[:64, :48]) for photo in photos.values()]
    got = targets.proving("jax", files)(np.stack(seen))
    np.testing.assert_allclose(got, wanted(model(), seen), rtol=0, atol=1e-5)
    again = program.read(files)
    assert list(again.squares.values()) == [32]
    assert any(value.shape == (3, 3, 3, 3) for value in again.parameters.values())


@pytest.mark.slow
def test_the_function_of_jax_is_a_function_of_its_parameters(photos: Photos) -> None:
    """It is jitted and differentiated like any other; a step along the gradient makes the first class likelier."""
    jaxlib = pytest.importorskip("jax", reason="JAX is not installed")
    function, parameters = jax.function(jax.export(model(), {}, network))
    picture = np.ascontiguousarray(next(iter(photos.values()))[:64, :48])[None]
    loss = jaxlib.jit(jaxlib.value_and_grad(lambda tree: -jaxlib.numpy.log(function(tree, picture)[0, 1])))
    before, slopes = loss(parameters)
    assert slopes.keys() == parameters.keys()
    after, _ = loss({name: value - 1e-6 * np.asarray(slopes[name]) for name, value in parameters.items()})
    assert float(after) < float(before)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"format": 1}',
        b'{"format": 9}',
        b'{"format": 1, "constants": {"a": {"values": [1], "type": "object", "shape": []}}}',
        b'{"format": 1, "constants": {}, "squares": {}, "nodes": [{"operator": 3}], "entrance": "", "exit": ""}',
    ],
)
def test_what_is_no_description_says_so(text: bytes) -> None:
    files = {**jax.export(model(), {}, network), "model.json": text}
    with pytest.raises(BundleError, match=r"model\.json is (no description|of format 9)"):
        program.read(files)


@pytest.mark.slow
def test_a_saved_model_that_reads_files_is_not_opened(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    module = tf.Module()
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="pixels")
    body = lambda pixels: {"probabilities": tf.strings.length(tf.io.read_file("/etc/hostname"))}  # noqa: E731
    module.classify = tf.function(body, input_signature=(spec,))
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.classify})
    with pytest.raises(UnsafeFile, match=r"needs \['ReadFile'"):
        tensorflow.load({"model/saved_model.pb": (tmp_path / "saved_model.pb").read_bytes()})
    with pytest.raises(BundleError, match=r"saved_model\.pb is no SavedModel"):
        tensorflow.load({"model/saved_model.pb": b"no graph"})


@pytest.mark.slow
def test_what_litert_cannot_load_is_an_error() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    with pytest.raises(BundleError, match=r"LiteRT cannot load model\.tflite.*visum export BUNDLE"):
        litert.load({"model.tflite": b"\x1c\x00\x00\x00TFL3" + b"\x00" * 64})


@pytest.mark.parametrize("target", ["tensorflow", "litert"])
def test_a_package_that_is_missing_is_named(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match=rf"--to {target} needs tensorflow.*visum\[{target}\]"):
        targets.check(target)


def test_the_sealed_names_are_those_that_are_written(photos: Photos, tmp_path: Path) -> None:
    made: Any = written(tmp_path / "out", model(), photos, "jax")
    assert {p.name for p in made.iterdir()} >= {"model.json", "model.safetensors", "export.json", "SHA256SUMS"}
    assert export(model(), photos, "jax").target == "jax"
