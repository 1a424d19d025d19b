"""What is asked before work begins: enough data, sizes that make sense, settings that exist, a place to write."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.errors import NotEnoughData, RecipeError, StorageError, UsageError
from visum.types import column, manifest
from visum.workflow.ready import (
    ENLARGE,
    LEAST_SIZE,
    STEP,
    check_enough,
    check_out,
    check_settings,
    fitting_size,
    glance,
)


def rows(labels: list[tuple[int, ...]], classes: int, task: str = "multiclass") -> object:
    names = [f"{n}.png" for n in range(len(labels))]
    return manifest("/data", task, [f"c{k}" for k in range(classes)], names, labels)  # type: ignore[arg-type]


def test_one_class_is_not_enough_whatever_else_has_a_name() -> None:
    with pytest.raises(
        NotEnoughData, match=r"only one class with images \('c1'\) in /data.*two classes or more.*sub-folder"
    ):
        check_enough(rows([(1,)] * 50, 3))  # type: ignore[arg-type]
    with pytest.raises(NotEnoughData, match="no labelled image in /data"):
        check_enough(rows([()] * 50, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(("images", "classes", "least"), [(9, 2, 10), (4, 2, 10), (14, 15, 15)])
def test_fewer_images_than_ten_or_than_classes(images: int, classes: int, least: int) -> None:
    with pytest.raises(
        NotEnoughData, match=f"{images} labelled images for {classes} classes.*{least} or more.*more images"
    ):
        check_enough(rows([(n % min(images, classes),) for n in range(images)], classes))  # type: ignore[arg-type]


def test_one_image_a_class_leaves_none_to_validate_with() -> None:
    single = rows([(n,) for n in range(12)], 12)
    with pytest.raises(NotEnoughData, match=r"one image for each of 12 classes.*a given validation split.*more images"):
        check_enough(single)  # type: ignore[arg-type]
    check_enough(replace(single, splits=column(["train"] * 11 + ["validation"])))  # type: ignore[type-var]


def test_enough_is_enough() -> None:
    check_enough(rows([(n % 2,) for n in range(10)], 2))  # type: ignore[arg-type]
    check_enough(rows([(n % 2,) for n in range(10)] + [()] * 90, 2))  # type: ignore[arg-type]
    check_enough(rows([(0,), ()] * 5, 1, "multilabel"))  # type: ignore[arg-type]


def test_unlabelled_rows_do_not_count() -> None:
    with pytest.raises(NotEnoughData, match="9 labelled images"):
        check_enough(rows([(n % 2,) for n in range(9)] + [()] * 90, 2))  # type: ignore[arg-type]


def test_small_pictures_get_a_small_network_input() -> None:
    sizes = [fitting_size(side, 224) for side in range(1, 3000)]
    assert sizes == sorted(sizes)
    assert sizes[0] == LEAST_SIZE
    assert sizes[-1] == fitting_size(0, 224) == 224
    for side, size in enumerate(sizes, 1):
        assert LEAST_SIZE <= size <= 224
        assert size % STEP == 0
        if LEAST_SIZE < size < 224:
            assert abs(size - ENLARGE * side) <= STEP / 2


def test_a_glance_sees_the_longer_side_and_passes_over_what_cannot_be_read(
    tmp_path: Path, photos: dict[str, NDArray[np.uint8]]
) -> None:
    for number in range(6):
        Image.fromarray(photos["chelsea"]).save(tmp_path / f"{number}.png")
    (tmp_path / "6.png").write_bytes(b"nothing")
    table = manifest(tmp_path, "multiclass", ("a",), [f"{n}.png" for n in range(8)], [(0,)] * 8)
    seen = glance(table)
    assert seen.side == max(photos["chelsea"].shape)
    assert 0 < seen.seconds < 5
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "0.png").write_bytes(b"")
    assert glance(manifest(tmp_path / "only", "multiclass", ("a",), ["0.png"], [(0,)])).side == 0


def test_every_impossible_setting_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as told:
        check_settings(
            "audit", size=0, engine="x", extra_formats=["GIF"], views=["mirror", "mirror"], fractions=(1, 0, 0)
        )
    assert len(told.value.faults) == 5
    text = str(told.value)
    for allowed in (
        "16 to 1024 pixels",
        "auto, openvino, onnxruntime, torch",
        "TIFF",
        "plain, mirror, each once",
        "sum to 1",
    ):
        assert allowed in text
    assert "visum audit --help" in text


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.15), (0.7, 0.3, float("nan")), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.4, 0.2)]
)
def test_shares_that_are_none(fractions: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError, match=r"fractions are .*0\.7,0\.15,0\.15"):
        check_settings("train", fractions=fractions)


def test_possible_settings_pass() -> None:
    check_settings(
        "train", size=32, engine="auto", extra_formats=("TIFF",), views=("plain", "mirror"), fractions=(0.8, 0.2, 0)
    )
    check_settings("train", size=1024)


def test_a_place_to_write(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    check_out(tmp_path / "new" / "deep", data)
    assert (tmp_path / "new" / "deep").is_dir()
    check_out(data.with_name("data-2"), data)  # a name that only begins alike
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        check_out(tmp_path / "file", data)
    with pytest.raises(UsageError, match="not UTF-8"):
        check_out(tmp_path / os.fsdecode(b"\xff"), data)


def test_results_among_the_data_would_become_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "photos"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data)
    for out, given in ((data, data), (data / "run", data), (tmp_path / "link" / "run", data), (Path("runs/x"), Path())):
        with pytest.raises(
            UsageError, match=r"lies inside the data .*a folder outside the data.*--out \.\./photos-run"
        ):
            check_out(out, given)
    assert list(data.iterdir()) == []
    (data / "list.csv").write_text("path,label")
    check_out(data / "run", data / "list.csv")  # a table names its pictures: a folder beside them harms nothing
