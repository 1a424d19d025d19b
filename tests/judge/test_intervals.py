"""Intervals against SciPy, published values, and the law that makes them intervals: they cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from judged import predictions

from visum.judge import intervals, metrics, ranking
from visum.judge.averages import average_interval, average_variance, effects
from visum.judge.evaluate import score
from visum.types import Predictions, Task, column, decisions


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for k, n in ((0, 1), (1, 1), (0, 50), (50, 50), (3, 7), (335, 372), (59_000, 60_000)):
        for level in (0.9, 0.95, 0.99):
            theirs = binomtest(k, n).proportion_ci(level, method="wilson")
            low, high = intervals.wilson(k, n, level)
            assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert np.isnan(intervals.wilson(0, 0)).all()


def test_f1_interval_is_wilsons_of_jaccard() -> None:
    from scipy.stats import binomtest

    jaccard = binomtest(30, 40).proportion_ci(method="wilson")
    low, high = intervals.f1_interval(30, 10)
    assert float(low) == pytest.approx(2 * jaccard.low / (1 + jaccard.low))
    assert float(high) == pytest.approx(2 * jaccard.high / (1 + jaccard.high))
    assert low < 60 / 70 < high


def simulated(rng: np.random.Generator, n: int, share: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a model that is right most of the time, with known truth."""
    y = rng.choice(len(share), n, p=share)
    z = rng.normal(size=(n, len(share)))
    z[np.arange(n), y] += edge
    return z.astype(np.float32), y


def given(z: np.ndarray, y: np.ndarray) -> Predictions:
    k = z.shape[1]
    names = tuple(str(c) for c in range(k))
    return Predictions(column([str(i) for i in range(len(y))]), z, y, names, "binary" if k == 2 else "multiclass")


EQUAL, SKEWED = np.full(6, 1 / 6), np.array([0.5, 0.25, 0.13, 0.07, 0.05])


@pytest.mark.parametrize(
    ("name", "share", "n", "edge", "rounds", "lowest", "highest"),
    [
        ("accuracy", EQUAL, 300, 3.0, 2000, 0.93, 0.97),
        ("macro_f1", EQUAL, 300, 3.0, 1000, 0.93, 0.97),
        ("macro_f1", SKEWED, 120, 3.5, 1000, 0.92, 0.98),
        ("macro_precision", SKEWED, 200, 3.0, 1000, 0.92, 0.98),
        ("weighted_f1", SKEWED, 200, 3.0, 1000, 0.93, 0.97),
        ("balanced_accuracy", SKEWED, 200, 3.0, 1000, 0.92, 0.98),
        ("auc_roc", np.array([0.7, 0.3]), 200, 1.5, 1000, 0.925, 0.975),
        ("auc_roc", EQUAL, 200, 2.0, 500, 0.91, 0.98),
        ("log_loss", EQUAL, 200, 2.5, 250, 0.90, 0.98),
        ("average_precision", EQUAL, 200, 2.0, 250, 0.90, 0.99),
        ("ece", EQUAL, 200, 2.5, 250, 0.91, 1.0),
    ],
)
def test_coverage(
    name: str, share: np.ndarray, n: int, edge: float, rounds: int, lowest: float, highest: float
) -> None:
    """Of intervals from fresh data sets, about 95 % contain the value on 200,000 images."""
    rng = np.random.default_rng(11)
    z, y = simulated(rng, 200_000, share, edge)
    big = given(z, y)
    p = _softmax(big.logits)
    truth = metrics.METRICS[name](p, y, p.argmax(1), big.task)
    inside = 0
    for round_ in range(rounds):
        found = score(given(*simulated(rng, n, share, edge)), name, seed=round_)
        assert found.low <= found.value <= found.high
        inside += found.low <= truth <= found.high
    assert lowest <= inside / rounds <= highest


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z.astype(np.float64))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def test_ece_of_a_calibrated_model_reaches_zero() -> None:
    """Measured ECE is never 0; its interval has to allow for that. Labels are drawn from the probabilities themselves."""
    rng, reached, measured = np.random.default_rng(3), 0, []
    for round_ in range(100):
        z = (2 * rng.normal(size=(300, 4))).astype(np.float32)
        y = np.array([rng.choice(4, p=row / row.sum()) for row in _softmax(z).astype(np.float64)])
        found = score(given(z, y), "ece", seed=round_)
        reached += found.low == 0
        measured.append(found.value)
    assert min(measured) > 0.01
    assert reached >= 93


def test_influences_sum_to_zero_and_match_leaving_one_out() -> None:
    true, false, missed = np.array([40.0, 3.0]), np.array([7.0, 0.0]), np.array([5.0, 2.0])
    for kind in ("precision", "recall", "f1"):
        hit, wrong, miss = effects(kind, true, false, missed)
        assert true * hit + false * wrong + missed * miss == pytest.approx(0, abs=1e-12)
        function = metrics.COUNTED[kind]
        gone = function(true, false, missed)[0] - function(true - np.array([1, 0]), false, missed)[0]
        assert hit[0] == pytest.approx(gone, rel=0.05)


