"""Verdicts: a model whose reason is known, maps that know nothing, and captum's number for the same thing."""

from __future__ import annotations

from collections.abc import Callable

import captum.metrics
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from visum.explain import faithfulness
from visum.types import Floats, Pixels

SIZE = 64


@pytest.fixture(scope="module")
def square(photos: dict[str, NDArray[np.uint8]]) -> Pixels:
    return np.ascontiguousarray(photos["astronaut"][0:256:4, 150:406:4])


@pytest.fixture(scope="module")
def cause() -> NDArray[np.bool_]:
    """A corner, so that pointing at the middle does not help."""
    there = np.zeros((SIZE, SIZE), bool)
    there[4:24, 40:60] = True
    return there


def looks_at(square: Pixels, cause: NDArray[np.bool_]) -> Callable[[Pixels], Floats]:
    """Log-odds of a model that only looks whether the cause is as in the picture."""

    def evidence(squares: Pixels) -> Floats:
        away = np.abs(squares.astype(np.float32) - square)[:, cause].mean(axis=(1, 2))
        return np.asarray(4 - 0.4 * away, np.float32)

    return evidence


def test_the_truth_is_trustworthy_and_its_opposite_is_not(square: Pixels, cause: NDArray[np.bool_]) -> None:
    ask = looks_at(square, cause)
    true = faithfulness.judge(square, cause.astype(np.float32), ask)
    assert true.verdict == "trustworthy"
    assert true.sensitivity > 0.8
    assert true.infidelity < 0.3
    assert true.insertion > true.random_insertion
    assert true.deletion < true.random_deletion
    false = faithfulness.judge(square, 1 - cause.astype(np.float32), ask)
    assert false.verdict == "meaningless"
    assert false.insertion < true.insertion
    assert false.deletion > true.deletion
    constant = faithfulness.judge(square, np.ones((SIZE, SIZE), np.float32), ask)
    assert (constant.verdict, constant.sensitivity) == ("meaningless", 0)


def test_pointing_at_the_middle_is_weak(square: Pixels) -> None:
    """A subject in the middle is found by a blob that knows only that photos have a middle; that is no proof."""
    there = np.zeros((SIZE, SIZE), bool)
    there[20:44, 20:44] = True
    at = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    blob = np.exp(-((at[:, None] + 0.06) ** 2 + (at[None] - 0.08) ** 2) / 0.1).astype(np.float32)
    ask = looks_at(square, there)
    assert faithfulness.judge(square, blob, ask).verdict == "weak"
    assert faithfulness.judge(square, there.astype(np.float32), ask).verdict == "trustworthy"


def test_maps_that_know_nothing_are_rarely_believed(square: Pixels, cause: NDArray[np.bool_]) -> None:
    """Over many masks and maps, at most about the promised 5 % are called better than chance."""
    ask, said = looks_at(square, cause), []
    for seed in range(3):
        kept = faithfulness.masks(SIZE, seed=seed)
        shown = faithfulness.mixed(square, faithfulness.blurred(square), kept)
        told = ask(np.concatenate([square[None], shown]))
        away, falls = 1 - np.stack([faithfulness.reduced(each) for each in kept]), told[0] - told[1:]
        nulls, others = faithfulness.fields_and_blobs(seed), faithfulness.fields_and_blobs(seed + 100)
        for heat in np.concatenate([others[0][:40], others[1][:40]]):
            found = faithfulness.sensitivity_n(heat, away, falls)
            said.append(faithfulness.verdict(*(faithfulness.beaten(found, each, away, falls) for each in nulls)))
    assert said.count("trustworthy") / len(said) < 0.06


def test_a_model_that_never_changes_its_mind_has_no_true_map(square: Pixels, cause: NDArray[np.bool_]) -> None:
    told = faithfulness.judge(square, cause.astype(np.float32), lambda squares: np.ones(len(squares), np.float32))
    assert told.verdict == "meaningless"
    assert told.sensitivity == 0
    assert np.isfinite([told.infidelity, told.insertion, told.deletion]).all()


