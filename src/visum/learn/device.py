"""Where a network is trained and in which precision: what was asked for, or what this machine is good at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from visum.errors import UsageError
from visum.learn.settings import known_name

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
PRECISIONS: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of what is computed; weights, gradients and the optimiser's state are float32 in both."""


@dataclass(frozen=True)
class Device:
    """Where and how, and why.

    Attributes:
        name: ``cpu``, ``cuda`` or ``cuda:1``.
        precision: of ``PRECISIONS``.
        why: for the record of a run.
    """

    name: str
    precision: str
    why: str

    @property
    def dtype(self) -> torch.dtype:
        return PRECISIONS[self.precision]

    @property
    def facts(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {"device": self.name, "precision": self.precision, "why": self.why}


def check(device: str, precision: str) -> None:
    """Refuse what does not exist, here or at all.

    Raises:
        UsageError: naming what there is.
    """
    known_name("device", device.partition(":")[0], (AUTO, CPU, CUDA))
    known_name("precision", precision, (AUTO, *PRECISIONS))
    kind, _, number = device.partition(":")
    found = torch.cuda.device_count()
    if kind == CUDA and (not found or (number and not (number.isdecimal() and int(number) < found))):
        cards = f"{found} graphics cards" if found > 1 else "one graphics card" if found else "no graphics card"
        raise UsageError(
            f"the device is {device}, and PyTorch sees {cards}",
            allowed="auto, cpu" + "".join(f", cuda:{each}" for each in range(found)),
            next="--device auto",
        )


def chosen(device: str, precision: str, near: int = 0) -> Device:
    """What the settings stand for here.

    Args:
        device: auto takes a graphics card if there is one.
        precision: auto takes bfloat16 where the device multiplies it in hardware, since elsewhere it is slower than float32.
        near: which of the processes on this machine this is; each takes a graphics card of its own.
    """
    check(device, precision)
    cards = torch.cuda.device_count()
    if device == AUTO:
        device = CUDA if cards else CPU
    if device == CUDA and cards > 1:
        device = f"{CUDA}:{near % cards}"
    if precision != AUTO:
        return Device(device, precision, "as asked for")
    if device != CPU:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        words = "bfloat16" if fast else "no bfloat16 of its own"
        return Device(device, "bfloat16" if fast else "float32", f"the card has {words}")
    name = _hardware()
    return Device(CPU, "bfloat16" if name else "float32", f"the processor has {name or 'no bfloat16 of its own'}")


def _hardware() -> str:
    """The instructions by which this processor multiplies bfloat16; "" if it has none that PyTorch uses."""
    for asks, words in (("_is_amx_tile_supported", "AMX"), ("_is_avx512_bf16_supported", "AVX-512 BF16")):
        if getattr(torch.cpu, asks, lambda: False)():
            return words
    return ""
