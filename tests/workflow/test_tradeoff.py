"""Plain accuracy against accuracy under attack: of real digits, and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visum import train
from visum.errors import UsageError
from visum.judge.intervals import wilson
from visum.ship.report import tradeoff as page
from visum.workflow.tradeoff import SHARES, tradeoff

CNN: dict[str, Any] = {"weights": "none", "backbone": "cnn:widths=16-32", "size": 16, "batch": 16, "mixup": 0.0}


def told(**accuracies: tuple[float, ...]) -> dict[str, Any]:
    """Facts as the command writes them: name → accuracy at each radius."""

    def score(value: float) -> dict[str, Any]:
        low, high = (float(end) for end in wilson(round(200 * value), 200))
        return {"value": value, "low": low, "high": high, "n": 200, "method": "wilson"}

    models = [
        {
            "name": name,
            "clean": score(values[0]),
            "robust": score(values[4]),
            "curve": [{"radius": 0.3 * r, "accuracy": score(v)} for r, v in zip(SHARES, values, strict=True)],
            "trained_on": 0,
        }
        for name, values in accuracies.items()
    ]
    return {"n": 200, "of": 1000, "split": "test", "epsilon": "0.3", "steps": 40, "models": models}


PLAIN, TOUGH = (0.995, 0.6, 0.1, 0.0, 0.0, 0.0), (0.98, 0.97, 0.96, 0.94, 0.91, 0.2)


def test_the_page_says_what_was_bought_and_for_how_much() -> None:
    facts = told(plain=PLAIN, tough=TOUGH)
    lede = page.lede(facts)
    assert "tough stays right on 91.0" in lede
    assert "91.0 points more under attack, for 1.5 points less on plain pictures" in lede
    assert "Nothing here is better at either" in page.lede(told(tough=TOUGH))
    text = page.text(facts)
    assert text.count("<svg") == 2 + 2  # two pictures, two keys
    assert text.count('class="seen"') == 2
    assert text.count('class="dot"') == 2 * len(SHARES)
    assert "Drawn from 1,000 labelled pictures (test)." in text
    assert "<script" not in text
    assert "<b>bold</b>" not in page.text(told(**{"<b>bold</b>": PLAIN}))


def test_points_are_where_the_numbers_say() -> None:
    assert page._at(0.0, 0.0) == (page.LEFT, page.TOP + page.HIGH)
    assert page._at(1.0, 1.0) == (page.LEFT + page.WIDE, page.TOP)
    x, y = page._at(0.98, 0.91)
    assert f'cx="{x:g}"' in page.plane(told(tough=TOUGH)) or f'cx="{x}"' in page.plane(told(tough=TOUGH))
    assert y < page._at(0, 0.9)[1]


@pytest.mark.slow
def test_of_real_digits(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", epochs=10, augment="none", learning_rate=0.01, **CNN)
    made = tradeoff((run.folder,), data=digits, epsilon="0.2", steps=5, images=60, out=tmp_path / "t")
    (model,) = made.facts["models"]
    accuracies = [point["accuracy"]["value"] for point in model["curve"]]
    assert accuracies[0] == model["clean"]["value"] > 0.7
    assert accuracies[4] == model["robust"]["value"] < accuracies[0] - 0.3
    assert np.all(np.diff(accuracies) <= 0.05)
    assert model["trained_on"] > 0
    assert json.loads((tmp_path / "t" / "tradeoff.json").read_text()) == made.facts
    assert "trained on" in made.page.read_text()


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle"):
        tradeoff((), data=tmp_path)
    with pytest.raises(UsageError, match="more than once"):
        tradeoff((tmp_path, tmp_path), data=tmp_path)
    with pytest.raises(UsageError, match="--steps 0"):
        tradeoff((tmp_path,), data=tmp_path, steps=0)
    with pytest.raises(UsageError, match="epsilon"):
        tradeoff((tmp_path,), data=tmp_path, epsilon="a lot")
