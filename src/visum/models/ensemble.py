"""An ensemble is a bundle that holds other bundles: their tensors under ``members.0.`` …, the rest in its architecture.

    {"kind": "ensemble", "combine": name of COMBINE,
     "members": [{"architecture", "preprocess", "temperature", "thresholds", "order"}, …]}

``order[k]`` is the member's number for class k of the ensemble, since members may have been trained with their classes in
another order. Members are plain bundles: an ensemble of ensembles is refused, so that nothing nests without end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.models.combine import COMBINE
from visum.types import Bundle, Floats, Preprocess, decisions, network_weights, said

KIND = "ensemble"
FIELDS = frozenset(("architecture", "preprocess", "temperature", "thresholds", "order"))
"""Keys of each member's entry."""
MEMBERS = (2, 64)
"""Fewest and most members."""
Named = Sequence[tuple[str, Bundle]]
"""(what people call it, bundle)."""


def join(members: Sequence[Bundle], combine: str) -> Bundle:
    """The members as one bundle, with temperature 1 and no thresholds; task, classes and preprocessing are the first's.

    Raises:
        BundleError: as ``check_alike``; or fewer or more members than ``MEMBERS``.
    """
    if not MEMBERS[0] <= len(members) <= MEMBERS[1]:
        raise BundleError(f"an ensemble of {len(members)}", allowed=f"{MEMBERS[0]} to {MEMBERS[1]} bundles")
    check_alike([(f"member {number}", member) for number, member in enumerate(members)])
    first = members[0]
    entries = [
        {
            "architecture": dict(member.architecture),
            "preprocess": asdict(member.preprocess),
            "temperature": float(member.temperature),
            "thresholds": list(member.thresholds),
            "order": [member.classes.index(name) for name in first.classes],
        }
        for member in members
    ]
    weights = {
        f"members.{i}.{name}": value
        for i, member in enumerate(members)
        for name, value in network_weights(member).items()
    }
    architecture = {"kind": KIND, "combine": combine, "members": entries}
    return Bundle(first.task, first.classes, architecture, first.preprocess, weights)


def check_alike(members: Named) -> None:
    """Members answer the same question: one task, the same classes in whatever order.

    Raises:
        BundleError: an ensemble among them, another task, or classes that only one of two has, by name.
    """
    for name, member in members:
        if member.architecture.get("kind") == KIND:
            raise BundleError(
                f"{name} is an ensemble itself", allowed="plain bundles", next="its members instead of it"
            )
    (first_name, first), *others = members
    for name, member in others:
        if member.task != first.task:
            raise BundleError(
                f"{name} is {member.task} and {first_name} is {first.task}",
                allowed="bundles of one task",
                next="visum train … --task, with the same data for all",
            )
        if words := unlike(first_name, first.classes, name, member.classes):
            raise BundleError(
                f"{name} has other classes than {first_name}: {words}",
                allowed="the same class names, in any order",
                next="bundles that were trained on the same classes",
            )


def unlike(one: str, first: Sequence[str], other: str, second: Sequence[str]) -> str:
    """Which of two has classes that the other has not, for people; "" where both have the same, in any order.

    Args:
        one, other: what people call them.
        first, second: their class names.
    """
    return "; ".join(
        f"only {whose} has {_listed([each for each in mine if each not in theirs])}"
        for whose, mine, theirs in ((one, first, second), (other, second, first))
        if not set(mine) <= set(theirs)
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def member_of(bundle: Bundle, number: int) -> Bundle:
    """One member, as the bundle that it was, its classes in its own order."""
    entry: Mapping[str, Any] = bundle.architecture["members"][number]
    own = [""] * len(bundle.classes)
    for k, at in enumerate(entry["order"]):
        own[at] = bundle.classes[k]
    start = f"members.{number}."
    return Bundle(
        bundle.task,
        tuple(own),
        entry["architecture"],
        Preprocess.from_json(entry["preprocess"]),
        {name.removeprefix(start): value for name, value in bundle.weights.items() if name.startswith(start)},
        entry["temperature"],
        tuple(entry["thresholds"]),
    )


def members_of(bundle: Bundle) -> tuple[Bundle, ...]:
    """All members; () of a plain bundle."""
    if bundle.architecture.get("kind") != KIND:
        return ()
    return tuple(member_of(bundle, number) for number in range(len(bundle.architecture["members"])))


def combined(bundle: Bundle, members: Sequence[Bundle], logits: Sequence[Floats]) -> Floats:
    """What the ensemble says: float32 ``[N, K]``.

    Args:
        bundle: the ensemble.
        members: of ``members_of``.
        logits: of each member as it gives them, float32 ``[N, K]`` with its own order of classes.
    """
    calibrated, votes = [], []
    for entry, member, z in zip(bundle.architecture["members"], members, logits, strict=True):
        answers = decisions(said(member, z))
        chosen = answers == 1 if answers.ndim == 2 else answers[:, None] == np.arange(z.shape[1])
        calibrated.append(z[:, entry["order"]].astype(np.float64) / member.temperature)
        votes.append(chosen[:, entry["order"]])
    return COMBINE[bundle.architecture["combine"]](np.stack(calibrated), np.stack(votes), bundle.task)
