"""Policies against torchvision's tables and operations, and their own distribution."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torchvision.transforms import v2

from visum.data.augment import draws, policies
from visum.data.augment.policies import AUTO, MIX, OPERATIONS, RAND, TRIVIAL, Range, Space
from visum.data.pixels import fit
from visum.types import Pixels, Preprocess

PHOTO: Pixels = fit(np.asarray(data.chelsea())[:, 80:380], Preprocess(size=96))
THEIRS = {
    "Identity": "identity", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x", "TranslateY": "translate_y",
    "Rotate": "rotate", "Brightness": "brightness", "Color": "colour", "Contrast": "contrast", "Sharpness": "sharpness",
    "Posterize": "posterize", "Solarize": "solarize", "AutoContrast": "auto_contrast", "Equalize": "equalize", "Invert": "invert",
}  # fmt: skip
"""torchvision's names of the operations and ours."""


@pytest.mark.parametrize(
    ("space", "policy"),
    [(AUTO, v2.AutoAugment), (RAND, v2.RandAugment), (TRIVIAL, v2.TrivialAugmentWide), (MIX, v2.AugMix)],
)
def test_spaces_are_torchvisions(space: Space, policy: Any) -> None:
    table = policy._PARTIAL_AUGMENTATION_SPACE if policy is v2.AugMix else policy._AUGMENTATION_SPACE
    assert {THEIRS[name] for name in table} == space.keys() - ({"identity"} if space is AUTO else set())
    for name, (amounts, signed) in table.items():
        wanted, found = amounts(11, 224, 224), space[THEIRS[name]]
        assert found.signed == signed, name
        if wanted is None:
            assert found == Range()
            continue
        scale = {"TranslateX": 224, "TranslateY": 224, "Solarize": 1 / 256}.get(name, 1)
        ours = np.array([found.first + share * (found.last - found.first) for share in np.linspace(0, 1, 11)]) * scale
        np.testing.assert_allclose(np.rint(ours) if name == "Posterize" else ours, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", THEIRS)
def test_operations_are_torchvisions(name: str) -> None:
    """At three strengths, both ways."""
    ours, mode = THEIRS[name], v2.InterpolationMode.BILINEAR
    base = v2.AutoAugment(interpolation=mode, fill=[9, 99, 199])
    image = torch.from_numpy(PHOTO).permute(2, 0, 1)
    first, last, signed = AUTO[ours]
    for share in (0.2, 0.7, 1.0):
        for sign in (1, -1) if signed else (1,):
            amount = sign * (first + share * (last - first))
            theirs = amount
            if name.startswith("Translate"):
                theirs = round(96 * amount)  # whole pixels
                amount = theirs / 96
            elif name in ("Posterize", "Solarize"):
                theirs = round(amount) if name == "Posterize" else amount / 255
            wanted = (
                base._apply_image_or_video_transform(image, name, theirs, mode, base._fill).permute(1, 2, 0).numpy()
            )
            found = OPERATIONS[ours](PHOTO, amount, (9, 99, 199))
            difference = np.abs(found.astype(int) - wanted)
            # a turn has a fringe along what it uncovers, where the two fade out differently
            fringe = 0.07 if name.startswith(("Shear", "Rotate")) else 0
            assert np.quantile(difference.max(2), 1 - fringe) <= 3, (share, sign)
            if signed:
                wrong = OPERATIONS[ours](PHOTO, -amount, (9, 99, 199))
                assert np.abs(wrong.astype(int) - wanted).mean() > 3 * difference.mean()


def test_the_imagenet_policy_is_torchvisions() -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)._policies
    ours = policies._IMAGENET
    assert len(theirs) == len(ours) == 25
    for pair, own in zip(theirs, ours, strict=True):
        for (name, probability, level), (mine, often, how) in zip(pair, own, strict=True):
            assert (THEIRS[name], probability) == (mine, often)
            assert level is None or level == how


