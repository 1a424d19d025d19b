"""A small convolutional network of textbook layers, spelled in one line: ``cnn`` or ``cnn:widths=32-64,pool=average``.

The spelling is the architecture's name: whatever takes a name of timm's (``zoo.build``, a bundle, a recipe) takes this one too.
Each stage is convolution, batch normalisation, activation (``depth`` times), 2 x 2 pooling; then the mean over space (Lin et al.
2014, "Network In Network", section 3.2), so that any size of picture will do; then fully connected layers with dropout.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from visum.errors import ModelError

if TYPE_CHECKING:
    import torch

NAME = "cnn"
SIZE = 64
"""Input side in pixels where nothing else is said; any other will do."""
ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "swish": "SiLU", "mish": "Mish"}
"""Name → class in ``torch.nn``. Swish: Ramachandran et al. 2017; Mish: Misra 2020."""
STEM = 5
"""Side of the stem's kernel in pixels."""
POOLS = {"max": "MaxPool2d", "average": "AvgPool2d"}
"""Name → class in ``torch.nn``; both over 2 x 2 pixels."""


@dataclass(frozen=True)
class Cnn:
    """The layers of one network.

    Attributes:
        widths: channels of each stage; every stage halves the picture.
        depth: convolutions of each stage, each with its normalisation and activation, before the pooling.
        stem: channels of a convolution of 5 x 5 in front of all stages that looks at every other pixel; 0: there is none.
        kernel: odd side of the convolutions in pixels; borders are padded, so that only pooling reduces.
        pool: key of ``POOLS``.
        activation: key of ``ACTIVATIONS``.
        batch_norm: after every convolution, which then has no bias.
        dropout: share of features that are dropped in front of every fully connected layer, 0 <= p < 1.
        fc: widths of fully connected layers between the features and the classifier, which is always there.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    depth: int = 1
    stem: int = 0
    kernel: int = 3
    pool: str = "max"
    activation: str = "relu"
    batch_norm: bool = True
    dropout: float = 0.0
    fc: tuple[int, ...] = ()


class Setting(NamedTuple):
    """How one setting is read, and what it may be. ``read`` raises ValueError or KeyError for anything else."""

    read: Callable[[str], Any]
    allowed: str


def _number(text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(_number(part, 1, 4096) for part in text.split("-"))
    if len(found) > 8:
        raise ValueError(text)
    return found


def _odd(text: str) -> int:
    if (found := _number(text, 1, 15)) % 2 == 0:
        raise ValueError(text)
    return found


def _share(text: str) -> float:
    if not 0 <= (found := float(text)) < 1:
        raise ValueError(text)
    return found


def _one_of(words: dict[str, Any]) -> Setting:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Setting(read, ", ".join(words))


_SWITCH = {"on": True, "off": False}
SETTINGS: dict[str, Setting] = {
    "widths": Setting(_numbers, "1 to 8 whole numbers from 1 to 4096, like 32-64-128"),
    "depth": Setting(lambda text: _number(text, 1, 8), "a whole number from 1 to 8"),
    "stem": Setting(lambda text: _number(text, 0, 4096), "a whole number from 0 to 4096"),
    "kernel": Setting(_odd, "an odd number from 1 to 15"),
    "pool": _one_of(POOLS),
    "activation": _one_of(ACTIVATIONS),
    "batch_norm": Setting(_SWITCH.__getitem__, "on, off"),
    "dropout": Setting(_share, "0 or more and less than 1"),
    "fc": Setting(_numbers, "1 to 8 whole numbers from 1 to 4096, like 256-128"),
}


def is_name(name: str) -> bool:
    """Whether a name is one of ours, well spelled or not."""
    return name.partition(":")[0] == NAME


def parse(name: str) -> Cnn:
    """``cnn:widths=32-64,pool=average`` → the layers; what is not said is as in ``Cnn``.

    Raises:
        ModelError: every fault of the spelling, and what would have been understood.
    """
    found: dict[str, Any] = {}
    faults: list[str] = []
    _, colon, rest = name.partition(":")
    for part in rest.split(",") if colon else ():
        key, _, text = (piece.strip() for piece in part.partition("="))
        if key not in SETTINGS:
            close = difflib.get_close_matches(key, SETTINGS, 1, 0.5)
            faults.append(f"there is no setting {key!r}" + (f", did you mean {close[0]}?" if close else ""))
        elif key in found:
            faults.append(f"{key} is said twice")
        else:
            found[key] = None
            try:
                found[key] = SETTINGS[key].read(text)
            except (ValueError, KeyError):
                close = difflib.get_close_matches(text, SETTINGS[key].allowed.split(", "), 1, 0.5)
                meant = f" (did you mean {close[0]}?)" if close else ""
                faults.append(f"{key} is {text!r}{meant}, where {SETTINGS[key].allowed} is allowed")
    if faults:
        raise ModelError(
            f"{name!r} cannot be built: {'; '.join(faults)}",
            allowed=f"{NAME}, or {NAME}:SETTING=VALUE,… with {', '.join(SETTINGS)}",
            next=spelled(Cnn(widths=(32, 64), dropout=0.2)),
        )
    return Cnn(**found)


def spelled(layers: Cnn) -> str:
    """The shortest name that ``parse`` reads as these layers."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)

    said = [
        f"{each.name}={text(value)}" for each in fields(Cnn) if (value := getattr(layers, each.name)) != each.default
    ]
    return f"{NAME}:{','.join(said)}" if said else NAME


