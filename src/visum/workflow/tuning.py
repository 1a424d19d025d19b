"""How a network is trained: the settings of ``train`` that are about it, checked before anything is paid for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visum.errors import UsageError
from visum.models import pools, sizes, zoo
from visum.models.heads import COSINE, LINEAR
from visum.models.prefix import WHOLE
from visum.types import Task

if TYPE_CHECKING:
    from visum.workflow.ladder import Rung

AUTO = "auto"
EPSILON = 8 / 255
MOST_SETTABLE = 1000
MARGIN, SCALE = 0.3, 16.0
"""Of the cosine head. Deng et al. take 0.5 and 64 for tens of thousands of faces; a smaller scale does not saturate the softmax
of a few classes."""


@dataclass(frozen=True)
class Tuning:
    """The settings of ``train`` that are about training a network. Ranges are those of its signature.

    Attributes:
        cut: the stage after which training begins: auto, none (the whole network), or a stage's name.
        epochs: None: as many as the budget allows.
        batch: pictures in one step; None: 32 behind a cut and for the whole of a trained network, 128 from scratch.
        augment: a preset or names of ``data.augment``.
        loss, label_smoothing: of ``learn.losses``; None: the task's default.
        optimiser, learning_rate, weight_decay, layer_decay: of ``learn.optim``; no rate: what ``workflow.trial`` finds.
        l1: strength of the sum of absolute weights, added to the loss.
        snapshots: how often the schedule goes round; the network at the end of each round is kept. 1: only the best one is.
        schedule, warm_up: of ``learn.schedules``; share of training, 0 … 1.
        mixup, cutmix: alpha; 0 for none. Where both are given, each step takes one of them.
        dropout: in front of the last layer.
        drop_path: probability with which the last residual block loses its branch (``learn.stochastic_depth``).
        start_size: pixels of the first epoch's pictures; None: all epochs see the working size.
        pool: of the last map, of ``models.pools``.
        head: the last layer, of ``learn.heads``.
        margin, scale: of the cosine head: radians, and its largest logit.
        ema: largest decay of the moving average of weights; 0 for none.
        clip: largest norm of a gradient; 0 for none.
        unfreeze: of ``learn.transfer``.
        patience: epochs without a better validation loss after which it ends; 0: never.
        device, precision: of ``learn.device``.
        harden: of ``learn.harden``; None: pictures are learnt as they are.
        epsilon: radius of the attacks it is trained under, as a share of the way from black to white.
        harden_steps: of each of these attacks; None: what the way of hardening usually takes.
        harden_weight: of the part of the loss that asks for like answers; None: the usual one.
    """

    cut: str
    epochs: int | None
    batch: int | None
    augment: str
    loss: str | None
    label_smoothing: float
    optimiser: str
    learning_rate: float | None
    weight_decay: float
    layer_decay: float
    l1: float
    schedule: str
    warm_up: float
    mixup: float
    cutmix: float
    dropout: float
    drop_path: float
    start_size: int | None
    snapshots: int
    pool: str
    head: str
    margin: float
    scale: float
    ema: float
    clip: float
    unfreeze: str
    patience: int
    device: str = AUTO
    precision: str = AUTO
    harden: str | None = None
    epsilon: float = EPSILON
    harden_steps: int | None = None
    harden_weight: float | None = None


def check(tuning: Tuning, task: Task, backbone: str) -> None:
    """Refuse names that do not exist and settings that do not fit, before anything is paid for. Loads torch.

    Args:
        tuning: what is asked for.
        task: what the data asks for.
        backbone: the architecture that is trained.

    Raises:
        UsageError: naming what there is.
    """
    from visum.data.augment import steps
    from visum.learn import device, harden, heads, losses, optim, schedules, settings, stochastic_depth, transfer

    steps(tuning.augment)
    losses.check(tuning.loss or losses.DEFAULT[task], task)
    settings.known_name("optimiser", tuning.optimiser, optim.OPTIMISERS)
    settings.known_name("schedule", tuning.schedule, schedules.SCHEDULES)
    device.check(tuning.device, tuning.precision)
    settings.known_name("way to unfreeze", tuning.unfreeze, transfer.UNFREEZE)
    settings.known_name("pool", tuning.pool, pools.POOLS)
    settings.known_name("head", tuning.head, heads.HEADS)
    if tuning.drop_path:
        stochastic_depth.check(zoo.build(backbone), backbone)
    if tuning.start_size is not None:
        if tuning.cut not in (AUTO, WHOLE):
            raise UsageError(
                f"pictures that grow need a network that sees them, and what is trained begins after {tuning.cut}",
                next=f"--cut {WHOLE}, or no --start-size",
            )
        if (only := sizes.own(backbone)) is not None:
            raise UsageError(f"{backbone} is made for pictures of {only} px, which cannot grow", next="no --start-size")
    if tuning.harden is not None:
        settings.known_name("way of hardening", tuning.harden, harden.HARDEN)
    _check_hardening(tuning, {name: way.takes for name, way in harden.HARDEN.items()})
    if tuning.epochs is not None and tuning.epochs % tuning.snapshots:
        raise UsageError(
            f"{tuning.epochs} epochs are no {tuning.snapshots} rounds of equal length",
            next=f"--epochs {tuning.snapshots * max(1, round(tuning.epochs / tuning.snapshots))}",
        )
    if tuning.head == COSINE and task == "multilabel":
        words = "the cosine head lets classes compete for a picture, and here a picture has any number of labels"
        raise UsageError(words, allowed="binary and multiclass tasks", next=f"--head {LINEAR}")
    if tuning.head != COSINE and (tuning.margin, tuning.scale) != (MARGIN, SCALE):
        raise UsageError(
            f"margin and scale are of the cosine head, and this one is {tuning.head}", next="--head cosine"
        )


def check_ladder(tuning: Tuning, tunes: bool, last: str) -> None:
    """Refuse to harden where no network is trained.

    Args:
        tuning: what is asked for.
        tunes: whether the ladder ends in a trained network.
        last: the name of that rung.
    """
    if tunes:
        return  # the rest is checked with all other settings of training
    if tuning.harden:
        raise UsageError(
            f"--harden {tuning.harden} trains a network, and this ladder trains none",
            allowed=f"a ladder that ends in {last}",
            next=f"--ladder majority,embedding+probe,{last}, or --weights none",
        )
    _check_hardening(tuning, {})


def hardened(tuning: Tuning, rungs: list[Rung], last: str) -> list[Rung]:
    """The rungs to choose from: where hardening was asked for, those that were hardened; plain pictures do not show its worth.

    Raises:
        UsageError: there was no time for it.
    """
    if tuning.harden is None:
        return rungs
    found = [rung for rung in rungs if rung.name.startswith(last)]
    if not found:
        raise UsageError(
            f"hardening by {tuning.harden} does not fit into this budget", next="a longer --budget, or none"
        )
    return found


def _check_hardening(tuning: Tuning, takes: Mapping[str, Collection[str]]) -> None:
    """Refuse settings of hardening that the way does not take, and a network of which a part is frozen.

    Args:
        tuning: what is asked for.
        takes: of each way of hardening.
    """
    given = {
        "epsilon": ("within", tuning.epsilon != EPSILON),
        "harden_steps": ("steps", tuning.harden_steps is not None),
        "harden_weight": ("weight", tuning.harden_weight is not None),
    }
    for name, (setting, said) in given.items():
        if said and setting not in takes.get(tuning.harden or "", ()):
            whose = f"{tuning.harden} has none" if tuning.harden else "nothing is hardened here"
            raise UsageError(
                f"--{name.replace('_', '-')} is a setting of hardening, and {whose}",
                next=" or ".join(f"--harden {way}" for way, of in takes.items() if setting in of) or "--harden trades",
            )
    if tuning.harden and tuning.cut not in (AUTO, WHOLE):
        raise UsageError(
            f"hardening needs a network that sees pixels, and what is trained begins after {tuning.cut}",
            next=f"--cut {WHOLE}, or no --cut",
        )
