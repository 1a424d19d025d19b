"""The probe held to scikit-learn, to the conditions of a minimum, and to the laws of folds, weights and blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from visum.learn import probe
from visum.types import Floats, Integers


@pytest.fixture(scope="module")
def digits() -> tuple[Floats, Integers]:
    """Real handwritten digits: float32 ``[1797, 64]`` with three constant columns, class numbers."""
    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


@pytest.fixture(scope="module")
def parity(digits: tuple[Floats, Integers]) -> Integers:
    """Three labels of a digit that may all hold or none: even, below five, a multiple of three."""
    y = digits[1]
    return np.stack([y % 2 == 0, y < 5, y % 3 == 0], axis=1).astype(np.int64)


def moving(x: Floats) -> Floats:
    """Without pixels that are lit in a handful of rows only: standardised, these rows lie tens of deviations away."""
    return x[:, x.std(axis=0) > 1]


def softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    e = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def log_loss(z: NDArray[Any], y: Integers) -> float:
    return float(-np.log(softmax(z)[np.arange(len(y)), y]).mean())


def reference(x: Floats, y: Integers, strength: float) -> LogisticRegression:
    """scikit-learn's answer on standardised columns to the same problem."""
    return LogisticRegression(C=1 / (len(x) * strength), tol=1e-10, max_iter=10_000).fit(x, y)


@pytest.mark.parametrize("strength", [0.3, 0.03, 0.001])
def test_multiclass_equals_scikit_learn(digits: tuple[Floats, Integers], strength: float) -> None:
    x, y = digits
    scaler = StandardScaler().fit(x)
    theirs = reference(scaler.transform(x), y, strength)
    ours = probe.fit(x, y, 10, strength=strength)
    assert ours["weight"].dtype == ours["bias"].dtype == np.float32
    assert ours["weight"].shape == (64, 10)
    z = probe.logits(ours, x)
    np.testing.assert_allclose(softmax(z), theirs.predict_proba(scaler.transform(x)), atol=0.02)
    # the loss grows by strength / 2 · |W - W*|² at least: so far may weights be off that are within 6e-6 of the minimum
    near = float(np.sqrt(2 * 6e-6 / strength))
    np.testing.assert_allclose(ours["weight"] * scaler.scale_[:, None], theirs.coef_.T, atol=near)
    penalty = strength / 2 * float((theirs.coef_**2).sum())
    minimum = log_loss(theirs.decision_function(scaler.transform(x)), y) + penalty
    found = log_loss(z, y) + strength / 2 * float(((ours["weight"] * scaler.scale_[:, None]) ** 2).sum())
    assert -1e-6 < found - minimum < 3e-5


def test_multilabel_equals_scikit_learn_label_by_label(digits: tuple[Floats, Integers], parity: Integers) -> None:
    x = digits[0]
    standard = StandardScaler().fit_transform(x)
    p = 1 / (1 + np.exp(-probe.logits(probe.fit(x, parity, 3, strength=0.01), x)))
    for label in range(3):
        theirs = reference(standard, parity[:, label], 0.01)
        np.testing.assert_allclose(p[:, label], theirs.predict_proba(standard)[:, 1], atol=0.02)


def test_two_classes_equal_scikit_learn(digits: tuple[Floats, Integers]) -> None:
    # two columns of weights share the penalty of one: each takes half of the difference, so that half as much is paid
    x, y = digits[0], (digits[1] > 4).astype(np.int64)
    standard = StandardScaler().fit_transform(x)
    theirs = reference(standard, y, 0.03 / 2)
    np.testing.assert_allclose(
        softmax(probe.logits(probe.fit(x, y, 2, strength=0.03), x)), theirs.predict_proba(standard), atol=0.02
    )


