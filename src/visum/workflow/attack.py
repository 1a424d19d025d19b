"""``visum attack``: how little must a picture be changed for a bundle to be wrong?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from visum import __version__, runtime, storage
from visum.errors import UsageError
from visum.judge.intervals import share
from visum.models import differentiable, folded
from visum.runtime import Stages
from visum.ship.report import attack as pages
from visum.types import Bundle, Pixels
from visum.workflow import origin, ready
from visum.workflow.checked import checked
from visum.workflow.sample import Sample, answering, lead, sample

if TYPE_CHECKING:
    from torch import Tensor

    from visum.judge.attack.ball import Classifier
    from visum.judge.attack.standard import Assessment

USUAL = ("fgsm", "pgd10")
SHOWN = 24
"""Pictures on the page."""


@dataclass(frozen=True, eq=False)
class Attack:
    """What ``attack`` found.

    Attributes:
        n: pictures that were attacked.
        epsilon: as it was asked for, e.g. 8/255.
        norm: linf or l2.
        clean: accuracy without attack, a score in JSON.
        robust: accuracy after all attacks, picture by picture the worst.
        facts: all of it as JSON; see ``docs/attack.md``.
        page: attack.html.
        seconds: all in all.
    """

    n: int
    epsilon: str
    norm: str
    clean: Mapping[str, Any]
    robust: Mapping[str, Any]
    facts: Mapping[str, Any]
    page: Path
    seconds: float


@checked
def attack(
    bundle: Path,
    data: Path,
    *,
    epsilon: str = "8/255",
    norm: Literal["linf", "l2"] = "linf",
    attacks: tuple[str, ...] = USUAL,
    standard: bool = False,
    images: int = 100,
    no_alarm: bool = False,
    out: Path = Path("attack"),
    split: Literal["train", "validation", "test"] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Attack:
    """Change pictures on purpose, by a little, until a bundle is wrong; tell how often that works.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled pictures, as for ``evaluate``.
        epsilon: how much may change, as a share of the range from black to white, e.g. 8/255 or 0.03; of each value (linf), or
            the length of the whole change (l2).
        norm: linf or l2.
        attacks: of fgsm, pgd, apgd-ce, apgd-t, fab-t, square; a number behind a name is its steps (pgd40, square500).
        standard: the standard version of AutoAttack besides: apgd-ce, apgd-t, fab-t and square, each on what held so far.
        images: how many pictures to draw, at least 20.
        no_alarm: do not look for signs of masked gradients, which make attacks fail and models look robust.
        out: folder for attack.json and attack.html.
        split: train, validation or test; omitted: test where the data has one, else all.
        path_column, label_column: as for ``train``.
        engine: auto, openvino, onnxruntime or torch; for attacks without gradients.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of everything that draws.

    Raises:
        UsageError: no such attack, or an impossible epsilon.
        ModelError: attacks that need gradients, of a bundle that has none.
        NotEnoughData: fewer than 20 pictures, or one class.
    """
    ready.check_settings("attack", engine=engine, extra_formats=extra_formats)
    radius = radius_of(epsilon)
    ready.check_machine()
    storage.check_writable(out)
    stages = Stages()
    from visum.judge.attack import STANDARD, named
    from visum.judge.attack import standard as judge
    from visum.judge.attack.ball import Ball

    names = tuple(dict.fromkeys((*attacks, *(STANDARD if standard else ()))))
    blind = all(not named(name)[0].gradients for name in names)
    if not names:
        raise UsageError("no attack", allowed="one or more", next="--attacks fgsm,pgd10, or --standard")
    taken = sample(
        bundle,
        data,
        images,
        split=split,
        path_column=path_column,
        label_column=label_column,
        engine=engine,
        extra_formats=extra_formats,
        seed=seed,
        stages=stages,
    )
    ball = Ball(norm, 255 * radius, whole=blind)
    with stages.stage("network"):
        classifier = black_box(taken) if blind else white_box(taken.bundle)
        x, y = tensors(taken)
    made = judge.assess(classifier, x, y, ball, names, seed=seed, stage=stages.stage)
    facts = _facts(made, taken, epsilon, origin.name(bundle))
    if not no_alarm and not blind:
        from visum.judge.attack import masking

        with stages.stage("masked gradients?"):
            facts["masking"] = masking.signs(classifier, x, y, ball, made, seed=seed)
    facts["engine"] = _in_eight_bits(made, taken)
    facts["seconds"] = round(stages.seconds(), 1)
    storage.write_json(out / "attack.json", facts)
    page = out / "attack.html"
    storage.write_atomic(page, pages.text(facts, pictures(made, taken)))
    return Attack(len(x), epsilon, norm, facts["clean"], facts["robust"], facts, page, stages.seconds())


def radius_of(epsilon: str) -> float:
    """``8/255`` or ``0.03`` as a number.

    Raises:
        UsageError: not a number above 0.
    """
    above, _, below = epsilon.partition("/")
    try:
        found = float(above) / (float(below) if below else 1.0)
    except (ValueError, ZeroDivisionError):
        found = float("nan")
    if not 0 < found < float("inf"):
        raise UsageError(
            f"--epsilon {epsilon}", allowed="a share of the range from black to white, above 0", next="--epsilon 8/255"
        )
    return found


def white_box(bundle: Bundle) -> Classifier:
    """A bundle as a function with gradients, as quick as it can be made on a processor.

    Raises:
        ModelError: it has none.
    """
    import torch

    torch.set_num_threads(runtime.threads())
    differentiable.check(
        bundle, "square, which asks for answers only; or the bundle of a network", "--attacks square500"
    )
    found, side = differentiable.of_bundle(bundle), bundle.preprocess.size
    folded.fold(found, torch.full((1, 3, side, side), 127.0))
    found.forward.to(memory_format=torch.channels_last)
    shift = torch.from_numpy(lead(bundle))
    return lambda pixels: found(pixels.contiguous(memory_format=torch.channels_last)) + shift


def black_box(taken: Sample) -> Classifier:
    """Any bundle as a function of whole pixel values without gradients, by the compiled engine."""
    import torch

    ask = answering(taken.model)

    def classifier(pixels: Tensor) -> Tensor:
        return torch.from_numpy(ask(squares(pixels)))

    return classifier


def squares(pixels: Tensor) -> Pixels:
    """Float32 ``[B, 3, S, S]`` → rounded to uint8 ``[B, S, S, 3]``."""
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).round().clamp(0, 255).byte().numpy())


def tensors(taken: Sample) -> tuple[Tensor, Tensor]:
    """Pixels float32 ``[N, 3, S, S]`` and labels int64 ``[N]``."""
    import torch

    return differentiable.pixels(taken.squares), torch.from_numpy(taken.labels.astype(np.int64))


def _facts(made: Assessment, taken: Sample, epsilon: str, bundle: str) -> dict[str, Any]:
    """What attack.json holds, but for signs of masked gradients and the engine's answers."""
    from visum.judge.attack import named

    moves = made.ball.length(made.found - tensors(taken)[0]).flatten().numpy()
    return {
        "visum": __version__,
        "bundle": bundle,
        "classes": list(taken.bundle.classes),
        "n": len(made.right),
        "of": taken.of,
        "split": taken.split or "all",
        "trained_on": taken.trained_on,
        "norm": made.ball.norm,
        "epsilon": epsilon,
        "radius": made.ball.radius,
        "clean": share(made.right),
        "robust": share(made.robust),
        "attacks": [
            {
                "attack": each.name,
                "words": named(each.name)[0].words,
                "tried": each.tried,
                "alone": share(each.held) if each.alone else None,
                "worst": share(each.worst),
                "seconds": round(each.seconds, 2),
            }
            for each in made.attacks
        ],
        "images": [
            {
                "id": name,
                "label": taken.bundle.classes[label],
                "answer": taken.bundle.classes[first],
                "fooled_by": by,
                "attacked": taken.bundle.classes[said],
                "moved": round(float(move), 4),
            }
            for name, label, first, by, said, move in zip(
                taken.table.ids, taken.labels, made.first, made.by, made.answers, moves, strict=True
            )
        ],
        "size": taken.bundle.preprocess.size,
    }


