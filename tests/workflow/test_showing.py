"""``visum train DATA --show-batch``: what is on the sheet is what the network is handed in training, bit for bit."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import visum as library
from cli.conftest import Visum
from cli.conftest import visum as visum
from visum.data import load, sources
from visum.errors import NotEnoughData, UsageError
from visum.models import weights
from visum.models.embed import Augmented, Network, embed
from visum.types import Preprocess, manifest, rows
from visum.workflow import record, showing
from visum.workflow.sheet import GAP, MARGIN, NAMES
from visum.workflow.showing import shares, show_batch
from visum.workflow.train import train


def tiles(picture: Path, size: int, columns: int, count: int) -> list[list[NDArray[np.uint8]]]:
    """The sheet taken apart again: by row and column."""
    page = np.asarray(Image.open(picture))
    top = MARGIN + 78 + 30
    tall = size + 28
    return [
        [
            page[top + row * tall : top + row * tall + size, left : left + size]
            for left in (MARGIN + NAMES + column * (size + GAP) for column in range(columns))
        ]
        for row in range(count)
    ]


def test_it_shows_what_the_network_is_handed(clothing: Path, tmp_path: Path) -> None:
    """Spied upon inside the engine, while ``embed`` runs on the same files under the views that fine-tuning takes."""
    data = tmp_path / "data"
    for name in ("dress", "hat", "shoes"):
        (data / name).mkdir(parents=True)
        for path in sorted((clothing / "train" / name).iterdir())[:4]:
            shutil.copy(path, data / name)
    batch = show_batch(data, out=tmp_path / "run", size=96, augment="medium", seed=3, mixup=0)
    assert batch.picture == tmp_path / "run" / "batch.png"
    assert (batch.size, batch.views) == (96, ("plain", *(f"view {n}" for n in range(1, 6))))
    assert [name.split("/")[0] for name in batch.ids] == list(batch.labels)
    assert set(batch.labels[:3]) == set(batch.labels[3:]) == {"dress", "hat", "shoes"}, "classes take turns"

    handed: list[NDArray[np.uint8]] = []

    class Spy:
        name, precision = "spy", "float32"

        def run(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
            handed.append(x.copy())
            return np.zeros((len(x), 4), np.float32)

    spec = replace(weights.spec(), size=96)
    base = weights.Backbone("spied upon", {}, spec, (), "of a spy")
    table, _ = load.index(sources.read(data).manifest, spec)
    order = [list(table.ids).index(name) for name in batch.ids]
    some = rows(table, np.array(order))
    shown = tiles(batch.picture, 96, 6, 6)
    for column, view in enumerate(["plain", *(Augmented("medium", 3, epoch) for epoch in range(5))]):
        handed.clear()
        embed(some, Network(base, spec, build=lambda *_: Spy()), views=(view,))  # type: ignore[arg-type]
        seen = np.concatenate(handed)
        for row in range(6):
            np.testing.assert_array_equal(shown[row][column], seen[row])
    assert not np.array_equal(shown[0][1], shown[0][2])


def test_only_train_pictures_are_shown_where_there_is_a_split(split_digits: Path, tmp_path: Path) -> None:
    for seed in range(3):
        batch = show_batch(split_digits, out=tmp_path / "run", size=32, augment="none", seed=seed)
        assert all(name.startswith("train/") for name in batch.ids)
        assert batch.views == ("plain",)
        assert len(set(batch.labels)) == 6
    assert show_batch(split_digits, out=tmp_path / "run", size=32, seed=1).ids != batch.ids


def test_a_run_may_follow_in_the_same_folder_and_keeps_the_picture(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = show_batch(digits, out=out, size=64).picture.read_bytes()
    settings = {"data": str(digits), "overwrite": False, "seed": 0}
    with record.opened(out, settings, "visum train"):
        pass
    assert show_batch(digits, out=out, size=64).picture.read_bytes() == first
    with record.opened(out, {**settings, "overwrite": True, "seed": 1}, "visum train"):
        pass
    assert (out / "batch.png").read_bytes() == first
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds other files"):
        show_batch(digits, out=tmp_path / "other", size=64)
    with pytest.raises(UsageError, match="lies inside the data"):
        show_batch(digits, out=digits / "run", size=64)
    assert not (digits / "run").exists()


def test_unreadable_pictures_are_passed_over(tmp_path: Path, digits: Path) -> None:
    data = tmp_path / "data"
    for number, path in enumerate(sorted(digits.rglob("*.png"))[:40]):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).write_bytes(path.read_bytes() if number % 3 == 0 else b"no picture")
        (data / "1").mkdir(parents=True, exist_ok=True)
        (data / "1" / path.name).write_bytes(path.read_bytes()[:40])
    batch = show_batch(data, out=tmp_path / "run", size=32)
    assert batch.labels == ("0",) * 6
    for path in data.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(NotEnoughData, match="could be read"):
        show_batch(data, out=tmp_path / "run", size=32)


def test_labels_of_any_kind_are_named() -> None:
    several = manifest("/", "multilabel", ("a", "b"), ["1", "2", "3"], [(0, 1), (), (1,)])
    assert [showing.named(several, row) for row in range(3)] == ["a, b", "none of the classes", "b"]
    some = manifest("/", "multiclass", ("a", "b"), list("123456"), [(0,), (), (0,), (1,), (0,), (1,)])
    order = list(showing._candidates(some, 0))
    assert sorted(order) == [0, 2, 3, 4, 5], "an unlabelled picture is not trained on"
    assert {some.labels[row] for row in order[:2]} == {(0,), (1,)}
    assert shares(np.array([0.0, 0.25, 0.75], np.float32), ("a", "b", "c")) == ["75 % c", "25 % b"]
    assert shares(np.array([1.0, 0.001, 0.0], np.float32), ("a", "b", "c")) == ["100 % a"]


def test_mixed_pictures_have_a_row_of_their_own(split_digits: Path, tmp_path: Path) -> None:
    """The mixed row is the mean of two pictures above it, weighted by the shares below it."""
    table, spec = sources.read(split_digits).manifest, Preprocess(size=96)
    some = showing.chosen(table, spec, (), 0)
    batch = showing.Batch(tmp_path, tuple(some.ids), ("",) * len(some), 96, ("plain",))
    without = showing.drawn(some, spec, batch, "none", {"mixup": 0.0, "cutmix": 0.0}, 0)
    page = showing.drawn(some, spec, batch, "none", {"mixup": 1.0, "cutmix": 1.0}, 0)
    assert page.shape[0] > without.shape[0] + 96
    top, left = MARGIN + 78 + 30, MARGIN + NAMES
    plain = [page[top + row * 124 : top + row * 124 + 96, left : left + 96].astype(float) for row in range(6)]
    mixes = [
        page[top + 6 * 124 : top + 6 * 124 + 96, left + column * (96 + GAP) : left + column * (96 + GAP) + 96]
        for column in range(6)
    ]
    draw = np.random.default_rng([0, 0, 0])
    share, partner = draw.beta(1.0, 1.0, 6), draw.permutation(6)  # Zhang et al. 2018, eq. 1
    for row, mixed in enumerate(mixes):
        np.testing.assert_allclose(mixed, share[row] * plain[row] + (1 - share[row]) * plain[partner[row]], atol=1)
    down = top + 6 * 124 + 96 + 10 + 2 * 18 + 28  # below two lines of captions
    for row in range(6):
        cut = page[down : down + 96, left + row * (96 + GAP) : left + row * (96 + GAP) + 96]
        mine, other = (cut == plain[row]).all(2), (cut == plain[partner[row]]).all(2)
        assert (mine | other).all(), "each pixel is one of the two pictures'"


@pytest.mark.parametrize("function", ["show_batch"])
def test_settings_are_those_of_train(function: str) -> None:
    look = getattr(library, function)
    usual, kinds = inspect.signature(train).parameters, get_type_hints(train, include_extras=True)
    own = get_type_hints(look, include_extras=True)
    for name, parameter in inspect.signature(look).parameters.items():
        assert (parameter.default, parameter.kind) == (usual[name].default, usual[name].kind), name
        assert str(own[name]) == str(kinds[name]), name


def test_the_flag_writes_the_picture_and_trains_nothing(visum: Visum, split_digits: Path, tmp_path: Path) -> None:
    typed = ("train", split_digits, "--out", tmp_path / "run", "--size", "64", "--ladder", "majority,hog+linear_svm")
    code, out, err = visum(*typed, "--augment", "strong", "--show-batch")
    assert code == 0
    assert f"picture {tmp_path / 'run' / 'batch.png'}" in out
    assert "Next: the same command without --show-batch" in out
    assert [line.split("  ")[0] for line in err.splitlines()] == ["read", "draw"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["batch.png"]
    strong = (tmp_path / "run" / "batch.png").read_bytes()
    code, out, _ = visum(*typed, "--show-batch", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["size"], len(said["ids"]), Path(said["picture"]).name) == (64, 6, "batch.png")
    assert (tmp_path / "run" / "batch.png").read_bytes() != strong
    # a recipe with any setting of train may be looked at, and its faults are found
    code, _, err = visum(*typed, "--show-batch", "--epochs", "0", "--augment", "bold")
    assert (code, "epochs is 0" in err) == (2, True)
    code, _, err = visum(*typed, "--show-batch", "--augment", "bold")
    assert (code, "no augmentation 'bold'" in err) == (2, True)
    code, _, err = visum("train", "--show-batch")
    assert (code, "Missing argument 'DATA'" in err) == (2, True)
