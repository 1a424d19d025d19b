"""``visum tradeoff``: what bundles are worth on plain pictures against what they are worth under attack, drawn.

Hardening buys the one with the other. Each bundle is asked the same pictures under PGD at several radii, so that one page shows
what was bought and for how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.errors import UsageError
from visum.judge.intervals import share
from visum.runtime import Stages
from visum.ship.report import tradeoff as pages
from visum.workflow import ready
from visum.workflow.attack import radius_of, tensors, white_box
from visum.workflow.checked import checked
from visum.workflow.compare import called
from visum.workflow.sample import Sample, sample

if TYPE_CHECKING:
    from visum.judge.attack.ball import Classifier

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Of the radius that is asked about: 0 are the plain pictures, and one beyond it shows whether it was learnt by heart."""


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """What ``tradeoff`` found.

    Attributes:
        n: pictures, the same for all bundles.
        epsilon: as it was asked for, e.g. 8/255.
        facts: all of it as JSON: ``n``, ``of``, ``split``, ``epsilon``, ``steps``, and of each of ``models`` its ``name``,
            ``clean`` and ``robust`` accuracy as scores, ``curve`` (``radius`` and ``accuracy`` at each) and ``trained_on``.
        page: tradeoff.html.
        seconds: all in all.
    """

    n: int
    epsilon: str
    facts: Mapping[str, Any]
    page: Path
    seconds: float


@checked
def tradeoff(
    bundles: tuple[Path, ...],
    *,
    data: Path,
    epsilon: str = "8/255",
    steps: int = 10,
    images: int = 200,
    out: Path = Path("tradeoff"),
    split: Literal["train", "validation", "test"] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Tradeoff:
    """Draw what bundles are worth on plain pictures against what they are worth under attack.

    Args:
        bundles: folders of bundles or of runs, plain and hardened, of the same classes.
        data: labelled pictures, as for ``evaluate``.
        epsilon: largest change of each value as a share of the range from black to white, e.g. 8/255 or 0.3.
        steps: gradients of each attack (PGD from a random start).
        images: how many pictures to draw, at least 20.
        out: folder for tradeoff.json and tradeoff.html.
        split: train, validation or test; omitted: test where the data has one, else all.
        path_column, label_column: as for ``train``.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of the pictures and of the random starts.

    Raises:
        UsageError: no bundle, one twice, or an impossible epsilon.
        ModelError: a bundle that has no gradients.
        NotEnoughData: fewer than 20 pictures, or one class.
    """
    ready.check_settings("tradeoff", engine=engine, extra_formats=extra_formats)
    radius = radius_of(epsilon)
    if not bundles:
        raise UsageError("no bundle", allowed="one or more", next="visum tradeoff RUN HARDENED_RUN --data DATA")
    if not 1 <= steps <= 1000:
        raise UsageError(f"--steps {steps}", allowed="1 to 1000", next="--steps 10")
    names = called(bundles)
    ready.check_machine()
    storage.check_writable(out)
    stages = Stages()
    models, chosen, n, of = [], "", 0, 0
    for name, folder in zip(names, bundles, strict=True):
        taken = sample(
            folder,
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
        chosen, n, of = taken.split, len(taken.labels), taken.of
        with stages.stage(f"attack: {name}", n * len(SHARES)) as stage:
            classifier = white_box(taken.bundle)
            held = [under_attack(classifier, taken, radius * each, steps, seed) for each in SHARES]
            curve = [
                {"radius": each * radius, "accuracy": share(right)} for each, right in zip(SHARES, held, strict=True)
            ]
            at = SHARES.index(1.0)
            stage.detail = f"{100 * held[0].mean():.1f} % right, {100 * held[at].mean():.1f} % at {epsilon}"
        models.append(
            {
                "name": name,
                "clean": curve[0]["accuracy"],
                "robust": curve[at]["accuracy"],
                "curve": curve,
                "trained_on": taken.trained_on,
            }
        )
    facts = {"n": n, "of": of, "split": chosen, "epsilon": epsilon, "steps": steps, "models": models}
    storage.write_json(out / "tradeoff.json", facts)
    page = out / "tradeoff.html"
    storage.write_atomic(page, pages.text(facts))
    return Tradeoff(n, epsilon, facts, page, stages.seconds())


def under_attack(
    classifier: Classifier, taken: Sample, radius: float, steps: int, seed: int, batch: int = 64
) -> NDArray[np.bool_]:
    """Which pictures are still answered rightly after PGD within a radius (a share of black to white), bool ``[N]``.

    Args:
        classifier: ``white_box`` of the sample's bundle.
        taken: pictures and labels.
        radius: 0: the pictures as they are.
        steps: of PGD.
        seed: of its starts.
        batch: pictures at a time.
    """
    import torch

    from visum.judge.attack.ball import Ball, answers, holds
    from visum.judge.attack.pgd import pgd

    x, y = tensors(taken)
    right = []
    for at in range(0, len(x), batch):
        some, truth = x[at : at + batch], y[at : at + batch]
        if radius:
            some = pgd(classifier, some, truth, Ball("linf", 255 * radius), steps=steps, seed=seed + at)
        with torch.no_grad():
            right.append(holds(answers(classifier, some), truth).numpy())
    return np.asarray(np.concatenate(right), bool)
