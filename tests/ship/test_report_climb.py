"""The chart of what the time bought: positions from the numbers, the best so far, labels that hide nothing."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from visum.ship.report import climb
from visum.ship.report.climb import LEFT, WIDTH, Moment

RUNGS = [
    Moment("majority", 10.0, 0.2, 0.15, 0.25),
    Moment("hog+rbf_svm", 12.0, 0.7, 0.65, 0.75),
    Moment("embedding+knn", 20.0, 0.65, 0.6, 0.7),
    Moment("embedding+probe", 30.0, 0.8, 0.75, 0.85),
    Moment("finetune, epoch 1", 60.0, 0.75, epoch=True),
    Moment("finetune, epoch 2", 80.0, 0.85, epoch=True),
    Moment("finetune", 90.0, 0.9, 0.86, 0.94, chosen=True),
]


def drawn(moments: list[Moment], end: float = 100.0, budget: float | None = None) -> ElementTree.Element:
    svg = climb.climb(moments, "Accuracy", end, budget)
    assert svg is not None
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element, kind: str) -> list[str]:
    return [each.text or "" for each in svg.iter("text") if (each.get("class") or "").split()[0] == kind]


def heights(svg: ElementTree.Element) -> Any:
    """share → y, from two labelled lines of the axis."""
    ticks = [
        t for t in svg.iter("text") if t.get("class") == "tick" and t.get("text-anchor") == "end" and t.get("x") == "45"
    ]
    shares = [float(t.text or 0) / 100 for t in ticks]
    places = [float(t.get("y") or 0) - 4 for t in ticks]
    slope, start = np.polyfit(shares, places, 1)
    return lambda share: start + slope * share


def test_dots_stand_at_their_moment_and_score() -> None:
    svg, y = drawn(RUNGS), heights(drawn(RUNGS))
    dots = {c.find("title").text.split(":")[0]: c for c in svg.iter("circle")}  # type: ignore[union-attr]
    assert set(dots) == {m.name for m in RUNGS} - {"majority"}, "the yardstick lies far below all others"
    for m in RUNGS[1:]:
        assert float(dots[m.name].get("cx") or 0) == pytest.approx(LEFT + WIDTH * m.at / 100, abs=0.06)
        assert float(dots[m.name].get("cy") or 0) == pytest.approx(y(m.value), abs=0.5)
        assert ("epoch" in (dots[m.name].get("class") or "")) == m.epoch
    assert dots["finetune"].get("class") == "dot"
    assert (
        dots["finetune"].find("title").text == "finetune: 90.0\u202f% (86.0 to 94.0\u202f%) after 1\u202fmin 30\u202fs"
    )  # type: ignore[union-attr]
    whiskers = [p.get("d") or "" for p in svg.iter("path") if (p.get("class") or "").startswith("whisker")]
    assert len(whiskers) == 4, "rungs have intervals, epochs have none"
    top = re.search(r"V([\d.]+)", whiskers[-1])
    assert top is not None
    assert float(top[1]) == pytest.approx(y(0.94), abs=0.5)


def test_the_line_is_the_best_rung_so_far() -> None:
    svg = drawn(RUNGS)
    y = heights(svg)
    path = next(p.get("d") or "" for p in svg.iter("path") if p.get("class") == "best")
    corners = [float(v) for v in re.findall(r"V([\d.]+)", path)]
    assert corners == pytest.approx([y(0.8), y(0.9)], abs=0.5), "neither the worse neighbour nor an epoch moves it"
    across = [float(h) for h in re.findall(r"H([\d.]+)", path)]
    assert across == pytest.approx([LEFT + WIDTH * at / 100 for at in (30, 90, 100)], abs=0.1)


def test_a_name_gives_way_to_the_dots_of_its_epochs() -> None:
    """All small dots lie where the name would stand; above its own dot there is room."""
    epochs = [Moment(f"finetune, epoch {n}", 60 + 5 * n, 0.885, epoch=True) for n in range(6)]
    svg = drawn([*RUNGS[1:4], *epochs, RUNGS[-1]])
    name = next(t for t in svg.iter("text") if t.get("class") == "name chosen")
    dot = next(c for c in svg.iter("circle") if c.get("class") == "dot")
    assert (name.text, name.get("text-anchor")) == ("finetune 90.0\u202f%, chosen", "end")
    assert float(name.get("y") or 0) == pytest.approx(float(dot.get("cy") or 0) - 9, abs=0.1)


def test_names_lie_inside_and_apart() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        values, at = draw.uniform(0.6, 0.95, 6), np.sort(draw.uniform(20, 99, 6))
        crowd = [
            Moment(f"rung number {n}", a, v, chosen=n == 5) for n, (a, v) in enumerate(zip(at, values, strict=True))
        ]
        svg = drawn(crowd)
        names = [t for t in svg.iter("text") if (t.get("class") or "").startswith("name")]
        assert len(names) == 6
        boxes = []
        for t in names:
            wide = climb._LETTER * len(t.text or "")
            right = float(t.get("x") or 0) + (wide if t.get("text-anchor") == "start" else 0)
            boxes.append((right - wide, right, float(t.get("y") or 0)))
        for number, (left, right, line) in enumerate(boxes):
            assert left >= LEFT - 1
            assert right <= LEFT + WIDTH + 13
            for a, b, other in boxes[number + 1 :]:
                assert b <= left or right <= a or abs(other - line) >= climb._LINE


def test_time_allowed_is_drawn_where_it_is_near() -> None:
    assert "time allowed" in texts(drawn(RUNGS, budget=120), "tick")
    assert "time allowed" in texts(drawn(RUNGS, budget=60), "tick")
    assert "time allowed" not in texts(drawn(RUNGS, budget=3600), "tick")
    later = drawn(RUNGS, budget=120)
    dot = next(c for c in later.iter("circle") if c.get("class") == "dot")
    assert float(dot.get("cx") or 0) == pytest.approx(LEFT + WIDTH * 90 / 120, abs=0.1)


@pytest.mark.parametrize("end", [0.0, 0.5, 7.0, 100.0, 5_000.0, 1e6, 1e12])
def test_there_are_a_few_ticks_at_any_length(end: float) -> None:
    moments = [Moment("a", end / 2, 0.5), Moment("b", end, 0.6, chosen=True)]
    ticks = texts(drawn(moments, end), "tick")
    assert 4 <= len(ticks) <= 120
    assert ticks.count("0") >= 1


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (1.0, 1.0), (0.998, 1.0), (0.31, 0.32), (0.0, 1.0), (0.7, 0.985)]
)
def test_the_scale_holds_its_values(low: float, high: float) -> None:
    bottom, top, step = climb._scale(low, high)
    assert 0 <= bottom <= low + 1e-9
    assert high - 1e-9 <= top <= 1 + 1e-9
    assert top > bottom
    assert (top - bottom) / step == pytest.approx(round((top - bottom) / step))
    assert (top - bottom) / step <= 8


def rung(name: str, at: float | None, value: float | None, seconds: float = 1.0) -> dict[str, Any]:
    score = {"value": value, "low": None, "high": None, "n": 100, "method": ""}
    moment = {} if at is None else {"at": at}
    return {"name": name, "seconds": seconds, "chosen": False, "metrics": {"accuracy": score}, **moment}


def test_epochs_are_put_between_the_beginning_and_the_end_of_their_rung() -> None:
    line = {"rung": "finetune", "l2": "", "train_loss": "1.5", "validation_score": "0.75"}
    history = [
        {"rung": "probe", "step": "1", "seconds": "0.5", "train_loss": "", "validation_score": "0.5"},
        {**line, "step": "1", "seconds": "12.5"},
        {**line, "step": "2", "seconds": "200"},
        {**line, "step": "3", "seconds": "20", "validation_score": ""},
    ]
    found = climb.moments([rung("finetune", 100, 0.9, 30), rung("probe", 60, 0.8)], "accuracy", history)
    assert [(m.name, m.at, m.value, m.epoch) for m in found] == [
        ("probe", 60.0, 0.8, False),
        ("finetune, epoch 1", 82.5, 0.75, True),
        ("finetune", 100.0, 0.9, False),
        ("finetune, epoch 2", 100.0, 0.75, True),
    ]


def test_runs_of_an_older_version_have_no_chart() -> None:
    assert climb.moments([rung("a", None, 0.5), rung("b", 3, None)], "accuracy", []) == []
    assert climb.climb([], "Accuracy", 10.0, None) is None
    assert climb.climb([Moment("a", 3, 0.5)], "Accuracy", 10.0, None) is None


def test_what_is_left_out_is_told() -> None:
    assert "majority (20.0\u202f%) lies far below" in climb.told(RUNGS)
    assert "epochs" in climb.told(RUNGS)
    near = [Moment("a", 1, 0.5), Moment("b", 2, 0.6), Moment("c", 3, 0.55)]
    assert climb.outlier(near) is None
    assert "left out" not in climb.told(near)
    assert "epochs" not in climb.told(near)
    assert climb.outlier([Moment("a", 1, 0.1, chosen=True), *near[1:]]) is None
    assert climb.outlier([Moment("a", 1, 0.1), near[1]]) is None
