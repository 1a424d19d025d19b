"""Examples on real digits: what is nearest, what helped, what stands for a class; and what is said where nothing is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from visum.errors import ModelError, UsageError
from visum.workflow import examples, origin

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


def some(digits: Path, split: str) -> tuple[str, ...]:
    return tuple(str(path) for path in sorted((digits / split).rglob("*.png"))[::9])


def test_nearest_digits_are_mostly_the_same_and_all_of_train(
    network_run: Run, split_digits: Path, tmp_path: Path
) -> None:
    found = examples.explain_examples(network_run.folder, some(split_digits, "test"), out=tmp_path, count=5)
    assert len(found) >= 5
    assert all(len(each.nearest) == 5 for each in found)
    likes = [(each.answer, like) for each in found for like in each.nearest]
    assert all(like.id.startswith("train/") for _, like in likes)
    assert sum(answer == like.label for answer, like in likes) > 0.6 * len(likes)
    for each in found:
        assert [like.distance for like in each.nearest] == sorted(like.distance for like in each.nearest)
        assert each.helped[0].effect == max(like.effect for like in each.helped) > 0
        assert each.hurt[0].effect < 0
        assert each.helped[0].label == each.answer
    assert json.dumps(examples.as_json(found))
    page = (tmp_path / "examples.html").read_text()
    assert page.count("<img") == sum(1 + 5 + len(each.helped) + len(each.hurt) for each in found)


def test_a_training_picture_is_not_its_own_neighbour(network_run: Run, split_digits: Path) -> None:
    path = some(split_digits, "train")[0]
    (found,) = examples.explain_examples(network_run.folder, (path,))
    shown = {like.id for row in (found.nearest, found.helped, found.hurt) for like in row}
    assert shown
    assert not any(name.endswith(Path(path).name) for name in shown)


def test_without_a_run_around_it_data_is_asked_for(network_run: Run, split_digits: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(network_run.folder / "bundle", alone)
    with pytest.raises(UsageError, match=r"no run lies around .* --data"):
        examples.explain_examples(alone, some(split_digits, "test"))
    one = some(split_digits, "test")[:1]
    assert examples.explain_examples(alone, one, data=split_digits) == examples.explain_examples(
        network_run.folder, one
    )


def test_prototypes_are_of_their_class(network_run: Run, split_digits: Path, tmp_path: Path) -> None:
    found = examples.explain_prototypes(network_run.folder, split_digits, out=tmp_path, count=3)
    assert [each.name for each in found] == [str(k) for k in range(10)]
    for each in found:
        assert len(each.prototypes) == len(each.criticisms) == 3
        assert not set(each.prototypes) & set(each.criticisms)
        assert all(name.split("/")[1] == each.name for name in each.prototypes + each.criticisms)
    assert "prototypes" in (tmp_path / "prototypes.html").read_text()


def test_classical_bundles_have_no_neighbours(
    network_run: Run, split_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    plain = origin.opened(network_run.folder)
    monkeypatch.setattr(origin, "opened", lambda _: replace(plain, architecture={"kind": "classical"}))
    with pytest.raises(ModelError, match="classical model"):
        examples.explain_examples(network_run.folder, some(split_digits, "test"))
    with pytest.raises(ModelError, match="classical model"):
        examples.explain_prototypes(network_run.folder, split_digits)
