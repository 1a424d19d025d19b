"""Maps are those of captum, where it has the method; of methods that draw, from the same draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import captum.attr as captum
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from explain.subjects import NAME, bundled, subject_of
from visum.explain import cams, gradients, hiding
from visum.explain.subject import Subject
from visum.models.differentiable import Differentiable, pixels
from visum.types import Pixels

SIZE = 48


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(bundled(NAME, SIZE))


@pytest.fixture(scope="module")
def network(subject: Subject) -> Differentiable:
    assert subject.network is not None
    return subject.network


@pytest.fixture(scope="module")
def square(photos: dict[str, NDArray[np.uint8]]) -> Pixels:
    return np.ascontiguousarray(photos["astronaut"][0:240:5, 150:390:5])


def alike(one: Any, other: Any) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def log_odds(network: Differentiable) -> Any:
    def told(x: Any) -> Any:
        z = network(x)
        return z[:, 1] - z[:, [0, 2]].logsumexp(1)

    return told


def test_gradcam(subject: Subject, network: Differentiable, square: Pixels) -> None:
    name = cams.layer(network, 5)
    theirs = captum.LayerGradCam(network.forward, network.module(name)).attribute(
        pixels(square[None]).requires_grad_(True), target=1, relu_attributions=True
    )
    ours = cams.maps(replace(subject, layer=name), square[None], np.array([1]), np.array([-1]), cams.gradcam)
    assert ours.max() > 0
    np.testing.assert_allclose(ours[0], theirs[0, 0].detach().numpy(), rtol=1e-3, atol=1e-6)


def test_integrated_gradients_and_completeness(subject: Subject, network: Differentiable, square: Pixels) -> None:
    """Sundararajan et al. 2017, proposition 1: what the pixels add up to is the difference to the blank picture."""
    x = pixels(square[None])
    theirs = captum.IntegratedGradients(network.forward).attribute(x, torch.full_like(x, 127), target=1, n_steps=50)
    ours = gradients.integrated_gradients(subject, square, 1, -1)
    assert alike(ours, theirs.sum(1)[0]) >= 0.999
    logits = subject.answer(np.stack([square, np.full_like(square, 127)]))[:, 1]
    assert ours.sum() == pytest.approx(float(logits[0] - logits[1]), rel=0.01)


def test_smoothgrad(subject: Subject, network: Differentiable, square: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(subject.seed)
    monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * torch.randn(std.shape, generator=draw))
    theirs = captum.NoiseTunnel(captum.Saliency(network.forward)).attribute(
        pixels(square[None]), nt_type="smoothgrad", nt_samples=16, nt_samples_batch_size=8, stdevs=gradients.NOISE,
        target=1, abs=False,
    )  # fmt: skip
    ours = gradients.smoothgrad(subject, square, 1, -1, draws=16)
    assert alike(ours, theirs.abs().amax(1)[0].detach()) >= 0.999


def test_gradient_shap(
    subject: Subject, network: Differentiable, square: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """captum draws a blank of several and a place on the way for each sample; here it is given the blanks and places of ours."""
    import captum.attr._core.gradient_shap as theirs

    draw, blanks, places = torch.Generator().manual_seed(subject.seed), [], []
    for _ in range(2):
        blanks.append(255 * torch.rand((8, 1, 1, 1), generator=draw))
        places.append(torch.rand((8, 1, 1, 1), generator=draw))
    way = iter(torch.cat(places).flatten().tolist())
    x, row = pixels(square[None]), iter(range(16))
    monkeypatch.setattr(np.random, "choice", lambda n, size: np.array([next(row) for _ in range(size)]))
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: np.array([next(way) for _ in range(size)]))
    found = theirs.GradientShap(network.forward).attribute(
        x, torch.cat(blanks).expand(16, *x.shape[1:]), n_samples=16, stdevs=0.0, target=1
    )
    assert alike(gradients.gradient_shap(subject, square, 1, -1, draws=16), found.sum(1)[0].detach()) >= 0.999


def test_occlusion(subject: Subject, network: Differentiable, square: Pixels) -> None:
    theirs = captum.Occlusion(log_odds(network)).attribute(
        pixels(square[None]), (3, 6, 6), strides=(3, 6, 6), baselines=127.0
    )
    assert alike(hiding.occlusion(subject, square, 1, -1, grid=8), theirs[0, 0]) >= 0.999


def test_lime(subject: Subject, network: Differentiable, square: Pixels) -> None:
    """captum's LIME with our kernel, given the masks that ours draws."""
    from captum._utils.models.linear_model import SkLearnRidge

    parts = hiding.segments(square, 12)
    number = int(parts.max()) + 1
    kept = np.random.default_rng(subject.seed).random((60, number)) < 0.5
    kept[0] = True
    shown = hiding.composed(square, parts, kept)
    told, at = log_odds(network), iter(range(60))

    def near(original: Any, perturbed: Any, mask: Any, **_: Any) -> float:
        distance = 1 - float(mask.float().mean()) ** 0.5
        return float(np.exp(-(distance**2) / hiding.WIDTH**2))

    theirs = captum.LimeBase(
        told,
        SkLearnRidge(alpha=1.0),
        near,
        lambda x, **_: torch.from_numpy(kept[next(at)][None].astype(np.float32)),
        True,
        lambda mask, x, **_: pixels(shown[np.flatnonzero((kept == mask.numpy().astype(bool)).all(1))[:1]]),
        None,
    ).attribute(pixels(square[None]), n_samples=60)
    ours = hiding.lime(subject, square, 1, -1, samples=60, number=12)
    values = [ours[parts == part][0] for part in range(number)]
    assert alike(values, theirs[0]) >= 0.999


def test_kernel_shap(subject: Subject, network: Differentiable, square: Pixels) -> None:
    """With few superpixels captum goes through all orders: the Shapley values themselves."""
    parts = hiding.segments(square, 4)
    number = int(parts.max()) + 1
    assert 3 < number < 6
    x, blank = (pixels(hiding.composed(square, parts, np.full((1, number), seen))) for seen in (True, False))
    theirs = captum.ShapleyValues(log_odds(network)).attribute(
        x, baselines=blank, feature_mask=torch.from_numpy(parts)[None, None], perturbations_per_eval=16
    )[0, 0]
    ours = hiding.kernel_shap(subject, square, 1, -1, samples=400, number=4)
    sums = [float(ours[parts == part].sum()) for part in range(number)]
    assert alike(sums, [float(theirs[parts == part][0]) for part in range(number)]) >= 0.999
