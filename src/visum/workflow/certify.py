"""``visum certify``: which answers can be proven against every small change, whatever the attack?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visum import __version__, storage
from visum.errors import UsageError
from visum.judge import certify as judge
from visum.judge.certify import Certificate
from visum.judge.intervals import share, wilson
from visum.runtime import Stages
from visum.ship.report import certificate as pages
from visum.types import Floats
from visum.workflow import origin, ready
from visum.workflow.checked import checked
from visum.workflow.sample import Sample, answering, sample

Flags = NDArray[np.bool_]
STEPS = 9
"""Radii in the table, from 0 to the largest that can be proven."""
ATTACK, SURE = "pgd20", 200
"""What attacks a smoothed classifier, and the draws that tell whether it was deceived."""


@dataclass(frozen=True, eq=False)
class Certified:
    """What ``certify`` found.

    Attributes:
        n: pictures.
        sigma: of the noise, black to white is 1.
        accuracy: of the smoothed classifier: right and not abstained, a score in JSON.
        certificates: of each picture, in the order of ``facts["images"]``.
        facts: all of it as JSON; see ``docs/attack.md``.
        page: certificate.html.
        seconds: all in all.
    """

    n: int
    sigma: float
    accuracy: Mapping[str, Any]
    certificates: tuple[Certificate, ...]
    facts: Mapping[str, Any]
    page: Path
    seconds: float


@checked
def certify(
    bundle: Path,
    data: Path,
    *,
    sigma: float = 0.25,
    images: int = 100,
    draws: int = 1000,
    alpha: float = 0.001,
    attacked: bool = False,
    out: Path = Path("certificate"),
    split: Literal["train", "validation", "test"] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Certified:
    """Prove of a bundle's answers under noise that no change shorter than a radius can alter them.

    Args:
        bundle: folder of a bundle or of a run, best trained under the same noise (--augment noise-0.25).
        data: labelled pictures, as for ``evaluate``.
        sigma: standard deviation of the noise as a share of the range from black to white.
        images: how many pictures to draw, at least 20.
        draws: of noise for each picture, besides 100 that guess the answer; the more, the larger the radii that can be proven.
        alpha: probability that one certificate is false.
        attacked: attack the smoothed classifier as well, at radii of the table: what is proven must lie below what is seen.
        out: folder for certificate.json and certificate.html.
        split: train, validation or test; omitted: test where the data has one, else all.
        path_column, label_column: as for ``train``.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of everything that draws.

    Raises:
        UsageError: an impossible sigma, alpha or number of draws.
        ModelError: attacks on a bundle that has no gradients.
        NotEnoughData: fewer than 20 pictures, or one class.
    """
    ready.check_settings("certify", engine=engine, extra_formats=extra_formats)
    _check(sigma, draws, alpha)
    ready.check_machine()
    storage.check_writable(out)
    stages = Stages()
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
    ask, n = answering(taken.model), len(taken.squares)
    with stages.stage("plain"):
        plain = ask(taken.squares).argmax(axis=1) == taken.labels
    found = []
    with stages.stage("certify", n) as stage:
        for row, square in enumerate(taken.squares):
            draw = np.random.default_rng([seed, row])
            found.append(
                judge.certify(
                    *(ask, square), sigma=sigma, classes=len(taken.bundle.classes), draw=draw, n=draws, alpha=alpha
                )
            )
            stage.step(1)
    radii = np.linspace(0, judge.largest(sigma, draws, alpha), STEPS)[:-1]
    held = _attacked(taken, radii[1::2], sigma, draws, alpha, seed, stages) if attacked else {}
    facts = _facts(taken, found, plain, radii, held, origin.name(bundle))
    facts |= {"sigma": sigma, "draws": draws, "alpha": alpha, "largest": judge.largest(sigma, draws, alpha)}
    facts["seconds"] = round(stages.seconds(), 1)
    storage.write_json(out / "certificate.json", facts)
    page = out / "certificate.html"
    storage.write_atomic(page, pages.text(facts))
    return Certified(n, sigma, facts["smoothed"], tuple(found), facts, page, stages.seconds())


def _check(sigma: float, draws: int, alpha: float) -> None:
    if not 0 < sigma <= 2:
        raise UsageError(
            f"--sigma {sigma:g}",
            allowed="above 0, at most 2: a share of the range from black to white",
            next="--sigma 0.25",
        )
    if not 0 < alpha < 0.5:
        raise UsageError(f"--alpha {alpha:g}", allowed="above 0, below 0.5", next="--alpha 0.001")
    if draws < 1 or judge.largest(sigma, draws, alpha) <= 0:
        least = int(np.ceil(np.log(alpha) / np.log(0.5))) + 1
        raise UsageError(
            f"--draws {draws}: even if all agree, nothing is proven at --alpha {alpha:g}",
            allowed=f"{least} or more, better 1000",
            next="--draws 1000",
        )


def _attacked(
    taken: Sample, radii: NDArray[np.float64], sigma: float, draws: int, alpha: float, seed: int, stages: Stages
) -> dict[float, Flags]:
    """Radius → which pictures are answered rightly and still are after an attack of that length, bool ``[N]``.

    A picture is deceived only if the smoothed classifier is sure (at ``alpha``) of another answer.
    """
    import torch

    from visum.judge.attack import named
    from visum.judge.attack.ball import Ball, batches
    from visum.judge.attack.smooth import smoothed
    from visum.workflow.attack import tensors, white_box

    with stages.stage("network"):
        target = smoothed(white_box(taken.bundle), sigma, seed=seed)
        x, y = tensors(taken)
    ask, (attack, steps) = answering(taken.model), named(ATTACK)
    settings: dict[str, Any] = {
        "sigma": sigma,
        "classes": len(taken.bundle.classes),
        "n": min(draws, SURE),
        "alpha": alpha,
    }

    def says(pixels: Floats, row: int) -> int:
        return judge.predict(ask, pixels, draw=np.random.default_rng([seed, row, 1]), **settings)

    holds = np.array([says(taken.squares[row], row) == taken.labels[row] for row in range(len(x))])
    found: dict[float, Flags] = {}
    for radius in radii:
        ball = Ball("l2", 255 * float(radius))
        with stages.stage(f"attack at {radius:.2f}", int(holds.sum())) as stage:
            for part in batches(torch.nonzero(torch.from_numpy(holds))[:, 0], 4):
                moved = ball.inside(x[part], attack.run(target, x[part], y[part], ball, steps=steps, seed=seed))
                for row, pixels in zip(part.tolist(), moved.permute(0, 2, 3, 1).numpy(), strict=True):
                    holds[row] = says(pixels, row) in (taken.labels[row], judge.ABSTAIN)
                stage.step(len(part))
        found[float(radius)] = holds.copy()
    return found


def _facts(
    taken: Sample,
    found: Sequence[Certificate],
    plain: Flags,
    radii: NDArray[np.float64],
    held: Mapping[float, Flags],
    bundle: str,
) -> dict[str, Any]:
    """What certificate.json holds, but for the settings."""
    names = taken.bundle.classes
    right = np.array([each.answer == label for each, label in zip(found, taken.labels, strict=True)])
    proven = np.where(right, [each.radius for each in found], -1.0)
    stairs, heights = judge.curve(list(found), taken.labels)
    return {
        "visum": __version__,
        "bundle": bundle,
        "n": len(found),
        "of": taken.of,
        "split": taken.split or "all",
        "size": taken.bundle.preprocess.size,
        "trained_on": taken.trained_on,
        "plain": share(plain),
        "smoothed": share(right),
        "abstained": share(np.array([each.answer == judge.ABSTAIN for each in found])),
        "mean_radius": float(np.maximum(proven, 0).mean()),
        "rows": [
            {
                "radius": float(r),
                "certified": share(proven >= r),
                "attacked": share(held[float(r)]) if float(r) in held else None,
            }
            for r in radii
        ],
        "curve": {
            "radius": stairs.tolist(),
            "certified": heights.tolist(),
            **dict(
                zip(("low", "high"), (ends.tolist() for ends in wilson(heights * len(found), len(found))), strict=True)
            ),
        },
        "images": [
            {
                "id": name,
                "label": names[label],
                "answer": names[each.answer] if each.answer != judge.ABSTAIN else None,
                "radius": round(each.radius, 5),
            }
            for name, label, each in zip(taken.table.ids, taken.labels, found, strict=True)
        ],
    }
