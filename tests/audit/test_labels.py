"""Confident learning against cleanlab, on real digits with planted label noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from visum.audit import labels
from visum.types import Floats, Integers, manifest

MODEL = make_pipeline(Nystroem(gamma=0.001, n_components=300, random_state=0), LogisticRegression(C=3, max_iter=1000))


@dataclass(frozen=True)
class Noisy:
    """Digits: out-of-fold probabilities under noisy labels, and the truth."""

    probabilities: Floats
    given: Integers
    truth: Integers

    @property
    def wrong(self) -> set[int]:
        return set(np.flatnonzero(self.given != self.truth).tolist())


@pytest.fixture(scope="session")
def noisy() -> Noisy:
    """8 % of the labels replaced by another class; two classes are confused more than others."""
    source, rng = load_digits(), np.random.default_rng(3)
    given = source.target.copy()
    for row in rng.permutation(len(given))[: round(0.08 * len(given))]:
        given[row] = 4 if given[row] == 9 else (given[row] + rng.integers(1, 10)) % 10
    p = cross_val_predict(MODEL, source.data, given, cv=3, method="predict_proba")
    return Noisy(p.astype(np.float32), given.astype(np.int64), source.target.astype(np.int64))


@pytest.fixture(scope="session")
def several() -> Noisy:
    """Each digit with the set of its attributes (even, above four, has a loop), 6 % of all answers flipped."""
    source, rng = load_digits(), np.random.default_rng(4)
    d = source.target
    truth = np.stack([d % 2 == 0, d > 4, np.isin(d, (0, 6, 8, 9))], axis=1).astype(np.int64)
    given = np.where(rng.random(truth.shape) < 0.06, 1 - truth, truth)
    p = [cross_val_predict(MODEL, source.data, y, cv=3, method="predict_proba")[:, 1] for y in given.T]
    return Noisy(np.stack(p, axis=1).astype(np.float32), given, truth)


def test_issues_and_their_order_equal_cleanlab(noisy: Noisy) -> None:
    """Exactly, from one confident joint; the joints themselves differ in how ties are rounded (next test)."""
    from cleanlab.filter import find_label_issues

    p = noisy.probabilities.astype(np.float64)
    arguments = {"return_indices_ranked_by": "normalized_margin", "n_jobs": 1}
    joint = labels.confident_joint(noisy.probabilities, noisy.given)
    expected = find_label_issues(noisy.given, p, confident_joint=joint, **arguments)
    got = labels.suspects(noisy.probabilities, noisy.given)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)
    alone = set(find_label_issues(noisy.given, p, **arguments).tolist())
    assert len(alone ^ set(got.tolist())) <= 0.03 * len(alone)


def test_joint_equals_cleanlab_up_to_rounding(noisy: Noisy) -> None:
    from cleanlab.count import compute_confident_joint

    counts = np.bincount(noisy.given)
    raw = compute_confident_joint(noisy.given, noisy.probabilities.astype(np.float64), calibrate=False)
    got = labels.confident_joint(noisy.probabilities, noisy.given)
    np.testing.assert_array_equal(got.sum(axis=1), counts)
    assert np.abs(got - raw / raw.sum(axis=1, keepdims=True) * counts[:, None]).max() < 1


def test_several_labels_equal_cleanlab(several: Noisy) -> None:
    from cleanlab.multilabel_classification.filter import find_label_issues

    lists = [np.flatnonzero(row).tolist() for row in several.given]
    expected = np.flatnonzero(find_label_issues(lists, several.probabilities.astype(np.float64), n_jobs=1))
    got = labels.suspects(several.probabilities, several.given)
    assert set(got.tolist()) == set(expected.tolist())
    wrong = (several.given != several.truth).any(axis=1)
    assert wrong[got].mean() > 0.8
    assert wrong[got[:50]].mean() > 0.95


def test_planted_noise_is_found(noisy: Noisy) -> None:
    found = labels.suspects(noisy.probabilities, noisy.given).tolist()
    hits = noisy.wrong & set(found)
    assert len(hits) >= 0.8 * len(noisy.wrong)
    assert len(hits) >= 0.85 * len(found)
    assert len(noisy.wrong & set(found[:100])) >= 97
    assert labels.noise_rate(noisy.probabilities, noisy.given) == pytest.approx(0.08, abs=0.02)


def test_clean_labels_raise_next_to_nothing() -> None:
    source = load_digits()
    p = cross_val_predict(MODEL, source.data, source.target, cv=3, method="predict_proba").astype(np.float32)
    assert len(labels.suspects(p, source.target)) <= 0.03 * len(p)
    assert labels.noise_rate(p, source.target) < 0.03


def test_finding_names_images_and_skips_rows_without_probabilities(noisy: Noisy) -> None:
    n = len(noisy.given)
    given = [(int(y),) for y in noisy.given]
    given[7] = ()
    table = manifest("/data", "multiclass", [str(d) for d in range(10)], [f"{i}.png" for i in range(n)], given)
    known = np.arange(n) < 1000
    broken = noisy.probabilities.copy()
    broken[~known] = np.nan
    (found,) = labels.findings(table, broken, where=known)
    rows = [int(name.removesuffix(".png")) for name in found.ids]
    kept = np.flatnonzero(known & (np.arange(n) != 7))
    np.testing.assert_array_equal(rows, kept[labels.suspects(noisy.probabilities[kept], noisy.given[kept])])
    assert found.kind == "suspect_label"
    assert found.severity == "warning"
    assert found.numbers["suspects"] == len(rows)
    assert f"{len(rows)} of 999 labels" in found.message
    assert "“9” instead of “4”" in found.message
    assert labels.findings(table, broken, where=np.zeros(n, bool)) == []


def test_finding_of_several_labels_says_which_is_missing(several: Noisy) -> None:
    n = len(several.given)
    given = [tuple(np.flatnonzero(row).tolist()) for row in several.given]
    table = manifest("/data", "multilabel", ["even", "large", "loop"], [f"{i}.png" for i in range(n)], given)
    (found,) = labels.findings(table, several.probabilities)
    assert "instead of" in found.message
    assert "“no " not in found.message
    assert found.numbers["noise_rate"] == pytest.approx(0.06, abs=0.01)


def test_laws(noisy: Noisy) -> None:
    p, y = noisy.probabilities, noisy.given
    found = labels.suspects(p, y)
    order = np.random.default_rng(0).permutation(len(y))
    assert set(order[labels.suspects(p[order], y[order])].tolist()) == set(found.tolist())
    swap = np.random.default_rng(1).permutation(10)
    renamed = np.argsort(swap)[y]
    assert (
        len(set(labels.suspects(p[:, swap], renamed).tolist()) ^ set(found.tolist())) <= 6
    )  # ties are rounded by class order
    assert not np.isin(found, np.flatnonzero(p.argmax(axis=1) == y)).any()
    unlabelled = y.copy()
    unlabelled[found[:5]] = -1
    assert not np.isin(found[:5], labels.suspects(p, unlabelled)).any()


def test_a_model_that_prefers_the_given_label_is_believed() -> None:
    """Class 1 is believed from 0.3 on, so that rows given 0 with 0.35 count against it, yet 0 remains more probable."""
    from cleanlab.filter import find_label_issues

    rng = np.random.default_rng(0)
    given = np.repeat([0, 0, 1], [80, 20, 60])
    p1 = np.concatenate([rng.uniform(0.01, 0.05, 80), rng.uniform(0.33, 0.4, 20), rng.uniform(0.2, 0.4, 60)])
    p1[:3] = 0.9
    p = np.stack([1 - p1, p1], axis=1)
    assert labels.confident_joint(p, given)[0, 1] > 3
    got = labels.suspects(p, given)
    np.testing.assert_array_equal(np.sort(got), np.flatnonzero(find_label_issues(given, p, n_jobs=1)))
    assert set(got.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("k", [1, 3])
def test_small_and_degenerate_inputs(k: int) -> None:
    p = np.full((4, k), 1 / k, np.float32)
    assert labels.suspects(p, np.zeros(4, np.int64)).tolist() == []
    assert labels.suspects(p[:0], np.zeros(0, np.int64)).tolist() == []
    assert labels.suspects(p, np.full(4, -1)).tolist() == []
    with pytest.raises(ValueError, match="do not fit"):
        labels.suspects(p, np.zeros(3, np.int64))


def test_severity_follows_the_share(noisy: Noisy) -> None:
    n = 400
    truth = np.arange(n) % 2
    p = np.where(np.arange(2) == truth[:, None], 0.95, 0.05).astype(np.float32)
    given = truth.copy()
    given[10] = 1 - given[10]
    table = manifest("/data", "binary", ["no", "yes"], [f"{i}.png" for i in range(n)], [(int(y),) for y in given])
    (found,) = labels.findings(table, p)
    assert (found.ids, found.severity) == (("10.png",), "info")
    assert labels.findings(replace(table, labels=table.labels[::1]), p)[0].message.startswith("1 of 400 labels (0.2 %)")
