"""Schedules held to torch's, and to the law that they remember nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from visum.errors import UsageError
from visum.learn import schedules

STEPS = 90


def theirs(scheduler: Callable[[torch.optim.Optimizer], Any], base: float = 1.0) -> list[float]:
    """Rates of a torch scheduler, one for each of ``STEPS`` steps."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], base)
    stepper = scheduler(optimiser)
    rates = []
    for _ in range(STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        stepper.step()
    return rates


def ours(schedule: Callable[[float], float], last: int = STEPS) -> list[float]:
    return [schedule(at / last) for at in range(STEPS)]


def test_cosine_linear_and_constant_equal_torch() -> None:
    cosine = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.05))
    np.testing.assert_allclose(ours(partial(schedules.cosine, floor=0.05)), cosine, rtol=1e-9)
    linear = theirs(lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, STEPS))
    np.testing.assert_allclose(ours(partial(schedules.linear, floor=0.2)), linear, rtol=1e-9)
    assert ours(schedules.constant) == theirs(lambda o: lr_scheduler.ConstantLR(o, 1.0))


def test_step_equals_torch() -> None:
    # thirds that a computer cannot write exactly are still met on the step itself
    np.testing.assert_allclose(ours(schedules.step), theirs(lambda o: lr_scheduler.StepLR(o, 30)), rtol=1e-9)
    at = theirs(lambda o: lr_scheduler.MultiStepLR(o, [9, 45, 63], 0.5))
    np.testing.assert_allclose(ours(partial(schedules.step, at=(0.1, 0.5, 0.7), drop=0.5)), at, rtol=1e-9)


@pytest.mark.parametrize("rise", [0.3, 0.1])
def test_one_cycle_equals_torch(rise: float) -> None:
    expected = theirs(lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, pct_start=rise, cycle_momentum=False))
    # torch has its peak one step early and its last value on the last step
    found = ours(partial(schedules.one_cycle, rise=(rise * STEPS - 1) / (STEPS - 1)), STEPS - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert schedules.one_cycle(0.0) == pytest.approx(1 / 25)
    assert schedules.one_cycle(0.3) == 1
    assert schedules.one_cycle(1.0) == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize("patience", [0, 3])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_equals_torch(patience: int, mode: str) -> None:
    draw = np.random.default_rng(3)
    history = (1 / (1 + np.arange(40.0)) + 0.05 * draw.random(40)).tolist()
    history[7] = math.nan
    if mode == "max":  # a score, of which larger is better, comes negated
        history = [value - 1 for value in history]
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    stepper = lr_scheduler.ReduceLROnPlateau(
        optimiser, mode, patience=patience, factor=0.5, threshold=0.01, eps=0, min_lr=0.02
    )
    found = set()
    for seen in range(1, 41):
        stepper.step(history[seen - 1] if mode == "min" else -history[seen - 1])
        factor = schedules.plateau(0.5, history[:seen], patience=patience, drop=0.5, least=0.01, floor=0.02)
        assert factor == pytest.approx(optimiser.param_groups[0]["lr"])
        found.add(factor)
    assert len(found) > 2
    assert schedules.plateau(0.5) == 1


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_factors_stay_between_0_and_1_and_the_end_is_the_lowest(name: str) -> None:
    schedule = schedules.SCHEDULES[name]
    worse = [1.0] * 9
    factors = [schedule(at / 100, worse) for at in range(101)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1 if name != "plateau" else 0.01)
    assert factors[-1] == min(factors)
    # past the end: rounding, or a run that is given one more step
    assert schedule(1.0 + 1e-9, worse) == schedule(1.0, worse)


def test_warm_up_rises_to_the_schedule_and_leaves_the_rest_to_it() -> None:
    warm = schedules.warm_up(schedules.cosine, 0.2, start=0.1)
    assert warm(0.0) == pytest.approx(0.1)
    assert warm(0.1) == pytest.approx(0.55)
    assert warm(0.2) == 1
    assert warm(0.6) == pytest.approx(0.5)
    assert warm(1.0) == pytest.approx(0, abs=1e-12)
    assert schedules.warm_up(schedules.cosine, 0.0)(0.25) == schedules.cosine(0.25)
    torch_warm = theirs(
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 18), lr_scheduler.CosineAnnealingLR(o, STEPS - 18)], [18]
        )
    )
    np.testing.assert_allclose(ours(warm), torch_warm, rtol=1e-9)
    by_history = schedules.warm_up(schedules.plateau, 0.2)
    assert by_history(0.5, [1.0] * 5) == pytest.approx(0.1)


def test_restarted_goes_round_and_ends_at_the_end() -> None:
    twice = schedules.restarted(schedules.cosine, 2)
    theirs_twice = theirs(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=STEPS // 2))
    np.testing.assert_allclose([twice(at / STEPS) for at in range(STEPS)], theirs_twice, atol=1e-9)
    assert twice(1.0) == schedules.cosine(1.0) == 0


def test_waited_counts_looks_since_the_best() -> None:
    assert schedules.waited([]) == 0
    assert schedules.waited([0.5]) == 0
    assert schedules.waited([0.5, 0.7, 0.7, 0.6]) == 2
    assert schedules.waited([0.5, math.nan, 0.9]) == 0
    assert schedules.waited([math.nan, math.nan]) == 2


def test_check_says_what_is_allowed() -> None:
    assert schedules.check("step", drop=0.2) == {"at": (1 / 3, 2 / 3), "drop": 0.2}
    assert schedules.check("cosine", warm_up=0.1) == {"floor": 0.0, "warm_up": 0.1}
    with pytest.raises(UsageError, match=r"no schedule is called 'cosin'\. Allowed: constant, .* Try: cosine"):
        schedules.check("cosin")
    with pytest.raises(UsageError, match=r"2 faults[\s\S]*floor is 2\. Allowed: a number, at least 0, at most 1\."):
        schedules.check("linear", floor=2, warm_up=1.0)
    with pytest.raises(
        UsageError, match=r"at is \(0\.5, 1\.5\)\. Allowed: a list, each a number, more than 0, less than 1\."
    ):
        schedules.check("step", at=(0.5, 1.5))
    with pytest.raises(UsageError, match=r"gamma is no setting of schedule constant\. Allowed: warm_up\."):
        schedules.check("constant", gamma=1)
    with pytest.raises(UsageError, match=r"patience is -1\. Allowed: a whole number, at least 0\."):
        schedules.check("plateau", patience=-1)
