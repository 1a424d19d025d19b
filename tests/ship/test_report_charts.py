"""The report's charts, colours and words against an XML parser, WCAG's contrast formula and spelled-out cases."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from visum.ship.report import charts, words


def test_bar_and_whisker_lengths() -> None:
    svg = ElementTree.fromstring(charts.bar(0.625, 0.5, 0.75, chosen=True, tip="a < b & c"))
    assert svg.find("title").text == "a < b & c"  # type: ignore[union-attr]
    assert [r.get("width") for r in svg.iter("rect")] == ["100", "62.5"]
    inside, outside = [p.get("d") or "" for p in svg.iter("path")]
    assert inside.startswith("M50.00")
    assert inside.endswith("H62.50")
    assert "M62.50 7.5H75.00" in outside
    assert len(list(ElementTree.fromstring(charts.bar(None, None, None, chosen=True, tip="")))) == 2


@pytest.mark.parametrize(("classes", "numbered", "drawn"), [(20, True, True), (60, False, True), (61, False, False)])
def test_confusion_matrix_by_number_of_classes(classes: int, numbered: bool, drawn: bool) -> None:
    svg = charts.matrix((np.eye(classes, dtype=int) * 1234).tolist(), [f"c{k}" for k in range(classes)])
    assert (svg is not None) == drawn
    assert (">1234<" in str(svg)) == numbered


def luminance(colour: np.ndarray) -> float:
    """WCAG 2.2, relative luminance of sRGB 0 … 255."""
    c = colour / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_is_readable(theme: int) -> None:
    """WCAG AA: at least 4.5 for text, also on every shade of the heat map, and 3 for the marks of a chart."""
    style = (Path(charts.__file__).parent / "style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]
    colours = {
        k: np.array([int(v[i : i + 2], 16) for i in (0, 2, 4)]) for k, v in re.findall(r"--(\w+): #(\w{6})", block)
    }
    for text in ("ink", "soft", "accent", "wrong", "serious", "warning", "info"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    assert contrast(colours["soft"], colours["wash"]) >= 4.5
    assert contrast(colours["accent"], colours["wash"]) >= 3
    for _, shade in charts._SHADES:
        for kind in ("accent", "wrong"):
            cell = shade * colours[kind] + (1 - shade) * colours["paper"]
            assert contrast(colours["on" if shade >= charts._STRONG else "ink"], cell) >= 4.5, (kind, shade)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0004, "0~ms"), (0.25, "0.2~s"), (9.96, "10~s"), (59.6, "1~min"), (125, "2~min 5~s"), (3599.7, "1~h"),
     (3780, "1~h 3~min"), ("10m", "10m")],
)  # fmt: skip
def test_durations(seconds: float | str | None, text: str) -> None:
    assert words.duration(seconds) == text.replace("~", "\u202f")


def test_short_keeps_both_ends() -> None:
    assert words.short("a" * 40 + "b" * 40, 10) == "aaaaaa…bbb"
    assert words.short("plain", 5) == "plain"
    assert words.clean("a\nb\x07\u202e\ud800 é 🧥") == "a b\\x07\\u202e\\ud800 é 🧥"
