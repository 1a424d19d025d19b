"""The doctor: this installation line by line, and what a model really sees of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import corpus
import visum
from visum.data.decode import decode
from visum.data.pixels import fit, tensor
from visum.errors import BundleError, RecipeError, StorageError, UnreadableImage
from visum.models import compiled, weights
from visum.types import Preprocess
from visum.workflow import doctor as room
from visum.workflow.doctor import Check, Seen, doctor
from visum.workflow.outcome import Run

Photos = dict[str, NDArray[np.uint8]]


def seen(image: Path, **settings: object) -> Seen:
    found = doctor(image, **settings)  # type: ignore[arg-type]
    assert isinstance(found, Seen)
    return found


def test_an_installation_is_told_line_by_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "installed", lambda: ("openvino",))
    spec = Preprocess(size=64)
    real = weights.find
    monkeypatch.setattr(room.weights, "find", lambda: weights.Backbone(**{**real().__dict__, "preprocess": spec}))
    found = doctor()
    assert isinstance(found, tuple)
    by_name = {check.name: check for check in found}
    assert by_name["visum"].found == visum.__version__
    assert {"python", "processor", "numpy", "torch", "openvino", "cache", "weights", "engine openvino"} <= set(by_name)
    assert all(check.well for check in found), [check for check in found if not check.well]
    assert "images/s" in by_name["engine openvino"].found
    assert "efficientnet_lite0" in by_name["weights"].found


def test_an_engine_that_does_not_run_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> compiled.Engine:
        raise RuntimeError("illegal instruction")

    monkeypatch.setitem(compiled.ENGINES, "openvino", broken)
    monkeypatch.setattr(compiled, "installed", lambda: ("openvino",))
    found = doctor()
    check = next(check for check in found if isinstance(check, Check) and check.name == "engine openvino")
    assert not check.well
    assert "RuntimeError: illegal instruction" in check.found
    assert check.next == "pip install -U openvino"


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISUM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(weights, "installed", lambda: ())
    check = next(check for check in doctor() if isinstance(check, Check) and check.name == "cache")
    assert not check.well
    assert "is a file" in check.found
    assert "VISUM_CACHE" in check.next


def test_the_png_is_the_square_that_the_network_gets(photos: Photos, tmp_path: Path) -> None:
    path = tmp_path / "coffee.jpg"
    Image.fromarray(photos["coffee"]).save(path, quality=95)
    found = seen(path, out=tmp_path / "seen.png")
    spec = weights.find().preprocess
    square = fit(decode(path, background=spec.background, shortest=spec.size).pixels, spec)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "seen.png")), square)
    x = tensor(square[None], spec)
    assert found.shape == x.shape == (1, 3, 224, 224)
    assert (found.low, found.high, found.mean) == pytest.approx((x.min(), x.max(), x.mean()))
    assert (found.format, found.width, found.height) == ("JPEG", 600, 400)
    told = " | ".join(found.alterations)
    assert "reduced to 224 x 149" in told
    assert "padded to 224 x 224 with colour 127,127,127" in told
    assert "(x - 127.5) / 127.5 per channel, RGB" in told


def test_each_alteration_is_named(photos: Photos, tmp_path: Path) -> None:
    big = Image.fromarray(photos["coffee"]).resize((2400, 1600))
    turned, clear = tmp_path / "turned.jpg", tmp_path / "clear.png"
    big.save(turned, exif=corpus.exif(6))
    rgba = Image.fromarray(photos["chelsea"]).convert("RGBA")
    rgba.putalpha(80)
    rgba.save(clear)
    found = seen(turned, out=tmp_path / "1.png")
    told = " | ".join(found.alterations)
    assert (found.width, found.height) == (1600, 2400)
    assert "orientation 6" in told
    assert "JPEG scaling" in told
    assert "on background" in " | ".join(seen(clear, out=tmp_path / "2.png").alterations)


def test_the_bundle_decides_and_the_size_may_be_changed(run: Run, split_digits: Path, tmp_path: Path) -> None:
    path = next((split_digits / "test" / "3").iterdir())
    found = seen(path, bundle=run.bundle, out=tmp_path / "seen.png")
    assert found.shape == (1, 3, 64, 64)
    assert "enlarged to 64 x 64 (bicubic)" in found.alterations
    assert seen(path, size=96, out=tmp_path / "seen.png").shape == (1, 3, 96, 96)


def test_the_png_goes_beside_us_under_the_name_of_the_image(
    split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = next((split_digits / "test" / "3").iterdir())
    found = seen(path, size=64)
    assert found.picture == Path(f"{path.stem}.seen.png")
    assert [each.name for each in tmp_path.iterdir()] == [f"{path.stem}.seen.png"]


def test_crop_and_squash_say_what_they_do(photos: Photos, tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "chelsea.png"
    Image.fromarray(photos["chelsea"]).save(path)
    spec = weights.find().preprocess
    decoded = decode(path)
    crop, squash = (room._scaled(decoded, replace(spec, fit=way)) for way in ("crop", "squash"))  # type: ignore[arg-type]
    assert crop == ["151 of 451 px cut off the longer side", "resized to 224 x 224 (bicubic)"]
    assert squash == ["squashed to 224 x 224 (bicubic); proportions change"]


def test_refusals(run: Run, split_digits: Path, tmp_path: Path) -> None:
    path = next((split_digits / "test" / "3").iterdir())
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UnreadableImage, match=r"text.jpg: not a picture that is read: text.*Allowed: JPEG"):
        doctor(tmp_path / "text.jpg")
    with pytest.raises(UnreadableImage, match="no such file"):
        doctor(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImage, match="folder"):
        doctor(tmp_path)
    with pytest.raises(BundleError, match="has no bundle"):
        doctor(path, bundle=tmp_path)
    with pytest.raises(RecipeError, match="16 to 1024"):
        doctor(path, size=5000)
    with pytest.raises(StorageError, match="cannot write"):
        doctor(path, size=64, out=tmp_path / "text.jpg" / "seen.png")
