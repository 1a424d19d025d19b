"""``make demo`` ends with a command that can be typed as it stands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from visum import demo


@pytest.mark.parametrize("code", [0, None, 3])
def test_it_ends_with_the_command_that_serves(
    code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained() -> None:
        (tmp_path / "run" / "bundle").mkdir(parents=True)
        sys.exit(code)

    written: list[Path] = []
    monkeypatch.setattr("visum.cli.main", trained)
    monkeypatch.setattr(demo, "write_digits", lambda root: written.append(root) or root)
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        demo.main()
    assert end.value.code == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert written == [tmp_path / "digits"]
    assert (last == f"Serve it: {demo.command()} serve {tmp_path / 'run'}") == (not code)


def test_the_command_is_found_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = tmp_path / ".venv" / "bin" / "visum"
    beside.parent.mkdir(parents=True)
    beside.touch()
    monkeypatch.setattr(sys, "executable", str(beside.with_name("python")))
    monkeypatch.setenv("PATH", "")
    assert demo.command() == str(beside)
    monkeypatch.chdir(tmp_path)
    assert demo.command() == str(Path(".venv/bin/visum"))
    monkeypatch.setenv("PATH", str(beside.parent))
    beside.chmod(0o755)
    assert demo.command() == "visum"
