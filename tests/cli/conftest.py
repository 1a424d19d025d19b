"""``visum …`` in this process, as a shell sees it: exit code, standard output, standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from visum.cli import main


class Said(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Visum = Callable[..., Said]


@pytest.fixture
def visum(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Visum:
    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["visum", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Said(int(end.value.code or 0), out, err)

    return run
