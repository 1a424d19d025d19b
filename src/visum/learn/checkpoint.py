"""Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file. No pickle.

The file is written aside and renamed, so that a kill leaves the last whole one. Facts (counters, history) are JSON in the
file's own metadata tensor, so that they and the weights can never be of two different moments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visum import safefile, storage
from visum.errors import CorruptFile

FORMAT = 2


def write(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    best: Mapping[str, Tensor] | None,
    facts: Mapping[str, Any],
) -> None:
    """Write atomically.

    Args:
        path: of the file.
        model, optimiser: as they are.
        average: moving average of the weights, or None.
        best: weights of the best epoch so far, or None.
        facts: JSON-like; ``key`` says which run this is.
    """
    from safetensors.torch import save

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for what, held in (("average", average), ("best", best)):
        tensors.update({f"{what}.{name}": value for name, value in (held or {}).items()})
    numbers: dict[str, Any] = {}
    found = optimiser.state_dict()
    # what optimisers keep beside tensors, e.g. how far a switch from one to another is
    groups = [{name: value for name, value in group.items() if name != "params"} for group in found["param_groups"]]
    for index, state in found["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value
            else:
                numbers[f"{index}.{name}"] = value
    text = json.dumps({"format": FORMAT, "numbers": numbers, "groups": groups, **facts}).encode()
    tensors["facts"] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    storage.write_atomic(path, save(_apart(tensors)))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies: tensors that share memory are refused, and so is channels-last."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def write_weights(path: Path, model: nn.Module, key: str) -> None:
    """The weights alone, atomically, under the key of their run."""
    from safetensors.torch import save

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors["key"] = torch.from_numpy(np.frombuffer(key.encode(), np.uint8).copy())
    storage.write_atomic(path, save(_apart(tensors)))


def read_weights(path: Path, key: str) -> dict[str, Tensor] | None:
    """What ``write_weights`` wrote; None if there is no such file or it is of another run.

    Raises:
        CorruptFile, UnsafeFile: the file is damaged, or is not safetensors.
    """
    if not path.is_file():
        return None
    tensors = safefile.safe_tensors(path)
    if np.asarray(tensors.pop("key", ()), np.uint8).tobytes() != key.encode():
        return None
    return {name.removeprefix("model."): torch.from_numpy(np.array(value)) for name, value in tensors.items()}


def read(
    path: Path, key: str, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor] | None, dict[str, Tensor] | None] | None:
    """Put a checkpoint's state back into model and optimiser.

    Returns:
        (facts, average, best); None if there is no file, or if it is of another run or another version, which is then
        left alone until the new run writes over it.

    Raises:
        CorruptFile, UnsafeFile: the file is damaged, or is not safetensors.
    """
    if not path.is_file():
        return None
    tensors = safefile.safe_tensors(path)
    try:
        facts = json.loads(np.asarray(tensors.pop("facts"), np.uint8).tobytes())
        if facts["format"] != FORMAT or facts["key"] != key:
            return None
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            what, _, rest = name.partition(".")
            parts[what][rest] = torch.from_numpy(np.array(value))
        model.load_state_dict(parts["model"])
        state: dict[int, dict[str, Any]] = {}
        for name, held in {**parts["optimiser"], **facts["numbers"]}.items():
            index, _, rest = name.partition(".")
            state.setdefault(int(index), {})[rest] = held
        own = optimiser.state_dict()["param_groups"]
        groups = [{**group, **held} for group, held in zip(own, facts["groups"], strict=True)]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        # fused kernels walk weights and moments side by side in memory: both must lie there in one order (channels-last)
        for parameter, moments in optimiser.state.items():
            for name, held in moments.items():
                if isinstance(held, Tensor) and held.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter).copy_(held)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CorruptFile(
            f"{path} is not a checkpoint of this run: {error}", next="the same command with --overwrite"
        ) from error
    return facts, parts["average"] or None, parts["best"] or None
