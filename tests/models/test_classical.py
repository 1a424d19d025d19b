"""Classifiers against scikit-learn on real digits, and what each must do with odd labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from visum.errors import BundleError, DataError, ModelError, NotEnoughData
from visum.models.classical import CLASSIFIERS, DESCRIPTORS, LADDER, forest, linear, neighbours, svm
from visum.models.classical.classes import sample
from visum.types import Floats, Integers

Data = tuple[Floats, Integers, Floats, Integers]


@pytest.fixture(scope="module")
def data() -> Data:
    """600 handwritten digits to learn from, 400 to predict: 8 x 8 grey levels, some columns constant."""
    found = load_digits()
    x, y = found.data.astype(np.float32), found.target.astype(np.int64)
    return x[:600], y[:600], x[600:1000], y[600:1000]


@pytest.fixture(scope="module")
def scaled(data: Data) -> tuple[Floats, Floats]:
    """What a method sees: centred, of mean squared length 1. Computed the long way round."""
    x, _, other, _ = data
    wide = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    scale = np.mean(np.linalg.norm(wide, axis=1) ** 2) ** 0.5
    return (wide / scale).astype(np.float32), ((other - x.mean(0, dtype=np.float64)) / scale).astype(np.float32)


def one_hot(y: Integers) -> Integers:
    return (y[:, None] == np.arange(10)).astype(np.int64)


def softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    e = np.exp(z.astype(np.float64) - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def learnt(name: str, x: Floats, y: Integers, other: Floats, classes: int = 10, seed: int = 0) -> Floats:
    classifier = CLASSIFIERS[name]
    return classifier.logits(classifier.fit(x, y, classes, seed), other)


# numbers of scikit-learn


def test_logistic_regression_is_scikit_learns(data: Data, scaled: tuple[Floats, Floats]) -> None:
    x, y, other, _ = data
    theirs = LogisticRegression(C=linear.LOGISTIC_C, tol=1e-8, max_iter=5000).fit(scaled[0], y)
    ours = softmax(learnt("logistic", x, y, other))
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled[1]), atol=0.005)
    np.testing.assert_array_equal(ours.argmax(1), theirs.predict(scaled[1]))


def test_logistic_regression_of_each_label_is_scikit_learns(data: Data, scaled: tuple[Floats, Floats]) -> None:
    x, y, other, _ = data
    each = LogisticRegression(C=linear.LOGISTIC_C, tol=1e-8, max_iter=5000)
    theirs = OneVsRestClassifier(each).fit(scaled[0], one_hot(y)).decision_function(scaled[1])
    np.testing.assert_allclose(learnt("logistic", x, one_hot(y), other), theirs, atol=0.05)


@pytest.mark.parametrize("several", [False, True])
def test_linear_svm_is_liblinear(data: Data, scaled: tuple[Floats, Floats], several: bool) -> None:
    x, y, other, _ = data
    # so large a constant column makes the penalty on the bias, which ours has not, negligible
    theirs = LinearSVC(C=linear.SVM_C, dual=False, tol=1e-10, intercept_scaling=300, max_iter=20000).fit(scaled[0], y)
    ours = learnt("linear_svm", x, one_hot(y) if several else y, other)
    np.testing.assert_allclose(ours, theirs.decision_function(scaled[1]), atol=0.01)


def test_linear_losses_have_the_derivatives_they_claim() -> None:
    rng = np.random.default_rng(0)
    z, table = rng.normal(size=(6, 4)), np.eye(4)[rng.integers(0, 4, 6)]
    for loss in (linear.cross_entropy, linear.binary_entropy, linear.squared_hinge):
        slope = loss(z, table)[1]
        for at in np.ndindex(z.shape):
            step = np.zeros_like(z)
            step[at] = 1e-4
            assert (loss(z + step, table)[0] - loss(z - step, table)[0]) / 2e-4 == pytest.approx(slope[at], abs=1e-4)


def test_more_columns_than_are_factored_give_the_same_minimum(
    scaled: tuple[Floats, Floats], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = one_hot(data[1]).astype(np.float32)
    first = linear.minimum(scaled[0], table, linear.cross_entropy, 1.0, 0.1, 1e-9)
    monkeypatch.setattr(linear, "WIDEST", 1)
    monkeypatch.setattr(linear, "STEPS", 2000)
    second = linear.minimum(scaled[0], table, linear.cross_entropy, 1.0, 0.1, 1e-9)
    np.testing.assert_allclose(first[0], second[0], atol=0.02)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_rbf_svm_is_libsvm(data: Data, scaled: tuple[Floats, Floats], classes: int) -> None:
    x, y, other, truth = data
    keep = y < classes
    other, truth = other[truth < classes], truth[truth < classes]
    mean = x[keep].mean(0, dtype=np.float64)
    scale = np.sqrt(((x[keep] - mean) ** 2).sum(1).mean())
    theirs = SVC(C=svm.C, gamma=svm.GAMMA, decision_function_shape="ovo").fit((x[keep] - mean) / scale, y[keep])
    decisions = theirs.decision_function((other - mean) / scale)
    if classes == 2:
        decisions = -decisions[:, None]  # for two classes scikit-learn means the second by positive
    arrays = CLASSIFIERS["rbf_svm"].fit(x[keep], y[keep], classes, 0)
    ours = svm.pairwise(arrays, ((other - mean) / scale).astype(np.float32))
    np.testing.assert_allclose(ours, decisions, atol=0.01)
    assert len(arrays["support"]) == len(theirs.support_)
    logits = CLASSIFIERS["rbf_svm"].logits(arrays, other)
    their_accuracy = (theirs.predict((other - mean) / scale) == truth).mean()  # by counting votes
    assert (logits.argmax(1) == truth).mean() >= their_accuracy - 0.01
    for row in (0, 17, 55):  # loss-based decoding, written out
        for k in range(classes):
            margins = [
                (1 if k == i else -1) * decisions[row, pair]
                for pair, (i, j) in enumerate(zip(*np.triu_indices(classes, 1), strict=True))
                if k in (i, j)
            ]
            assert logits[row, k] == pytest.approx(-sum(np.log1p(np.exp(-4 * m)) for m in margins), abs=0.1)


def test_rbf_svm_of_each_label_is_libsvm(data: Data, scaled: tuple[Floats, Floats]) -> None:
    x, y, other, _ = data
    ours = learnt("rbf_svm", x, one_hot(y), other)
    for k in range(10):
        theirs = SVC(C=svm.C, gamma=svm.GAMMA).fit(scaled[0], y == k)
        np.testing.assert_allclose(ours[:, k], theirs.decision_function(scaled[1]), atol=0.01)


def reference_forest(x: Floats, y: Integers) -> RandomForestClassifier:
    return RandomForestClassifier(forest.TREES, max_features=8, random_state=7).fit(x, y)


def test_forest_is_scikit_learns(data: Data) -> None:
    x, y, other, _ = data
    arrays = CLASSIFIERS["random_forest"].fit(x, y, 10, 7)
    near, far = ((rows - arrays["mean"]) / arrays["scale"] for rows in (x, other))
    theirs = reference_forest(near, y).predict_proba(far)
    np.testing.assert_allclose(forest.shares(arrays, far), theirs, atol=1e-5)
    smoothed = (theirs * forest.TREES + forest.DOUBT / 10) / (forest.TREES + forest.DOUBT)
    np.testing.assert_allclose(softmax(CLASSIFIERS["random_forest"].logits(arrays, other)), smoothed, atol=1e-5)


@pytest.mark.parametrize("labels", [10, 1])
def test_forest_of_several_labels_is_scikit_learns(data: Data, labels: int) -> None:
    x, y, other, _ = data
    table = one_hot(y)[:, :labels]
    arrays = CLASSIFIERS["random_forest"].fit(x, table, labels, 7)
    near, far = ((rows - arrays["mean"]) / arrays["scale"] for rows in (x, other))
    found = reference_forest(near, table if labels > 1 else table[:, 0]).predict_proba(far)
    theirs = np.stack([p[:, 1] for p in (found if labels > 1 else [found])], axis=1)
    np.testing.assert_allclose(forest.shares(arrays, far), theirs, atol=1e-5)
    yes, no = theirs * forest.TREES + forest.DOUBT / 2, (1 - theirs) * forest.TREES + forest.DOUBT / 2
    np.testing.assert_allclose(CLASSIFIERS["random_forest"].logits(arrays, other), np.log(yes / no), atol=1e-3)


def test_neighbours_are_scikit_learns(data: Data, scaled: tuple[Floats, Floats]) -> None:
    x, y, other, _ = data
    near, far = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in scaled)
    theirs = KNeighborsClassifier(neighbours.NEIGHBOURS, weights="distance").fit(near, y).predict_proba(far)
    smoothed = (theirs + neighbours.DOUBT / 10) / (1 + neighbours.DOUBT)
    np.testing.assert_allclose(softmax(learnt("knn", x, y, other)), smoothed, atol=1e-3)
    ours = learnt("knn", x, one_hot(y), other)
    odds = (theirs + neighbours.DOUBT / 2) / (1 - theirs + neighbours.DOUBT / 2)
    np.testing.assert_allclose(ours, np.log(odds), atol=0.02)


def test_neighbours_do_not_notice_the_order_of_rows(data: Data) -> None:
    x, y, other, _ = data
    doubled, labels = np.concatenate([x, x[:300]]), np.concatenate([y, (y[:300] + 1) % 10])  # ties with other labels
    order = np.random.default_rng(0).permutation(len(doubled))
    first = learnt("knn", doubled, labels, other)
    np.testing.assert_allclose(learnt("knn", doubled[order], labels[order], other), first, atol=1e-3)


def test_naive_bayes_is_scikit_learns(data: Data, scaled: tuple[Floats, Floats]) -> None:
    x, y, other, _ = data
    theirs = GaussianNB(var_smoothing=0.1).fit(scaled[0], y).predict_log_proba(scaled[1]) / np.sqrt(64)
    ours = learnt("naive_bayes", x, y, other)
    np.testing.assert_allclose(ours - ours.max(1, keepdims=True), theirs - theirs.max(1, keepdims=True), atol=0.005)
    several = learnt("naive_bayes", x, one_hot(y), other)
    for k in range(10):
        joint = GaussianNB(var_smoothing=0.1).fit(scaled[0], y == k).predict_joint_log_proba(scaled[1])
        np.testing.assert_allclose(several[:, k], (joint[:, 1] - joint[:, 0]) / 8, atol=0.005)


# what each must do


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_learns_digits(name: str, data: Data) -> None:
    x, y, other, truth = data
    arrays = CLASSIFIERS[name].fit(x, y, 10, 0)
    logits = CLASSIFIERS[name].logits(arrays, other)
    assert logits.shape == (400, 10)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert (logits.argmax(1) == truth).mean() > (0.8 if name == "naive_bayes" else 0.87)
    assert all(type(value) is np.ndarray and value.dtype != object for value in arrays.values())
    several = learnt(name, x, one_hot(y), other)
    assert average_precision_score(one_hot(truth), several, average="macro") > (0.75 if name == "naive_bayes" else 0.9)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_seed_decides_everything_and_rows_stand_alone(name: str, data: Data) -> None:
    x, y, other, _ = data
    first, again = (CLASSIFIERS[name].fit(x, y, 10, 3) for _ in range(2))
    assert first.keys() == again.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    together = CLASSIFIERS[name].logits(first, other)
    np.testing.assert_allclose(CLASSIFIERS[name].logits(first, other[5:6]), together[5:6], atol=1e-3)
    assert CLASSIFIERS[name].logits(first, other[:0]).shape == (0, 10)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_arrays_travel_through_safetensors(name: str, data: Data) -> None:
    from safetensors.numpy import load, save

    x, y, other, _ = data
    arrays = CLASSIFIERS[name].fit(x, y, 10, 0)
    back = load(save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
    np.testing.assert_array_equal(CLASSIFIERS[name].logits(back, other), CLASSIFIERS[name].logits(arrays, other))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_class_without_rows_is_last_and_the_others_are_as_without_it(name: str, data: Data) -> None:
    x, y, other, _ = data
    keep = (y != 4) & (y != 9)
    logits = learnt(name, x[keep], y[keep], other)
    assert np.isfinite(logits).all()
    others = np.delete(logits, [4, 9], axis=1)
    assert (logits[:, [4, 9]] <= others.min(1, keepdims=True) - 29).all()
    renumbered = np.searchsorted(np.delete(np.arange(10), [4, 9]), y[keep])
    np.testing.assert_array_equal(others, learnt(name, x[keep], renumbered, other, 8))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_that_all_or_no_rows_have(name: str, data: Data) -> None:
    x, y, other, _ = data
    table = one_hot(y)[:, :4]
    table[:, 1], table[:, 2] = 1, 0
    logits = learnt(name, x, table, other, 4)
    assert (logits[:, 1] > 20).all()
    assert (logits[:, 2] < -20).all()
    np.testing.assert_allclose(logits[:, [0, 3]], learnt(name, x, table[:, [0, 3]], other, 2), atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 10])
def test_one_row_a_class_is_enough(name: str, classes: int, data: Data) -> None:
    x, y, *_ = data
    first = np.array([np.flatnonzero(y == k)[0] for k in range(classes)])
    logits = learnt(name, x[first], y[first], x[first], classes)
    assert np.isfinite(logits).all()
    if name != "random_forest":  # a third of its trees have not seen a row
        np.testing.assert_array_equal(logits.argmax(1), y[first])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_columns_and_rows_that_are_all_the_same(name: str, data: Data) -> None:
    x, y, other, _ = data
    for offset in (0.0, 1e3):
        wide = [np.concatenate([rows, np.full((len(rows), 3), offset, np.float32)], 1) for rows in (x, other)]
        difference = np.abs(learnt(name, wide[0], y, wide[1]) - learnt(name, x, y, other))
        assert name in ("random_forest", "naive_bayes") or difference.max() < 0.1
    same = np.full((20, 5), 0.1, np.float32)
    logits = learnt(name, same, np.arange(20) % 2, same, 2)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(softmax(logits), 0.5, atol=0.1)
    only = learnt(name, same, np.full(20, 1), same, 3)
    assert np.isfinite(only).all()
    assert (softmax(only)[:, 1] > 0.999).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_unlabelled_rows_are_left_out(name: str, data: Data) -> None:
    x, y, other, _ = data
    half = np.where(np.arange(600) % 2 == 0, y, -1)
    np.testing.assert_array_equal(learnt(name, x, half, other), learnt(name, x[::2], y[::2], other))
    table = one_hot(y)
    table[1::2, 0] = -1  # one label of a row unknown
    np.testing.assert_array_equal(learnt(name, x, table, other), learnt(name, x[::2], one_hot(y)[::2], other))
    with pytest.raises(NotEnoughData, match="no labelled image"):
        CLASSIFIERS[name].fit(x, np.full(600, -1), 10, 0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_odd_input_is_named(name: str, data: Data) -> None:
    x, y, other, _ = data
    classifier = CLASSIFIERS[name]
    bad = x.copy()
    bad[3, 0] = np.nan
    for rows, labels, classes, words in (
        (x[:5], y, 10, r"shape \(5, 64\) for labels of shape \(600,\)"),
        (x, y, 9, "labels from 0 to 9. Allowed: -1 to 8"),
        (x, one_hot(y), 9, "9 classes"),
        (bad, y, 10, "1 images are NaN or infinite"),
    ):
        with pytest.raises(DataError, match=words):
            classifier.fit(rows, labels, classes, 0)
    arrays = classifier.fit(x, y, 10, 0)
    with pytest.raises(ModelError, match=r"shape \(400, 63\)\. Allowed: \[M, 64\]"):
        classifier.logits(arrays, other[:, 1:])
    with pytest.raises(ModelError, match="NaN or infinite"):
        classifier.logits(arrays, bad)
    for gone in arrays:
        with pytest.raises(BundleError, match="do not fit together"):
            classifier.logits({key: value for key, value in arrays.items() if key != gone}, other)


def test_trees_that_lead_in_circles_or_outside_are_refused(data: Data) -> None:
    x, y, other, _ = data
    arrays = CLASSIFIERS["random_forest"].fit(x, y, 10, 0)
    first, every = slice(1), slice(None)
    for key, where, value in (
        ("left", first, 0),
        ("right", first, 10**6),
        ("feature", first, 64),
        ("start", every, 10**6),
        ("start", first, -5),
        ("column", every, -5),
        ("column", first, 10),
    ):
        broken = {**arrays, key: arrays[key].copy()}
        broken[key][where] = value
        with pytest.raises(BundleError, match="do not fit together"):
            CLASSIFIERS["random_forest"].logits(broken, other)


def test_noise_of_rows_that_are_all_the_same_is_not_blown_up() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(0, 1e3, (1, 50)).astype(np.float32), 33, 0)
    noisy = same * (1 + 1e-7 * rng.normal(size=same.shape)).astype(np.float32)
    for rows in (same, noisy):
        assert CLASSIFIERS["knn"].fit(rows, np.arange(33) % 2, 2, 0)["scale"] == 1
    assert CLASSIFIERS["knn"].fit(same * (1 + 0.1 * np.eye(33, 50)), np.arange(33) % 2, 2, 0)["scale"] > 10


def test_a_sample_keeps_proportions_and_every_column() -> None:
    y = np.concatenate([np.zeros(8000), np.ones(1990), np.full(10, 2)]).astype(int)
    rows = sample(np.eye(3, dtype=np.float32)[y], 1000, 0)
    assert len(rows) == len(np.unique(rows)) == 1000
    counts = np.bincount(y[rows])
    assert abs(counts - np.array([800, 199, 1])).max() <= 2
    rng = np.random.default_rng(0)
    table = (rng.random((5000, 30)) < 0.3).astype(np.float32)
    table[:, 0], table[:, 1] = 0, 1
    table[77, 0], table[4321, 1] = 1, 0
    picked = table[sample(table, 200, 0)]
    assert picked.any(0).all()
    assert not picked.all(0).any()
    np.testing.assert_array_equal(sample(table, 5000, 0), np.arange(5000))


@pytest.mark.parametrize("module", [svm, forest, neighbours])
def test_methods_that_learn_from_a_sample(module: Any, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, other, truth = data
    name = {svm: "rbf_svm", forest: "random_forest", neighbours: "knn"}[module]
    monkeypatch.setattr(module, "MOST_ROWS", 200)
    arrays = CLASSIFIERS[name].fit(x, y, 10, 0)
    assert (CLASSIFIERS[name].logits(arrays, other).argmax(1) == truth).mean() > 0.8
    if name != "random_forest":
        assert max(len(value) for value in arrays.values()) <= 200


def test_the_ladder_names_what_is_there() -> None:
    assert 1 <= len(LADDER) <= 3
    for descriptor, classifier in LADDER:
        assert descriptor in DESCRIPTORS
        assert classifier in CLASSIFIERS