def test_weights_count_like_repeated_rows(digits: tuple[Floats, Integers]) -> None:
    x, y = digits[0][:400], digits[1][:400]
    times = np.random.default_rng(0).integers(0, 4, 400)
    weighted = probe.fit(x, y, 10, weights=times.astype(np.float32))
    repeated = probe.fit(np.repeat(x, times, axis=0), np.repeat(y, times), 10)
    p, q = softmax(probe.logits(weighted, x)), softmax(probe.logits(repeated, x))
    np.testing.assert_allclose(p, q, atol=0.01)
    assert abs(p - softmax(probe.logits(probe.fit(x, y, 10), x))).max() > 0.05  # and they do count


def test_a_class_without_rows_is_never_answered(digits: tuple[Floats, Integers]) -> None:
    x, y = digits[0][digits[1] != 3], digits[1][digits[1] != 3]
    head = probe.fit(x, y, 12)
    assert not head["weight"][:, [3, 10, 11]].any()
    p = softmax(probe.logits(head, digits[0]))
    assert p[:, [3, 10, 11]].max() < 1e-6
    with_all = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    alone = softmax(probe.logits(probe.fit(x, np.searchsorted(with_all, y), 9), digits[0]))
    np.testing.assert_allclose(p[:, with_all], alone, atol=0.01)


def test_one_class_alone_is_certain(digits: tuple[Floats, Integers]) -> None:
    head = probe.fit(digits[0][:50], np.full(50, 1), 3)
    assert np.isfinite(head["weight"]).all()
    assert softmax(probe.logits(head, digits[0]))[:, 1].min() > 0.999


def test_columns_that_do_not_move_have_no_vote(digits: tuple[Floats, Integers]) -> None:
    x, y = digits
    still = np.full((len(x), 1), 1000.1, np.float32)
    trembling = still + np.float32(1e-4) * (y[:, None] > 4)  # steps of one rounding, which know the answer
    head = probe.fit(np.hstack([x, still, trembling]), y, 10)
    assert not head["weight"][64:].any()
    np.testing.assert_allclose(head["weight"][:64], probe.fit(x, y, 10)["weight"], atol=1e-3)


def test_far_from_zero_is_as_good_as_near(digits: tuple[Floats, Integers]) -> None:
    x, y = digits
    shifted = probe.fit(x + 500, y, 10)  # E[x²] - E[x]² in float32 would lose the deviations
    np.testing.assert_allclose(
        softmax(probe.logits(shifted, x + 500)), softmax(probe.logits(probe.fit(x, y, 10), x)), atol=0.02
    )


