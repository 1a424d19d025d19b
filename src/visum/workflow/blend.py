"""Members of an ensemble at work: each asked in the same order of classes, and joined, or averaged into one network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from visum.errors import UsageError
from visum.judge import evaluate as judge
from visum.learn import ensemble as soups
from visum.models import predict as running
from visum.models.ensemble import Named
from visum.runtime import Step, no_step
from visum.types import Bundle, Manifest, Predictions, network_weights, targets


def check_soup(named: Named) -> None:
    """Only one network can be made of several if they differ in nothing but numbers.

    Raises:
        UsageError: which two differ, and in what.
    """
    (first_name, first), *others = named
    for name, member in named:
        if member.architecture.get("kind") != "probe" or "classifier" in member.architecture:
            parts = [str(member.architecture[k]) for k in ("descriptor", "classifier") if k in member.architecture]
            raise _no_soup(f"{name} is {'+'.join(parts)}, which has no weights that could be averaged")
    plain = json.loads(json.dumps(dict(first.architecture)))
    for name, member in others:
        other = json.loads(json.dumps(dict(member.architecture)))
        if keys := [key for key in sorted({*plain, *other}) if plain.get(key) != other.get(key)]:
            one, two = (json.dumps(each.get(keys[0])) for each in (plain, other))
            raise _no_soup(f"{first_name} and {name} are different networks: {keys[0]} {one} and {two}")
        if member.preprocess != first.preprocess:
            ways = asdict(first.preprocess), asdict(member.preprocess)
            key = next(key for key in ways[0] if ways[0][key] != ways[1][key])
            raise _no_soup(f"{first_name} and {name} see pictures differently: {key} {ways[0][key]} and {ways[1][key]}")
        if words := soups.difference(network_weights(first), network_weights(member)):
            raise _no_soup(f"{first_name} and {name} are different networks: {words}")


def _no_soup(got: str) -> UsageError:
    allowed = "bundles of one network, fine-tuned from the same weights, for a soup"
    return UsageError(got, allowed=allowed, next="--combine probabilities, which takes any bundles")


def answers(table: Manifest, bundle: Bundle, engine: str, step: Step = no_step) -> Predictions:
    """Of a bundle whose classes may have another order than the table's; the answer has the table's."""
    order = [bundle.classes.index(name) for name in table.classes]
    found = running.of_table(replace(table, classes=bundle.classes), running.Model(bundle, engine), step=step)
    limits = found.thresholds
    if found.task == "multilabel":
        limits = tuple(limits[k] for k in order) if limits else ()
    elif order != sorted(order):
        limits = tuple(1 - t for t in limits)  # binary, and the other class is the one it is about
    return replace(
        found, logits=found.logits[:, order], labels=targets(table), classes=table.classes, thresholds=limits
    )


def souped(named: Named, held: Manifest, engine: str) -> tuple[Bundle, tuple[int, ...]]:
    """One network of several: what is kept is decided by the headline score on validation."""
    first = named[0][1]

    def score(weights: soups.Weights) -> float:
        said = answers(held, replace(first, weights=weights, thresholds=()), engine)
        return judge.score(said, judge.headline(said.task)).value

    soup = soups.greedy_soup([_ordered(member, first.classes) for _, member in named], score)
    return replace(first, weights=soup.weights, folder=None, thresholds=()), soup.kept


def _ordered(member: Bundle, classes: Sequence[str]) -> soups.Weights:
    """The weights of a probe, the columns of its head in the order of ``classes``."""
    order = [member.classes.index(name) for name in classes]
    weight, bias = member.weights["head.weight"][:, order], member.weights["head.bias"][order]
    return {**network_weights(member), "head.weight": np.ascontiguousarray(weight), "head.bias": bias}
