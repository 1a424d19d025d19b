"""``visum predict`` and ``visum.load``: a bundle at work on new pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.data import sources
from visum.data.load import location
from visum.errors import UnreadableImage, UsageError
from visum.judge.promise import UNKNOWN, UNSURE, Promises, asked
from visum.models import predict as running
from visum.models import uncertain
from visum.runtime import Step, no_step
from visum.types import Bundle, Floats, Manifest, Pixels, Predictions, Preprocess, decisions, probabilities
from visum.workflow import origin, ready

if TYPE_CHECKING:
    from PIL.Image import Image

    One = str | Path | bytes | NDArray[Any] | Image


@dataclass(frozen=True)
class Answer:
    """What is said about one picture.

    Attributes:
        id: its path, or its number in the list.
        label: the class; several, joined by ``|``, or "" for none, when multilabel; "" where there is an error.
        probability: of ``label`` (several labels: of the least probable of them; none: that none applies to any class).
        top: (class, probability), most probable first.
        probabilities: float32 ``[K]``, calibrated.
        error: why there is no answer, or "".
        uncertainty: with Monte Carlo dropout, what its passes disagree about, in nats: 0 … log K (multilabel: summed over
            classes); ``probabilities`` are then the mean of the passes.
        set: classes of the prediction set, most probable first; None where none was asked for.
        unknown: whether the picture is like nothing that was learnt; ``label`` is then ``unknown``. None where not asked.
        unsure: whether the answer is withheld, since it is not sure enough for the error that was asked for; ``label`` is then
            ``unsure`` (``unknown`` goes before). None where not asked. ``probability`` stays that of the class in the first
            place of ``top``.
    """

    id: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: Floats
    error: str = ""
    uncertainty: float | None = None
    set: tuple[str, ...] | None = None
    unknown: bool | None = None
    unsure: bool | None = None


class Classifier:
    """A loaded bundle. Its network is compiled when the first picture comes.

    Attributes:
        bundle: all there is to know about it.
        promises: what is said besides the classes.
    """

    def __init__(
        self, bundle: Bundle, engine: str = "auto", mc_dropout: int = 0, promises: Promises | None = None
    ) -> None:
        if mc_dropout:
            uncertain.check(bundle, mc_dropout)
        self.bundle, self.promises = bundle, promises or Promises()
        self._model = running.Model(bundle, engine, mc_dropout)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of ``Answer.probabilities``."""
        return self.bundle.classes

    def predict(
        self, images: One | Iterable[One], *, top: int = 5, extra_formats: Collection[str] = ()
    ) -> list[Answer]:
        """Answers in the order of the pictures; a picture that cannot be read has its reason in ``error``.

        Args:
            images: a path of a file or a folder (all pictures below it), the bytes of a file, an array uint8 ``[H, W, 3]``
                (or a stack ``[N, H, W, 3]``), a Pillow image, or any mix of these in a list.
            top: how many (class, probability) pairs each answer lists.
            extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        """
        return list(self.stream(images, top=top, extra_formats=extra_formats))

    def stream(
        self,
        images: One | Iterable[One],
        *,
        top: int = 5,
        extra_formats: Collection[str] = (),
        step: Step = no_step,
    ) -> Iterator[Answer]:
        """``predict``, an answer at a time: memory does not grow with the number of pictures."""
        names: deque[str] = deque()  # of pictures that are under way

        def pictures() -> Iterator[running.Picture]:
            for name, picture in _listed(images):
                names.append(name)
                yield picture

        results: Iterator[Any] = running.stream(pictures(), self._model, extra_formats=extra_formats)
        if self.promises.strangeness is not None:
            results = running.asked(pictures(), self._model.specs, self._with_strangeness, extra_formats=extra_formats)
        for result in results:
            step(1)
            yield self._answer(names.popleft(), result, top)

    def _with_strangeness(self, squares: Mapping[Preprocess, Pixels]) -> Iterator[tuple[Floats, float]]:
        logits, features = self._model.with_features(squares)
        assert self.promises.strangeness is not None
        return zip(logits, map(float, self.promises.strangeness(features, logits)), strict=True)

    def _answer(self, name: str, row: Floats | tuple[Floats, float] | UnreadableImage, top: int) -> Answer:
        b, asked = self.bundle, self.promises
        if isinstance(row, UnreadableImage):
            return Answer(name, "", 0.0, (), np.zeros(0, np.float32), row.reason)
        logits, strange = row if isinstance(row, tuple) else (row, None)
        drawn = np.atleast_2d(logits)  # a row for each pass

        def said_by(rows: Floats, temperature: float) -> Predictions:
            ids, labels = np.array([name] * len(rows), object), np.zeros(len(rows), np.int64)
            return Predictions(ids, rows, labels, b.classes, b.task, "", temperature, b.thresholds)

        one, unsure = said_by(drawn, b.temperature), None
        if self._model.passes:
            each = probabilities(one)
            unsure = float(uncertain.mutual_information(uncertain.cases(each, b.task))[0])
            one = said_by(uncertain.logits_of(each.mean(axis=0, keepdims=True), b.task), 1.0)
        p, said = probabilities(one)[0], decisions(one)[0]
        best = np.argsort(-p, kind="stable")[:top]
        if b.task == "multilabel":
            chosen = np.flatnonzero(said)
            sure = float(p[chosen].min()) if len(chosen) else float(1 - p.max())
            label = "|".join(b.classes[k] for k in chosen)
        else:
            sure, label = float(p[said]), b.classes[int(said)]
        within = None if asked.sets is None else asked.sets(p[None])[0]
        found = None if within is None else tuple(b.classes[k] for k in np.argsort(-p, kind="stable") if within[k])
        withheld = None if asked.threshold is None else not sure > asked.threshold
        unknown = None if strange is None else strange > asked.limit
        label = UNKNOWN if unknown else UNSURE if withheld else label
        pairs = tuple((b.classes[k], float(p[k])) for k in best)
        return Answer(name, label, sure, pairs, p, "", unsure, found, unknown, withheld)


