"""Conformal sets: MAPIE's numbers, a naive reading of the papers, and the exact law of coverage on real predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from numpy.typing import NDArray
from scipy import stats

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import conformal
from visum.types import probabilities

DRAWS = 1000


def mapie_case() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sixty answers about four classes, and labels drawn from them."""
    draw = np.random.default_rng(7)
    z = draw.normal(0, 1.5, (60, 4))
    p = np.exp(z)
    p = np.round(p / p.sum(1, keepdims=True), 6)
    p /= p.sum(1, keepdims=True)
    return p, np.array([draw.choice(4, p=row / row.sum()) for row in p])


MAPIE = {
    # MAPIE 1.6.0, SplitConformalClassifier(conformity_score=…, prefit=True), 40 of the 60 calibrate, 20 get sets
    ("lac", 0.8): (0.738748, [1, 1, 1, 2, 1, 1, 2, 2, 2, 1, 2, 2, 2, 2, 2, 1, 2, 1, 1, 1]),
    ("lac", 0.9): (0.882216, [2, 2, 3, 3, 2, 3, 2, 2, 3, 3, 3, 2, 3, 2, 3, 2, 2, 3, 1, 3]),
}


@pytest.mark.parametrize(("method", "coverage"), list(MAPIE))
def test_quantiles_and_sets_are_those_of_mapie(method: str, coverage: float) -> None:
    p, y = mapie_case()
    limit = conformal.quantile(conformal.of_truth(conformal.scores(p[:40], method), y[:40]), coverage)
    wanted, sizes = MAPIE[method, coverage]
    assert limit == pytest.approx(wanted, abs=1e-6)
    assert conformal.sets(p[40:], limit, method).sum(1).tolist() == sizes


def test_scores_are_what_the_papers_say() -> None:
    """Class by class: mass before it, the share u of its own, and the penalty of ranks."""
    p, u = probabilities(predictions("multiclass"))[:50].astype(float), np.random.default_rng(0).random(50)
    for row, share, lac, aps, raps in zip(
        p, u, *(conformal.scores(p, name, u) for name in ("lac", "aps", "raps")), strict=True
    ):
        before = 0.0
        for rank, k in enumerate(sorted(range(10), key=lambda k: -row[k]), 1):
            assert lac[k] == pytest.approx(1 - row[k])
            assert aps[k] == pytest.approx(before + share * row[k], abs=1e-12)
            assert raps[k] == pytest.approx(aps[k] + 0.01 * max(0, rank - 5), abs=1e-12)
            before += row[k]


def test_deterministic_sets_are_never_empty_and_grow_with_coverage() -> None:
    held = predictions("multiclass")
    p, smaller = probabilities(held), np.zeros((797, 10), bool)
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
        scores, labels = conformal.calibrated(held, coverage)
        found = conformal.sets(p, conformal.quantile(scores, coverage))
        assert found[np.arange(797), p.argmax(1)].all()
        assert (found | smaller == found).all()
        assert found[np.arange(797), labels].mean() >= coverage
        smaller = found


@pytest.mark.parametrize("coverage", [0.9, 0.95])
@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_coverage_of_resplits_follows_the_law(method: str, coverage: float) -> None:
    """Of real predictions: how many of m new pictures are covered is beta-binomial with the Beta of the promise."""
    held, draw, n = predictions("multiclass"), np.random.default_rng(1), 200
    truth = conformal.of_truth(conformal.scores(probabilities(held), method, draw.random(797)), held.labels)
    assert len(np.unique(truth)) == 797
    covered = np.empty(DRAWS)
    for at in range(DRAWS):
        order = draw.permutation(797)
        covered[at] = (truth[order[n:]] <= conformal.quantile(truth[order[:n]], coverage)).sum()
    left_out, m = conformal.misses(n, coverage), 797 - n
    law = stats.betabinom(m, n + 1 - left_out, left_out)
    assert covered.mean() == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(DRAWS))
    assert covered.var() == pytest.approx(law.var(), rel=0.25)
    values = np.arange(m + 1)
    distance = np.abs((covered[:, None] <= values).mean(0) - law.cdf(values)).max()
    assert distance < 1.95 / np.sqrt(DRAWS)  # Kolmogorov-Smirnov at 0.001
    assert conformal.coverage_law(n, coverage)[0] == pytest.approx(law.mean() / m)


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.95), (99, 0.9), (341, 0.95)])
def test_the_law_itself_on_uniform_scores(n: int, coverage: float) -> None:
    """The quantile of uniform scores is its own coverage, so that it is the Beta of the promise."""
    draw = np.random.default_rng(n)
    seen = np.array([conformal.quantile(draw.random(n), coverage) for _ in range(DRAWS)])
    left_out = conformal.misses(n, coverage)
    assert stats.kstest(seen, stats.beta(n + 1 - left_out, left_out).cdf).pvalue > 0.001
    mean, low, high = conformal.coverage_law(n, coverage)
    assert mean >= coverage - 1e-12
    assert ((seen >= low) & (seen <= high)).mean() == pytest.approx(0.95, abs=0.03)


