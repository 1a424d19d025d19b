"""``visum explain``: why a bundle says what it says of pictures, as maps that were tested."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visum import storage
from visum.data import sources
from visum.data.load import location
from visum.errors import UnreadableImage, UsageError
from visum.explain import attribution, page
from visum.models import predict as running
from visum.runtime import Stages
from visum.ship import bundle as bundles
from visum.ship import report
from visum.ship.report import frame
from visum.types import Bundle, Explanation, Pixels, overlay
from visum.workflow import maps, origin, ready
from visum.workflow.thumbnails import thumbnails

FOLDER = "explained"
"""Within a run: the maps of its worst mistakes, which its report shows."""
MISTAKES = 24


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
        proof: test every map against maps that know nothing, and the method against networks that know nothing.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of methods that draw, and of the tests.

    Raises:
        UsageError: no such method or class, or a method that this bundle cannot do.
        ModelError: no such layer, or pictures too small for the method.
        UnreadableImage: none of the files is a picture; those that are not are left out beside others that are.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    model = running.Model(origin.opened(bundle), engine)
    for flag, name in (("--target", target), ("--contrast", contrast)):
        if name is not None:
            maps.number(model.bundle.classes, name, flag)  # before anything is compiled
    table = sources.images([paths] if isinstance(paths, (str, Path)) else paths)
    asked = [(name, location(table, row), target, contrast) for row, name in enumerate(table.ids)]
    found, tested = _made(asked, model, method, layer, proof, extra_formats, seed)
    if out is not None:
        write(found, Path(out), origin.name(bundle), tested)
    return found


def explain_mistakes(
    run: str | Path,
    *,
    method: str = attribution.AUTO,
    layer: str = "",
    proof: bool = True,
    engine: str = "auto",
    number: int = MISTAKES,
    seed: int = 0,
) -> list[Explanation]:
    """Why a run's model said so where it was most sure and wrong: its answer against the label. The maps go to
    ``RUN/explained``, and the run's report is written again and shows them.

    Args:
        run: folder of a run, with its images still where they were; or its bundle.
        number: of mistakes, worst first.
        method, layer, proof, engine, seed: as for ``explain_images``.

    Raises:
        UsageError: no run, or none of its images is there; else as ``explain_images``.
    """
    ready.check_settings("explain", engine=engine)
    folder = next((each for each in (Path(run), Path(run).parent) if (each / "metrics.json").is_file()), Path(run))
    table = origin.table(folder)
    if table is None or not (folder / "metrics.json").is_file():
        raise UsageError(
            f"{run} is not a run whose mistakes could be shown",
            allowed="the folder of a run; or a bundle with files",
            next=f"visum explain {run} FILES",
        )
    splits = json.loads((folder / "metrics.json").read_text("utf-8"))["splits"]
    wrong = ((splits.get("test") or splits.get("validation") or {}).get("wrong") or [])[:number]
    rows = {name: row for row, name in enumerate(table.ids)}
    model = running.Model(bundles.read(folder), engine)
    asked = [
        (each["id"], location(table, rows[each["id"]]), *_sides(each, model.bundle))
        for each in wrong
        if each["id"] in rows and Path(location(table, rows[each["id"]])).is_file()
    ]
    if wrong and not asked:
        raise UsageError(f"the images of {run} are not at {table.root} any more", next="put them back, or name files")
    found, tested = _made(asked, model, method, layer, proof, ("TIFF", "AVIF", "HEIC"), seed)
    write(found, folder / FOLDER, origin.name(folder), tested)
    report.write(folder, thumbnail=thumbnails(table, model.bundle.preprocess))
    return found


QUESTIONS: dict[str, Callable[..., Any]] = {"maps": explain_images, "mistakes": explain_mistakes}
"""What ``visum explain`` can be asked: maps of files; without files, maps of a run's worst mistakes."""


def _sides(wrong: Mapping[str, Any], b: Bundle) -> tuple[str | None, str | None]:
    """The class to explain and the one to explain it against; of several labels or none, the answer alone."""
    answer, label = (wrong.get(key) for key in ("answer", "label"))
    known = set(b.classes)
    return (answer if answer in known else None), (label if label in known and label != answer else None)


def _made(
    asked: Sequence[maps.Asked],
    model: running.Model,
    method: str,
    layer: str,
    proof: bool,
    extra_formats: tuple[str, ...],
    seed: int,
) -> tuple[list[Explanation], dict[str, float]]:
    """All maps, and how alike they stay when the network's weights are drawn anew."""
    stages, bad, tested = Stages(), list[UnreadableImage](), dict[str, float]()
    with stages.stage("explain", len(asked)) as stage:
        chosen, subject = maps.questioned(model, method, layer, seed)
        found = list(
            maps.explained(
                asked,
                model.bundle,
                chosen,
                subject,
                proof=proof,
                extra_formats=extra_formats,
                seed=seed,
                step=stage.step,
                unreadable=bad,
            )
        )
        if bad:
            stage.detail = f"{len(bad)} left out, first {bad[0]}"
    if bad and not found:
        raise bad[0]
    if proof and found:
        with stages.stage("draw weights anew"):
            tested = maps.sanity(found, model.bundle.classes, subject)
    return found, tested


def write(found: Sequence[Explanation], out: Path, title: str, tested: Mapping[str, float]) -> Path:
    """For each picture one ``.npz``, one ``.png`` and one small ``.jpg``; ``explain.json`` with all facts; gives the page
    ``explain.html``."""
    listed = []
    for at, each in enumerate(found):
        stem = re.sub(r"[^\w.-]+", "_", each.id.removesuffix(Path(each.id).suffix)).strip("._")[-60:] or "picture"
        name = f"{at:04d}-{stem}"
        for kind, blob in each.files().items():
            storage.write_atomic(out / f"{name}{kind}", blob)
        storage.write_atomic(out / f"{name}.jpg", _small(overlay(each.square, each.heat)))
        listed.append({**each.facts(), "file": name})
    storage.write_json(out / "explain.json", {"explanations": listed, "randomised": dict(tested)})
    storage.write_atomic(out / "explain.html", page.text(found, frame.house(), title, tested))
    return out / "explain.html"


def _small(pixels: Pixels, side: int = 128) -> bytes:
    import cv2
    import simplejpeg

    times = max(1, side // len(pixels))
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    if len(large) > side:
        large = np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(large), 84))
