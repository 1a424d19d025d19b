"""One loop: held to plain PyTorch written out, and to the laws of resuming."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visum.errors import CorruptFile, TrainingError
from visum.learn import checkpoint, loop, objectives
from visum.learn.optim import OPTIMISERS
from visum.learn.parallel import ALONE, part_of
from visum.learn.schedules import constant, cosine


def digits() -> tuple[Tensor, Tensor, Tensor]:
    """scikit-learn's handwritten digits: pictures [N, 1, 8, 8], one-hot targets, class numbers."""
    from sklearn.datasets import load_digits

    found = load_digits()
    y = torch.from_numpy(found.target)
    x = torch.from_numpy(found.images[:, None] / 16).float()
    return x, nn.functional.one_hot(y, 10).float(), y


def network(dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(288, 10)
    )


def cross_entropy(z: Tensor, t: Tensor) -> Tensor:
    return nn.functional.cross_entropy(z, t, reduction="none")


def run(
    model: nn.Module, *, epochs: int = 3, batch: int = 50, rows: int = 500, own: bool = False, **more: Any
) -> loop.Trained:
    """``own``: of several processes each reads its own rows alone."""
    x, target, y = digits()
    team = more.get("team", ALONE)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng([1, epoch]).permutation(rows)
        for at in range(0, rows, batch):
            some = order[at : at + batch]
            mine = some[part_of(len(some), team.rank, team.size)] if own else some
            yield x[mine], target[some]

    def validate(m: nn.Module) -> float:
        return float((m(x[1000:]).argmax(1) == y[1000:]).float().mean())

    build: Callable[..., torch.optim.Optimizer] = more.pop("build", lambda p: torch.optim.AdamW(p, 3e-3))
    settings = {"rate": 3e-3, "schedule": cosine, "steps": rows // batch, "validate": validate, **more}
    objective = settings.pop("objective", objectives.supervised(cross_entropy))
    return loop.train(model, batches, objective, build(model.parameters()), epochs=epochs, **settings)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_is_plain_pytorch() -> None:
    """The same epochs written out, without dropout: the same bytes."""
    found, plain = network(0), network(0)
    run(found, epochs=2, schedule=constant)
    x, target, _ = digits()
    optimiser = torch.optim.AdamW(plain.parameters(), 3e-3)
    plain.train()
    for epoch in range(2):
        order = np.random.default_rng([1, epoch]).permutation(500)
        for at in range(0, 500, 50):
            some = order[at : at + 50]
            optimiser.zero_grad()
            nn.functional.cross_entropy(plain(x[some]), target[some]).backward()
            optimiser.step()
    for a, b in zip(found.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_it_learns_and_keeps_the_best_epoch() -> None:
    model = network()
    trained = run(model, epochs=6)
    scores = [line.score for line in trained.history]
    assert scores[-1] > 0.85
    assert trained.best == 1 + int(np.argmax(scores))
    x, _, y = digits()
    with torch.no_grad():
        assert float((model(x[1000:]).argmax(1) == y[1000:]).float().mean()) == max(scores)
    assert [line.epoch for line in trained.history] == [1, 2, 3, 4, 5, 6]
    assert trained.history[0].loss > trained.history[-1].loss


def test_a_start_that_no_epoch_beats_is_told() -> None:
    assert run(network(), start=2.0).best == 0


@pytest.mark.parametrize("average", [None, 0.99])
def test_stopped_after_any_epoch_and_gone_on_with_it_ends_with_the_same_bytes(
    tmp_path: Path, average: float | None
) -> None:
    whole = network()
    uncut = run(whole, epochs=4, average=average)
    for stop in (1, 2, 3):
        save, told = tmp_path / f"{stop}.safetensors", 0

        def room(_: float, stop: int = stop) -> float:
            nonlocal told
            told += 1
            return np.inf if told < stop else 0

        first = run(network(), epochs=4, average=average, save=save, key="k", room=room)
        assert (first.stopped, len(first.history)) == ("time", stop)
        second = network()
        torch.manual_seed(99)  # what was drawn before must not matter
        gone_on = run(second, epochs=4, average=average, save=save, key="k")
        assert same(whole, second)
        assert [line.score for line in gone_on.history] == [line.score for line in uncut.history]
        assert gone_on.best == uncut.best


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_moments_come_back_in_the_memory_order_of_their_weights(tmp_path: Path, name: str) -> None:
    """Fused kernels take memory as it lies: moments in another order than channels-last weights would move the wrong ones."""

    def build(parameters: Any) -> torch.optim.Optimizer:
        return OPTIMISERS[name]([{"params": list(parameters), "share": 1.0}], 3e-3, 0.01)

    def channels_last() -> nn.Module:
        torch.manual_seed(0)
        parts = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.Flatten(), nn.Linear(192, 10)
        return nn.Sequential(*parts).to(memory_format=torch.channels_last)

    whole, second = channels_last(), channels_last()
    run(whole, epochs=3, build=build)
    save, rooms = tmp_path / "last.safetensors", iter([np.inf, 0])
    run(channels_last(), epochs=3, build=build, save=save, key="k", room=lambda _: next(rooms))
    run(second, epochs=3, build=build, save=save, key="k")
    assert same(whole, second)


def test_the_schedule_is_drawn_in_to_the_epochs_that_there_is_time_for(tmp_path: Path) -> None:
    """Six epochs were planned, and after the second there is time for two more: rates end where they were to, sooner."""

    def trained(model: nn.Module, left: list[float], **more: Any) -> loop.Trained:
        told = iter(left)
        return run(model, epochs=6, room=lambda _: next(told), **more)

    model = network()
    found = trained(model, [np.inf, 2.5, 9.0])
    assert (found.stopped, len(found.history)) == ("time", 4)
    planned = [line.rate for line in run(network(), epochs=6).history]
    rates = [line.rate for line in found.history]
    assert rates[:2] == planned[:2]
    # the last of ten steps of the last of the two epochs is 19 / 20 of the way from a third of the schedule to its end
    assert rates[3] == pytest.approx(3e-3 * cosine(1 / 3 + 2 / 3 * 19 / 20))
    again, save = network(), tmp_path / "last.safetensors"
    trained(network(), [np.inf, 2.0, 0.0], save=save, key="k")  # stopped after the third
    trained(again, [9.0], save=save, key="k")
    assert same(again, model)


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_every_optimiser_goes_on_as_if_it_had_never_stopped(tmp_path: Path, name: str) -> None:
    def build(parameters: Any) -> torch.optim.Optimizer:
        return OPTIMISERS[name]([{"params": list(parameters), "share": 1.0}], 3e-3, 0.01)

    whole, second, save = network(), network(), tmp_path / "last.safetensors"
    run(whole, epochs=4, build=build)
    for answers in ([0], [np.inf, np.inf, 0]):  # after one epoch and after three; adam_then_sgd switches after two
        told = iter(answers)
        run(network(), epochs=4, build=build, save=save, key="k", room=lambda _, told=told: next(told))
    run(second, epochs=4, build=build, save=save, key="k")
    assert same(whole, second)


def test_a_checkpoint_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    save = tmp_path / "last.safetensors"
    run(network(), epochs=1, save=save, key="one")
    other = network()
    assert len(run(other, epochs=2, save=save, key="two").history) == 2
    fresh = network()
    run(fresh, epochs=2)
    assert same(other, fresh)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    save = tmp_path / "last.safetensors"
    run(network(), epochs=1, save=save, key="k")
    blob = save.read_bytes()
    save.write_bytes(blob[: len(blob) // 2])
    with pytest.raises(CorruptFile):
        run(network(), epochs=2, save=save, key="k")


def test_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    save, model = tmp_path / "last.safetensors", network()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    checkpoint.write(save, model, optimiser, None, None, {"key": "k", "history": []})
    from safetensors.numpy import load_file

    assert "model.0.weight" in load_file(save)


def test_accumulated_halves_are_the_whole_batch() -> None:
    a, b = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    b.load_state_dict(a.state_dict())
    x, target, _ = digits()

    def whole(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield x[:100], target[:100]

    def halves(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield x[:50], target[:50]
        yield x[50:100], target[50:100]

    for model, batches, steps in ((a, whole, 1), (b, halves, 2)):
        loop.train(
            model, batches, objectives.supervised(cross_entropy), torch.optim.SGD(model.parameters(), 0.1),
            rate=0.1, schedule=constant, epochs=3, steps=steps, accumulate=steps, validate=lambda _: 0.0,
        )  # fmt: skip
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_patience_ends_it() -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    trained = run(network(), epochs=6, patience=2, validate=lambda _: next(scores))
    assert (trained.stopped, trained.best, len(trained.history)) == ("early", 2, 4)


def test_a_loss_that_is_not_a_number_ends_it_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    save = tmp_path / "last.safetensors"
    calls = 0

    def poisoned(z: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(z, t) * (float("nan") if calls == 25 else 1)

    with pytest.raises(TrainingError, match=r"became nan in epoch 3, step 5.*last good checkpoint is kept"):
        run(network(), epochs=4, save=save, key="k", objective=objectives.supervised(poisoned))
    assert len(run(network(), epochs=2, save=save, key="k").history) == 2


def test_mixing_is_drawn_from_seed_epoch_and_step_alone() -> None:
    from visum.data.mix import mixup

    def mixing() -> objectives.Objective:
        return objectives.mixed(objectives.supervised(cross_entropy), lambda x, t, draw: mixup(x, t, 0.4, draw))

    one, two, other = network(), network(), network()
    run(one, objective=mixing())
    np.random.default_rng().random(10)
    run(two, objective=mixing())
    run(other, objective=mixing(), seed=1)
    assert same(one, two)
    assert not same(one, other)


SCRIPT = """
import os, signal, time
import numpy as np
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from safetensors.torch import save_file
from test_loop import network, run
import torch._dynamo  # which the first step would load in every child anew
torch.set_num_threads(1)
folder, draw = Path({folder!r}), np.random.default_rng(0)

def start(name):
    # forked, so that torch is loaded once
    if child := os.fork():
        return child
    model = network()
    run(model, epochs=45, rows=400, save=folder / name, key="k")
    save_file(model.state_dict(), folder / (name + ".out"))
    os._exit(0)

assert os.waitpid(start("uncut"), 0)[1] == 0
save = folder / "killed"
for _ in range(20):
    child, wanted, written = start("killed"), int(draw.integers(1, 3)), set()
    before = save.stat().st_mtime_ns if save.is_file() else 0
    while len(written) < wanted and os.waitpid(child, os.WNOHANG) == (0, 0):
        if save.is_file() and (now := save.stat().st_mtime_ns) != before:
            written.add(now)
        time.sleep(0.001)
    time.sleep(float(draw.uniform(0, 0.02)))
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it had ended before it was killed"
assert os.waitpid(start("killed"), 0)[1] == 0
"""


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """T1 of the trials: somewhere within an epoch or a write."""
    from safetensors.numpy import load_file

    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=120)
    found, expected = load_file(tmp_path / "killed.out"), load_file(tmp_path / "uncut.out")
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_what_people_read_is_kept_with_the_epoch_and_in_the_checkpoint(tmp_path: Path) -> None:
    """A pair of scores: the first decides, the second is only told; seconds count from the moment that is told with them."""
    told = iter([(0.25, 90.0), (0.75, 80.0), (0.5, 70.0)])
    before = time.monotonic()
    settings: dict[str, Any] = {"epochs": 3, "validate": lambda _: next(told), "save": tmp_path / "last", "key": "k"}
    first = run(network(), **settings, room=lambda _: 0)
    assert [line.shown for line in first.history] == [90.0]
    trained = run(network(), **settings)
    assert trained.best == 2
    assert [line.shown for line in trained.history] == [90.0, 80.0, 70.0]
    assert before - first.history[0].seconds <= trained.began <= time.monotonic() - trained.history[-1].seconds
    assert [line.shown for line in run(network(), epochs=1).history] == [None]