def test_infidelity_is_captums() -> None:
    """Yeh et al. 2019: ours is captum's, divided by the mean square of the falls so that it needs no unit."""
    draw = np.random.default_rng(0)
    weight, x = draw.normal(size=(8, 8)).astype(np.float32), draw.random((8, 8)).astype(np.float32)
    heat = (weight * x + 0.3 * draw.normal(size=(8, 8))).astype(np.float32)
    away = draw.random((50, 8, 8)).astype(np.float32)

    def score(pictures: torch.Tensor) -> torch.Tensor:
        return (torch.from_numpy(weight) * pictures).sum((1, 2)) ** 3

    falls = (score(torch.from_numpy(x[None])) - score(torch.from_numpy(x * (1 - away)))).numpy()
    rows = iter(away)

    def perturb(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        taken = torch.from_numpy(np.stack([next(rows) for _ in pictures]))
        return taken, pictures * (1 - taken)

    theirs = captum.metrics.infidelity(
        score,
        perturb,
        torch.from_numpy(x[None]),
        torch.from_numpy(heat[None]),
        n_perturb_samples=50,
        normalize=True,
    )
    assert faithfulness.infidelity(heat, away, falls) * np.mean(falls**2) == pytest.approx(float(theirs), rel=1e-4)


def test_sensitivity_is_the_partial_correlation() -> None:
    """By the textbook's formula from the three correlations (Fisher 1925)."""
    draw = np.random.default_rng(0)
    heat, away = draw.normal(size=(8, 8)).astype(np.float32), draw.random((50, 8, 8)).astype(np.float32) ** 2
    falls = (away * heat).sum((1, 2)) + 3 * away.sum((1, 2)) + draw.normal(size=50)
    sums, amount = (away * heat).sum((1, 2)), away.sum((1, 2))
    (_, xy, xz), (_, _, yz), _ = np.corrcoef([sums, falls, amount])
    partial = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
    assert faithfulness.sensitivity_n(heat, away, falls) == pytest.approx(partial, abs=1e-5)
    assert faithfulness.sensitivity_n(heat + 7, away, falls) == pytest.approx(partial, abs=1e-5)


def test_cells_come_in_order_and_areas_are_those_under_the_curve() -> None:
    heat = np.zeros((28, 28), np.float32)
    heat[0:2, 26:28] = 3
    rank = faithfulness.order(heat)
    assert rank[0, 27] == 0
    assert sorted(set(rank.ravel())) == list(range(196))
    square, blank = np.full((28, 28, 3), 200, np.uint8), np.zeros((28, 28, 3), np.uint8)
    shown = faithfulness.stages(square, blank, rank)
    share = (shown[..., 0] > 0).mean((1, 2))
    np.testing.assert_allclose(share[:6], np.arange(1, 7) / 7, atol=0.01)
    np.testing.assert_allclose(share[6:], 1 - share[:6])
    assert shown[0, 0, 27, 0] == 200
    assert shown[6, 0, 27, 0] == 0
    x = np.arange(8) / 7
    insertion, deletion = faithfulness.curves(1.0, 0.0, np.concatenate([x[1:-1] ** 2, 1 - x[1:-1]]))
    assert insertion == pytest.approx(np.sum((x[1:] ** 2 + x[:-1] ** 2) / 2) / 7)
    assert deletion == pytest.approx(0.5)


@pytest.mark.parametrize("size", [28, 64, 225])
def test_masks_hide_half_in_patches(size: int) -> None:
    kept = faithfulness.masks(size)
    assert kept.shape == (64, size, size)
    assert 0.4 < kept.mean() < 0.6
    assert (kept >= 0).all()
    assert (kept <= 1).all()
    assert np.abs(np.diff(kept, axis=1)).max() < 10 / size * 1.5  # smooth: no edge that the model could see
    assert not np.array_equal(kept, faithfulness.masks(size, seed=1))


def test_pointing() -> None:
    heat, cause = np.zeros((9, 9), np.float32), np.zeros((9, 9), bool)
    heat[4, 4], cause[4, 6] = 1, True
    assert not faithfulness.points(heat, cause)
    assert not faithfulness.points(heat, cause, 1)
    assert faithfulness.points(heat, cause, 2)
    heat[2:7, 2:7], cause[4, 4] = 2, True
    assert faithfulness.points(heat, cause)  # the middle of a plateau, and not its first corner