def test_each_class_is_covered_where_the_mixture_hides_one() -> None:
    """Eights whose probability is taken away from them: covered by thresholds of their own, not by the common one."""
    held, draw = predictions("multiclass"), np.random.default_rng(2)
    logits = held.logits.copy()
    logits[held.labels == 8, 8] -= 4
    truth = conformal.of_truth(
        conformal.scores(probabilities(replace(held, logits=logits)), "aps", draw.random(797)), held.labels
    )
    common, own = [], []
    for _ in range(200):
        order = draw.permutation(797)
        a, b = order[:500], order[500:]
        b = b[held.labels[b] == 8]
        found = conformal.by_class(truth[a], held.labels[a], 10, 0.9)
        assert found.own.all()
        common.append((truth[b] <= conformal.quantile(truth[a], 0.9)).mean())
        own.append((truth[b] <= found.values[8]).mean())
    assert np.mean(common) < 0.7
    assert np.mean(own) > 0.89


def test_a_class_with_too_few_pictures_falls_back() -> None:
    scores, labels = np.linspace(0, 1, 100), np.zeros(100, np.int64)
    labels[:8] = 1
    found = conformal.by_class(scores, labels, 3, 0.9)
    assert found.own.tolist() == [True, False, False]
    assert found.values[1] == found.values[2] == conformal.quantile(scores, 0.9)
    assert found.values[0] == conformal.quantile(scores[8:], 0.9)


@pytest.mark.parametrize(("coverage", "least"), [(0.95, 19), (0.9, 9), (0.99, 99)])
def test_too_few_pictures_are_said_with_the_number_needed(coverage: float, least: int) -> None:
    held = predictions("multiclass")
    assert conformal.needed(coverage) == least
    some = replace(held, ids=held.ids[:least], logits=held.logits[:least], labels=held.labels[:least])
    scores, _ = conformal.calibrated(some, coverage)
    assert np.isfinite(conformal.quantile(scores, coverage))
    assert conformal.quantile(scores[1:], coverage) == np.inf
    fewer = replace(some, ids=some.ids[1:], logits=some.logits[1:], labels=some.labels[1:])
    with pytest.raises(NotEnoughData, match=f"{least} or more"):
        conformal.calibrated(fewer, coverage)


def test_what_no_sets_can_be_made_of() -> None:
    held = predictions("multiclass")
    with pytest.raises(UsageError, match="several labels"):
        conformal.calibrated(predictions("multilabel"), 0.9)
    broken = held.logits.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match=r"0003\.png"):
        conformal.calibrated(replace(held, logits=broken), 0.9)
    with pytest.raises(NotEnoughData, match="two classes"):
        conformal.calibrated(replace(held, labels=np.zeros(797, np.int64)), 0.9)
    with pytest.raises(NotEnoughData, match="labelled"):
        conformal.calibrated(replace(held, labels=np.full(797, -1)), 0.9)
    for wrong in (0.0, 1.0, 90.0):
        with pytest.raises(UsageError, match="coverage"):
            conformal.calibrated(held, wrong)
    with pytest.raises(UsageError, match="lac, aps, raps"):
        conformal.scores(probabilities(held), "margin")
