"""Maps obey their laws; what does not exist is named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from explain.subjects import NAME, SIZE, bundled, subject_of
from visum.errors import ModelError, UsageError
from visum.explain import attribution, gradients, hiding, randomised
from visum.explain.subject import Subject
from visum.models import differentiable
from visum.types import Bundle, Pixels, Preprocess


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(bundled(NAME, SIZE))


@pytest.fixture(scope="module")
def square(photos: dict[str, NDArray[np.uint8]]) -> Pixels:
    return np.ascontiguousarray(photos["astronaut"][0:256:4, 150:406:4])


TARGET, NONE = np.array([1]), np.array([-1])


def alike(one: Any, other: Any) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


@pytest.mark.slow
def test_kernel_shap_is_exact_on_sums(square: Pixels) -> None:
    """Of a model that adds up what it sees in each patch, Shapley values are what each patch adds."""
    parts = hiding.segments(square)
    worth = np.random.default_rng(0).normal(size=parts.max() + 1)
    whole = hiding.composed(square, parts, np.ones((1, len(worth)), bool))[0]
    blank = hiding.composed(square, parts, np.zeros((1, len(worth)), bool))[0]

    def answer(squares: Pixels) -> NDArray[np.float32]:
        there = np.array(
            [
                [(each == whole)[parts == p].all() and (whole != blank)[parts == p].any() for p in range(len(worth))]
                for each in squares
            ]
        )
        return np.stack([there @ worth, np.zeros(len(squares))], axis=1)

    model = Subject(answer, "multilabel", (127, 127, 127))
    for method, near in ((hiding.kernel_shap, 0.9999), (hiding.lime, 0.95)):
        heat = method(model, square, 0, -1, samples=200)
        sums = np.array([heat[parts == p].sum() for p in range(len(worth))])
        assert (
            alike(sums if method is hiding.kernel_shap else [heat[parts == p][0] for p in range(len(worth))], worth)
            > near
        )
    assert hiding.kernel_shap(model, square, 0, -1, samples=200).sum() == pytest.approx(worth.sum(), rel=1e-4)


@pytest.mark.parametrize("method", list(attribution.EXPLAINERS))
def test_why_a_and_not_b_is_not_why_a(subject: Subject, square: Pixels, method: str) -> None:
    explainer = attribution.EXPLAINERS[method]
    if not explainer.classes:
        with pytest.raises(ModelError, match=r"no attention layers.*Allowed: gradcam.*occlusion"):
            attribution.resolve(method, subject)
        return
    subject, run = attribution.resolve(method, subject)[1], explainer.run
    one, two = (run(subject, square[None], TARGET, contrast) for contrast in (NONE, np.array([2])))
    assert one.shape == (1, SIZE, SIZE)
    assert one.dtype == np.float32
    assert np.isfinite([one, two]).all()
    assert not np.allclose(one, two)


def test_another_network_has_another_map(subject: Subject, square: Pixels) -> None:
    """Model-parameter randomisation (Adebayo et al. 2018): a map that stays alike does not look at the model.

    Two maps of one picture are smooth, so that single likenesses scatter widely about chance; the mean over networks does not.
    """
    made, draw = bundled(NAME, SIZE), np.random.default_rng(5)
    others = []
    for _ in range(10):
        drawn = {key: draw.permuted(value.ravel()).reshape(value.shape) for key, value in made.weights.items()}
        others.append(subject_of(replace(made, weights=drawn)))
    for method in (partial(gradients.integrated_gradients, steps=12), partial(hiding.occlusion, grid=8)):
        plain = method(subject, square, 1, -1)
        found = np.array([randomised.likeness(plain, method(other, square, 1, -1)) for other in others])
        chance = max(float(found.std(ddof=1)) / len(found) ** 0.5, 0.02)
        assert abs(found.mean()) < 3 * chance, found
        assert randomised.likeness(plain, plain) == pytest.approx(1)


def test_what_does_not_exist_is_named(subject: Subject) -> None:
    blind = replace(subject, network=None)
    assert attribution.resolve("auto", blind) == ("occlusion", blind)
    method, chosen = attribution.resolve("auto", subject)
    assert (method, chosen.layer) == (
        "layercam",
        "stages.1",
    )  # 64 px: 16 cells a side; behind the next stage there are 8
    assert attribution.resolve("gradcam", subject)[1].layer == "stages.2"
    with pytest.raises(UsageError, match=r"--layer with --method lime.*gradcam\+\+, layercam"):
        attribution.resolve("lime", replace(subject, layer="stages.1"))
    with pytest.raises(UsageError, match=r"needs gradients.*occlusion, lime, kernel_shap"):
        attribution.resolve("gradcam", blind)
    with pytest.raises(UsageError, match="gradcam, gradcam"):
        attribution.resolve("gradcram", subject)
    assert subject.network is not None
    with pytest.raises(ModelError, match=r"no layer is called 'stages.9'.*stages\.0"):
        subject.network.module("stages.9")
    with pytest.raises(ModelError, match="no gradients"):
        differentiable.of_bundle(Bundle("binary", ("a", "b"), {"kind": "classical"}, Preprocess(), {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "vit_b_16", "resnet18"])
def test_transformers_have_maps_too(name: str, photos: dict[str, NDArray[np.uint8]]) -> None:
    subject = subject_of(bundled(name, 224))
    square = np.ascontiguousarray(photos["astronaut"][:448:2, :448:2])
    subject, run = attribution.resolve("gradcam", subject)[1], attribution.EXPLAINERS["gradcam"].run
    heat = run(subject, np.stack([square] * 3), np.arange(3), np.array([-1] * 3))
    assert heat.shape == (3, 224, 224)
    assert (
        heat.max() > 0
    )  # of an untrained network with tokens all alike, all may speak against a class, but not against all
