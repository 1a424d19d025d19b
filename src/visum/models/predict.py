"""A trained classifier at work: a bundle becomes a function from fitted squares to logits, over tables or over a stream.

``of_table`` goes through the store (evaluation: the same pictures come again), ``stream`` does not (prediction: new
pictures, once). Both see a picture through the same ``decode`` and ``fit``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from visum.data import decode as decoder
from visum.data.load import in_order
from visum.data.memory import from_array, from_pillow
from visum.data.pixels import fit
from visum.errors import BundleError, UnreadableImage
from visum.models import ensemble, heads, uncertain, weights
from visum.models.classical import CLASSIFIERS, DESCRIPTORS, bag_of_words
from visum.models.compiled import BATCH
from visum.models.embed import Build, Network, describe, embed, stored
from visum.runtime import Step, no_step
from visum.types import Bundle, Floats, Manifest, Pixels, Predictions, Preprocess, digest_of, targets

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = Union[str, "os.PathLike[str]", bytes, NDArray[Any], "Image"]
"""A path, the bytes of a file, an array or a Pillow image."""
Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle that can run; nothing is compiled before the first picture.

    Attributes:
        bundle: what was trained.
        engine_name: of ``compiled.ENGINES``, or auto.
        passes: of Monte Carlo dropout; with any, each picture has that many answers: logits are then ``[B, passes, K]``.
        build: what makes the engine of a network, where that is not ``compiled.engine``.
    """

    bundle: Bundle
    engine_name: str = "auto"
    passes: int = 0
    build: Build | None = None
    _alone: Lock = field(default_factory=Lock, repr=False)
    _networks: dict[str, Network] = field(default_factory=dict, repr=False)

    @cached_property
    def members(self) -> tuple[Model, ...]:
        """Of an ensemble; () of any other bundle. Those with one network share it: it is compiled once and runs once."""
        parts = ensemble.members_of(self.bundle)
        return tuple(Model(part, self.engine_name, 0, self.build, self._alone, self._networks) for part in parts)

    @property
    def specs(self) -> tuple[Preprocess, ...]:
        """How a picture has to be fitted: one way, or all the ways of an ensemble's members."""
        return tuple(dict.fromkeys(each.bundle.preprocess for each in self.members or (self,)))

    @cached_property
    def network(self) -> Network:
        """The backbone; only bundles that have one."""
        made = Network(weights.of_bundle(self.bundle), self.bundle.preprocess, self.engine_name, self.build)
        return self._networks.setdefault(made.digest, made)

    @cached_property
    def head(self) -> Callable[[NDArray[Any]], Floats]:
        """Features ``[N, D]`` → logits float32 ``[N, K]``."""
        name = str(self.bundle.architecture.get("classifier", heads.LINEAR))
        start = "head." if name == heads.LINEAR else "classifier."
        arrays = {key.removeprefix(start): array for key, array in self.bundle.weights.items() if key.startswith(start)}
        return head(name, arrays)

    @property
    def stage_columns(self) -> slice:
        """Which embedding columns the head looks at: all, or those of the network's last stage alone."""
        last = self.bundle.architecture.get("columns") == "last"
        return slice(-int(self.bundle.weights["head.weight"].shape[0]), None) if last else slice(None)

    @property
    def uses_network(self) -> bool:
        """Whether the features are a network's."""
        return bool(self.bundle.architecture["kind"] == "probe")

    @property
    def describer(self) -> Callable[[Pixels], Floats]:
        """The classical description of one fitted square."""
        name = str(self.bundle.architecture["descriptor"])
        if name not in DESCRIPTORS:
            raise BundleError(
                f"this bundle needs the descriptor {name!r}",
                allowed=", ".join(DESCRIPTORS),
                next="pip install -U visum",
            )
        return described(name, self.bundle.weights)

    def logits(self, squares: Pixels) -> Floats:
        """Fitted pictures uint8 ``[B, S, S, 3]`` with B <= ``BATCH`` → logits float32 ``[B, K]``; threads may share it.

        Of an ensemble whose members see pictures in several ways, use ``answer``.
        """
        return self.answer(dict.fromkeys(self.specs, squares)) if self.members else self._alike(squares, {})

    def many(self, squares: Pixels) -> Floats:
        """As ``logits`` for any number of squares ``[N, S, S, 3]``, each core making its own batches."""
        parts = (squares[at : at + BATCH] for at in range(0, len(squares), BATCH))
        return np.concatenate(list(in_order(self.logits, parts)))

    def answer(self, squares: Mapping[Preprocess, Pixels]) -> Floats:
        """As ``logits``, from the same pictures fitted in each way of ``specs``."""
        if not self.members:
            return self.logits(squares[self.bundle.preprocess])
        seen: dict[int, Floats] = {}
        told = [member._alike(squares[member.bundle.preprocess], seen) for member in self.members]
        return ensemble.combined(self.bundle, [member.bundle for member in self.members], told)

    def with_features(self, squares: Mapping[Preprocess, Pixels]) -> tuple[Floats, NDArray[Any] | None]:
        """``answer``, and what the head saw, ``[B, D]``; None of an ensemble, whose members see in ways of their own."""
        if self.members:
            return self.answer(squares), None
        features = self._features(squares[self.bundle.preprocess], {})
        return self._said(features), features

    def _alike(self, squares: Pixels, seen: dict[int, Floats]) -> Floats:
        """Logits of a plain bundle; ``seen``: what each network made of these pictures, for those who share it."""
        return self._said(self._features(squares, seen))

    def _features(self, squares: Pixels, seen: dict[int, Floats]) -> NDArray[Any]:
        """What the head sees, ``[B, D]``."""
        if not self.uses_network:
            return np.stack([self.describer(square) for square in squares])
        with self._alone:  # compiled once, whoever comes first
            network, run = self.network, self.network.engine.run
        if id(network) not in seen:
            seen[id(network)] = run(squares)
        # rounded as the store rounds, so that a picture is told the same by ``stream`` and by ``of_table``
        return stored(seen[id(network)][:, self.stage_columns])

    def _said(self, features: NDArray[Any]) -> Floats:
        """Logits of features; of each pass where there are several."""
        if not (self.passes and self.uses_network):
            return self.head(features)
        mean, rate = self.bundle.weights[uncertain.MEAN], float(self.bundle.architecture[uncertain.RATE])
        draws = uncertain.dropped(features, mean, rate, self.passes)
        return np.stack([self.head(rows) for rows in draws], axis=1)


