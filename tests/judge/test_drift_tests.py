"""The tests themselves: statistics beside other implementations, and 5 % of false alarms, no more and no fewer."""

from __future__ import annotations

import numpy as np
import pytest
from drifted import digits, referred, seen, shifted
from numpy.typing import NDArray
from scipy.stats import energy_distance

from visum.judge.drift import concept, exchange, labels, shift, unknown
from visum.judge.drift.sample import Sample, pick


def dealt(n: int, m: int, strata: NDArray[np.int64], draws: int, seed: int = 0) -> tuple[NDArray[np.bool_], ...]:
    new = np.arange(n + m) >= m
    return new, exchange.splits(strata, new, draws, np.random.default_rng(seed))


def test_splits_keep_the_numbers_of_each_stratum_and_differ() -> None:
    strata = np.random.default_rng(0).integers(0, 4, 90)
    new, split = dealt(30, 60, strata, 200)
    assert (split[0] == new).all()
    for k in range(4):
        assert set(split[:, strata == k].sum(1)) == {int(new[strata == k].sum())}
    assert np.abs(split[1:].mean(0) - np.bincount(strata, new)[strata] / np.bincount(strata)[strata]).max() < 0.15
    assert len(np.unique(split, axis=0)) > 190


def test_contrasts_are_the_difference_of_means_weighted_to_the_new_strata() -> None:
    rng = np.random.default_rng(1)
    strata, values = rng.integers(0, 3, 60), rng.random(60)
    strata[-1] = 7  # has no old picture
    new, split = dealt(20, 40, strata, 1)
    both = [k for k in range(3) if (new & (strata == k)).any()]
    share = [(new & (strata == k)).sum() for k in both]
    differences = [values[new & (strata == k)].mean() - values[~new & (strata == k)].mean() for k in both]
    expected = np.average(differences, weights=share)
    assert exchange.contrasts(split, strata)[0] @ values == pytest.approx(expected, abs=1e-6)
    assert exchange.contrasts(split, strata)[0, -1] == 0


def test_energy_is_scipys_squared_in_one_dimension() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.standard_normal(80), rng.standard_normal(50) + 0.5]).astype(np.float32)
    alike = np.zeros(130, np.int64)
    new, split = dealt(50, 80, alike, 3)
    assert shift.energy(x[:, None], alike, split)[0] == pytest.approx(energy_distance(x[new], x[~new]) ** 2, rel=1e-3)


def test_mmd_is_what_its_definition_says() -> None:
    x = np.random.default_rng(3).standard_normal((30, 4)).astype(np.float32)
    alike = np.zeros(30, np.int64)
    new, split = dealt(12, 18, alike, 3)
    k = shift.gaussian(x).astype(np.float64)
    expected = k[np.ix_(new, new)].mean() + k[np.ix_(~new, ~new)].mean() - 2 * k[np.ix_(new, ~new)].mean()
    assert shift.mmd(x, alike, split)[0] == pytest.approx(expected, abs=1e-5)
    assert np.diag(k) == pytest.approx(3)


def test_each_picture_is_told_by_a_classifier_that_has_not_seen_it() -> None:
    """Against refitting without it: ridge on what is left of the columns, a free constant for each stratum."""
    rng = np.random.default_rng(4)
    x, strata = rng.standard_normal((36, 5)).astype(np.float32), rng.integers(0, 2, 36)
    new, split = dealt(16, 20, strata, 1)
    fast = shift.told_apart(x, strata, split)[0]
    inner = x - np.stack([x[strata == k].mean(0) for k in range(2)])[strata]
    inner = inner / inner.std(0)
    dummies = np.eye(2)[strata]
    wide = np.hstack([dummies, inner])
    penalty = np.diag([0, 0, *[0.1 * 36] * 5])
    y = new - np.array([new[strata == k].mean() for k in range(2)])[strata]
    for row in range(36):
        rest = np.arange(36) != row
        beta = np.linalg.solve(wide[rest].T @ wide[rest] + penalty, wide[rest].T @ y[rest])
        assert fast[row] == pytest.approx(wide[row] @ beta, abs=1e-4)