def _listed(images: Any) -> Iterator[tuple[str, Any]]:
    """(name, picture) of whatever was given; folders are opened."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if isinstance(images, (str, Path, bytes, np.ndarray)) or not isinstance(images, Iterable):
        images = [images]
    for number, image in enumerate(images):
        if isinstance(image, (str, Path)) and Path(image).is_dir():
            table = sources.images([image])
            yield from ((table.ids[row], location(table, row)) for row in range(len(table)))
        elif isinstance(image, (str, Path)):
            yield str(image), image
        else:
            yield str(number), image


def load(
    bundle: str | Path,
    *,
    engine: str = "auto",
    mc_dropout: int = 0,
    coverage: float | None = None,
    each_class: bool = False,
    target_error: float | None = None,
    unknown: bool = False,
) -> Classifier:
    """A bundle (or the bundle inside a run folder), checked against its own digests; ``"imagenet"`` for the packaged network.

    Args:
        bundle: its folder.
        engine: auto, openvino, onnxruntime or torch.
        mc_dropout: passes of Monte Carlo dropout for each picture; 0 for none.
        coverage: in (0, 1): answers have a prediction set that holds the truth with this probability (``docs/promise.md``).
        each_class: that is promised for each class with enough validation images, and not only for all together.
        target_error: in (0, 1): an answer is withheld (``unsure``) unless at most this share of such answers is wrong.
        unknown: pictures that are like nothing that was learnt are answered with ``unknown``.

    Raises:
        BundleError: nothing there, edited, or newer than this visum.
        UnsafeFile: a pickle, or a file that could exhaust the machine.
        UsageError: no such engine here, or ``mc_dropout`` (passes of Monte Carlo dropout for each picture, 0 for none) of a
            bundle that was trained without dropout; a promise that the bundle does not make, and why.
        NotEnoughData: too few validation images for what is to be promised, with the number needed.
    """
    ready.check_settings("predict", engine=engine)
    read = origin.opened(bundle)
    promises = asked(read, coverage=coverage, each_class=each_class, target_error=target_error, unknown=unknown)
    if mc_dropout and (coverage is not None or target_error is not None or unknown):
        raise UsageError(
            "a promise together with Monte Carlo dropout",
            allowed="one of them: promises were made for answers without it",
            next="the same without --mc-dropout",
        )
    return Classifier(read, engine, mc_dropout, promises)


def table_of(paths: Sequence[str | Path]) -> Manifest:
    """Files and folders as an unlabelled table; every path must exist."""
    return sources.images(paths)


def predict(
    bundle: str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    mc_dropout: int = 0,
    coverage: float | None = None,
    each_class: bool = False,
    target_error: float | None = None,
    unknown: bool = False,
    step: Step = no_step,
) -> Iterator[Answer]:
    """Answers for files and folders, one at a time; ids are paths below the deepest common folder.

    Args:
        bundle: folder of a bundle or a run, or ``"imagenet"``.
        paths: of files and folders.
        top: how many (class, probability) pairs each answer lists.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        mc_dropout: passes of Monte Carlo dropout for each picture; 0 for none.
        coverage, each_class, target_error, unknown: what is promised, as for ``load``.
        step: told of finished pictures.
    """
    ready.check_settings("predict", engine=engine, extra_formats=extra_formats)
    table = table_of([paths] if isinstance(paths, (str, Path)) else paths)
    model = load(
        bundle,
        engine=engine,
        mc_dropout=mc_dropout,
        coverage=coverage,
        each_class=each_class,
        target_error=target_error,
        unknown=unknown,
    )
    places = [location(table, row) for row in range(len(table))]
    for name, answer in zip(
        table.ids, model.stream(places, top=top, extra_formats=extra_formats, step=step), strict=True
    ):
        yield replace(answer, id=name)
