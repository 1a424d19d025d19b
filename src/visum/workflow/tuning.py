"""How a network is trained: the settings of ``train`` that are about it, checked before anything is paid for."""

from __future__ import annotations

from dataclasses import dataclass

from visum.errors import UsageError
from visum.models import pools, sizes, zoo
from visum.models.heads import COSINE, LINEAR
from visum.models.prefix import WHOLE
from visum.types import Task

AUTO = "auto"
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
    from visum.learn import device, heads, losses, optim, schedules, settings, stochastic_depth, transfer

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
