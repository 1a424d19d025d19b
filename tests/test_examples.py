"""The examples that people copy: what they say to visum is understood, and what they say to others is well formed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
UNIT = EXAMPLES / "systemd" / "visum.service"
CONTAINER = EXAMPLES / "container" / "Containerfile"


def unit_command() -> list[str]:
    found = re.search(r"^ExecStart=(.+)$", UNIT.read_text(), re.M)
    assert found
    return shlex.split(found[1])


def container_command(instruction: str) -> list[str]:
    found = re.search(rf"^ *{instruction} (\[.+\])$", CONTAINER.read_text(), re.M)
    assert found
    return [str(word) for word in json.loads(found[1])]


@pytest.mark.parametrize("command", [unit_command(), container_command("ENTRYPOINT")], ids=["systemd", "container"])
def test_the_command_line_knows_every_flag(command: list[str]) -> None:
    assert Path(command[0]).name == "visum"
    assert command[1] == "serve"
    helped = subprocess.run(
        [sys.executable, "-m", "visum", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100"},
    )
    known = set(re.findall(r"--[a-z-]+", helped.stdout))
    assert {word for word in command if word.startswith("--")} <= known


def test_the_health_check_is_a_program_that_says_no_where_nobody_serves() -> None:
    python, *rest = container_command("CMD")
    assert python == "python"
    code = rest[-1].replace("Client(", "Client('http://127.0.0.1:9', ")
    done = subprocess.run([sys.executable, *rest[:-1], code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_container_is_not_root() -> None:
    lines = CONTAINER.read_text().splitlines()
    assert lines.index("USER visum") < next(n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    assert not any(line.startswith("USER") and "visum" not in line for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "visum.service"
    copy.write_text(UNIT.read_text().replace("/opt/visum/bin/visum", sys.executable))  # it must be there
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
