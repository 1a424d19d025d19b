"""How unsure the answers of a network are that was trained with dropout."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import visum
from visum import train
from visum.cli.answers import WRITERS
from visum.errors import UsageError
from workflow.test_scratch import CNN


@pytest.fixture(scope="module")
def dropped(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    more = {**CNN, "backbone": "cnn:widths=16-32", "dropout": 0.3, "augment": "none", "learning_rate": 0.01}
    return train(digits, out=tmp_path_factory.mktemp("runs") / "dropped", epochs=8, **more)


@pytest.mark.slow
def test_strange_pictures_are_answered_less_surely_than_digits(
    dropped: Any, digits: Path, photos: dict[str, Any]
) -> None:
    model = visum.load(dropped.folder, mc_dropout=30)
    known = model.predict(sorted(digits.rglob("*.png"))[:60])
    strange = model.predict([photos["chelsea"], photos["coffee"], 255 - photos["astronaut"]])
    assert all(answer.uncertainty is not None and 0 <= answer.uncertainty <= np.log(10) for answer in known)
    assert np.median([a.uncertainty for a in strange]) > np.median([a.uncertainty for a in known])  # type: ignore[type-var]
    for answer in known:
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-4)
        assert answer.probability == pytest.approx(answer.probabilities.max(), abs=1e-6)


def test_the_same_picture_is_as_unsure_each_time_and_sure_labels_stay(dropped: Any, digits: Path) -> None:
    some = sorted(digits.rglob("*.png"))[:20]
    model, plain = visum.load(dropped.folder, mc_dropout=20), visum.load(dropped.folder)
    first, again = model.predict(some), model.predict(some[::-1])[::-1]
    assert [a.uncertainty for a in first] == pytest.approx([a.uncertainty for a in again], abs=1e-5)
    for one, usual in zip(first, plain.predict(some), strict=True):
        assert usual.uncertainty is None
        if usual.probability > 0.9:
            assert one.label == usual.label


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "table"])
def test_every_form_says_it(form: str, dropped: Any, digits: Path, tmp_path: Path) -> None:
    picture, broken = next(digits.rglob("*.png")), tmp_path / "a.png"
    broken.write_bytes(b"no picture")
    out = tmp_path / f"answers.{form}"
    assert WRITERS[form](visum.predict(dropped.folder, [broken, picture], mc_dropout=5), out, 5) == 1
    if form == "csv":
        unreadable, read = csv.DictReader(out.open())
        assert unreadable["uncertainty"] == ""
        assert float(read["uncertainty"]) >= 0
    elif form == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert "uncertainty" not in lines[0]
        assert lines[1]["uncertainty"] >= 0
    elif form == "parquet":
        import pyarrow.parquet as pq

        assert pq.read_table(out)["uncertainty"].to_pylist()[0] is None
        assert pq.read_table(out)["uncertainty"].to_pylist()[1] >= 0
    else:
        assert "passes of dropout disagree by 0." in out.read_text()


@pytest.mark.parametrize("passes", [1, -1, 10_000])
def test_what_cannot_be_asked(passes: int, dropped: Any, run: Any) -> None:
    with pytest.raises(UsageError, match="2 to 1000"):
        visum.load(dropped.folder, mc_dropout=passes)
    with pytest.raises(UsageError, match="not trained with dropout"):
        visum.load(run.folder, mc_dropout=20)
