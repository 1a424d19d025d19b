"""The page's own arithmetic, module by module, in a real browser."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain.jpg", "plain.jpg"), ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("  =1", "'  =1"),
        ("\t=1", "'\t=1"), ("＝1", "'＝1"), ("a=1", "a=1"), ("a,b", '"a,b"'), ('a"b', '"a""b"'), ("-a\nb", "\"'-a\nb\""),
        (0.25, "0.25"), (1e-7, "1e-7"), ("", ""),
    ],
)  # fmt: skip
def test_cells_of_csv(plain: Page, value: Any, cell: str) -> None:
    assert plain.evaluate("async value => (await import('/page/csv.js')).cell(value)", value) == cell


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.9243, "92.4 %"),
        (1, "100.0 %"),
        (0, "0.0 %"),
        (0.99999, "> 99.9 %"),
        (0.00001, "< 0.1 %"),
        (0.9994, "99.9 %"),
        (0.0005, "0.1 %"),
    ],
)
def test_percentages_never_round_to_certainty(plain: Page, p: float, text: str) -> None:
    assert plain.evaluate("async p => (await import('/page/words.js')).percent(p)", p) == text.replace(" ", "\u202f")


def test_colours_of_heat_rise_steadily(plain: Page) -> None:
    colours = "async () => { const h = await import('/page/heat.js'); return [...Array(101).keys()].map(n => h.colour(n/100)); }"
    ramp = plain.evaluate(colours)
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in ramp]
    assert all(low < high for low, high in pairwise(light))
    assert [ramp[0][3], ramp[-1][3]] == [0, 0.8]


@pytest.mark.parametrize(
    ("fit", "covered"),
    [("pad", [-0.5, 0, 2, 1]), ("crop", [0, 0.25, 1, 0.5]), ("squash", [0, 0, 1, 1]), (None, [0, 0, 1, 1])],
)
def test_a_map_lies_where_the_network_looked(plain: Page, fit: str | None, covered: list[float]) -> None:
    """A picture of 100 x 200 pixels: padded to 200 x 200, or its middle 100 x 100."""
    found = plain.evaluate("async fit => (await import('/page/heat.js')).square(fit, 100, 200)", fit)
    assert found == pytest.approx(covered)


def test_a_map_is_told_to_ears(plain: Page) -> None:
    tell = "async map => (await import('/page/heat.js')).where(map)"
    assert plain.evaluate(tell, [[0, 0, 0], [0, 0, 1], [0, 0, 0]]) == "Most speaks for it: middle right."
    assert plain.evaluate(tell, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]) == "Most speaks for it: the middle."
    assert plain.evaluate(tell, [[0, 0], [0, 0]]) == "No single part speaks for it."


def test_near_pictures_are_named_as_text_and_other_labels_stand_out(plain: Page) -> None:
    show = """async () => {
      const { near } = await import('/page/near.js');
      const place = document.createElement('div');
      const one = (label, distance) => ({ label, distance, thumbnail: '/v1/neighbours/none.jpg' });
      near(place, { labels: ['a'], neighbours: [one('a', 0.1), one('b, a', 1), one('<b>z', 1.234)] });
      const found = [...place.querySelectorAll('li')].map((each) => [each.textContent, each.className]);
      near(place, { labels: ['a'] });
      return [found, place.childElementCount];
    }"""
    found, left = plain.evaluate(show)
    assert found == [["a0.10", ""], ["b, a1.00", ""], ["<b>z1.23", "unlike"]]
    assert left == 0
