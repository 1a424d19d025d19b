"""The report against the numbers it was made from (scikit-learn's), the HTML and XML parsers, and WCAG's contrast formula."""

from __future__ import annotations

import copy
import io
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from report_evidence import Evidence, digits_run, score

from visum.errors import CorruptFile, UsageError
from visum.ship.report import pictures, words, write

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</style><script>alert(2)</script>",
    'quote " onmouseover="alert(3)\nsecond line',
    "\u202egpj.exe \x1b[31m\x00 \ud800",
    "🧥 " + "W" * 300,
    "{{ 7 * 7 }}{% raw %}",
)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return digits_run()


def jpeg(name: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (96, 96), tuple(np.random.default_rng(len(name) + ord(name[-5])).integers(0, 255, 3))).save(
        out, "JPEG"
    )
    return out.getvalue() + name.encode("utf-8", "replace")


def page_of(folder: Path, evidence: Evidence, thumbnail: Callable[[str], bytes | None] = jpeg) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in evidence.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    path = write(folder, thumbnail=thumbnail)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Checks that tags balance, and collects tags with their attributes and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = re.sub(r"[ \n]+", " ", " ".join(self.words)).replace("\u202f", "~")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def harmless(page: str) -> Outline:
    """The laws of every page: balanced, no script, no handler, nothing fetched, unique ids, links that lead somewhere."""
    outline = Outline(page)
    assert svgs(page)
    assert not re.search(r"https?:|//[a-z]", page)
    assert all(url.startswith("data:image/jpeg;base64,") for url in re.findall(r"url\((.*?)\)", page))
    assert "@import" not in page
    allowed = "html head meta title style body header main section article footer nav h1 h2 h3 p b em small span time a"
    allowed += " ol ul li dl dt dd div table thead tbody tr th td details summary figure svg rect path circle text"
    assert {tag for tag, _ in outline.tags} <= set(allowed.split())
    for tag, attributes in outline.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "xlink:href")], tag
        assert attributes.get("href", "#").startswith("#") or attributes["href"] == "trust.html"  # the page beside it
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in outline.tags if t == "a" and a["href"] != "trust.html"} <= set(ids)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.encode()) < 3_000_000
    return outline


def test_numbers_are_those_of_the_files(tmp_path: Path, evidence: Evidence) -> None:
    page = page_of(tmp_path, evidence)
    text, test = harmless(page).text, evidence["metrics"]["splits"]["test"]
    accuracy = test["metrics"]["accuracy"]
    expected = f"On 797 test images it never trained on, it is right {100 * accuracy['value']:.1f}~% of the time"
    assert expected in text
    assert f"({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}~%)" in text
    for entry in test["per_class"]:
        for key in ("f1", "recall", "precision"):
            assert f"{100 * entry[key]['value']:.1f}~%" in text
    for told in (
        "312",
        "openvino",
        "1.375",
        "visum train digits",
        "bad.png: 0 bytes",
        "4.5~s",
        "by cluster, seed 7",
        "once",
    ):
        assert told in text
    assert f"{test['metrics']['log_loss']['value']:.3f}" in text
    assert "Share 25.0~%" in text
    weakest = min(test["per_class"], key=lambda c: c["f1"]["value"])["class"]
    assert f"Weakest class: {weakest}" in text
    assert all(text.count(name) >= 2 for name in evidence["metrics"]["classes"])
    assert text.index("Near duplicate") < text.index("Blurred")


def test_charts_draw_what_scikit_learn_counted(tmp_path: Path, evidence: Evidence) -> None:
    test = evidence["metrics"]["splits"]["test"]
    drawn = {svg.get("class"): svg for svg in svgs(page_of(tmp_path, evidence))}
    numbers = [int(t.text or "") for t in drawn["matrix"].iter("text") if (t.get("class") or "").startswith("number")]
    assert numbers == [n for row in test["confusion"] for n in row if n]
    right = [r for r in drawn["matrix"].iter("rect") if r.get("class") == "cell right"]
    assert len(right) == sum(row[i] > 0 for i, row in enumerate(test["confusion"]))
    dots = list(drawn["reliability"].iter("circle"))
    full = [b for b in test["reliability"] if b["n"]]
    assert len(dots) == len(full)
    for dot, b in zip(dots, full, strict=True):
        assert float(dot.get("cx", 0)) == pytest.approx(46 + 300 * b["confidence"], abs=0.01)
        assert float(dot.get("cy", 0)) == pytest.approx(10 + 300 * (1 - b["accuracy"]), abs=0.01)