def build(name: str, classes: int = 1000) -> torch.nn.Module:
    """The untrained network, float32 ``[B, 3, H, W]`` → logits ``[B, classes]`` for any H and W from 1 pixel.

    It has what timm's networks have: ``feature_info``, ``forward_features``, ``forward_head``, ``default_cfg``. Weights start as
    in He et al. 2015, "Delving Deep into Rectifiers", eq. 10, biases at zero.

    Raises:
        ModelError: as ``parse``.
    """
    from torch import nn

    layers = parse(name)
    activation, pool = getattr(nn, ACTIVATIONS[layers.activation]), getattr(nn, POOLS[layers.pool])

    def convolved(before: int, width: int, side: int, stride: int) -> dict[str, nn.Module]:
        """Convolution, normalisation and activation."""
        plain = not layers.batch_norm
        parts: dict[str, nn.Module] = {"conv": nn.Conv2d(before, width, side, stride, side // 2, bias=plain)}
        return parts | ({} if plain else {"norm": nn.BatchNorm2d(width)}) | {"act": activation()}

    class Stage(nn.Sequential):
        """Halves the picture, until there is only one pixel left to pool."""

        def __init__(self, before: int, width: int) -> None:
            parts: dict[str, nn.Module] = {}
            for at in range(layers.depth):
                number = str(at + 1) if at else ""  # conv, norm, act, conv2, norm2, act2, … pool
                named = convolved(before, width, layers.kernel, 1)
                parts |= {f"{name}{number}": layer for name, layer in named.items()}
                before = width
            super().__init__(OrderedDict(parts | {"pool": pool(2)}))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            *others, half = self
            for layer in others:
                x = layer(x)
            return half(x) if min(x.shape[-2:]) > 1 else x

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.default_cfg = {"classifier": "classifier"}
            self.num_classes = classes
            first = 2 if layers.stem else 1
            self.feature_info = [
                {"num_chs": width, "reduction": first * 2 ** (at + 1), "module": f"stages.{at}"}
                for at, width in enumerate(layers.widths)
            ]
            self.stem = nn.Sequential(OrderedDict(convolved(3, layers.stem, STEM, 2))) if layers.stem else None
            befores = (layers.stem or 3, *layers.widths[:-1])
            self.stages = nn.Sequential(*(Stage(*each) for each in zip(befores, layers.widths, strict=True)))
            widths = (layers.widths[-1], *layers.fc)
            hidden: list[nn.Module] = []
            for before, width in zip(widths, layers.fc, strict=False):
                hidden += [nn.Dropout(layers.dropout), nn.Linear(before, width), activation()]
            self.fc = nn.Sequential(*hidden, nn.Dropout(layers.dropout))
            self.num_features = self.head_hidden_size = widths[-1]
            self.classifier = nn.Linear(widths[-1], classes)
            slope = 0.01 if layers.activation == "leaky_relu" else 0.0
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.kaiming_normal_(module.weight, slope, mode="fan_in", nonlinearity="leaky_relu")
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.stages(x if self.stem is None else self.stem(x))
            return out

        def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            out: torch.Tensor = self.fc(x.mean((2, 3)))
            return out if pre_logits else self.classifier(out)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.forward_head(self.forward_features(x))

    return Network().eval()
