"""From embeddings to probabilities, as nodes of a graph: heads, temperature, and what an ensemble makes of its members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models import heads
from visum.models.combine import TIE
from visum.ship.export.graph import Graph
from visum.types import Bundle, Task

Arrays = Mapping[str, NDArray[Any]]


def logits(g: Graph, features: str, name: str, arrays: Arrays) -> str:
    """A head of ``models.heads``: float32 ``[N, D]`` → ``[N, K]``."""
    return HEADS[name](g, features, arrays)


def _linear(g: Graph, x: str, arrays: Arrays) -> str:
    return g.add("Add", g.add("MatMul", x, arrays["weight"]), arrays["bias"])


def _cosine(g: Graph, x: str, arrays: Arrays) -> str:
    e = g.add("Div", g.add("Sub", x, arrays["mean"]), arrays["spread"])
    length = g.add("Sqrt", g.add("ReduceSum", g.add("Mul", e, e), np.array([1]), keepdims=1))
    return g.add("Div", g.add("MatMul", e, arrays["weight"]), g.add("Max", length, heads.SHORTEST))


HEADS: dict[str, Callable[[Graph, str, Arrays], str]] = {heads.LINEAR: _linear, heads.COSINE: _cosine}
"""Name of ``models.heads.HEADS`` → its nodes."""


def probabilities(g: Graph, z: str, task: Task, temperature: float) -> str:
    """Calibrated probabilities of logits: softmax, or sigmoid when multilabel."""
    z = g.add("Div", z, float(temperature))
    return g.add("Sigmoid", z) if task == "multilabel" else g.add("Softmax", z, axis=-1)


def combined(g: Graph, bundle: Bundle, members: Sequence[Bundle], told: Sequence[str]) -> str:
    """``models.ensemble.combined``: logits of each member, in its own order of classes → logits of the ensemble."""
    calibrated, votes = [], []
    for entry, member, z in zip(bundle.architecture["members"], members, told, strict=True):
        order = np.array(entry["order"], np.int64)
        chosen = _chosen(g, probabilities(g, z, member.task, member.temperature), member)
        calibrated.append(g.add("Gather", g.add("Div", z, float(member.temperature)), order, axis=1))
        votes.append(g.add("Gather", chosen, order, axis=1))
    stack = g.add("Concat", *(g.add("Unsqueeze", z, np.array([0])) for z in calibrated), axis=0)
    return COMBINE[bundle.architecture["combine"]](g, stack, g.add("Sum", *votes), len(members), bundle.task)


def _chosen(g: Graph, p: str, member: Bundle) -> str:
    """What a member answers as 0 and 1, float32 ``[N, K]``, as ``types.decisions`` decides."""
    k = len(member.classes)
    if member.task == "multilabel":
        least = np.array(member.thresholds or [0.5] * k, np.float32)
        return g.cast(g.add("GreaterOrEqual", p, least), np.float32)
    if member.task == "binary" and member.thresholds:
        second = g.cast(
            g.add("GreaterOrEqual", g.add("Gather", p, np.array([1]), axis=1), member.thresholds[0]), np.int64
        )
    else:
        second = g.add("ArgMax", p, axis=1, keepdims=1)
    return g.cast(g.add("Equal", second, np.arange(k)), np.float32)


def _mean_logit(g: Graph, z: str, votes: str, members: int, task: Task) -> str:
    return g.add("ReduceMean", z, axes=[0], keepdims=0)


def _mean_probability(g: Graph, z: str, votes: str, members: int, task: Task) -> str:
    yes, no = _mean_logs(g, z, members, task)
    return g.add("Sub", yes, no) if task == "multilabel" else yes


def _vote(g: Graph, z: str, votes: str, members: int, task: Task) -> str:
    yes, no = _mean_logs(g, z, members, task)
    for_it = _with_votes(g, votes, yes)
    if task == "multilabel":
        return g.add("Sub", for_it, _with_votes(g, g.add("Sub", float(members), votes), no))
    return g.add("Sub", for_it, float(np.log(members + TIE)))


COMBINE: dict[str, Callable[[Graph, str, str, int, Task], str]] = {
    "probabilities": _mean_probability,
    "logits": _mean_logit,
    "vote": _vote,
}
"""Name of ``models.combine.COMBINE`` → its nodes: (calibrated logits ``[M, N, K]``, number of votes ``[N, K]``, M, task)."""


def _mean_logs(g: Graph, z: str, members: int, task: Task) -> tuple[str, str]:
    """log of the mean probability, and (multilabel only, else the same) of the mean of its opposite."""
    if task != "multilabel":
        yes = _log_mean(g, g.add("LogSoftmax", z, axis=-1), members)
        return yes, yes
    return tuple(  # type: ignore[return-value]
        _log_mean(g, g.add("Neg", g.add("Softplus", side)), members) for side in (g.add("Neg", z), z)
    )


def _log_mean(g: Graph, logs: str, members: int) -> str:
    return g.add("Sub", g.add("ReduceLogSumExp", logs, axes=[0], keepdims=0), float(np.log(members)))


def _with_votes(g: Graph, count: str, log_p: str) -> str:
    """log(count + TIE · p). Without a vote, the logarithm alone, so that small probabilities stay apart."""
    alone = g.add("Add", log_p, float(np.log(TIE)))
    both = g.add("Log", g.add("Add", count, g.add("Exp", alone)))
    return g.add("Where", g.add("Greater", count, 0.5), both, alone)
