"""``visum distill``: a bundle teaches another network, which becomes a bundle like any other."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

from visum.workflow.outcome import Run
from visum.workflow.train import train


def distill(teacher: Path, data: Path, **settings: Any) -> Run:
    """Train a network to answer as a bundle does, with all the settings of train.

    The teacher answers every train picture once; the network learns from its answers and from the labels. Small and quick ones
    gain most, e.g. ``--weights none --backbone cnn``.
    """
    return train(data, teacher=teacher, **settings)


# The settings are those of train, documented there; the teacher stands in front.
_settings = inspect.signature(train).parameters
_teacher = inspect.Parameter("teacher", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Path")
distill.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_teacher, *(each for name, each in _settings.items() if name != "teacher")], return_annotation="Run"
)
distill.__annotations__ = typing.get_type_hints(train, include_extras=True) | {"teacher": Path}
distill.__doc__ = f"{inspect.getdoc(distill)}\n\n" + (inspect.getdoc(train) or "").partition("\n\n")[2]
