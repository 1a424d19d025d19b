"""Runs of several processes, as launchers start them: one result, the same as that of one process."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from visum import verify
from visum.learn.parallel import ALONE
from visum.workflow import crew
from workflow.helping import facts, until

SETTINGS = (
    "--size",
    "64",
    "--ladder",
    "embedding+probe,finetune",
    "--epochs",
    "2",
    "--augment",
    "none",
    "--batch",
    "31",
)


def test_alone_nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    crew.call(print, "nobody hears this")
    assert crew.team() is ALONE
    assert crew.together(lambda x, y: x - y)(5, y=3) == 2


def launched(*arguments: object) -> subprocess.Popen[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return subprocess.Popen(
        [*torchrun, "-m", "visum", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def losses(folder: Path) -> list[list[float]]:
    with (folder / "history.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["rung"] == "finetune"]
    return [[float(line[key]) for key in ("train_loss", "validation_loss", "validation_score")] for line in lines]


@pytest.mark.slow
def test_two_processes_are_one_run(digits: Path, tmp_path: Path) -> None:
    """Losses of both epochs within 1e-3 of those of one process, which are sums in another order."""
    from visum import train

    child = launched("train", digits, "--out", tmp_path / "two", *SETTINGS, "--precision", "float32", "--json")
    out, said = child.communicate(timeout=500)
    assert child.returncode == 0, said
    assert out.count('"chosen"') == 1  # one of them speaks
    assert said.count("ladder: finetune") == 1
    two = facts(tmp_path / "two")
    assert two["training"]["processes"] == 2
    assert (two["status"], two["test_openings"]) == ("finished", 1)
    assert verify(tmp_path / "two" / "bundle").passed
    ladder = ("embedding+probe", "finetune")
    one = train(
        digits, out=tmp_path / "one", size=64, ladder=ladder, epochs=2, augment="none", batch=31, precision="float32"
    ).folder
    for found, expected in zip(losses(tmp_path / "two"), losses(one), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_the_others_go_when_the_first_one_does(digits: Path, tmp_path: Path) -> None:
    """Data that is not there, and an interruption while it trains: one message, and no process is left."""
    child = launched("train", tmp_path / "nowhere", "--out", tmp_path / "a")
    _, said = child.communicate(timeout=200)
    assert child.returncode
    assert said.count("visum:") == 1
    child = launched("train", digits, "--out", tmp_path / "b", *SETTINGS, "--epochs", "900")
    try:
        until((tmp_path / "b" / "checkpoints" / "last.safetensors").is_file, 300)
    finally:
        child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=100)
    assert child.returncode
    assert facts(tmp_path / "b")["status"] == "interrupted"
    assert "goes on where it stopped" in said
