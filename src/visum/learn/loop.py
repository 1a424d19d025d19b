"""The one loop: any model under any objective.

Order, augmentation and every other draw are functions of (seed, epoch, step), never of what was drawn before. A run that was
killed and goes on from its last checkpoint therefore ends with the same bytes as one that was not, on the same machine and with
the same number of threads.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from visum.errors import TrainingError
from visum.learn import checkpoint, ema, optim, parallel
from visum.learn.objectives import Batch, Objective
from visum.learn.schedules import Schedule, waited
from visum.runtime import Step, no_step

Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""epoch → (x, target) of its steps, in an order that depends on the epoch alone. Of several processes each gets the whole target,
and of x the whole as well or the rows of its own part alone (``parallel.part_of``)."""


@dataclass(frozen=True)
class Epoch:
    """One line of the history.

    Attributes:
        epoch: from 1.
        seconds: since training began, earlier parts of an interrupted run included.
        loss: mean of the training objective.
        score: of validation, higher is better.
        rate: the last learning rate, of the group that learns fastest.
        shown: of validation, what people read (accuracy, say), where ``validate`` tells it.
    """

    epoch: int
    seconds: float
    loss: float
    score: float
    rate: float
    shown: float | None = None


@dataclass(frozen=True)
class Span:
    """How far the schedule reaches: over all steps, or from where it stood over those that there is time for.

    Attributes:
        steps: after which it ends.
        since: step from which that is so.
        stood: share of the schedule that was done by then.
    """

    steps: int
    since: int = 0
    stood: float = 0.0

    def past(self, step: int) -> float:
        """Share of the schedule that is done before a step."""
        return self.stood + (1 - self.stood) * (step - self.since) / (self.steps - self.since)


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it: ``model`` holds the weights of the best epoch.

    Attributes:
        history: of all epochs.
        best: number of the best epoch; 0 if none was better than the start.
        stopped: why training ended: "done", "early" or "time".
        began: ``time.monotonic()`` from which the history counts its seconds.
    """

    history: tuple[Epoch, ...]
    best: int
    stopped: str
    began: float


def train(
    model: nn.Module,
    batches: Batches,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    *,
    rate: float,
    schedule: Schedule,
    epochs: int,
    steps: int,
    validate: Callable[[nn.Module], float | tuple[float, float]],
    seed: int = 0,
    average: float | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    start: float = -math.inf,
    room: Callable[[float], float] = lambda _: math.inf,
    opening: Callable[[nn.Module, int], None] = lambda *_: None,
    cycles: int = 1,
    turned: Callable[[int, nn.Module], None] = lambda *_: None,
    save: Path | None = None,
    key: str = "",
    step: Step = no_step,
    team: parallel.Team = parallel.ALONE,
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
) -> Trained:
    """Train, validate after each epoch, and leave the best weights in ``model``.

    Args:
        model: what is trained, in place.
        batches: see ``Batches``.
        objective: of ``objectives``.
        optimiser: of ``optim.OPTIMISERS``.
        rate, schedule: the base rate, and the factor of it at each moment.
        epochs, steps: how long; ``steps`` batches an epoch.
        validate: model → score, higher is better, or (score, the score that people read); called in eval mode without gradients.
        seed: of dropout, mixing and everything else that draws.
        average: largest decay of the moving average of weights (see ``ema.decay``), which is then what is validated and kept.
        clip: largest norm of the gradient.
        accumulate: batches whose gradients are added up for one update.
        patience: epochs without a better score after which training ends.
        start: score to beat: if no epoch does, ``best`` is 0 and the weights are those of the last epoch.
        room: seconds of the longest epoch so far → how many more fit. Where these are fewer than planned, the rest of
            the schedule is drawn together, so that the last epoch ends as slowly as it was to; with ``cycles`` it just ends.
        opening: called with model and epoch (from 0) after ``model.train()``: freezes parts, puts others back into eval mode.
        cycles: how often the schedule goes round; a number by which ``epochs`` can be divided.
        turned: called with the number of a cycle, from 1, and the model in eval mode when the cycle is over and judged.
        save: checkpoint file; written after each epoch, read at the start.
        key: digest of everything that the result depends on; a checkpoint of another key is not gone on with.
        step: told of finished images.
        team: processes that all call this with the same arguments; the first one's ``validate``, ``room`` and ``save`` count.
        device: where it is trained; the model is back on the processor in the end.
        precision: of what is computed under autocast; weights are float32 whatever it is.

    Raises:
        TrainingError: the loss is not a number any more. The last good checkpoint is kept.
    """
    history: list[Epoch] = []
    best, stopped, spent = 0, "done", 0.0
    span = Span(epochs * steps)
    top, top_weights = start, None
    mean: ema.Average | None = None
    model.to(device)
    if save is not None and (found := checkpoint.read(save, key, model, optimiser)) is not None:
        facts, mean, top_weights = found[0], _there(found[1], device), _there(found[2], device)
        history = [Epoch(**line) for line in facts["history"]]
        best, spent, span = facts["best"], history[-1].seconds, Span(*facts["span"])
        top = history[best - 1].score if best else start
    if len(history) != team.agreed(lambda: len(history)):
        raise _strangers()
    team.copied(model)
    if average is not None and mean is None:
        mean = ema.start(model)

    kind, half = torch.device(device).type, precision != torch.float32

    def one_step(epoch: int, number: int, x: Tensor, target: Tensor) -> float:
        done = epoch * steps + number
        past = span.past(done)
        optim.set_rate(optimiser, rate * schedule(past, [-line.score for line in history]), past)
        draw = np.random.default_rng([seed, epoch, number])
        torch.manual_seed(int(draw.integers(2**62)))
        share, own = team.take(len(target)), team.part
        if len(x) < len(target):  # what others learn from was not read
            target, own = target[own], slice(None)
        x, target = x.to(device, non_blocking=True), target.to(device, non_blocking=True)
        with torch.autocast(kind, precision, enabled=half):
            loss, _ = objective(model, Batch(x, target, draw, own))
        loss = loss * share
        value = float(team.total(loss.detach()))
        if not math.isfinite(value):
            raise _broken("loss", value, epoch, number)
        torch.autograd.backward(loss / accumulate)
        if (number + 1) % accumulate == 0 or number + 1 == steps:
            team.add_up(model.parameters())
            if clip is not None and not math.isfinite(length := optim.clip(model, clip)):
                raise _broken("gradient's length", length, epoch, number)
            optimiser.step()
            optimiser.zero_grad()
            if mean is not None and average is not None:
                ema.update(mean, model, ema.decay(done // accumulate + 1, most=average))
        return value

    begin = time.monotonic() - spent
    ends = [0.0, *(line.seconds for line in history)]
    longest = max((late - early for early, late in itertools.pairwise(ends)), default=0.0)

    def more() -> float:
        return room(longest)

    for epoch in range(len(history), epochs):
        if epoch * steps >= span.steps:
            stopped = "time"
            break
        if patience is not None and waited([line.score for line in history]) >= patience:
            stopped = "early"
            break
        if history:
            fits = team.agreed(more)
            if fits < 1:
                stopped = "time"
                break
            if cycles == 1 and (epoch + fits) * steps < span.steps:
                span = Span((epoch + int(fits)) * steps, epoch * steps, span.past(epoch * steps))
        entered = time.monotonic()
        model.train()
        opening(model, epoch)
        total, seen = 0.0, 0
        with parallel.as_one(model, team):
            for number, (x, target) in enumerate(batches(epoch)):
                total += one_step(epoch, number, x, target) * len(target)
                seen += len(target)
                step(len(target))
        model.eval()
        with contextlib.nullcontext() if mean is None else ema.applied(model, mean), torch.no_grad():
            with torch.autocast(kind, precision, enabled=half):
                judged = team.agreed(lambda: validate(model))
            score, shown = judged if isinstance(judged, tuple) else (judged, None)
            if score > top:
                best, top = epoch + 1, score
                top_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            if (epoch + 1) * cycles % epochs == 0 and team.first:
                turned((epoch + 1) * cycles // epochs, model)
        longest = max(longest, time.monotonic() - entered)
        fastest = max(group["lr"] for group in optimiser.param_groups)
        history.append(Epoch(epoch + 1, time.monotonic() - begin, total / max(1, seen), score, fastest, shown))
        if save is not None and team.first:
            lines = [asdict(line) for line in history]
            facts = {"key": key, "history": lines, "best": best, "span": astuple(span)}
            checkpoint.write(save, model, optimiser, mean, top_weights, facts)
    if top_weights is not None:
        model.load_state_dict(top_weights)
    elif mean is not None:
        model.load_state_dict(mean)
    model.to("cpu").eval()
    return Trained(tuple(history), best, stopped, begin)


def _there(tensors: dict[str, Tensor] | None, device: str) -> dict[str, Tensor] | None:
    return tensors and {name: value.to(device) for name, value in tensors.items()}


def _strangers() -> TrainingError:
    return TrainingError(
        "the processes of this run did not find the same checkpoint",
        allowed="one run folder that all of them see",
        next="--out on a disk that all machines share",
    )


def _broken(what: str, value: float, epoch: int, number: int) -> TrainingError:
    return TrainingError(
        f"the {what} became {value} in epoch {epoch + 1}, step {number + 1}",
        allowed="a finite one",
        next="a smaller --learning-rate; the last good checkpoint is kept",
    )
