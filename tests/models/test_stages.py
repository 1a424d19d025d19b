"""All stages at once: what the compiled pass gives are the means of what the modules give, for networks of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from visum.errors import ModelError
from visum.models import differentiable, stages, weights, zoo
from visum.types import Bundle


def bundled(name: str, size: int) -> Bundle:
    """An untrained network with a head of zeros."""
    import torch

    base = weights.untrained(name, size=size, seed=1)
    trunk = zoo.trunk(base.name, base.weights, base.stages, base.preprocess)
    wide = trunk(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[1]
    tensors = {f"backbone.{key}": value for key, value in base.weights.items()}
    tensors |= {"head.weight": np.zeros((wide, 2), np.float32), "head.bias": np.zeros(2, np.float32)}
    kind = {"kind": "probe", "backbone": name, "stages": []}
    return Bundle("binary", ("a", "b"), kind, base.preprocess, tensors)


@pytest.mark.parametrize(
    ("name", "size"), [("cnn:widths=8-16-24", 48), ("test_vit", 160), ("test_resnet", 64), ("shufflenet_v2_x0_5", 64)]
)
def test_columns_are_the_means_of_what_modules_give(name: str, size: int) -> None:
    import torch

    made = bundled(name, size)
    wanted = stages.names(made)
    network, columns = stages.network(made, wanted, "torch")
    batch = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    vectors = network.engine.run(batch)
    assert columns[-1][2] <= vectors.shape[1]  # an output that is the last stage once more has no name
    assert [start for _, start, _ in columns] == [0, *(stop for _, _, stop in columns[:-1])]
    whole = differentiable.of_bundle(made)
    with whole.watching(wanted) as seen, torch.no_grad():
        whole(differentiable.pixels(batch))
    for stage, a, b in columns:
        if stage == stages.OUTPUT:
            continue
        out = seen[stage]
        mean = out.mean((2, 3)) if out.ndim == 4 else out.mean(1) if out.ndim == 3 else out
        np.testing.assert_allclose(vectors[:, a:b], mean.numpy(), rtol=1e-3, atol=1e-4)


def test_an_output_that_is_the_last_stage_is_not_told_twice() -> None:
    made = bundled("cnn:widths=8-16-24", 48)
    wanted = stages.names(made)
    _, columns = stages.network(made, wanted)
    assert [name for name, _, _ in columns] == list(wanted)
    _, early = stages.network(made, wanted[:1])
    assert [name for name, _, _ in early] == [wanted[0], stages.OUTPUT]


def test_many_stages_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundled("cnn:widths=8-16-24", 48)
    every = stages.names(made)
    monkeypatch.setattr(stages, "MOST", 2)
    assert stages.names(made) == (every[0], every[-1])


def test_what_is_no_layer_and_what_has_none() -> None:
    made = bundled("cnn:widths=8-16-24", 48)
    with pytest.raises(ModelError, match=f"no layer is called 'nowhere'. Allowed: {stages.names(made)[0]}"):
        stages.network(made, ("nowhere",))
    for kind, words in (("ensemble", "one of its members"), ("classical", "embedding.probe")):
        with pytest.raises(ModelError, match=words):
            stages.check(replace(made, architecture={"kind": kind}), "--layers")
    stages.check(made, "--layers")
