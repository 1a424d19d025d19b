"""What is going on, on standard error: the stages with their seconds, and under way images per second and the time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from visum import runtime
from visum.runtime import process_start

WIDTH = 24


class Lines:
    """For logs and pipes: one line when a stage ends, and every 30 seconds within a long one."""

    def __init__(self) -> None:
        self.started = process_start()
        self._total = self._done = 0
        self._begun = self._told = 0.0
        self._name = ""

    def begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._begun = self._told = time.monotonic()

    def step(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._told > 30 and self._total:
            self._told = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / max(rate, 1e-9)
            say = f"  {self._name}: {self._done:,} of {self._total:,}, {rate:,.0f} images/s, {left:,.0f} s left"
            print(say, file=sys.stderr, flush=True)

    def end(self, name: str, seconds: float, detail: str) -> None:
        print(f"{name:<{WIDTH}} {seconds:7.1f} s  {detail}".rstrip(), file=sys.stderr, flush=True)


class Live:
    """For a terminal: finished stages scroll up, the one under way is a bar at the bottom."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.started = process_start()
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: Any = None
        self._done = 0
        self._begun = 0.0

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str, total: int) -> None:
        self._task = self._progress.add_task(name, total=total or None, rate="")
        self._done, self._begun = 0, time.monotonic()

    def step(self, count: int) -> None:
        self._done += count
        rate = self._done / max(time.monotonic() - self._begun, 1e-6)
        self._progress.update(self._task, advance=count, rate=f"{rate:,.0f} images/s")

    def end(self, name: str, seconds: float, detail: str) -> None:
        from rich.markup import escape

        self._progress.remove_task(self._task)
        text = f"[green]✓[/green] {escape(name):<{WIDTH}} [bold]{seconds:6.1f} s[/bold]  [dim]{escape(detail)}[/dim]"
        self._console.print(text, soft_wrap=True)


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Progress on standard error: a live bar on a terminal, lines elsewhere; of several processes only the first shows it."""
    if runtime.place().rank:
        yield
    elif sys.stderr.isatty():
        with Live() as live, runtime.watched(live):
            yield
    else:
        with runtime.watched(Lines()):
            yield
