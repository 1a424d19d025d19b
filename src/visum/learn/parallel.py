"""Several processes that train one network as one process would: PyTorch's own collectives, started by torchrun or its like.

Each process answers for its part of every batch. Gradients are added up weighted by the length of the parts, so that an update is
that of the whole batch; what a batch does as a whole is done as a whole: mixed before it is parted, its batch norms see the
statistics of all parts, and dropout draws for all rows before it takes its own. What remains is the order of sums, which is
rounding. All processes hold the same weights, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visum.errors import TrainingError, UsageError
from visum.runtime import Place

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""How long a process waits for another that is alive: the first one may decode and embed for hours.
A dead one is noticed at once."""


@dataclass(eq=False)
class Team:
    """The processes that train together, and what they have in hand.

    Attributes:
        rank, size: this one, from 0, of how many.
        rows: of the batch in hand.
        part: which of these are this process's own.
    """

    rank: int = 0
    size: int = 1
    rows: int = 0
    part: slice = field(default_factory=lambda: slice(0, 0))

    @property
    def first(self) -> bool:
        """Whether this process judges, writes and speaks for all."""
        return self.rank == 0

    def take(self, rows: int) -> float:
        """Take a batch in hand; what the mean loss of the own part counts for in that of the whole, the shares summing to 1.

        Parts are contiguous and differ in length by one row at most. A batch of fewer rows than processes is everybody's.
        """
        self.rows, self.part = rows, part_of(rows, self.rank, self.size)
        return 1 / self.size if rows < self.size else (self.part.stop - self.part.start) / rows

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in new memory."""
        if self.size == 1:
            return value
        value = value.clone()
        with _together():
            dist.all_reduce(value)
        return value

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gradients become their sums over all processes, in place and in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        summed = self.total(torch.cat([g.reshape(-1) for g in gradients]))
        for g, s in zip(gradients, torch.split(summed, [g.numel() for g in gradients]), strict=True):
            g.copy_(s.view(g.shape))

    def agreed(self, value: Callable[[], T]) -> T:
        """What the first process finds, told to all; nobody else looks."""
        if self.size == 1:
            return value()
        said: list[Any] = [value() if self.first else None]
        with _together():
            dist.broadcast_object_list(said, src=0)
        return said[0]  # type: ignore[no-any-return]

    def copied(self, model: nn.Module) -> None:
        """All processes get the weights and buffers of the first."""
        if self.size > 1:
            with _together():
                for value in model.state_dict().values():
                    dist.broadcast(value, src=0)


ALONE = Team()


def part_of(rows: int, rank: int, size: int) -> slice:
    """Rows of a batch that a process of several answers for; all of them where there are fewer rows than processes."""
    return slice(0, rows) if rows < size else slice(rows * rank // size, rows * (rank + 1) // size)


def joined(place: Place) -> Team:
    """Join the other processes: gloo between processors, NCCL between graphics cards.

    Raises:
        UsageError: nobody says where they meet.
    """
    cuda = torch.cuda.is_available()
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", rank=place.rank, world_size=place.size, timeout=PATIENCE
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{place.size} processes were announced, and they cannot meet: {str(error).splitlines()[0]}",
            allowed="MASTER_ADDR and MASTER_PORT, as torchrun sets them",
            next="torchrun --nproc-per-node 2 -m visum train …",
        ) from error
    return Team(place.rank, place.size)


def left() -> None:
    """Leave the others; the end of the connection is what tells them if they still wait."""
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


@contextlib.contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            "another process of this run has ended",
            next="its own message says why; the same command again goes on from the last checkpoint",
        ) from error


@contextlib.contextmanager
def as_one(model: nn.Module, team: Team) -> Iterator[None]:
    """Within the block, layers that look at the whole batch, or draw for it, do so across the processes.

    These are batch norms that learn statistics, ``nn.Dropout``, and the stochastic depth of timm and torchvision. Other layers
    that draw (feature dropout, say) draw the same numbers in each process, each for its own rows: training is sound, and
    differs from that of one process as another seed would.
    """
    if team.size == 1:
        yield
        return
    changed = []
    module: Any
    for module in model.modules():
        before, kind = module.forward, type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            after: Callable[[Tensor], Tensor] = partial(_normed, module, before, team)
        elif isinstance(module, nn.Dropout):
            after = partial(_dropped, module, before, team, module.p, False)
        elif kind == "DropPath":
            after = partial(_dropped, module, before, team, module.drop_prob, True)
        elif kind == "StochasticDepth" and module.mode == "row":
            after = partial(_dropped, module, before, team, module.p, True)
        else:
            continue
        changed.append((module, module.__dict__.get("forward")))
        module.forward = after
    try:
        yield
    finally:
        for module, own in changed:
            del module.forward
            if own is not None:
                module.forward = own


def _dropped(module: Any, before: Callable[[Tensor], Tensor], team: Team, p: float, whole: bool, x: Tensor) -> Tensor:
    """Dropout (``whole``: of rows as a whole) whose draws are those of the whole batch, in the layout of ``x``."""
    mine = team.part.stop - team.part.start
    if not module.training or not 0 < p < 1 or not mine or len(x) % mine:
        return before(x)
    each = len(x) // mine  # windows of a picture are rows of their own
    shape = (team.rows * each, *([1] * (x.ndim - 1) if whole else x.shape[1:]))
    last = not whole and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last and not x.is_contiguous() else torch.contiguous_format
    noise = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout).bernoulli_(1 - p)
    if getattr(module, "scale_by_keep", True):
        noise.div_(1 - p)
    return x * noise[team.part.start * each : team.part.stop * each]


def _normed(norm: Any, before: Callable[[Tensor], Tensor], team: Team, x: Tensor) -> Tensor:
    """A batch norm in training, with mean and variance of all parts (Ioffe & Szegedy 2015, algorithm 1)."""
    if not norm.training:
        return before(x)
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    wide = x.float()
    sums: Tensor = _Sum.apply(torch.cat([wide.sum(axes), wide.new_tensor([x.numel() / x.shape[1]])]), team)
    n = sums[-1].detach()
    mean = sums[:-1] / n
    centred = wide - mean.view(shape)
    var: Tensor = _Sum.apply(centred.square().sum(axes), team) / n
    if norm.track_running_stats and norm.running_mean is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            pace = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean.detach(), pace)
            norm.running_var.lerp_(var.detach() * n / (n - 1), pace)
    out = centred * torch.rsqrt(var + norm.eps).view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    out = out.to(x.dtype)
    act = getattr(norm, "act", None)  # timm's norms have their activation inside
    return out if act is None else act(norm.get_submodule("drop")(out))


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, team: Team) -> Tensor:
        ctx.team = team
        return team.total(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.team.total(gradients[0].contiguous()), None