def test_mapped_float16_equals_float32(digits: tuple[Floats, Integers], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", digits[0].astype(np.float16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for name, value in probe.fit(mapped, digits[1], 10).items():
        np.testing.assert_array_equal(value, probe.fit(digits[0], digits[1], 10)[name])


@pytest.mark.parametrize("several", [False, True])
def test_blocks_and_memory_change_nothing(
    digits: tuple[Floats, Integers], parity: Integers, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    x, y, k = moving(digits[0]), parity if several else digits[1], 3 if several else 10
    folds = np.arange(len(x)) % 3
    whole, whole_folds = probe.logits(probe.fit(x, y, k), x), probe.out_of_fold(x, y, k, folds, strength=0.03)
    for block, resident, folded in ((97, 1 << 29, 1), (97, 0, 1 << 22), (4096, 0, 1)):
        monkeypatch.setattr(probe, "_BLOCK", block)
        monkeypatch.setattr(probe, "_RESIDENT", resident)
        monkeypatch.setattr(probe, "_FOLDED", folded)
        np.testing.assert_allclose(probe.logits(probe.fit(x, y, k), x), whole, atol=0.02)
        np.testing.assert_allclose(probe.out_of_fold(x, y, k, folds, strength=0.03), whole_folds, atol=0.05)


def test_many_columns_without_their_covariance_give_the_same(
    digits: tuple[Floats, Integers], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = moving(digits[0]), digits[1]
    whole = probe.logits(probe.fit(x, y, 10), x)
    monkeypatch.setattr(probe, "_MOST_SQUARE", 10)
    np.testing.assert_allclose(probe.logits(probe.fit(x, y, 10), x), whole, atol=0.05)
    monkeypatch.undo()
    monkeypatch.setattr(probe, "_SAMPLE", 200)  # fewer rows for the metric: another way to the same place
    np.testing.assert_allclose(probe.logits(probe.fit(x, y, 10), x), whole, atol=0.05)


def test_more_columns_than_rows(digits: tuple[Floats, Integers]) -> None:
    x, y = digits[0][:40], digits[1][:40]
    wide = np.hstack([x, np.random.default_rng(0).normal(size=(40, 300)).astype(np.float32)])
    standard = StandardScaler().fit_transform(wide)
    theirs = reference(standard, y, 0.03)
    np.testing.assert_allclose(
        softmax(probe.logits(probe.fit(wide, y, 10), wide)), theirs.predict_proba(standard), atol=0.02
    )


def test_search_picks_the_best_and_stops_after_two_that_are_worse(digits: tuple[Floats, Integers]) -> None:
    x, y = moving(digits[0]), digits[1]
    held = np.arange(len(x)) % 4 == 0
    train = np.flatnonzero(~held)[::9]  # 150 rows: too few to do without a penalty

    def judge(head: probe.Arrays) -> float:
        return log_loss(probe.logits(head, x[held]), y[held])

    strengths = (1.0, *probe.STRENGTHS, 1e-4, 1e-5, 1e-6)
    head, strength, tried = probe.search(x[train], y[train], 10, judge, strengths=strengths)
    alone = {s: judge(probe.fit(x[train], y[train], 10, strength=s)) for s in strengths}
    assert strength == min(alone, key=lambda s: alone[s])
    assert [s for s, _ in tried] == list(strengths[: strengths.index(strength) + 3])
    for s in probe.STRENGTHS:  # warm starts end where cold ones do
        assert dict(tried)[s] == pytest.approx(alone[s], abs=2e-3)
    assert judge(head) == dict(tried)[strength] == min(loss for _, loss in tried)


def test_search_takes_few_passes(digits: tuple[Floats, Integers], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = moving(digits[0]), digits[1]
    passes: list[int] = []
    loss = probe._Problem.loss
    monkeypatch.setattr(probe._Problem, "loss", lambda *a: passes.append(1) or loss(*a))
    probe.search(x, y, 10, lambda head: -float(np.abs(head["weight"]).sum()))  # weaker is always better
    warm = len(passes)
    for strength in probe.STRENGTHS:
        probe.fit(x, y, 10, strength=strength)
    cold = len(passes) - warm
    assert warm < 0.8 * cold < 0.8 * 30 * len(probe.STRENGTHS)  # SciPy's L-BFGS-B: 60 and more each


def test_search_needs_strengths(digits: tuple[Floats, Integers]) -> None:
    with pytest.raises(ValueError, match="strengths is empty"):
        probe.search(*digits, 10, lambda head: 0.0, strengths=())


def test_out_of_fold_equals_a_head_trained_without_the_fold(digits: tuple[Floats, Integers]) -> None:
    x, y = moving(digits[0]), digits[1]
    folds = np.random.default_rng(1).integers(0, 4, len(x)) * 10  # numbers need not be consecutive
    together = softmax(probe.out_of_fold(x, y, 10, folds, strength=0.03))
    for fold in np.unique(folds):
        inside = folds == fold
        alone = softmax(probe.logits(probe.fit(x[~inside], y[~inside], 10, strength=0.03), x[inside]))
        # columns are standardised over all rows here and over the others there: the penalty differs by that much
        assert abs(together[inside] - alone).mean() < 2e-3


def test_out_of_fold_never_sees_its_own_labels(digits: tuple[Floats, Integers]) -> None:
    x, y = digits
    folds = np.arange(len(x)) % 5
    honest = probe.out_of_fold(x, y, 10, folds, strength=0.03)
    planted = y.copy()
    planted[folds == 2] = (planted[folds == 2] + 1) % 10  # every label of one fold is a lie
    after = probe.out_of_fold(x, planted, 10, folds, strength=0.03)
    inside = folds == 2
    np.testing.assert_allclose(softmax(after[inside]), softmax(honest[inside]), atol=0.02)
    assert (after[inside].argmax(1) == y[inside]).mean() > 0.93
    assert (after[~inside].argmax(1) == y[~inside]).mean() < (honest[~inside].argmax(1) == y[~inside]).mean() - 0.05


def test_out_of_fold_of_a_class_that_lies_in_one_fold(digits: tuple[Floats, Integers]) -> None:
    x, y = digits[0][:500], digits[1][:500]
    folds = np.where(y == 7, 0, np.arange(500) % 3)
    z = probe.out_of_fold(x, y, 10, folds, strength=0.03)
    assert np.isfinite(z).all()
    assert softmax(z)[folds == 0, 7].max() < 1e-6
    one_fold = probe.out_of_fold(x, y, 10, np.zeros(500, np.int64), strength=0.03)  # nothing is left to learn from
    np.testing.assert_allclose(softmax(one_fold), 0.1, atol=1e-6)


def test_unlabelled_rows_are_refused(digits: tuple[Floats, Integers]) -> None:
    y = digits[1].copy()
    y[5] = -1
    with pytest.raises(ValueError, match="class numbers from -1 to 9 where 0 to 9 are expected"):
        probe.fit(digits[0], y, 10)


@pytest.mark.slow
def test_embeddings_of_garments_in_few_passes(clothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visum.data import load
    from visum.data.sources import read
    from visum.models import weights
    from visum.models.embed import Network, embed
    from visum.types import in_split, rows, targets

    table = read(clothing).manifest
    backbone = weights.find(size=96)
    table, _ = load.index(rows(table, np.arange(0, len(table), 3)), backbone.preprocess)
    x, y = embed(table, Network(backbone, backbone.preprocess))["plain"].vectors, targets(table)
    train, held = in_split(table, "train"), in_split(table, "validation")
    passes = []
    loss = probe._Problem.loss
    monkeypatch.setattr(probe._Problem, "loss", lambda *a: passes.append(1) or loss(*a))
    head, strength, tried = probe.search(
        x[train], y[train], 10, lambda head: log_loss(probe.logits(head, x[held]), y[held])
    )
    assert len(passes) < 25 * len(tried)  # SciPy's L-BFGS-B took its 60 iterations at nearly every strength
    standard = StandardScaler().fit(np.asarray(x[train], np.float64))
    theirs = reference(standard.transform(np.asarray(x[train])), y[train], strength)
    p = theirs.predict_proba(standard.transform(np.asarray(x[held])))
    assert abs(softmax(probe.logits(head, x[held])) - p).mean() < 3e-3


def test_shares_of_classes_are_rows_that_count_so_much(digits: tuple[Floats, Integers]) -> None:
    """A teacher's probabilities as targets, held to scikit-learn with each row once for each class, weighed by its share."""
    x, y = moving(digits[0])[:600], digits[1][:600]
    shares = np.random.default_rng(0).dirichlet(np.full(10, 0.3), len(x)).astype(np.float32)
    shares = 0.5 * shares + 0.5 * np.eye(10, dtype=np.float32)[y]
    scaled = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=1 / (len(x) * 0.03), tol=1e-10, max_iter=10_000)
    theirs.fit(np.repeat(scaled, 10, 0), np.tile(np.arange(10), len(x)), sample_weight=shares.ravel())
    ours = probe.fit(x, shares, 10, strength=0.03, shares=True)
    np.testing.assert_allclose(softmax(probe.logits(ours, x)), theirs.predict_proba(scaled), atol=5e-3)
    hard = np.eye(10, dtype=np.float32)[y]
    same = probe.fit(x, hard, 10, strength=0.03, shares=True)["weight"]
    np.testing.assert_array_equal(same, probe.fit(x, y, 10, strength=0.03)["weight"])
    several = probe.fit(x, hard, 10, strength=0.03)["weight"]
    assert np.abs(several - same).max() > 1e-3  # without the word, ten questions of their own