def head(name: str, arrays: Mapping[str, NDArray[Any]]) -> Callable[[NDArray[Any]], Floats]:
    """One of ``heads.HEADS`` or of ``CLASSIFIERS`` as a function of features."""
    if name in heads.HEADS:
        return lambda x: heads.HEADS[name](arrays, np.asarray(x, np.float32))
    if name not in CLASSIFIERS:
        known = ", ".join((*heads.HEADS, *CLASSIFIERS))
        raise BundleError(f"this bundle needs the classifier {name!r}", allowed=known, next="pip install -U visum")
    classifier = CLASSIFIERS[name]
    return lambda x: classifier.logits(arrays, np.asarray(x, np.float32))


def described(name: str, arrays: Mapping[str, NDArray[Any]]) -> Callable[[Pixels], Floats]:
    """The descriptor of that name as a function of a fitted square; a bag of words takes its codebook from ``arrays``."""
    descriptor = DESCRIPTORS[name]
    if descriptor.words:
        return lambda square: bag_of_words(to_side(square, descriptor.size), arrays["codebook"])
    return lambda square: descriptor.function(to_side(square, descriptor.size))


def to_side(square: Pixels, side: int) -> Pixels:
    """A fitted square at the side that a descriptor works at: uint8 ``[side, side, 3]``."""
    import cv2

    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def describer_key(name: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Name of a descriptor in the store: its version and, for a bag of words, its codebook are part of it."""
    book = arrays.get("codebook") if DESCRIPTORS[name].words else None
    return f"{name}{DESCRIPTORS[name].version}" + (f"-{digest_of(book.tolist())[:16]}" if book is not None else "")


def features(table: Manifest, model: Model, *, step: Step = no_step) -> NDArray[Any]:
    """What the head of a bundle sees of indexed rows, through the store: ``[N, D]``."""
    if model.uses_network:
        return embed(table, model.network, step=step)["plain"].vectors[:, model.stage_columns]
    name = str(model.bundle.architecture["descriptor"])
    key = describer_key(name, model.bundle.weights)
    return describe(table, key, model.describer, model.bundle.preprocess, square=True, step=step)


def of_table(table: Manifest, model: Model, *, digest: str = "", step: Step = no_step) -> Predictions:
    """Predictions for indexed rows (``data.load.index`` with the bundle's preprocessing), through the store.

    Args:
        table: its classes are the bundle's.
        digest: of the bundle, kept with the predictions.
        step: told of finished pictures; each counts once, however many members there are.
    """
    bundle = model.bundle
    if model.members:
        shared = _shared(step, len(model.members))
        told = [member.head(features(table, member, step=shared)) for member in model.members]
        logits = ensemble.combined(bundle, [member.bundle for member in model.members], told)
    else:
        logits = model.head(features(table, model, step=step))
    return Predictions(
        table.ids, logits, targets(table), bundle.classes, bundle.task, digest, bundle.temperature, bundle.thresholds
    )


def _shared(step: Step, members: int) -> Step:
    """A step for each of several members, who all do every picture."""
    done = 0

    def of_one(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        step(done // members - before // members)

    return of_one


def stream(
    pictures: Iterable[Picture], model: Model, *, extra_formats: Collection[str] = ()
) -> Iterator[Floats | UnreadableImage]:
    """Logits float32 ``[K]`` of each picture, or the reason why there are none, in order and in bounded memory."""
    return asked(pictures, model.specs, model.answer, extra_formats=extra_formats)


def asked(
    pictures: Iterable[Picture],
    specs: Sequence[Preprocess],
    ask: Callable[[Mapping[Preprocess, Pixels]], Iterable[Row]],
    *,
    extra_formats: Collection[str] = (),
) -> Iterator[Row | UnreadableImage]:
    """What ``ask`` says of each picture, or why nothing can be said, in order and in bounded memory.

    Args:
        pictures: as they come.
        specs: ways in which each is fitted.
        ask: stacks of up to ``BATCH`` pictures, by way → a row for each; threads share it.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
    """

    def squares(picture: Picture) -> dict[Preprocess, Pixels] | UnreadableImage:
        decoded: dict[Any, Pixels] = {}  # by what decoding depends on, so that members who agree in that share it
        try:
            for spec in specs:
                key = (spec.background, spec.size)
                if key not in decoded:
                    decoded[key] = pixels_of(picture, spec, extra_formats)
            return {spec: fit(decoded[spec.background, spec.size], spec) for spec in specs}
        except UnreadableImage as error:  # a new one, since a traceback would keep the file's bytes in memory
            return UnreadableImage(error.reason, path=error.path, allowed=error.allowed, next=error.next)

    def answers(group: list[Picture]) -> list[Row | UnreadableImage]:
        seen = [squares(picture) for picture in group]
        readable = [fitted for fitted in seen if not isinstance(fitted, UnreadableImage)]
        stacks = {spec: np.stack([fitted[spec] for fitted in readable]) for spec in specs if readable}
        found = iter(ask(stacks) if readable else ())
        return [fitted if isinstance(fitted, UnreadableImage) else next(found) for fitted in seen]

    for group in in_order(answers, _groups(pictures, BATCH), ahead=2):
        yield from group


def _groups(items: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Neighbours together, ``size`` at a time."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def pixels_of(picture: Picture, spec: Preprocess, extra_formats: Collection[str] = ()) -> Pixels:
    """Upright RGB pixels uint8 ``[H, W, 3]`` of whatever a picture came as. Raises ``UnreadableImage``."""
    if isinstance(picture, (str, bytes, os.PathLike)):
        return decoder.decode(
            picture, background=spec.background, shortest=spec.size, extra_formats=extra_formats
        ).pixels
    if isinstance(picture, np.ndarray):
        return from_array(picture, spec.background)
    return from_pillow(picture, spec.background)


def imagenet(name: str = weights.DEFAULT) -> Bundle:
    """The packaged network with the classifier that it came with: 1,000 ImageNet names, nothing trained."""
    backbone = weights.find(name)
    classifier = weights.PACKAGED[name].classifier
    matrix, bias = backbone.weights[f"{classifier}.weight"], backbone.weights[f"{classifier}.bias"]
    tensors = {f"backbone.{key}": value for key, value in backbone.weights.items()}
    return Bundle(
        "multiclass",
        weights.imagenet_classes(),
        {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages), "columns": "last"},
        backbone.preprocess,
        {**tensors, "head.weight": np.ascontiguousarray(matrix.T), "head.bias": bias},
    )
