"""The memory of a step: held to what a process is seen to take, and to machines that are written down."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from visum import train
from visum.errors import UsageError
from visum.learn.optim import OPTIMISERS
from visum.workflow import memory
from visum.workflow.memory import Need
from visum.workflow.tuning import Tuning

USUAL = Tuning(**{field.name: inspect.signature(train).parameters[field.name].default for field in fields(Tuning)})
MB = 2**20


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Sigmoid(), nn.Conv2d(16, 32, 3, padding=1), nn.Sigmoid())


def test_activations_are_those_of_the_layers_each_counted_once() -> None:
    """Sigmoid keeps what it gives, which the convolution behind it keeps, too; the first one keeps the batch."""
    found = memory.need(convolutions(), (3, 20, 20), USUAL)
    kept = 4 * 400 * (3 + 16 + 32)
    assert found.image == pytest.approx(memory.SLACK * kept + memory.COPIES * 4 * 400 * 3, abs=1)
    assert found.weights == 4 * sum(p.numel() for p in convolutions().parameters())


@pytest.mark.parametrize(
    ("name", "state"), [("sgd", 0), ("momentum", 1), ("lion", 1), ("adamw", 2), ("adam_then_sgd", 2)]
)
def test_what_optimisers_keep(name: str, state: int) -> None:
    assert name in OPTIMISERS
    model = nn.Conv2d(3, 1, 1)
    plain = memory.need(model, (3, 4, 4), replace(USUAL, optimiser=name)).beside
    assert plain == pytest.approx(3 + state, abs=0.01)  # gradient, best and first weights
    assert memory.need(model, (3, 4, 4), replace(USUAL, optimiser=name, ema=0.9)).beside == plain + 1


def test_a_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3).eval(), nn.Dropout())
    memory.need(model, (3, 4, 4), USUAL)
    assert [module.training for module in model.modules()] == [True, False, True]
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_var, torch.ones(3))


@pytest.mark.parametrize("spare", [0, 10 * MB, 60 * MB, 100 * MB, 1000 * MB])
def test_the_largest_batch_that_fits_is_the_largest(spare: int) -> None:
    needed = Need(4 * MB, 5, 3 * MB)
    most = needed.most(spare)
    assert not most or needed.bytes(most) <= spare
    assert most or needed.bytes(1) > spare
    assert needed.bytes(most + 1) > spare


def machine(root: Path, *, available: int, cgroup: str = "", files: dict[str, str] | None = None) -> Path:
    """The files in which Linux says how much is left."""
    for name, words in {
        "proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n",
        "proc/self/cgroup": cgroup,
        **(files or {}),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(words)
    return root


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    assert memory.free(tmp_path) is None
    assert memory.free(machine(tmp_path / "plain", available=900 * MB)) == 900 * MB
    v2 = {
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/b/memory.current": "1\n",
        "sys/fs/cgroup/a/b/memory.stat": "inactive_file 0\n",
        "sys/fs/cgroup/a/memory.max": f"{500 * MB}\n",
        "sys/fs/cgroup/a/memory.current": f"{300 * MB}\n",
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {50 * MB}\n",
    }
    assert memory.free(machine(tmp_path / "v2", available=900 * MB, cgroup="0::/a/b\n", files=v2)) == 250 * MB
    v1 = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{400 * MB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{390 * MB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {20 * MB}\n",
    }
    told = "5:cpu:/\n4:memory:/docker/x\n0::/\n"  # the path is the host's, the mount is the container's
    assert memory.free(machine(tmp_path / "v1", available=900 * MB, cgroup=told, files=v1)) == 30 * MB


def test_too_large_a_batch_is_refused_with_the_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = Need(10 * MB, 5, 20 * MB)
    monkeypatch.setattr(memory, "free", lambda: 600 * MB)
    memory.check(needed, 27, "it")
    with pytest.raises(UsageError, match=r"batches of 28 takes about 0.64 GB, and 0.63 GB are free.*--batch 27"):
        memory.check(needed, 28, "it")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"--batch 24"):  # two processes share what is free, and the batch
        memory.check(needed, 28, "it")
    monkeypatch.setattr(memory, "free", lambda: 50 * MB)
    with pytest.raises(UsageError, match=r"a later --cut, a smaller --size"):
        memory.check(needed, 1, "it")
    monkeypatch.setattr(memory, "free", lambda: None)
    memory.check(needed, 10**6, "it")


@pytest.mark.slow
def test_a_run_is_refused_before_it_trains(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 200 * MB)
    with pytest.raises(UsageError, match=r"training the network after blocks.4 in batches of 4,096 .*--batch \d+"):
        train(
            digits, out=tmp_path / "run", size=64, ladder=("embedding+probe", "finetune"),
            cut="blocks.4", epochs=1, batch=4096, augment="none",
        )  # fmt: skip
    assert not (tmp_path / "run" / "checkpoints").exists()


SEEN = """
import sys
sys.path[:0] = {path!r}
import timm, torch
from workflow.test_memory import USUAL
from visum.runtime import peak_memory
from visum.workflow import memory
torch.set_num_threads(1)
model = timm.create_model({name!r}).to(memory_format=torch.channels_last)
needed = memory.need(model, (3, 128, 128), USUAL)
optimiser = torch.optim.AdamW(model.parameters())
before = peak_memory()
x = torch.zeros({batch}, 3, 128, 128).to(memory_format=torch.channels_last)
model(x).sum().backward()
optimiser.step()
print(needed.bytes({batch}), peak_memory() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_a_step_takes_what_was_foretold(name: str) -> None:
    """Never less than nine tenths of what was seen, and at most two and a half times as much."""
    code = SEEN.format(path=[str(Path(__file__).parents[1])], name=name, batch=32)
    foretold, seen = map(
        int, subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split()
    )
    assert 0.9 * seen < foretold < 2.5 * seen
