"""Which sizes a network takes: held to what PyTorch does at these sizes with real numbers."""

from __future__ import annotations

import pytest
import torch

from visum.models import sizes, zoo

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vit_b_16", "swin_tiny_patch4_window7_224")]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", *SLOW])
def test_what_is_taken_is_what_runs(name: str) -> None:
    network = zoo.build(name)
    runs = []
    for side in (224, 96):
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, side, side))
            runs.append(side)
        except (AssertionError, RuntimeError):
            pass
    assert sizes.tried(name, (224, 96)) == tuple(runs)
    assert runs == ([224, 96] if name == "resnet18" else [224])


def test_what_cannot_be_tried_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum())  # there are no numbers to sum on the meta device

    monkeypatch.setattr(zoo, "build", lambda _: Odd())
    monkeypatch.setattr(zoo, "preprocess", lambda _: zoo.Preprocess(size=224))
    assert sizes.tried("odd", (224, 96)) == (224, 96)


def test_packaged_networks_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "build", lambda _: pytest.fail("nothing need be built"))
    assert sizes.taken("efficientnet_lite0", None, (64, 224)) == (64, 224)
    assert sizes.taken("efficientnet_lite0", "mine.safetensors", (64, 224)) == (64, 224)
