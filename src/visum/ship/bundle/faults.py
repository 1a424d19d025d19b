"""Do the parts of a bundle fit each other? Values come from a stranger's JSON, so that not even their types are trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from visum.data.decode import EXTRA_FORMATS, FORMATS, sniff
from visum.models import ensemble, heads, pools
from visum.models.combine import COMBINE
from visum.types import BESIDE, Bundle, Filter, Fit, Preprocess, Task

SIDES = (1, 4096)  # input side in pixels
PICTURES = (*FORMATS, *EXTRA_FORMATS)


def not_finite(weights: Mapping[str, NDArray[Any]]) -> list[str]:
    """Names of tensors with a NaN or an infinity in them."""
    return [n for n, v in weights.items() if v.dtype.kind in "fc" and not np.isfinite(v).all()]


def faults(bundle: Bundle) -> list[str]:
    """Everything about a bundle's parts that does not fit, in words; empty when it is whole. Types are not trusted."""
    k = len(bundle.classes)
    found = [*class_faults(bundle.task, bundle.classes), *_preprocess_faults(bundle.preprocess)]
    if not _number(bundle.temperature) or not 0 < bundle.temperature < math.inf:
        found.append(f"temperature {short(bundle.temperature)}, wanted a number over 0")
    wanted = {"multilabel": k, "binary": 1}.get(bundle.task, 0)
    if len(bundle.thresholds) not in (0, wanted):
        found.append(f"{len(bundle.thresholds)} thresholds, wanted {wanted or 'none'} for {bundle.task} of {k} classes")
    if not all(_number(t) and 0 <= t <= 1 for t in bundle.thresholds):
        found.append("thresholds outside of 0 … 1")
    kind = bundle.architecture.get("kind")
    if not isinstance(kind, str):
        found.append(f"architecture of kind {short(kind)}, wanted a name such as 'probe'")
    if kind == ensemble.KIND:
        return found + (_ensemble_faults(bundle) if all(isinstance(name, str) for name in bundle.classes) else [])
    classifier = bundle.architecture.get("classifier", heads.LINEAR)
    found += _head_faults(bundle.weights, k, heads.LINEAR, needed=kind == "probe" and classifier == heads.LINEAR)
    if classifier == heads.COSINE:
        found += _head_faults(bundle.weights, k, heads.COSINE, needed=True)
    if kind == "probe":
        stages = bundle.architecture.get("stages")
        if not isinstance(bundle.architecture.get("backbone"), str):
            found.append("a probe without the name of its backbone")
        if not isinstance(stages, (list, tuple)) or not all(isinstance(s, str) for s in stages):
            found.append(f"stages {short(stages)}, wanted a list of module names")
        if not any(name.startswith("backbone.") for name in bundle.weights):
            found.append("a probe without the weights of its backbone")
        pool = bundle.architecture.get("pool", pools.MEAN)
        if not isinstance(pool, str) or pool not in pools.POOLS:
            found.append(f"a pool {short(pool)}, wanted {', '.join(pools.POOLS)}")
        else:
            tensors = [f"backbone.{name}" for name in pools.names(pool)]
            found += [f"no tensor {name}" for name in tensors if name not in bundle.weights]
    return found


def _ensemble_faults(bundle: Bundle) -> list[str]:
    """Each member is held to what a bundle of its own is held to; members are plain, so that this goes one level deep."""
    combine, entries = bundle.architecture.get("combine"), bundle.architecture.get("members")
    found = []
    if not isinstance(combine, str) or combine not in COMBINE:
        found.append(f"an ensemble that combines by {short(combine)}, wanted {', '.join(COMBINE)}")
    least, most = ensemble.MEMBERS
    if not isinstance(entries, (list, tuple)) or not least <= len(entries) <= most:
        return [*found, f"an ensemble of {short(entries)}, wanted a list of {least} to {most} members"]
    for number, entry in enumerate(entries):
        wrong = _entry_faults(entry, len(bundle.classes)) or faults(ensemble.member_of(bundle, number))
        found += [f"member {number}: {words}" for words in wrong]
    starts = tuple(f"members.{number}." for number in range(len(entries)))
    if strange := [name for name in bundle.weights if not name.startswith((*starts, *BESIDE))]:
        found.append(f"tensors of no member: {', '.join(map(short, strange[:5]))}")
    return found


