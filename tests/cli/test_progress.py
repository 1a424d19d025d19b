"""Progress on standard error: a line for each stage in a log, a bar on a terminal, nothing on standard output."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from visum.cli import progress
from visum.cli.progress import Lines, Live
from visum.runtime import Stages, watched


def work(say: Callable[[int], None] | None = None) -> None:
    stages = Stages()
    with stages.stage("decode", 100) as stage:
        for _ in range(4):
            stage.step(25)
        stage.detail = "100 [bold]images[/bold]"
    with stages.stage("judge"):
        pass


def test_a_log_gets_a_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(Lines()):
        work()
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.split() == ["decode", "0.0", "s", "100", "[bold]images[/bold]"]
    assert second.split() == ["judge", "0.0", "s"]


def test_a_long_stage_says_how_far_it_is_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = Lines()
    lines.begin("embed", 3000)
    for _ in range(10):
        now += 10
        lines.step(100)
    out = capsys.readouterr().err.splitlines()
    assert out == [
        "  embed: 400 of 3,000, 10 images/s, 260 s left",
        "  embed: 800 of 3,000, 10 images/s, 220 s left",
    ]
    lines.begin("judge", 0)  # nothing to count
    now += 100
    lines.step(1)
    assert capsys.readouterr().err == ""


def test_a_stage_that_ends_early_is_told_and_the_next_begins(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages()
    with watched(Lines()):
        stages = Stages()
        with pytest.raises(KeyError), stages.stage("decode", 5):
            raise KeyError
        with stages.stage("judge"):
            pass
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["decode", "judge"]


def test_a_terminal_gets_a_bar_and_finished_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, highlight=False, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    with Live() as live, watched(live):
        stages = Stages()
        with stages.stage("decode", 100) as stage:
            stage.step(50)
            live._progress.refresh()
            time.sleep(0.01)
            stage.step(50)
            stage.detail = "100 [bold]images[/bold]"
    text = screen.getvalue()
    assert "50/100" in text
    assert "images/s" in text
    assert "✓ decode" in text
    assert "100 [bold]images[/bold]" in text


def test_seconds_count_from_the_start_of_the_process() -> None:
    for watch in (Lines(), Live()):
        assert 0 < time.monotonic() - watch.started < 3600
        assert watch.started <= time.monotonic()


def test_who_watches_depends_on_where_standard_error_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used = []
    monkeypatch.setattr(progress, "Lines", lambda: used.append("lines") or Lines())
    monkeypatch.setattr(progress, "Live", lambda: used.append("live") or Live())
    with progress.watching():
        pass
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.watching():
        pass
    assert used == ["lines", "live"]
    assert capsys.readouterr().out == ""
