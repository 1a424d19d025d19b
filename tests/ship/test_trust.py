"""The trust page: what numbers mean in words, and a page that strangers' text cannot break."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visum.judge import background, calibrate, intervals, risk, slices
from visum.ship import trust
from visum.ship.trust import figures, verdicts
from visum.types import Predictions, column

HOSTILE = "<script>alert(1)</script>\u202e"


def share(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _slices() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    kind = np.array([HOSTILE, "b", "c"])[np.arange(300) % 3]
    right = rng.random(300) < np.where(np.arange(300) % 3 == 0, 0.4, 0.95)
    return slices.slices(right, slices.groups({"class": column(kind.tolist())}))


def _calibration(gap: float) -> dict[str, Any]:
    p = np.full((300, 2), 0.5, np.float32)
    bins = calibrate.reliability(p, np.zeros(300, np.int64), "multiclass")
    return {"n": 300, "ece": share(gap, gap - 0.03, gap + 0.03), "reliability": bins}


def _abstention(knows: bool) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    right = rng.random(300) < 0.8
    sure = np.where(right, 0.9, 0.6) if knows else rng.permutation(np.where(right, 0.9, 0.6))
    p = np.stack([sure, 1 - sure], 1).astype(np.float32)
    labels = np.where(right, 0, 1)
    return risk.risk_block(Predictions(column([str(k) for k in range(300)]), np.log(p), labels, ("a", "b"), "binary"))


def _drift(alarms: dict[str, str], false: int) -> dict[str, Any]:
    kinds = [
        {"kind": kind, "question": kind, "status": alarms.get(kind, "quiet"), "sentence": f"{kind} {HOSTILE}"}
        for kind in ("covariate", "label", "concept", "unknown")
    ]
    low, high = (float(end) for end in intervals.wilson(false, 60))
    quiet = {"windows": 20, "n": 60, "alarms": false, "low": low, "high": high, "expected": 0.05}
    planted = [{"name": HOSTILE, "kind": "label", "n": 80, "found": ["label"]}]
    found = [kind for kind, status in alarms.items() if status == "alarm"]
    return {"n": 300, "reference": 340, "kinds": kinds, "alarms": found, "check": {"quiet": quiet, "planted": planted}}


def _shortcut(severity: str) -> dict[str, Any]:
    scores = {"border": 0.8, "colour": 0.3, "real": 0.9, "majority": 0.2}
    alarms = [{"kind": "border_shortcut", "severity": severity, "message": ""}] if severity else []
    return {"n": 300, "trained_on": 0, **{k: share(v, v - 0.1, v + 0.05) for k, v in scores.items()}, "alarms": alarms}


def _background(outer: int, inner: int) -> dict[str, Any]:
    rights = (np.arange(300) < k for k in (270, outer, inner))
    return background.background_block(*rights, 0.2)


BLOCKS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "calibration": [(_calibration(0.02), "good"), (_calibration(0.07), "watch"), (_calibration(0.2), "bad")],
    "abstention": [(_abstention(True), "good"), (_abstention(False), "watch")],
    "slices": [(_slices(), "bad")],
    "shortcut": [(_shortcut(""), "good"), (_shortcut("warning"), "watch"), (_shortcut("serious"), "bad")],
    "background": [
        (_background(80, 200), "good"),
        (_background(220, 230), "watch"),
        (_background(120, 122), "watch"),
        (_background(250, 150), "bad"),
    ],
    "drift": [
        (_drift({}, 3), "good"),
        (_drift({"label": "alarm"}, 3), "watch"),
        (_drift({"concept": "alarm"}, 0), "bad"),
        (_drift({}, 30), "bad"),
    ],
}


@pytest.mark.parametrize(
    ("name", "block", "verdict"), [(name, *case) for name, cases in BLOCKS.items() for case in cases]
)
def test_verdicts(name: str, block: dict[str, Any], verdict: str) -> None:
    found = trust.said(name, block)
    assert found["verdict"] == verdict
    assert re.search(r"\d", found["sentence"])  # a number with its support
    assert bool(found["todo"]) == (verdict != "good")


def test_every_step_has_words_and_a_figure() -> None:
    from visum.workflow.trust import STEPS

    assert set(STEPS) == set(verdicts.SENTENCES) == set(verdicts.QUESTIONS) == set(figures.FIGURES)


@pytest.mark.parametrize(("lacks", "verdict"), [("data", "not enough data"), ("time", "skipped"), ("means", "skipped")])
def test_what_is_left_out_says_why(lacks: str, verdict: str) -> None:
    found = trust.said("slices", {"skipped": "4 images", "lacks": lacks, "next": "26 more"})
    assert (found["verdict"], found["sentence"], found["todo"]) == (verdict, "4 images.", "To have it: 26 more.")


def _made(**steps: dict[str, Any]) -> dict[str, Any]:
    for name, block in steps.items():
        block |= {"seconds": 1.0, **trust.said(name, block)}
    return {
        "visum": "0",
        "bundle": {"name": HOSTILE, "digest": "0" * 64, "classes": [HOSTILE]},
        "task": "multiclass",
        "n": 300,
        "accuracy": share(0.9, 0.86, 0.93),
        "trained_on": 0,
        "seed": 0,
        "machine": {"cores": 2, "cpu": "x"},
        "steps": steps,
        "seconds": 5.0,
    }


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attributes)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if "href" in told else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    assert not page.open
    return page


def test_the_page_is_whole_and_escapes_what_strangers_wrote() -> None:
    blocks = {name: cases[-1][0] for name, cases in BLOCKS.items()}
    blocks["slices"]["pictures"] = [
        {"image": "data:image/jpeg;base64,AAAA", "caption": HOSTILE},
        {"image": "https://example.org/x.jpg", "caption": "not ours"},
    ]
    left = {"skipped": HOSTILE, "lacks": "time", "next": ""}
    text = trust.text(_made(**blocks, another=left), report=True)
    page = _parsed(text)
    assert "script" not in page.tags
    assert "\u202e" not in text
    assert "example.org" not in text
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "report.html" in page.links
    assert len(page.ids) == len(set(page.ids))
    assert "went badly" in text


def test_headlines() -> None:
    def told(**counts: int) -> str:
        return "".join(part for part, _ in trust.headline(counts, sum(counts.values())))

    assert told(good=3) == "All 3 checks are good"
    assert told(good=2, watch=1) == "Nothing is bad; 1 of 3 checks is to be watched"
    assert told(good=2, watch=1, bad=2) == "2 of 5 checks went badly"
    assert "".join(part for part, _ in trust.headline({"not enough data": 2}, 0)) == "Nothing could be said"


def test_a_report_beside_it_links_to_the_page(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text('<nav><a href="trust.html" hidden>Trust</a></nav>')
    trust.link(report)
    assert report.read_text() == '<nav><a href="trust.html">Trust</a></nav>'
    trust.link(report)
    assert report.read_text() == '<nav><a href="trust.html">Trust</a></nav>'


def test_the_link_is_what_the_report_writes() -> None:
    from importlib import resources

    template = resources.files("visum.ship.report").joinpath("page.html").read_text("utf-8")
    assert "<a href=\"trust.html\"{{ '' if trust else ' hidden' }}>" in template
