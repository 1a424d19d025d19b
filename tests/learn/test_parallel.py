"""Several processes held to one: the same weights, whatever layers look at or draw for the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import cross_entropy, network, run
from torch import Tensor, nn

from visum.data.mix import mixup
from visum.errors import UsageError
from visum.learn import objectives, parallel
from visum.learn.optim import OPTIMISERS
from visum.runtime import PLACES, Place, place

CHILD = """
import sys
sys.path[:0] = {path!r}
import torch
from safetensors.torch import save_file
from test_parallel import trained
from visum.learn import parallel
from visum.runtime import place
torch.set_num_threads(1)
team = parallel.joined(place())
model, history = trained(team)
weights = {{name: value.contiguous() for name, value in model.state_dict().items()}}
save_file({{**weights, "loss": torch.tensor([line.loss for line in history])}}, {out!r} + str(team.rank))
parallel.left()
"""


class DropPath(nn.Module):
    """timm's, written out: rows as a whole are left out."""

    drop_prob, scale_by_keep = 0.2, True

    def forward(self, x: Tensor) -> Tensor:
        keep = 1 - self.drop_prob
        return x * x.new_empty((len(x), *[1] * (x.ndim - 1))).bernoulli_(keep).div_(keep) if self.training else x


def everything() -> nn.Module:
    """Layers that look at the whole batch, and layers that draw for it, in both layouts of memory."""
    inner = network()
    torch.manual_seed(1)
    assert isinstance(inner, nn.Sequential)
    first, *rest = inner
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Dropout(0.1), first, nn.Dropout(0.1), DropPath(), *rest)
    return model.to(memory_format=torch.channels_last)


def momentum(parameters: Any) -> torch.optim.Optimizer:
    """Not Adam: a bias before a batch norm has no gradient but rounding, of which Adam would make steps like any other."""
    return OPTIMISERS["momentum"]([{"params": list(parameters), "share": 1.0}], 3e-2, 0.01)


def trained(team: parallel.Team) -> tuple[nn.Module, Any]:
    """Mixed batches of 50 and a last one of 1, a clip, a moving average, two batches an update."""
    model = everything()
    objective = objectives.mixed(objectives.supervised(cross_entropy), lambda x, t, draw: mixup(x, t, 0.4, draw))
    found = run(
        model, epochs=2, rows=251, steps=6, objective=objective, build=momentum, rate=3e-2,
        clip=1.0, accumulate=2, average=0.9, team=team,
    )  # fmt: skip
    return model, found.history


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def started(count: int, code: str, **more: str) -> list[subprocess.Popen[str]]:
    """Processes as torchrun starts them."""
    told = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **more}
    told.update(OMP_NUM_THREADS="1", LOCAL_WORLD_SIZE=str(count))
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **told, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_are_one(tmp_path: Path, count: int) -> None:
    """rtol 1e-4 of float32 weights after twelve steps: what differs is the order of sums."""
    from safetensors.torch import load_file

    code = CHILD.format(path=[str(Path(__file__).parent)], out=str(tmp_path / "weights"))
    for child in started(count, code):
        _, said = child.communicate(timeout=100)
        assert child.returncode == 0, said
    first, *others = (load_file(tmp_path / f"weights{rank}") for rank in range(count))
    for other in others:
        assert all(torch.equal(other[name], value) for name, value in first.items())
    torch.set_num_threads(1)
    alone, history = trained(parallel.ALONE)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    torch.testing.assert_close(first["loss"], torch.tensor([line.loss for line in history]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_are_the_whole_and_their_shares_are_one(size: int) -> None:
    for rows in range(1, 40):
        teams = [parallel.Team(rank, size) for rank in range(size)]
        assert sum(team.take(rows) for team in teams) == pytest.approx(1)
        taken = [row for team in teams for row in range(rows)[team.part]]
        assert taken == (list(range(rows)) if rows >= size else list(range(rows)) * size)
        lengths = [len(range(rows)[team.part]) for team in teams]
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) > 0


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Place()),
        ({"RANK": "1"}, Place()),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}, Place(1, 2, 1)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}, Place(0, 3, 3)),
    ],
)
def test_launchers_tell_the_place(monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: Place) -> None:
    for name in (name for names in PLACES.values() for name in names):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert place() == expected


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_a_place_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match=f"RANK={rank}, WORLD_SIZE={size}.*torchrun"):
        place()


def test_nobody_says_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match=r"2 processes.*MASTER_ADDR"):
        parallel.joined(Place(0, 2, 2))


class Threads(parallel.Team):
    """Two processes played by two threads: what is sent lies in a list that both see."""

    wall, sent = threading.Barrier(2, timeout=60), [None, None]

    def total(self, value: Tensor) -> Tensor:
        self.sent[self.rank] = value.clone()
        self.wall.wait()
        summed = self.sent[0] + self.sent[1]
        self.wall.wait()
        return summed

    def agreed(self, value: Callable[[], Any]) -> Any:
        if self.first:
            self.sent[0] = value()
        self.wall.wait()
        found = self.sent[0]
        self.wall.wait()
        return found

    def copied(self, model: nn.Module) -> None:
        """They begin alike."""


@pytest.mark.parametrize(("mixing", "rows"), [(True, 251), (False, 253)])
def test_two_in_one_process_are_one(mixing: bool, rows: int) -> None:
    """Batch norms, mixing, a last batch of one row, or of three; without mixing each reads its own rows alone.

    Threads share what draws.
    """
    found = [network(0) for _ in range(3)]

    def train(model: nn.Module, team: parallel.Team) -> None:
        loss = objectives.mixed(objectives.supervised(cross_entropy), lambda x, t, draw: mixup(x, t, 0.4, draw))
        if not mixing:
            loss = objectives.supervised(cross_entropy)
        settings = {"build": momentum, "rate": 3e-2, "clip": 1.0, "average": 0.9}
        run(model, epochs=1, rows=rows, steps=6, objective=loss, team=team, own=not mixing, **settings)

    threads = [threading.Thread(target=train, args=(found[rank], Threads(rank, 2))) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train(found[2], parallel.ALONE)
    for name, value in found[2].state_dict().items():
        torch.testing.assert_close(found[0].state_dict()[name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[0].state_dict()[name], found[1].state_dict()[name])
