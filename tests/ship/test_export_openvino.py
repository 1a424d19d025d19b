"""OpenVINO IR: the same answers, and edits of either file are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import export, model, sealed_again, wanted, written
from numpy.typing import NDArray

from visum.errors import BundleError
from visum.ship.export import openvino, replay

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture
def place(tmp_path: Path, photos: Photos) -> Path:
    return written(tmp_path / "ir", model(), photos, "openvino")


def test_it_answers_as_the_bundle_and_verifies(place: Path, photos: Photos) -> None:
    run = openvino.load({name: (place / name).read_bytes() for name in ("model.xml", "model.bin")})
    seen = [np.ascontiguousarray(photo[:64, :48]) for photo in photos.values()]
    np.testing.assert_allclose(run(np.stack(seen)), wanted(model(), seen), rtol=0, atol=1e-5)
    assert run(np.zeros((1, 7, 300, 3), np.uint8)).shape == (1, 3)
    found = replay.verify(place)
    assert found.passed, found.message
    assert found.largest_difference < 1e-5


def test_other_weights_in_its_place_fail(place: Path, photos: Photos) -> None:
    (place / "model.bin").write_bytes(export(model(7), photos, "openvino").files["model.bin"])
    with pytest.raises(BundleError, match=r"model\.bin is not the file that was written"):
        replay.replayed(place)
    sealed_again(place)
    found = replay.replayed(place)
    assert not found.passed
    assert found.largest_difference > 1e-2


@pytest.mark.parametrize("xml", [b"<net/>", b"", b"no xml at all"])
def test_what_is_no_graph_says_so(place: Path, xml: bytes) -> None:
    with pytest.raises(BundleError, match=r"OpenVINO cannot load model\.xml.*visum export BUNDLE"):
        openvino.load({"model.xml": xml, "model.bin": (place / "model.bin").read_bytes()})


def test_weights_that_are_cut_short_are_an_error(place: Path) -> None:
    with pytest.raises(BundleError, match="OpenVINO cannot load"):
        openvino.load({"model.xml": (place / "model.xml").read_bytes(), "model.bin": b"123"})


def test_facts_are_in_the_file(place: Path) -> None:
    assert b'name="visum"' in (place / "model.xml").read_bytes() or b"<visum" in (place / "model.xml").read_bytes()
