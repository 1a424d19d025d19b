"""What each training picture did, beside what happens when it is really left out and the probe fitted again."""

from __future__ import annotations

import numpy as np
import pytest

from visum.explain import examples, influence


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    source = load_digits(n_class=3)
    x = examples.standardised(source.data[:75], source.data[:75])
    return x[:60], source.target[:60].astype(np.int64), x[60:64], source.target[60:64].astype(np.int64)


STRENGTH = 0.05


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's own minimum of mean loss + strength / 2 · ||W||²."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=1 / (STRENGTH * len(x)), tol=1e-9, max_iter=5000).fit(x, y)
    return found.coef_.T, found.intercept_


def loss(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    z = x @ weight + bias
    return np.asarray(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y])


def test_effects_are_those_of_really_leaving_out(digits: tuple[np.ndarray, ...]) -> None:
    from scipy.stats import spearmanr

    x, y, queries, answers = digits
    weight, bias = fitted(x, y)
    ours = influence.effects(x, y, weight, bias, STRENGTH, queries, answers, "multiclass")
    before = loss(queries, answers, weight, bias)
    kept = [np.arange(len(x)) != i for i in range(len(x))]
    really = np.stack([loss(queries, answers, *fitted(x[k], y[k])) - before for k in kept], axis=1)
    for one, other in zip(ours, really, strict=True):
        assert spearmanr(one, other).statistic >= 0.9
        assert np.corrcoef(one, other)[0, 1] >= 0.9
        assert 0.7 < np.polyfit(one, other, 1)[0] < 2  # first order: what bends most is underestimated with 60 rows
    assert (ours.max(axis=1) > 0).all()
    assert (ours.min(axis=1) < 0).all()


def test_a_copy_with_the_right_label_helps_and_one_with_a_wrong_label_hurts(digits: tuple[np.ndarray, ...]) -> None:
    x, y, queries, answers = digits
    both = np.concatenate([x, queries[:1], queries[:1]])
    labels = np.concatenate([y, answers[:1], (answers[:1] + 1) % 3])
    found = influence.effects(both, labels, *fitted(both, labels), STRENGTH, queries[:1], answers[:1], "multiclass")[0]
    assert found.argmax() == 60
    assert found.argmin() == 61


def test_several_labels_are_as_many_problems_of_one(digits: tuple[np.ndarray, ...]) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y, queries, answers = digits
    flags, asked = np.eye(3, dtype=np.int64)[y], np.eye(3, dtype=np.int64)[answers]
    each = [LogisticRegression(C=1 / (STRENGTH * 60), tol=1e-9, max_iter=5000).fit(x, flags[:, k]) for k in range(3)]
    weight, bias = np.stack([m.coef_[0] for m in each], axis=1), np.array([m.intercept_[0] for m in each])
    whole = influence.effects(x, flags, weight, bias, STRENGTH, queries, asked, "multilabel")
    parts = [  # one label each
        influence.effects(
            x,
            flags[:, k : k + 1],
            weight[:, k : k + 1],
            bias[k : k + 1],
            STRENGTH,
            queries,
            asked[:, k : k + 1],
            "multilabel",
        )
        for k in range(3)
    ]
    np.testing.assert_allclose(whole, sum(parts), rtol=0.02, atol=2e-5)
