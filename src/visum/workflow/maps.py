"""Maps of pictures, a group after the other: the method runs on the network with gradients, everything else on the engine."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visum import runtime
from visum.data.load import in_order
from visum.data.pixels import fit
from visum.errors import ModelError, UnreadableImage, UsageError
from visum.explain import attention, attribution, faithfulness, randomised
from visum.explain.subject import Subject, evidence
from visum.models import predict as running
from visum.runtime import Step, no_step
from visum.types import Bundle, Explanation, Floats, Pixels, probabilities, said

GROUP = 16
"""Pictures that are explained together."""
SANITY = 4
"""Pictures whose maps are made again with weights drawn anew."""
Seen = tuple[str, Pixels, int, int]
Asked = tuple[str, Any, str | None, str | None]
"""A picture: its id, where it is, the class to explain and the one to explain it against; None: the answer, and none."""


def explained(
    pictures: Iterable[Asked],
    b: Bundle,
    method: str,
    subject: Subject,
    *,
    proof: bool = True,
    extra_formats: Collection[str] = (),
    seed: int = 0,
    step: Step = no_step,
    unreadable: list[UnreadableImage] | None = None,
) -> Iterator[Explanation]:
    """Explanations one after the other, in bounded memory; files that are no pictures go to ``unreadable``, where it is given.

    Args:
        pictures: in order.
        b: the bundle that answers.
        method, subject: of ``questioned``.
        proof: judge each map.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of masks.
        step: told of finished pictures.
        unreadable: takes files that are no pictures.

    Raises:
        UsageError: no such class, or what this method cannot do.
        UnreadableImage: a file that is no picture.
    """
    explainer = attribution.EXPLAINERS[method]

    def seen(one: Asked) -> Seen | UnreadableImage:
        name, picture, target, contrast = one
        if contrast is not None and not explainer.classes:
            raise UsageError(
                f"--contrast with --method {method}, whose map is the same for every class",
                allowed=", ".join(each for each, other in attribution.EXPLAINERS.items() if other.classes),
                next=f"--method {attribution.BEST}",
            )
        k = number(b.classes, target, "--target") if target is not None else -1
        other = number(b.classes, contrast, "--contrast") if contrast is not None else -1
        try:
            return name, fit(running.pixels_of(picture, b.preprocess, extra_formats), b.preprocess), k, other
        except UnreadableImage as error:
            return error

    for group in _grouped(in_order(seen, pictures, ahead=GROUP), unreadable):
        squares = np.stack([square for _, square, _, _ in group])
        logits = subject.answer(squares)
        wanted, others = (np.array([each[at] for each in group], np.int64) for at in (2, 3))
        targets = np.where(wanted >= 0, wanted, logits.argmax(axis=1))
        if (same := np.flatnonzero(targets == others)).size:
            raise UsageError(
                f"{group[int(same[0])][0]}: {b.classes[int(targets[same[0]])]} explained against itself",
                allowed="two classes",
                next="--target with another class, or another --contrast",
            )
        heats = explainer.run(subject, squares, targets, others)
        p = probabilities(said(b, logits))
        for (name, square, _, other), heat, k, row in zip(group, heats, targets, p, strict=True):
            told = faithfulness.judge(square, heat, _evidence(subject, b, int(k), other), seed=seed) if proof else None
            numbers = {key: value for key, value in asdict(told).items() if key != "verdict"} if told else {}
            versus, heads = b.classes[other] if other >= 0 else "", None
            if method == "attention" and subject.network is not None:
                heads = attention.heads(subject.network, square)[1][-1]
            word = told.verdict if told else ""
            yield Explanation(
                name,
                np.asarray(heat, np.float32),
                square,
                method,
                b.classes[int(k)],
                versus,
                float(row[int(k)]),
                subject.layer,
                numbers,
                word,
                heads,
            )
            step(1)


def _grouped(items: Iterable[Seen | UnreadableImage], unreadable: list[UnreadableImage] | None) -> Iterator[list[Seen]]:
    group: list[Seen] = []
    for item in items:
        if isinstance(item, UnreadableImage):
            if unreadable is None:
                raise item
            unreadable.append(item)
            continue
        group.append(item)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def questioned(model: running.Model, method: str, layer: str, seed: int) -> tuple[str, Subject]:
    """The method that a name stands for, and the bundle as explainers ask it; torch is loaded only where the method may need
    gradients.

    Raises:
        UsageError: no such method, or one that this bundle cannot do.
        ModelError: no such layer, or pictures too small for the method.
    """
    b, network = model.bundle, None
    plain = method in attribution.EXPLAINERS and not attribution.EXPLAINERS[method].gradients
    if not plain and b.architecture.get("kind") == "probe":
        import torch

        from visum.models import differentiable

        torch.set_num_threads(runtime.threads())
        network = differentiable.of_bundle(b)
        if layer:
            network.module(layer)
    elif layer and not plain:
        raise ModelError("this bundle has no layers", allowed="occlusion, lime, kernel_shap", next="--method occlusion")
    if len(model.specs) > 1:
        raise ModelError(
            "the members of this ensemble see pictures in different ways",
            allowed="ensembles whose members share size and fit",
            next="visum explain with one of its members",
        )

    return attribution.resolve(method, Subject(model.many, b.task, b.preprocess.background, network, layer, seed))


def sanity(found: Sequence[Explanation], classes: Sequence[str], subject: Subject) -> dict[str, float]:
    """``randomised.cascade`` of the first pictures; {} of a method that asks for answers only, which has no weights to draw.

    Args:
        found: explanations.
        classes: of the bundle.
        subject: that they were made with.
    """
    few = found[:SANITY]
    if not few or not attribution.EXPLAINERS[few[0].method].gradients:
        return {}
    return randomised.cascade(
        attribution.EXPLAINERS[few[0].method].run,
        subject,
        np.stack([each.square for each in few]),
        np.array([classes.index(each.target) for each in few]),
        np.array([classes.index(each.contrast) if each.contrast else -1 for each in few]),
    )


def number(classes: Sequence[str], name: str, flag: str) -> int:
    """Which class has that name.

    Raises:
        UsageError: none, and the nearest.
    """
    if name in classes:
        return list(classes).index(name)
    near = difflib.get_close_matches(name, classes, 1, 0.3) or [classes[0]]
    shown = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    raise UsageError(f"no class is called {name!r}", allowed=shown, next=f"{flag} {near[0]}")


def _evidence(subject: Subject, b: Bundle, target: int, contrast: int) -> Callable[[Pixels], Floats]:
    """Calibrated log-odds of the explained class; against another one, of the two."""
    return lambda squares: evidence(subject.answer(squares) / b.temperature, target, contrast, b.task)