def taken(monkeypatch: pytest.MonkeyPatch, policy: str, times: int, **settings: Any) -> list[list[tuple[str, float]]]:
    """Operations and amounts of many draws of a policy, which then change nothing."""
    seen: list[tuple[str, float]] = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda x, amount, background, name=name: seen.append((name, amount)) or x)
    small, out = PHOTO[:4, :4], []
    for number in range(times):
        seen.clear()
        np.testing.assert_allclose(
            getattr(policies, policy)(small, draws(0, number, policy), **settings), small, atol=1
        )
        out.append(seen.copy())
    return out


def even(counts: Counter[Any], kinds: int) -> None:
    """Chi-square of an even distribution below its 99.9 % quantile (Wilson and Hilferty's approximation)."""
    expected = counts.total() / kinds
    statistic = sum((n - expected) ** 2 / expected for n in counts.values()) + expected * (kinds - len(counts))
    free = kinds - 1
    assert statistic < free * (1 - 2 / (9 * free) + 3.09 * (2 / (9 * free)) ** 0.5) ** 3


def test_rand_augment_takes_each_operation_alike_at_one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = taken(monkeypatch, "rand_augment", 700, count=3, magnitude=15)
    assert {len(each) for each in drawn} == {3}
    even(Counter(name for each in drawn for name, _ in each), 14)
    even(Counter(amount for each in drawn for name, amount in each if name == "rotate"), 2)
    assert {round(amount, 6) for each in drawn for name, amount in each if name == "rotate"} == {-15, 15}
    assert {amount for each in drawn for name, amount in each if name == "solarize"} == {128}


def test_trivial_augment_takes_one_operation_at_any_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = taken(monkeypatch, "trivial_augment", 1000)
    assert {len(each) for each in drawn} == {1}
    even(Counter(name for each in drawn for name, _ in each), 14)
    angles = [amount for each in drawn for name, amount in each if name == "rotate"]
    assert max(angles) > 120
    assert min(angles) < -120
    assert min(map(abs, angles)) < 15


def test_auto_augment_takes_each_pair_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = taken(monkeypatch, "auto_augment", 1000)
    counts = Counter(name for each in drawn for name, _ in each)
    for name in AUTO:
        wanted = sum(p for pair in policies._IMAGENET for op, p, _ in pair if op == name) * 40
        assert abs(counts[name] - wanted) <= 5 * max(wanted, 1) ** 0.5, name


def test_aug_mix_chains_one_to_three_operations_of_small_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = taken(monkeypatch, "aug_mix", 300, severity=2, width=2)
    even(Counter(len(each) for each in drawn if len(each) in (2, 6)), 2)
    assert {len(each) for each in drawn} == {2, 3, 4, 5, 6}
    names = Counter(name for each in drawn for name, _ in each)
    even(names, 9)
    assert not names.keys() & {"brightness", "contrast", "colour", "sharpness", "invert"}
    angles = [abs(amount) for each in drawn for name, amount in each if name == "rotate"]
    assert 0.3 <= min(angles) < 0.8
    assert 5.5 < max(angles) <= 6
    assert {len(each) for each in taken(monkeypatch, "aug_mix", 20, width=3, depth=2)} == {6}


def test_aug_mix_lies_between_the_picture_and_its_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "_any", lambda space, generator: "invert")
    monkeypatch.setattr(policies, "MIX", {"invert": Range()})
    kept = []
    for number in range(200):
        found = policies.aug_mix(PHOTO[:8, :8], draws(0, number, "mix"), depth=1, width=2)
        slope, middle = np.polyfit(PHOTO[:8, :8].ravel().astype(float), found.ravel().astype(float), 1)
        assert middle == pytest.approx(255 * (1 - slope) / 2, abs=1)  # x (1 - m) + (255 - x) m
        kept.append((1 - slope) / 2)
    assert np.quantile(kept, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.12)  # Beta(1, 1) is even