def test_weighted_recall_varies_as_accuracy_does() -> None:
    """Weighted recall is accuracy, so that its variance is p (1 - p) / N; F1's has misses and false answers together."""
    given_ = predictions("multiclass")
    y, a = given_.labels, decisions(given_)
    share = (y == a).mean()
    found = average_variance("recall", "weighted", y, a, 10)
    assert found == pytest.approx(share * (1 - share) / len(y))


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_average_variance_is_the_resamples(kind: str, average: str, task: Task) -> None:
    """The averages over 500 resamples of the images vary as the influences say."""
    given_, rng = predictions(task), np.random.default_rng(0)
    y, a, k = given_.labels, decisions(given_), len(given_.classes)
    values = []
    for _ in range(500):
        pick = rng.integers(0, len(y), len(y))
        values.append(metrics.METRICS[f"{average}_{kind}"](np.empty((0, k), np.float32), y[pick], a[pick], task))
    assert np.std(values) == pytest.approx(average_variance(kind, average, y, a, k) ** 0.5, rel=0.1)


def test_average_interval_is_wilsons_where_it_is_a_plain_share() -> None:
    """Equal classes with equal shares right: macro recall is a share of N images."""
    y = np.repeat(np.arange(4), 25)
    a = np.where(np.arange(100) % 25 < 20, y, (y + 1) % 4)
    low, high = intervals.wilson(80, 100)
    for average in ("macro", "weighted"):
        assert average_interval("recall", average, y, a, 4) == pytest.approx((float(low), float(high)))


def test_a_rare_class_without_mistakes_is_not_certain() -> None:
    y = np.repeat([0, 1], [990, 2])
    perfect = average_interval("recall", "macro", y, y, 2)
    assert perfect[1] == 1
    assert perfect[0] < 0.8
    assert intervals.wilson(992, 992)[0] > 0.99


def test_delong_is_the_published_variance() -> None:
    """DeLong's variance by its definition (1988, eq. 4 to 6), double loops and all."""
    rng = np.random.default_rng(2)
    positive = np.arange(60) < 25
    scores = (rng.normal(size=60) + positive).round(1).astype(np.float32)
    up, down = scores[positive], scores[~positive]
    wins = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    area = wins.mean()
    variance = wins.mean(1).var(ddof=1) / 25 + wins.mean(0).var(ddof=1) / 35
    places = ranking.placements(scores, positive)
    low, high, method = intervals.delong([places], [positive])
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    middle = np.log(area / (1 - area))
    assert method == "delong"
    assert ranking.auc(scores, positive) == pytest.approx(area)
    assert (low, high) == pytest.approx((1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))), abs=1e-6)


def test_a_perfect_auc_keeps_its_width() -> None:
    positive = np.arange(30) < 12
    places = ranking.placements(positive.astype(np.float32), positive)
    low, high, method = intervals.delong([places], [positive])
    assert (high, method) == (1, "newcombe")
    assert 0.8 < low < 0.95
    assert intervals.newcombe(1.0, 120, 180)[0] > low


def test_bootstrap_of_a_mean_is_scipys() -> None:
    from scipy import stats

    values = np.random.default_rng(0).exponential(size=150)
    for method, theirs in (("percentile", "percentile"), ("bca", "BCa")):
        low, high = intervals.bootstrap(lambda w: w @ values / 150, 150, resamples=4000, seed=1, method=method)
        other = stats.bootstrap((values,), np.mean, n_resamples=4000, method=theirs, rng=1).confidence_interval
        assert low[0] == pytest.approx(other.low, abs=0.02)
        assert high[0] == pytest.approx(other.high, abs=0.02)
    few = values[:60]

    def spread(w: np.ndarray) -> np.ndarray:
        return w @ few**2 / 60 - (w @ few / 60) ** 2  # biased and skewed

    low_, high_ = intervals.bootstrap(spread, 60, resamples=20_000, seed=1, method="bca")
    other = stats.bootstrap((few,), np.var, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert (low_[0], high_[0]) == pytest.approx((other.low, other.high), rel=0.025)
    again = intervals.bootstrap(lambda w: w @ values / 150, 150, resamples=4000, seed=1, method="bca")
    assert (again[0][0], again[1][0]) == (low[0], high[0])


def test_weights_are_resamples() -> None:
    seen: list[np.ndarray] = []
    intervals.resample(lambda w: seen.append(w) or w.sum(1), 7, resamples=2000)
    drawn = np.concatenate(seen)
    assert (drawn.sum(1) == 7).all()
    assert drawn.var(0) == pytest.approx(np.full(7, 6 / 7), abs=0.12)
