"""The bundles that are served: by name and version, replaced while the server runs, and only by what proves itself.

A name from a request is looked up in a dict and nowhere else. A bundle comes from a folder that was given at the start; it takes
requests once its golden images came out right, on the same way through decoders and engine that pictures of clients take.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import BundleError, UsageError
from visum.judge import promise
from visum.models import serving
from visum.models.predict import Model
from visum.serve import answers
from visum.serve.batcher import Batcher, Told
from visum.serve.decoding import Decoders
from visum.serve.refusal import Refusal
from visum.ship import bundle as bundles
from visum.ship import gallery
from visum.ship import verify as proof
from visum.types import Bundle, Floats, Pixels, Preprocess, probabilities, said

TOLERANCE = 0.02
"""Largest difference of a probability of a golden image: bfloat16 keeps 8 bits of each activation (see ``ship.verify``)."""
VERSION = 12
"""Digits of the bundle's digest that name its version."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, eq=False)
class Served:
    """One bundle that takes requests.

    Attributes:
        name: that clients use.
        digest: of the bundle.
        folder: that it was read from.
        model: that runs.
        golden: how many golden images came out right.
    """

    name: str
    digest: str
    folder: Path
    model: Model
    golden: int

    @property
    def version(self) -> str:
        """First digits of the digest."""
        return self.digest[:VERSION]

    @property
    def bundle(self) -> Bundle:
        """What was trained."""
        return self.model.bundle

    @cached_property
    def orders(self) -> list[str]:
        """Its ways to look at a picture, as decoders read them."""
        return [json.dumps(asdict(spec)) for spec in self.model.specs]

    @cached_property
    def strangeness(self) -> promise.Strangeness | None:
        """Of the bundle's detector, if it has one."""
        return promise.detector(self.bundle)[0] if promise.has(self.bundle, promise.UNKNOWN) else None

    def run(self, squares: dict[Preprocess, Pixels]) -> tuple[Floats, Floats | None]:
        """Stacks of B fitted pictures → logits float32 ``[B, K]`` and, with a detector, strangeness float32 ``[B]``."""
        if self.strangeness is None:
            return self.model.answer(squares), None
        logits, features = self.model.with_features(squares)
        return logits, self.strangeness(features, logits)

    def run_seen(self, squares: dict[Preprocess, Pixels]) -> tuple[Floats, Floats | None, Any]:
        """``run``, and what the head saw, ``[B, D]``."""
        logits, features = self.model.with_features(squares)
        return logits, None if self.strangeness is None else self.strangeness(features, logits), features

    @cached_property
    def space(self) -> str:
        """Of its features: a gallery of the same space may stand beside its answers."""
        return gallery.space_of(self.bundle)

    def facts(self, default: bool) -> dict[str, Any]:
        """What ``GET /v1/models`` says of it."""
        b = self.bundle
        return {
            "name": self.name,
            "version": self.version,
            "default": default,
            "task": b.task,
            "classes": list(b.classes),
            "size": b.preprocess.size,
            "fit": b.preprocess.fit,
            "thresholds": list(b.thresholds),
            "created": str(b.notes.get("created", "")),
            "golden": self.golden,
        }


@dataclass
class Workers:
    """What a picture passes on its way to an answer."""

    decoders: Decoders
    batcher: Batcher
    formats: tuple[str, ...] = ()

    async def seen(self, model: Model, orders: Sequence[str], data: bytes | bytearray) -> tuple[dict[str, Any], Any]:
        """One encoded picture: what the decoder said, and its squares by ``Preprocess``."""
        order = {"job": "picture", "specs": orders, "formats": self.formats}
        said, pixels = await self.decoders.ask(order, data)
        return said, squares_of(model.specs, pixels)[0]


def squares_of(specs: Sequence[Preprocess], pixels: bytearray) -> list[dict[Preprocess, Pixels]]:
    """Bytes of fitted squares, picture after picture and spec after spec, as one mapping for each picture."""
    flat, at, found = np.frombuffer(pixels, np.uint8), 0, []
    while at < len(flat):
        one = {}
        for spec in specs:
            size = 3 * spec.size**2
            one[spec] = flat[at : at + size].reshape(spec.size, spec.size, 3)
            at += size
        found.append(one)
    return found