def _entry_faults(entry: Any, k: int) -> list[str]:
    """What keeps a member's entry from being read at all."""
    if not isinstance(entry, dict) or set(entry) != ensemble.FIELDS:
        return [f"{short(entry)}, wanted {', '.join(sorted(ensemble.FIELDS))}"]
    lists = (list, tuple)
    kinds: dict[str, Any] = {"architecture": dict, "preprocess": dict, "thresholds": lists, "order": lists}
    if wrong := [f"{key} is {short(entry[key])}" for key, kind in kinds.items() if not isinstance(entry[key], kind)]:
        return wrong
    if set(entry["preprocess"]) != {field.name for field in fields(Preprocess)}:
        wrong.append(f"preprocess has {', '.join(map(short, entry['preprocess']))}")
    if any(type(at) is not int for at in entry["order"]) or sorted(entry["order"]) != list(range(k)):
        wrong.append(f"order {short(entry['order'])}, wanted each of 0 … {k - 1} once")
    if entry["architecture"].get("kind") == ensemble.KIND:
        wrong.append("an ensemble itself, wanted a plain bundle")
    return wrong


def class_faults(task: Any, classes: Sequence[Any]) -> list[str]:
    """What keeps names from being the classes of a task."""
    if task not in get_args(Task):
        return [f"task {short(task)}, wanted {', '.join(get_args(Task))}"]
    found = []
    if not all(isinstance(name, str) for name in classes):
        found.append("class names that are not text")
    elif any("\ud800" <= c <= "\udfff" for name in classes for c in name):
        found.append("class names that are not Unicode text")
    if len(set(map(str, classes))) != len(classes):
        found.append("two classes of one name")
    least = 1 if task == "multilabel" else 2
    if len(classes) < least or (task == "binary" and len(classes) != 2):
        found.append(f"{len(classes)} classes, wanted {'2' if task == 'binary' else f'{least} or more'} for {task}")
    return found


def _preprocess_faults(spec: Preprocess) -> list[str]:
    found = []
    if type(spec.size) is not int or not SIDES[0] <= spec.size <= SIDES[1]:
        found.append(f"input size {short(spec.size)}, wanted {SIDES[0]} … {SIDES[1]} pixels")
    for name, allowed in (("fit", get_args(Fit)), ("filter", get_args(Filter)), ("channels", ("RGB", "BGR"))):
        if getattr(spec, name) not in allowed:
            found.append(f"{name} {short(getattr(spec, name))}, wanted {', '.join(allowed)}")
    for name in ("background", "mean", "std"):
        value = getattr(spec, name)
        if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(_number(v) for v in value):
            found.append(f"{name} {short(value)}, wanted three numbers")
        elif name == "background" and not all(type(v) is int and 0 <= v <= 255 for v in value):
            found.append(f"background {short(value)}, wanted three whole numbers of 0 … 255")
        elif name == "std" and min(value) <= 0:
            found.append(f"std {short(value)}, wanted numbers over 0")
    return found


def _head_faults(weights: Mapping[str, NDArray[Any]], k: int, name: str, *, needed: bool) -> list[str]:
    """The arrays of a head of ``heads.SHAPES``: those of the linear one are called ``head.…``, others ``classifier.…``."""
    found, start = [], "head." if name == heads.LINEAR else "classifier."
    d = next(iter(np.shape(weights.get(f"{start}weight", ()))), "D")
    for key, axes in heads.SHAPES[name].items():
        value, wanted = weights.get(start + key), [{"K": k, "D": d}[axis] for axis in axes]
        if value is None:
            found += [f"no tensor {start}{key}"] * needed
        elif value.dtype != np.float32 or list(value.shape) != wanted or 0 in value.shape:
            words = str(["D" if axis == "D" else k for axis in axes]).replace("'", "")
            found.append(f"{start}{key} is {value.dtype} {list(value.shape)}, wanted float32 {words} for {k} classes")
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def probability_fault(p: NDArray[Any], k: int, task: Task) -> str:
    """What keeps ``p`` from being the probabilities of K classes; "" if nothing does."""
    if p.shape != (k,):
        return f"probabilities of shape {list(p.shape)}, wanted [{k}]"
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1.0001):
        return "probabilities outside of 0 … 1"
    return "" if task == "multilabel" or abs(float(p.sum()) - 1) < 0.01 else "probabilities that do not sum to 1"


def golden_faults(kept: Mapping[str, bytearray], expected: Mapping[str, Any], k: int, task: Task) -> list[str]:
    """The same of ``golden/expected.json`` and the bytes of the images beside it."""
    entries = expected.get("images")
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("file"), str) and isinstance(e.get("name"), str) for e in entries
    ):
        return ["golden/expected.json is not a list of images"]
    listed = sorted(f"golden/{entry['file']}" for entry in entries)
    if listed != sorted(name for name in kept if name.startswith("golden/") and name != "golden/expected.json"):
        return ["golden/expected.json and the images beside it differ"]
    found = [f"{n} is not a picture" for n in listed if sniff(bytes(kept[n][:1024])) not in PICTURES]
    for entry in entries:
        values = entry.get("probabilities")
        plain = isinstance(values, list) and all(_number(v) for v in values)
        fault = probability_fault(np.asarray(values if plain else []), k, task)
        found += [f"golden/{entry['file']}: {fault}"] * bool(fault)
    return found