def statistics(old: Sample, new: Sample, rng: np.random.Generator, draws: int) -> dict[str, float]:
    """p of every test."""
    both = {name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in Sample.__dataclass_fields__}
    fresh, answers = np.arange(len(old) + len(new)) >= len(old), both["answers"]
    within = exchange.splits(answers, fresh, draws, rng)
    pictures = shift.shift(both["points"], answers, within)
    named = exchange.splits(both["labels"], fresh, draws, rng)
    free = exchange.splits(np.zeros(len(fresh), np.int64), fresh, draws, rng)
    return {
        **pictures.each,
        "pictures": pictures.p,
        "strangers": exchange.p_value(unknown.tail(both["strange"], answers, within)),
        "label": exchange.p_value(labels.statistic(both["p"], free)),
        "concept": exchange.p_value(concept.statistic(both["excess"], both["labels"], named)),
    }


@pytest.mark.slow
def test_500_windows_without_drift_raise_3_to_7_percent_of_alarms() -> None:
    alarms = false_alarms(500)
    for name, share in alarms.items():
        assert 0.03 <= share <= 0.07, f"{name}: {share}"


def test_70_windows_without_drift_raise_few_alarms_of_each_kind() -> None:
    alarms = false_alarms(70)
    assert max(alarms.values()) <= 8 / 70  # 99 % of binomial(70, 0.05)
    assert sum(alarms.values()) > 0


def false_alarms(windows: int) -> dict[str, float]:
    """Share of windows without drift in which each test rings at 0.05; reference and window are new ones each time."""
    d, rng, found = digits(), np.random.default_rng(5), []
    for _ in range(windows):
        rows = rng.permutation(len(d.labels))[:130]
        against = referred(d, rows[:80])
        window = seen(d, against, d.images[rows[80:]], d.labels[rows[80:]])
        found.append(statistics(against.sample, window, rng, 39))
    return {name: float(np.mean([each[name] <= 0.05 for each in found])) for name in found[0]}


def test_a_label_shift_moves_plain_tests_and_not_those_within_answers() -> None:
    d, rng = digits(), np.random.default_rng(6)
    plain, within = [], []
    for _ in range(15):
        rows = rng.permutation(len(d.labels))
        against = referred(d, rows[:400])
        picked = shifted(d.labels, rows[400:], rng.dirichlet(np.ones(10)), 150, rng)
        window = seen(d, against, d.images[picked])
        points = np.concatenate([against.sample.points, window.points])
        fresh, answers = np.arange(len(points)) >= 400, np.concatenate([against.sample.answers, window.answers])
        for strata, p in ((np.zeros(len(points), np.int64), plain), (answers, within)):
            split = exchange.splits(strata, fresh, 59, rng)
            p.append(exchange.p_value(shift.mmd(points, strata, split)) <= 0.05)
    assert np.mean(plain) > 0.8
    assert np.mean(within) <= 0.2  # 99.5 % of binomial(15, 0.05)


@pytest.mark.slow
def test_the_martingale_rings_in_at_most_5_percent_of_streams_also_where_classes_shift() -> None:
    d, rng, rings = digits(), np.random.default_rng(7), 0
    for seed in range(200):
        rows = rng.permutation(len(d.labels))
        against = referred(d, rows[:200])
        later = shifted(d.labels, rows[200:], rng.dirichlet(np.ones(10)), 150, rng)
        window = seen(d, against, d.images[later], d.labels[later])
        window = pick(window, rng.permutation(len(window)))
        old = against.sample
        rings += concept.martingale(window.excess, window.labels, old.excess, old.labels, seed=seed).crossed is not None
    assert rings <= 16  # 95 % of binomial(200, 0.05)


def test_the_martingale_finds_when_names_changed() -> None:
    d, rng = digits(), np.random.default_rng(8)
    rows = rng.permutation(len(d.labels))
    against = referred(d, rows[:300])
    truth = d.labels[rows[300:700]].copy()
    truth[250:] = np.where(truth[250:] < 4, (truth[250:] + 1) % 4, truth[250:])
    window = seen(d, against, d.images[rows[300:700]], truth)
    found = concept.martingale(window.excess, window.labels, against.sample.excess, against.sample.labels)
    assert found.crossed is not None
    assert 250 <= found.crossed < 320
    assert found.since is not None
    assert 200 <= found.since <= found.crossed


def test_an_error_counts_by_how_sure_the_answer_was() -> None:
    found = concept.excess(np.array([1, 0, 1], np.float32), np.array([0.9, 0.9, 0.5], np.float32))
    assert found == pytest.approx([0.9, -0.1, 0.5])