def test_what_the_time_bought_is_drawn_from_moments_and_epochs(tmp_path: Path, evidence: Evidence) -> None:
    columns = "rung,step,seconds,l2,learning_rate,train_loss,validation_loss,validation_score\n"
    (tmp_path / "history.csv").write_text(columns + "softmax,1,0.75,,0.001,1.5,0.5,0.5\nsoftmax,2,x,0.1,,,0.4,0.6\n")
    page = page_of(tmp_path, evidence)
    text = harmless(page).text
    assert "What the time bought" in text
    chart = next(svg for svg in svgs(page) if svg.get("class") == "climb")
    tips = [c.find("title").text for c in chart.iter("circle")]  # type: ignore[union-attr]
    assert [tip.split(":")[0] for tip in tips if tip] == ["softmax, epoch 1", "majority", "softmax"]
    assert tips[0] == "softmax, epoch 1: 50.0\u202f% after 3.5\u202fs"
    (tmp_path / "history.csv").unlink()
    assert (
        len(list(next(s for s in svgs(page_of(tmp_path, evidence)) if s.get("class") == "climb").iter("circle"))) == 2
    )
    (tmp_path / "history.csv").write_text(columns + "softmax,1,soon,,0.001,1.5,0.5,0.5\n")
    with pytest.raises(CorruptFile, match="soon"):
        write(tmp_path, thumbnail=jpeg)
    (tmp_path / "history.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(CorruptFile, match=r"history\.csv is not CSV"):
        write(tmp_path, thumbnail=jpeg)
    older = copy.deepcopy(evidence)
    for rung in older["metrics"]["ladder"]:
        del rung["at"]
    assert "What the time bought" not in page_of(tmp_path / "older", older)


def test_hostile_text_is_only_text(tmp_path: Path, evidence: Evidence) -> None:
    bad = copy.deepcopy(evidence)
    classes = [HOSTILE[k % len(HOSTILE)] + f" {k}" for k in range(10)]
    spelled = json.dumps(bad["metrics"])
    for k, name in enumerate(classes):
        spelled = spelled.replace(json.dumps(f"digit-{k}"), json.dumps(name))
    bad["metrics"] = json.loads(spelled)
    bad["run"]["data"].update(classes=classes, path="<b>data</b>", unreadable=[{"id": h, "reason": h} for h in HOSTILE])
    bad["run"].update(command=HOSTILE[1], backbone={HOSTILE[0]: HOSTILE[2]}, started=HOSTILE[3])
    bad["metrics"]["ladder"][0].update(name=HOSTILE[0], detail=HOSTILE[1])
    for finding in bad["findings"]:
        finding.update(
            kind=HOSTILE[0],
            message=HOSTILE[1],
            severity=HOSTILE[2],
            ids=["x" * 10_000, *HOSTILE],
            numbers={HOSTILE[0]: 1.5},
        )
    bad["metrics"]["splits"]["test"]["wrong"][0]["id"] = "x" * 10_000
    page = page_of(tmp_path, bad, lambda name: None)
    outline = harmless(page)
    for text in (
        "<img src=x onerror=alert(1)> 0",
        "</style><script>alert(2)</script> 1",
        "{{ 7 * 7 }}{% raw %} 5",
        "\\u202egpj.exe",
    ):
        assert text in outline.text
    assert not re.search("[\u202e\x1b\x00]", page)
    assert "x" * 2000 not in page


def test_each_picture_once_and_the_page_stays_small(tmp_path: Path, evidence: Evidence) -> None:
    asked: list[str] = []

    def thumbnail(name: str) -> bytes:
        asked.append(name)
        return jpeg(name) + bytes(40_000)

    page = page_of(tmp_path, evidence, thumbnail)
    harmless(page)
    assert len(asked) == len(set(asked)) <= pictures.MOST
    uris = re.findall(r"base64,([^)]*)", page)
    assert len(uris) == len(set(uris)) >= 24
    assert evidence["metrics"]["splits"]["test"]["wrong"][0]["id"] == asked[0]
    album, _ = pictures.album(map(str, range(1000)), lambda name: b"x")
    assert len(album) == pictures.MOST


def test_same_folder_same_bytes(tmp_path: Path, evidence: Evidence) -> None:
    assert page_of(tmp_path / "a", evidence) == page_of(tmp_path / "b", evidence)


def test_names_stand_where_there_are_no_pictures_and_pairs_stay_pairs(tmp_path: Path, evidence: Evidence) -> None:
    made = copy.deepcopy(evidence)
    made["run"]["data"]["unreadable"] = [{"id": "a/cut.jpg", "reason": "truncated JPEG: 3 of 40 rows"}]
    pair = [each["id"] for each in made["metrics"]["splits"]["test"]["wrong"][:2]]
    made["findings"] = [
        {"kind": "unreadable", "severity": "warning", "message": "1 file.", "ids": ["a/cut.jpg"], "numbers": {}},
        {"kind": "broken_link", "severity": "warning", "message": "13.", "ids": [f"l{n}" for n in range(13)]},
        {"kind": "validation_nearer_to_train", "severity": "warning", "message": "Near.", "ids": pair * 3},
    ]
    page = harmless(page_of(tmp_path, made, lambda name: jpeg(name) if name in pair else None)).text
    assert "a/cut.jpg: truncated JPEG: 3 of 40 rows" in page
    assert "13 names" in page
    assert "3 pairs by name" in page
    assert "1 name" not in page


def test_without_test_images_findings_or_audit(tmp_path: Path, evidence: Evidence) -> None:
    less = copy.deepcopy(evidence)
    del less["metrics"]["splits"]["test"]
    text = harmless(page_of(tmp_path / "a", {**less, "findings": []})).text
    assert "On 400 validation images that also chose the model" in text
    assert "There are no test images in this run" in text
    assert "A good data set." in text
    text = harmless(page_of(tmp_path / "b", {**less, "findings": None})).text
    assert "not audited" in text
    assert "A good data set." not in text


def test_many_labels_per_image(tmp_path: Path, evidence: Evidence) -> None:
    many = copy.deepcopy(evidence)
    block = many["metrics"]["splits"]["test"]
    block.update(
        confusion=None,
        confused=[],
        wrong=[{"id": "a.png", "label": ["digit-1", "digit-2"], "answer": [], "p_answer": 0.7, "p_label": None}],
    )
    block["metrics"].update(micro_recall=score(80, 100), micro_precision=score(75, 100), micro_f1=score(77, 100))
    block["per_class"][3]["threshold"] = 0.3125
    many["metrics"].update(task="multilabel", thresholds=[0.3125] * 10)
    page = page_of(tmp_path, many)
    text = harmless(page).text
    assert "it finds 80.0~% of the labels (71.1 to 86.7~%), and 75.0~% of those it gives are right." in text
    assert "0.312" in text
    assert "label digit-1, digit-2" in text
    assert "said none of the classes" in text
    assert 'class="matrix"' not in page


def nulls(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where floats are in a nest of JSON: the numbers that the run may not know."""
    if isinstance(value, float):
        yield at
    elif isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nulls(inner, (*at, key))


@pytest.mark.parametrize("where", ["ladder", "metrics", "per_class", "wrong", "reliability"])
def test_any_number_may_be_unknown(tmp_path: Path, evidence: Evidence, where: str) -> None:
    unknown = copy.deepcopy(evidence)
    test = unknown["metrics"]["splits"]["test"]
    part = unknown["metrics"]["ladder"] if where == "ladder" else test[where]
    for at in nulls(part):
        inside = part
        for key in at[:-1]:
            inside = inside[key]
        if at[-1] not in ("seconds",) and not (where == "reliability" and at[-1] in ("low", "high")):
            inside[at[-1]] = None
    unknown["run"].update(seconds=None, budget=None, engine=None, test_openings=None, status="interrupted")
    assert words.NONE in harmless(page_of(tmp_path, unknown)).text


def test_faults_have_names_and_leave_the_old_page(tmp_path: Path, evidence: Evidence) -> None:
    with pytest.raises(UsageError, match=r"run\.json does not exist"):
        write(tmp_path / "nothing", thumbnail=jpeg)
    old = page_of(tmp_path, evidence)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(CorruptFile, match="is not JSON"):
        write(tmp_path, thumbnail=jpeg)
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(CorruptFile, match="does not hold"):
        write(tmp_path, thumbnail=jpeg)
    for missing in ("splits", "classes", "task"):
        (tmp_path / "metrics.json").write_text(
            json.dumps({k: v for k, v in evidence["metrics"].items() if k != missing})
        )
        with pytest.raises(CorruptFile, match=missing):
            write(tmp_path, thumbnail=jpeg)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old


def test_quick(tmp_path: Path, evidence: Evidence) -> None:
    page_of(tmp_path, evidence, lambda name: b"jpeg")
    spent = []
    for _ in range(3):
        start = time.process_time()
        write(tmp_path, thumbnail=lambda name: b"jpeg")
        spent.append(time.process_time() - start)
    assert min(spent) < 0.3


def test_no_class_is_called_weak_where_all_answers_are_right() -> None:
    from visum.ship.report import advice

    right = {"class": "a", "n": 5, "f1": {"value": 1.0}}
    assert advice.weakest({"per_class": [right, {**right, "class": "b"}]}) is None
    worse = {**right, "class": "b", "f1": {"value": 0.9}}
    assert advice.weakest({"per_class": [right, worse]}) == worse
