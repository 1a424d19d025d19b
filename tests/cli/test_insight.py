"""What ``visum explain`` does with its wishes: one at a time, with what belongs to it, shown as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from visum.cli import insight
from visum.errors import UsageError

PLAIN: dict[str, Any] = {"paths": [], "out": "explained", "against": None, "data": None, "engine": "auto", "seed": 0}


@pytest.mark.parametrize(
    ("wishes", "settings", "words"),
    [
        ({"layers": "d", "map": "d"}, {}, "--layers and --map at once. Allowed: one of them"),
        ({"layers": None}, {"against": "b"}, "--against without --layers"),
        ({"layers": "d"}, {"data": "d"}, "--data without --neighbours or --visualise"),
        ({"layers": "d"}, {"paths": ["a.jpg"]}, "FILES with --layers"),
        ({"neighbours": True}, {}, "--neighbours without files"),
    ],
)
def test_what_does_not_go_together_is_refused(wishes: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        insight.look("run", wishes, PLAIN | settings, False)


def test_no_wish_is_left_to_maps() -> None:
    assert not insight.look("run", {"layers": None, "filters": False}, PLAIN, False)


def test_the_one_wish_is_done_and_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def done(bundle: str, value: Any, settings: Any) -> Callable[[bool], None]:
        return lambda as_json: print(json.dumps([bundle, value, as_json]))

    monkeypatch.setitem(insight.WISHES, "layers", done)
    assert insight.look("run", {"layers": "data", "map": None}, PLAIN, True)
    assert json.loads(capsys.readouterr().out) == ["run", "data", True]
