"""Memory of a training step, known before the first one: what it takes, and what this machine has left."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visum.errors import UsageError
from visum.runtime import place

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visum.workflow.tuning import Tuning

FEW = 2
"""Pictures of the batch that is measured."""
SLACK = 1.1
"""Gradients of activations, of which a few are alive at a time, and pieces that are too small to be given back."""
COPIES = 4
"""Of a batch itself: as read, mixed with its partners, and once more of each while that is done."""


@dataclass(frozen=True)
class Need:
    """Bytes.

    Attributes:
        weights: of what is trained.
        beside: numbers that are kept beside each weight while it is trained: its gradient, the optimiser's state, averages.
        image: of one picture of a batch, from the batch to the last activation that the way back needs.
    """

    weights: int
    beside: float
    image: int

    def bytes(self, batch: int) -> int:
        """Of a step; a checkpoint, between steps, copies all there is twice."""
        kept = self.weights * self.beside
        return math.ceil(kept + max(batch * self.image, 2 * (self.weights + kept)))

    def most(self, spare: int) -> int:
        """The largest batch whose step stays within ``spare`` bytes; 0 if not even one picture does."""
        batch = int(max(0.0, spare - self.weights * self.beside) // self.image)
        return batch if self.bytes(batch) <= spare else 0


def need(model: nn.Module, shape: tuple[int, ...], tuning: Tuning) -> Need:
    """What training a network takes: activations are those that autograd keeps for a batch of two, each counted once.

    Args:
        model: on the processor, in whatever mode.
        shape: of one input, ``[C, H, W]``.
        tuning: optimiser and averaging.
    """
    import torch

    from visum.learn import optim

    seen: dict[int, int] = {}
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return x

    x = torch.zeros(FEW, *shape).to(memory_format=torch.channels_last)
    was = {module: module.training for module in model.modules()}
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            # in eval mode batch norms keep as much, and learn nothing; what comes out holds all that was kept, so that no
            # address is used twice
            out = model.eval()(x)
    finally:
        for module, training in was.items():
            module.training = training
    del out
    probe = torch.nn.Parameter(torch.ones(64, 64))
    optimiser = optim.OPTIMISERS[tuning.optimiser]([{"params": [probe], "share": 1.0}], 1e-3, 0.0)
    probe.grad = torch.ones_like(probe)
    optimiser.step()
    state = sum(v.numel() for v in optimiser.state[probe].values() if isinstance(v, torch.Tensor)) / probe.numel()
    best, start = 1, 1  # weights of the best epoch, and those from which it began
    image = SLACK * sum(seen.values()) / FEW + COPIES * math.prod(shape) * x.element_size()
    return Need(weights, 1 + state + (1 if tuning.ema else 0) + best + start, math.ceil(image))


def free(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take: of the machine, and of each control group that it is in; None if nobody says.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    said = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        said.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, kinds, group = line.split(":", 2)
            if number == "0":
                said += _groups(root / "sys/fs/cgroup", group, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in kinds.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                said += _groups(root / "sys/fs/cgroup/memory", group, names)
    return min(said, default=None)


def _groups(mount: Path, group: str, names: tuple[str, str, str]) -> Iterator[int]:
    """What is left within each limit from a group up to the mount; cached files that are in nobody's way count as left."""
    limit, used, idle = names
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        here = mount.joinpath(*parts[:depth])
        with contextlib.suppress(OSError, ValueError, KeyError):
            most = int((here / limit).read_text())  # "max" is no number, and no limit
            stat = dict(line.split() for line in (here / "memory.stat").read_text().splitlines())
            yield max(0, most - int((here / used).read_text()) + int(stat[idle]))


def check(needed: Need, batch: int, what: str) -> None:
    """Refuse a batch for which memory will not suffice.

    Args:
        needed: of ``need``.
        batch: pictures in one step.
        what: is trained, for the message.

    Raises:
        UsageError: with the batch size that would do.
    """
    spare = free()
    if spare is None:
        return
    here = place()
    spare, own = spare // here.near, math.ceil(batch / here.size)
    if needed.bytes(own) <= spare:
        return
    most = needed.most(spare) * here.size
    sizes = f"about {needed.bytes(own) / 1e9:,.2f} GB, and {spare / 1e9:,.2f} GB are free"
    got = f"training {what} in batches of {batch:,} takes {sizes}"
    if most:
        raise UsageError(got, allowed=f"batches of at most {most:,}", next=f"--batch {most}")
    raise UsageError(got, allowed="less to train", next="a later --cut, a smaller --size or --optimiser sgd")
