"""The page in a real browser, against the real server: what a person sees is what the API says, and a stranger's text is text."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from served import network, start, written

from visum.serve.client import Client

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

pytestmark = pytest.mark.slow

HOSTILE = "=1+1<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>\u202egnp.png"


def test_a_picture_shows_the_class_and_the_probability_of_the_api(
    opened: Any, origin: str, pictures: list[Path]
) -> None:
    watched = opened()
    page = watched.page
    expect = playwright.expect
    expect(page.locator("#lede")).to_contain_text("10 classes: 0, 1, 2")
    for picture in pictures:
        with Client(origin) as client:
            told = client.predict(picture, top=10)
        page.set_input_files("#files", picture)
        expect(page.locator("#name")).to_have_text(picture.name)
        expect(page.locator("#said em")).to_have_text(told.label)
        shown = page.locator("#bars data").evaluate_all("all => all.map(each => Number(each.value))")
        assert shown == pytest.approx([p for _, p in told.top], abs=1e-6)
        named = page.locator("#bars th > span:first-child").all_text_contents()
        assert named == [name for name, _ in told.top]
        in_set = [row[0].endswith("in the set") for row in watched.rows("#bars")]
        assert in_set == [name in (told.set or ()) for name in named]
        assert watched.rows("#bars")[0][2] == f"{100 * told.probability:.1f}\u202f%" or told.probability > 0.999
        assert page.locator("#shown").evaluate("image => image.naturalWidth") == 8
        assert told.label in page.locator("#spoken").text_content()
        widths = page.locator("#bars .fill").evaluate_all(
            "all => all.map(e => e.offsetWidth / e.parentElement.offsetWidth)"
        )
        assert widths == pytest.approx(shown, abs=0.02)


def test_several_files_become_a_table_and_csv(opened: Any, origin: str, pictures: list[Path], tmp_path: Path) -> None:
    watched = opened()
    page = watched.page
    expect = playwright.expect
    data = [picture.read_bytes() for picture in pictures]
    names = ["+one.png", 'two, "quoted".png', HOSTILE, "four\nlines.png"]
    files = [{"name": name, "mimeType": "image/png", "buffer": each} for name, each in zip(names, data, strict=True)]
    page.set_input_files("#files", [*files, {"name": "text.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}])
    expect(page.locator("#progress")).to_contain_text("5 pictures; 1 could not be read")
    with Client(origin) as client:
        told = client.predict(data)
    rows = watched.rows("#table")
    words = "\nunlike what it has learned"
    assert [row[2] for row in rows[:4]] == [each.label + words * bool(each.unknown) for each in told]
    assert page.locator("#table .name").all_text_contents() == [*names, "text.jpg"]
    assert rows[4][2].strip()
    assert not rows[4][3]
    expect(page.locator("#table img, #table script")).to_have_count(0)
    assert page.title() != "run"
    sizes = page.locator("#table .thumb").evaluate_all("all => all.map(each => each.width)")
    assert sizes == [112, 112, 112, 112, 1]

    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "visum.csv")
    text = (tmp_path / "visum.csv").read_bytes().decode("utf-8-sig")
    head, *lines = csv.reader(io.StringIO(text, newline=""))
    assert head == [
        "file",
        "answer",
        "probability",
        "set",
        "unknown",
        "error",
        *(f"probability of {n}" for n in range(10)),
    ]
    assert [line[0] for line in lines] == ["'+one.png", names[1], "'" + HOSTILE, names[3], "text.jpg"]
    assert [line[1] for line in lines[:4]] == [each.label for each in told]
    assert [float(line[2]) for line in lines[:4]] == pytest.approx([each.probability for each in told], abs=1e-6)
    assert sum(map(float, lines[0][6:])) == pytest.approx(1, abs=1e-4)
    assert lines[4][1] == ""
    assert lines[4][5]

    page.click("#table .name >> nth=2")
    expect(page.locator("#name")).to_have_text(HOSTILE)
    expect(page.locator("#said em")).to_have_text(told[2].label)
    assert page.title() != "run"


def test_the_keyboard_reaches_everything(opened: Any, origin: str, pictures: list[Path], split_digits: Path) -> None:
    with Client(origin) as client:
        unsure = min(client.predict(sorted((split_digits / "test").rglob("*.png"))), key=lambda told: told.probability)
    assert unsure.probability < 1
    page = opened().page
    expect = playwright.expect

    def tab_to(selector: str) -> None:
        wanted = page.locator(selector)
        for _ in range(40):
            page.keyboard.press("Tab")
            if wanted.evaluate("e => e === document.activeElement"):
                break
        assert wanted.evaluate("e => e.matches(':focus-visible')"), f"{selector} is reached"
        look = wanted.evaluate("e => [getComputedStyle(e).outlineStyle, getComputedStyle(e).outlineWidth]")
        assert look == ["solid", "2px"], f"the focus on {selector} can be seen"

    page.on("filechooser", lambda _: None)  # the browser is told to hand choosers over before the first key is pressed
    expect(page.locator("#lede")).not_to_be_empty()
    for key in ("Enter", "Space"):
        tab_to("#drop")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press(key)
        chooser.value.set_files(unsure.name)
        expect(page.locator("#said em")).not_to_be_empty()
    tab_to("#look button")
    page.keyboard.press("Space")
    expect(page.locator("#heat")).to_be_visible()
    tab_to("#cut")
    page.keyboard.press("End")
    expect(page.locator("#said")).to_have_text("Not sure")
    tab_to("#slider button")
    page.keyboard.press("Enter")
    expect(page.locator("#said em")).not_to_be_empty()
    page.set_input_files("#files", pictures)
    expect(page.locator("#progress")).to_contain_text("4 pictures.")
    tab_to("#table .name >> nth=1")
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text(pictures[1].name)
    assert page.evaluate("document.activeElement.id") == "answer"


def test_a_screen_reader_finds_its_way(opened: Any, pictures: list[Path]) -> None:
    page = opened().page
    page.set_input_files("#files", pictures[0])
    playwright.expect(page.locator("#said em")).not_to_be_empty()
    heard = page.locator("body").aria_snapshot()
    for part in (
        "- banner:",
        "- main:",
        "- contentinfo:",
        '- heading "Show it a picture" [level=1]',
        '- slider "Answer from"',
    ):
        assert part in heard, heard
    assert re.search(r'table "Probability of each class".*rowheader', heard, re.S)
    assert re.search(r'img "The picture .*png"', heard)
    nameless = page.locator("button:visible, select:visible, input:visible").evaluate_all(
        "all => all.filter(e => !(e.innerText || e.ariaLabel || e.labels?.[0]?.innerText)).map(e => e.outerHTML)"
    )
    assert not nameless
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("[role=status]").count() >= 2


def test_s13_hostile_classes_names_and_exif_of_a_real_bundle_are_text(
    opened: Any, photos: dict[str, Any], tmp_path: Path
) -> None:
    plain = network()
    evil = {0: HOSTILE, 1: "</td><script>document.title='run'</script>", 2: "javascript:document.title='run'"}
    bundle = replace(plain, classes=tuple(evil.get(k, name) for k, name in enumerate(plain.classes)))
    exif = Image.Exif()
    exif[0x010E] = HOSTILE  # ImageDescription
    file = io.BytesIO()
    Image.fromarray(photos["chelsea"]).save(file, "JPEG", exif=exif)
    server = start(
        tmp_path / "log", written(bundle, tmp_path / "evil", photos), "--feedback", str(tmp_path / "kept.parquet")
    )
    try:
        watched = opened(at=f"http://127.0.0.1:{server.port}")
        page, expect = watched.page, playwright.expect
        expect(page.locator("#lede")).to_contain_text(HOSTILE)
        page.set_input_files("#files", {"name": HOSTILE, "mimeType": "image/jpeg", "buffer": file.getvalue()})
        expect(page.locator("#name")).to_have_text(HOSTILE)
        page.get_by_role("button", name="Show all").click()
        shown = {row[0] for row in watched.rows("#bars")}
        assert len(shown) == len(bundle.classes)
        assert set(evil.values()) <= shown
        page.click("#look button")
        expect(page.locator("#heat")).to_be_visible()
        page.select_option("#look select", value=HOSTILE)
        expect(page.locator("#heat")).to_have_attribute("aria-label", re.compile(re.escape(HOSTILE)))
        page.select_option("#feedback select", value=HOSTILE)
        expect(page.locator("#feedback")).to_contain_text("Thank you")
        assert page.locator("img").count() == page.locator("script").count() == 1
        assert page.title() != "run"
    finally:
        assert server.end() == 0


def test_what_the_model_looked_at(opened: Any, pictures: list[Path]) -> None:
    page = opened().page
    page.set_input_files("#files", pictures[0])
    page.click("#look button")
    heat = page.locator("#heat")
    playwright.expect(heat).to_be_visible()
    assert heat.evaluate("c => [c.width, c.height]") == page.locator("#shown").evaluate(
        "i => [i.clientWidth, i.clientHeight]"
    )
    colours = heat.evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
    assert colours > 3
    page.click("#look button")
    playwright.expect(heat).to_be_hidden()


def test_dropped_pasted_and_taken(opened: Any, pictures: list[Path]) -> None:
    page = opened(permissions=["camera"]).page
    expect = playwright.expect
    expect(page.locator("#lede")).not_to_be_empty()
    data = list(pictures[0].read_bytes())
    transfer = page.evaluate_handle(
        "([data, name]) => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(data)], name)); return t; }",
        [data, HOSTILE],
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": transfer})
    assert "over" in page.locator("body").get_attribute("class")
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.locator("#name")).to_have_text(HOSTILE)
    assert page.title() != "run"
    assert "over" not in page.locator("body").get_attribute("class")
    page.evaluate(
        "data => { const t = new DataTransfer();"
        " t.items.add(new File([new Uint8Array(data)], 'pasted.png', {type: 'image/png'}));"
        " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: t, bubbles: true, cancelable: true})); }",
        data,
    )
    expect(page.locator("#name")).to_have_text("pasted.png")
    address = page.evaluate_handle(
        "() => { const t = new DataTransfer(); t.setData('text/uri-list', 'http://192.0.2.1/x.png'); return t; }"
    )
    page.dispatch_event("main", "drop", {"dataTransfer": address})
    expect(page.locator("#trouble")).to_contain_text("no file")
    page.click("#camera")
    page.click("#snap")
    expect(page.locator("#name")).to_have_text("camera.jpg")
    expect(page.locator("#booth")).to_be_hidden()
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_a_file_that_is_no_picture(opened: Any) -> None:
    watched = opened()
    watched.page.set_input_files("#files", {"name": HOSTILE, "mimeType": "image/png", "buffer": b"hello"})
    trouble = watched.page.locator("#trouble")
    playwright.expect(trouble).to_be_visible()
    assert HOSTILE in trouble.locator("b").text_content()
    assert trouble.get_attribute("role") == "alert"
    assert trouble.locator("img, script").count() == 0
    assert len(trouble.inner_text().splitlines()) >= 2, "what happened and what to do"
    watched.expected("status of 400")


@pytest.mark.parametrize("dark", [False, True])
def test_phone_width_and_contrast(opened: Any, pictures: list[Path], dark: bool) -> None:
    page = opened(viewport={"width": 360, "height": 740}, color_scheme="dark" if dark else "light").page
    expect = playwright.expect

    def no_scrolling() -> None:
        assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth].every(w => w <= 360)")

    expect(page.locator("#lede")).not_to_be_empty()
    no_scrolling()
    readable(page, "h1", "#lede", ".eyebrow", ".drop-title", ".drop-hint", "#promise", "footer p", "#camera")
    long = {"name": "w" * 200 + ".png", "mimeType": "image/png", "buffer": pictures[0].read_bytes()}
    page.set_input_files("#files", long)
    expect(page.locator("#said em")).not_to_be_empty()
    page.click("#look button")
    expect(page.locator("#heat")).to_be_visible()
    no_scrolling()
    readable(page, "#said", "#said em", "#why", "#bars thead th", "#bars .yes th", "#bars data", "#meaning", "#took")
    readable(page, "figcaption", "#look button", "#cut-note")
    page.set_input_files("#files", [long, {**long, "buffer": b"hello"}])
    expect(page.locator("#progress")).to_contain_text("2 pictures")
    no_scrolling()
    readable(
        page,
        "#progress",
        "#table .name",
        "#table .yes",
        "#table .bad",
        "#table small",
        "#table data",
        "#table .name:disabled",
    )
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.1) == dark


def readable(page: Page, *selectors: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 : 1 between a text and what is behind it."""
    for selector in selectors:
        ink, paper = page.locator(selector).first.evaluate(
            """e => { let behind = e;
                      while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
                      return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor]; }"""
        )
        light, dim = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dim + 0.05) >= 4.5, selector


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(…)``, 0 … 1 (WCAG 2.2)."""
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    assert "rgba" not in colour, "see-through colours are not reckoned with"
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