async def load(name: str, folder: Path, workers: Workers, engine: str = "auto") -> Served:
    """Read a bundle, compile it, and let it prove itself.

    Raises:
        BundleError: it is broken or edited, or answers its golden images otherwise than when it was made.
    """
    loop = asyncio.get_running_loop()
    kept: list[Model] = []

    async def told(model: Model, images: Sequence[bytes]) -> Floats:
        orders = [json.dumps(asdict(spec)) for spec in model.specs]

        async def one(image: bytes) -> Told:
            everything = Workers(workers.decoders, workers.batcher, ("TIFF", "AVIF", "HEIC"))
            return await workers.batcher.ask(model, model.answer, (await everything.seen(model, orders, image))[1])

        return np.stack([each.logits for each in await asyncio.gather(*map(one, images))])

    def predict(bundle: Bundle, images: Sequence[bytes]) -> Floats:
        kept.append(Model(bundle, engine, build=serving.engine))
        logits = asyncio.run_coroutine_threadsafe(told(kept[0], images), loop).result()
        return probabilities(said(bundle, logits))

    def proved() -> Served:
        digest = bundles.digest(folder)
        found = proof.verify(folder, predict, tolerance=TOLERANCE)
        if found.images and not found.passed:
            raise BundleError(f"the bundle for {name!r} does not prove itself: {found.message}", next="visum verify")
        if not kept:
            kept.append(Model(bundles.read(folder), engine, build=serving.engine))
        if bundles.digest(folder) != digest:
            raise BundleError(f"the bundle for {name!r} changed while it was read", next="the same once more")
        made = Served(name, digest, folder, kept[0], found.images)
        try:  # notes are a stranger's JSON: better now than with the first picture
            strange = None if made.strangeness is None else 0.0
            answers.answer(made.bundle, np.zeros(len(made.bundle.classes), np.float32), 1, strange)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise BundleError(f"the notes of the bundle for {name!r} are not what visum writes: {error!r}") from error
        return made

    return await asyncio.to_thread(proved)


@dataclass
class Models:
    """What is served.

    Attributes:
        served: name → its versions, the default one first. The first name is the default one.
    """

    served: dict[str, tuple[Served, ...]] = field(default_factory=dict)

    def find(self, name: str | None, version: str | None) -> Served:
        """The model that a request means.

        Raises:
            Refusal: 404.
        """
        if name is None and self.served:
            name = next(iter(self.served))
        versions = self.served.get(name or "", ())
        for each in versions:
            if version is None or each.version == version:
                return each
        if versions:
            raise Refusal(404, "No such version of this model is served", "GET /v1/models")
        raise Refusal(404, "No model of that name is served", "GET /v1/models")

    def __iter__(self) -> Any:
        return (each for versions in self.served.values() for each in versions)

    async def reload(self, name: str, workers: Workers, engine: str) -> list[Served]:
        """Read the folders of a name again; what has not changed stays, and nothing changes unless all of them are good.

        Returns:
            The versions that are new.

        Raises:
            Refusal: 404.
            BundleError: a folder's bundle is no good; the old ones go on.
        """
        if name not in self.served:
            raise Refusal(404, "No model of that name is served", "GET /v1/models")
        now = []
        for old in self.served[name]:
            digest = await asyncio.to_thread(bundles.digest, old.folder)
            now.append(old if digest == old.digest else await load(name, old.folder, workers, engine))
        new = [each for each, old in zip(now, self.served[name], strict=True) if each is not old]
        self.served[name] = tuple(now)
        return new


def places(given: Sequence[str]) -> list[tuple[str, Path]]:
    """(name, folder) of each ``PATH`` or ``NAME=PATH``; a path is called like its folder, or like the run around it.

    Raises:
        UsageError: a name that cannot stand in an address.
        BundleError: no bundle there.
    """
    found = []
    for each in given:
        name, equals, rest = each.partition("=")
        if equals and not Path(each).exists():
            if not _NAME.fullmatch(name):
                raise UsageError(f"the name {name!r}", allowed="letters, digits, . _ -", next="NAME=FOLDER")
            found.append((name, bundles.locate(rest)))
            continue
        place = bundles.locate(each)
        own = place.parent.name if place.name == "bundle" else place.name
        found.append((re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-._")[:64] or "model", place))
    return found


def listed(models: Models) -> list[Mapping[str, Any]]:
    """What ``GET /v1/models`` says."""
    first = next(iter(models), None)
    return [each.facts(each is first) for each in models]
