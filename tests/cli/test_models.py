"""The pages of ``visum models``: every number that is known is shown, at any width, and markup in names is text."""

from __future__ import annotations

import io
import json
import sys

import pytest

from cli.conftest import Visum
from visum.cli import models as pages
from visum.models.anatomy import Anatomy, Layer
from visum.models.families import FAMILIES, Published
from visum.workflow.catalogue import list_models
from visum.workflow.portrait import Portrait, Speed

LAYERS = (
    Layer("conv", "Conv2d 3x3 /2", (8, 16, 16), 216, 55_296),
    Layer("act", "ReLU", (8, 16, 16), 0, 0),
    Layer("head", "Linear", (10,), 90, 80),
)
ONE = Portrait(
    name="[red]net[/red]",
    architecture="net",
    library="timm",
    family="Nets",
    words="A net.",
    paper="Net et al. 1999",
    only=64,
    anatomy=Anatomy(32, LAYERS, 306, 55_376),
    speed=Speed(1234.5, "openvino", "bfloat16", 2, 64),
    unmeasured="",
    published=(Published(70.04, 64, "v1", "them", "MIT"), Published(71.0, 96, "v2", "them", "MIT")),
    weights="none",
    others=("net2", "net3", "net4", "net5", "net6"),
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9994, "9.99 k"),
        (9996, "10.0 k"),
        (99_949, "99.9 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_600, "1.00 M"),
        (407e6, "407 M"),
        (4.089e9, "4.09 G"),
        (1.2e12, "1200 G"),
    ],
)
def test_amounts_have_three_digits(number: float, text: str) -> None:
    assert pages.amount(number) == text


def test_bars_are_as_long_as_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert [len(pages.bar(share)) for share in (0, 0.25, 0.5, 1)] == [0, 3, 6, 12]
    assert pages.bar(0.5) == "██████"
    assert pages.bar(1.5 / 12) == "█▌"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert pages.bar(0.5) == "######"


@pytest.mark.parametrize("columns", [80, 120])
def test_a_portrait(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    pages.portrait(ONE)
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("\n[red]net[/red]  Nets  timm\nA net.\nNet et al. 1999\n")
    assert all(len(line) <= columns for line in out.splitlines())
    assert ["whole", "306", "55.4", "k"] in lines
    assert ["act", "ReLU", "8", "x", "16", "x", "16"] in lines
    (conv,) = (line for line in lines if line[:1] == ["conv"])
    assert conv[1:11] == ["Conv2d", "3x3", "/2", "8", "x", "16", "x", "16", "216", "55.3"]
    assert (len(conv) == 13) is (columns == 120)  # the bar
    for part in (
        "input     32 px; made for 64 px, whose table of positions is interpolated",
        "speed     1,234 images/s here (openvino, bfloat16, 2 cores)",
        "ImageNet  70.0 % top-1 at 64 px   v1; them\n          71.0 % top-1 at 96 px   v2; them",
        "licence   MIT   v1, v2",
        "see also  net2, net3, net4, net5 … 5 in all",
    ):
        assert part in out


def test_the_catalogue_shows_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    pages.catalogue(list_models())
    out = capsys.readouterr().out
    for name, family in FAMILIES.items():
        (line,) = (line for line in out.splitlines() if line.startswith(f" {name} "))
        assert family.member in line
        assert f"{family.top1:.1f} %" in line
    assert "leaky_relu, gelu, swish, mish" in out
    assert "75.1 %" in out


def test_a_name_is_a_portrait_and_a_word_is_a_search(visum: Visum) -> None:
    code, out, err = visum("models", "cnn:widths=8", "--size", "32")
    assert (code, "stages.0.conv" in out, "layers" in err) == (0, True, True)
    code, out, _ = visum("models", "cnn:widths=8", "--size", "32", "--json")
    told = json.loads(out)
    assert (code, told["anatomy"]["size"], told["anatomy"]["layers"][0]["shape"]) == (0, 32, [8, 32, 32])
    code, out, _ = visum("models", "mobilenetv3_small")
    assert code == 0
    assert out.startswith("5 architectures with 'mobilenetv3_small' in the name:") or "mobilenetv3_small_100" in out
    code, out, _ = visum("models", "resnet5O")
    assert (code, out.startswith("No architecture has 'resnet5O' in its name. Near it: resnet50")) == (0, True)
    code, out, err = visum("models", "cnn:pol=max")
    assert (code, "did you mean pool?" in err) == (4, True)