def _in_eight_bits(made: Assessment, taken: Sample) -> dict[str, Any]:
    """How many of the pictures that were found still deceive the shipped engine, once rounded to whole pixel values."""
    rows = [row for row, by in enumerate(made.by) if by]
    if not rows:
        return {"n": 0, "fooled": 0}
    told = answering(taken.model)(squares(made.found[rows])).argmax(axis=1)
    return {"n": len(rows), "fooled": int((told != taken.labels[rows]).sum())}


def pictures(made: Assessment, taken: Sample) -> list[dict[str, Any]]:
    """What the page shows: squares before and after, the change ten times as strong, and what was said."""
    names, found = taken.bundle.classes, squares(made.found)
    rows = sorted((row for row, by in enumerate(made.by) if by), key=lambda row: (taken.labels[row], row))
    step = max(1, len(rows) // SHOWN)
    out = []
    for row in rows[::step][:SHOWN]:  # spread over the classes
        change = made.found[row].permute(1, 2, 0).numpy() - taken.squares[row].astype(np.float32)
        out.append(
            {
                "id": str(taken.table.ids[row]),
                "before": taken.squares[row],
                "change": np.clip(np.rint(128 + 10 * change), 0, 255).astype(np.uint8),
                "after": found[row],
                "label": names[taken.labels[row]],
                "answer": names[made.answers[row]],
                "by": made.by[row],
            }
        )
    return out
