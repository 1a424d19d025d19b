"""Tables for people: nothing from a file's name reaches the terminal as a command, numbers read as they are."""

from __future__ import annotations

import pytest

from visum.cli import show
from visum.types import Finding, Score


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat.png", "cat.png"),
        ("Ärger 猫 \U0001f431", "Ärger 猫 \U0001f431"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("bell\x07 back\x08 return\r tab\t", "bell� back� return� tab�"),
        ("\x9b2J \u202egnp.exe", "�2J �gnp.exe"),
        ("\udce9", "�"),
    ],
)
def test_plain_keeps_letters_and_drops_commands(text: str, shown: str) -> None:
    assert show.plain(text) == shown
    show.plain(text).encode()


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.12345, "12.3 %"), (None, "–"), (float("nan"), "–")]
)
def test_percent(value: float | None, shown: str) -> None:
    assert show.percent(value) == shown


def test_markup_in_cells_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(("image", "label"), [("[bold]x[/bold]", "[link=file:///etc/passwd]y[/link]"), ("\x1b[31m", "[/]")])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "[/]" in out
    assert "\x1b" not in out


def test_scores_take_both_forms_and_print_losses_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = Score("accuracy", 0.9, 0.85, 0.94, 1200, "wilson")
    loss = {"value": 0.3333, "low": 0.25, "high": 0.5, "n": 1200, "method": "bootstrap"}
    missing = {"value": None, "low": None, "high": None, "n": 0, "method": ""}
    show.scores({"log_loss": loss, "accuracy": accuracy, "auc_roc": missing, "of_no_interest": loss}, "on test images")
    out = capsys.readouterr().out
    assert "on test images" in out
    assert [line.split() for line in out.splitlines() if "accuracy" in line] == [
        ["accuracy", "90.0", "%", "85.0", "%", "to", "94.0", "%", "1,200"]
    ]
    assert ["log", "loss", "0.333", "0.250", "to", "0.500", "1,200"] in [line.split() for line in out.splitlines()]
    assert ["auc", "roc", "–", "–", "to", "–", "0"] in [line.split() for line in out.splitlines()]
    assert "interest" not in out


def test_findings_say_what_and_give_a_few_examples(capsys: pytest.CaptureFixture[str]) -> None:
    show.findings([])
    assert capsys.readouterr().out == "Nothing to complain about.\n"
    ids = tuple(f"{n}.png" for n in range(5))
    show.findings(
        [Finding("near_duplicate", "warning", "5 copies. Delete them.", ids), Finding("blank", "info", "One.")]
    )
    out = capsys.readouterr().out
    assert "2 findings" in out
    assert "near duplicate" in out
    assert "0.png, 1.png, 2.png … 5 in all" in " ".join(out.split())
    assert "4.png" not in out
