"""``visum explain``: why a bundle says what it says of pictures, as maps that were tested."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from visum import runtime, storage
from visum.data import sources
from visum.data.load import in_order, location
from visum.data.pixels import fit
from visum.errors import ModelError, UsageError
from visum.explain import attribution, faithfulness, page
from visum.explain.subject import Subject
from visum.models import predict as running
from visum.models.compiled import BATCH
from visum.ship import bundle as bundles
from visum.types import Bundle, Column, Explanation, Floats, Integers, Pixels, Predictions, column, probabilities
from visum.workflow import ready

GROUP = 16
"""Pictures that are explained together."""
Fitted = tuple[str, Pixels]


def explain_images(
    bundle: str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    method: str = attribution.AUTO,
    target: str | None = None,
    contrast: str | None = None,
    layer: str = "",
    out: str | Path | None = None,
    proof: bool = True,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> list[Explanation]:
    """Why a bundle says what it says of files and folders.

    Args:
        bundle: folder of a bundle or a run, or ``"imagenet"``.
        paths: of files and folders.
        method: of ``explain.attribution.EXPLAINERS``; auto takes what suits the model.
        target: class to explain; None for the answer to each picture.
        contrast: explain the target against this class: why A and not B.
        layer: of the network, for class activation maps; "" takes the deepest whose map is fine enough.
        out: folder for one ``.npz`` and ``.png`` a picture and the page ``explain.html``; None writes nothing.
        proof: test every map against a baseline.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of methods that draw.

    Raises:
        UsageError: no such method or class, or a method that this bundle cannot do.
        ModelError: no such layer, or pictures too small for the method.
        UnreadableImage: a file that is no picture.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    model = running.Model(read(bundle), engine)
    table = sources.images([paths] if isinstance(paths, (str, Path)) else paths)
    pictures = [(name, location(table, row)) for row, name in enumerate(table.ids)]
    made = explained(
        pictures,
        model,
        method=method,
        target=target,
        contrast=contrast,
        layer=layer,
        proof=proof,
        extra_formats=extra_formats,
        seed=seed,
    )
    found = list(made)
    if out is not None:
        write(found, Path(out), Path(bundle).resolve().name if Path(bundle).exists() else str(bundle))
    return found


def read(bundle: str | Path) -> Bundle:
    """A bundle's folder, or ``"imagenet"``."""
    if str(bundle) == "imagenet" and not Path(bundle).is_dir():
        return running.imagenet()
    return bundles.read(bundle)


def explained(
    pictures: Iterable[tuple[str, Any]],
    model: running.Model,
    *,
    method: str = attribution.AUTO,
    target: str | None = None,
    contrast: str | None = None,
    layer: str = "",
    proof: bool = True,
    extra_formats: Collection[str] = (),
    seed: int = 0,
) -> Iterator[Explanation]:
    """Explanations one after the other, in bounded memory; arguments and errors as ``explain_images``."""
    b = model.bundle
    wanted = number(b.classes, target, "--target") if target is not None else -1
    against = number(b.classes, contrast, "--contrast") if contrast is not None else -1
    if against >= 0 and against == wanted:
        raise UsageError(
            f"--target and --contrast are both {contrast}", allowed="two classes", next="another --contrast"
        )
    subject = questioned(model, method, layer, seed)
    chosen = attribution.resolve(method, subject)
    if layer and not attribution.EXPLAINERS[chosen].layers:
        able = ", ".join(name for name, each in attribution.EXPLAINERS.items() if each.layers)
        raise UsageError(f"--layer with --method {chosen}", allowed=f"with {able}", next="--method gradcam")
    run = attribution.EXPLAINERS[chosen].run

    def seen(one: tuple[str, Any]) -> Fitted:
        return one[0], fit(running.pixels_of(one[1], b.preprocess, extra_formats), b.preprocess)

    for group in _grouped(in_order(seen, pictures, ahead=GROUP)):
        squares = np.stack([square for _, square in group])
        logits = subject.answer(squares)
        targets = np.full(len(group), wanted) if wanted >= 0 else logits.argmax(axis=1)
        others = np.full(len(group), against)
        heats = run(subject, squares, np.asarray(targets, np.int64), np.asarray(others, np.int64))
        p = calibrated(b, logits)
        for (name, square), heat, k, row in zip(group, heats, targets, p, strict=True):
            numbers = (
                faithfulness.judge(square, heat, _share(subject, b, int(k), against), seed=seed) if proof else None
            )
            facts = {key: value for key, value in asdict(numbers).items() if key != "verdict"} if numbers else {}
            yield Explanation(
                name,
                np.asarray(heat, np.float32),
                square,
                chosen,
                b.classes[int(k)],
                b.classes[against] if against >= 0 else "",
                float(row[int(k)]),
                facts,
                numbers.verdict if numbers else "",
            )


def questioned(model: running.Model, method: str, layer: str, seed: int) -> Subject:
    """The bundle as explainers ask it; torch is loaded only where the method may need gradients."""
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
        raise ModelError("this bundle has no layers", allowed="occlusion and lime", next="--method occlusion")
    if len(model.specs) > 1:
        raise ModelError(
            "the members of this ensemble see pictures in different ways",
            allowed="ensembles whose members share size and fit",
            next="visum explain with one of its members",
        )

    def answer(squares: Pixels) -> Floats:
        parts = [squares[at : at + BATCH] for at in range(0, len(squares), BATCH)]
        return np.concatenate(list(in_order(model.logits, parts)))

    return Subject(answer, b.task, b.preprocess.background, network, layer, seed)


def number(classes: Sequence[str], name: str, flag: str) -> int:
    """Which class has that name.

    Raises:
        UsageError: none, and the nearest.
    """
    import difflib

    if name in classes:
        return list(classes).index(name)
    near = difflib.get_close_matches(name, classes, 1, 0.3) or [classes[0]]
    shown = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    raise UsageError(f"no class is called {name!r}", allowed=shown, next=f"{flag} {near[0]}")


def calibrated(b: Bundle, logits: Floats) -> Floats:
    """Probabilities float32 ``[N, K]``."""
    ids: Column = column([""] * len(logits))
    none: Integers = np.zeros(0, np.int64)
    return probabilities(Predictions(ids, logits, none, b.classes, b.task, "", b.temperature))


def _share(subject: Subject, b: Bundle, target: int, contrast: int) -> Callable[[Pixels], Floats]:
    """Probability of the explained class; against another one, of the two."""

    def share(squares: Pixels) -> Floats:
        logits = subject.answer(squares)
        if contrast >= 0:
            return np.asarray(1 / (1 + np.exp((logits[:, contrast] - logits[:, target]) / b.temperature)), np.float32)
        return calibrated(b, logits)[:, target]

    return share


def _grouped(items: Iterable[Fitted]) -> Iterator[list[Fitted]]:
    group: list[Fitted] = []
    for item in items:
        group.append(item)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def write(found: Sequence[Explanation], out: Path, title: str) -> Path:
    """One ``.npz`` and ``.png`` for each picture, and ``explain.html``; gives the page."""
    for at, each in enumerate(found):
        stem = re.sub(r"[^\w.-]+", "_", each.id).strip("._")[-60:] or "picture"
        each.save(out, f"{at:04d}-{stem}")
    style = resources.files("visum.ship.report").joinpath("style.css").read_text(encoding="utf-8")
    storage.write_atomic(out / "explain.html", page.text(found, style, title))
    return out / "explain.html"
