"""Detectors of what is unknown: scikit-learn's and SciPy's numbers, and real digits against other digits and real textures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from visum.judge import unknown

F = NDArray[np.float32]


@pytest.fixture(scope="module")
def digits() -> dict[str, tuple[F, NDArray[np.int64], F]]:
    """Pixels of digits 0 to 6 as embeddings, with labels and logits: 500 to fit, 300 known; 7 to 9 and textures as unknown."""
    from skimage import data
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    source = load_digits()
    x, y = source.data.astype(np.float32), source.target.astype(np.int64)
    seen = np.flatnonzero(y < 7)
    head = LogisticRegression(C=0.01, max_iter=300).fit(x[seen[:500]], y[seen[:500]])
    whole = data.grass()[:504, :504].reshape(63, 8, 63, 8).swapaxes(1, 2).reshape(-1, 64)[:300] / 16
    parts = {
        "train": (x[seen[:500]], y[seen[:500]]),
        "known": (x[seen[500:800]], y[seen[500:800]]),
        "digits": (x[y >= 7], y[y >= 7]),
        "grass": (whole.astype(np.float32), np.zeros(300, np.int64)),
    }
    return {name: (a, b, head.decision_function(a).astype(np.float32)) for name, (a, b) in parts.items()}


def test_max_softmax_and_energy_are_scipys(digits: dict[str, tuple[F, NDArray[np.int64], F]]) -> None:
    x, _, z = digits["known"]
    assert np.allclose(unknown.DETECTORS["max_softmax"].score({}, x, z), -softmax(z, axis=1).max(1), atol=1e-6)
    assert np.allclose(unknown.DETECTORS["energy"].score({}, x, z), -logsumexp(z, axis=1), atol=1e-5)
    assert np.isfinite(unknown.DETECTORS["energy"].score({}, x, 1000 * z)).all()


def test_neighbours_are_those_of_scikit_learn(
    digits: dict[str, tuple[F, NDArray[np.int64], F]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All axes are kept, so that nothing is lost but what float16 rounds away."""
    from sklearn.neighbors import NearestNeighbors

    (x, y, z), (asked, _, _) = digits["train"], digits["known"]
    detector = unknown.DETECTORS["neighbours"]
    arrays = detector.fit(x, y, z)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, asked)]
    wanted = NearestNeighbors(n_neighbors=10).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    assert np.allclose(detector.score(arrays, asked, z), wanted, atol=2e-3)
    monkeypatch.setattr(unknown, "AXES", 20)  # what lies outside counts with its length: never farther apart than it is
    fewer = detector.score(detector.fit(x, y, z), asked, z)
    assert (fewer <= wanted + 2e-3).all()
    assert np.corrcoef(fewer, wanted)[0, 1] > 0.9


def test_mahalanobis_is_that_of_scikit_learn(
    digits: dict[str, tuple[F, NDArray[np.int64], F]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not change with linear maps: whitened or not, in 20 noisy columns that all are kept, it is the same."""
    from sklearn.covariance import EmpiricalCovariance

    monkeypatch.setattr(unknown, "RIDGE", 0.0)
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(64, 20)).astype(np.float32)
    (x, y, z), (asked, _, _) = digits["train"], digits["known"]
    x, asked = x @ mix, asked @ mix
    detector, relative = unknown.DETECTORS["mahalanobis"], unknown.DETECTORS["relative_mahalanobis"]
    arrays = detector.fit(x, y, z)
    means = np.stack([x[y == k].mean(0) for k in range(7)])
    within = EmpiricalCovariance(assume_centered=True).fit(x - means[y])
    squares = [within.mahalanobis(asked - mean) for mean in means]
    assert np.allclose(detector.score(arrays, asked, z), np.min(squares, axis=0), rtol=2e-2)
    whole = EmpiricalCovariance().fit(x).mahalanobis(asked)
    assert np.allclose(relative.score(arrays, asked, z), np.min(squares, axis=0) - whole, atol=0.5)


def test_vim_is_a_residual_and_an_energy(
    digits: dict[str, tuple[F, NDArray[np.int64], F]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown, "AXES", 12)
    (x, y, z), (asked, _, said) = digits["train"], digits["known"]
    detector = unknown.DETECTORS["vim"]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, asked)]
    axes = np.linalg.svd(unit[0], full_matrices=False)[2][:12].T
    outside = [np.linalg.norm(rows - rows @ axes @ axes.T, axis=1) for rows in unit]
    scale = z.max(1).mean() / outside[0].mean()
    wanted = scale * outside[1] - logsumexp(said, axis=1)
    found = detector.score(detector.fit(x, y, z), asked, said)
    assert np.allclose(found, wanted, atol=2e-3 * scale)


def test_auroc_and_missed_are_what_they_are_called() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    draw = np.random.default_rng(0)
    known, strange = draw.normal(0, 1, 400).round(1), draw.normal(1.5, 1, 300).round(1)
    truth, scores = np.repeat([0, 1], [400, 300]), np.concatenate([known, strange])
    assert unknown.auroc(known, strange) == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    false, true, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    assert unknown.missed(known, strange) == pytest.approx(false[np.searchsorted(true, 0.95)], abs=0.03)


def test_the_usual_one_beats_max_softmax_on_real_pictures(digits: dict[str, tuple[F, NDArray[np.int64], F]]) -> None:
    """Known digits against other digits (near) and against pieces of grass (far)."""
    areas: dict[str, dict[str, float]] = {}
    for name in (unknown.USUAL, unknown.OF_SEVERAL_LABELS, unknown.WITHOUT_EMBEDDINGS):
        detector = unknown.DETECTORS[name]
        arrays = detector.fit(*digits["train"])
        own = detector.score(arrays, digits["known"][0], digits["known"][2])
        areas[name] = {
            far: unknown.auroc(own, detector.score(arrays, digits[far][0], digits[far][2]))
            for far in ("digits", "grass")
        }
    for name in (unknown.USUAL, unknown.OF_SEVERAL_LABELS):
        assert areas[name]["grass"] > max(0.99, areas["max_softmax"]["grass"])
        assert areas[name]["digits"] > 0.9  # on pixels, where a linear head sees all there is, no detector knows more


@pytest.mark.parametrize("name", unknown.DETECTORS)
def test_arrays_are_small_and_few_pictures_are_enough(
    name: str, digits: dict[str, tuple[F, NDArray[np.int64], F]]
) -> None:
    (x, y, z), detector = digits["train"], unknown.DETECTORS[name]
    for n in (12, 500):
        arrays = detector.fit(x[:n], y[:n], z[:n])
        assert {array.dtype for array in arrays.values()} <= {np.dtype(np.float16), np.dtype(np.float32)}
        found = detector.score(arrays, x[:3], z[:3])
        assert (found.shape, found.dtype) == ((3,), np.float32)
        assert np.isfinite(found).all()
        assert np.allclose(detector.score(arrays, x[1:2], z[1:2]), found[1], atol=1e-3)  # alone as in company
