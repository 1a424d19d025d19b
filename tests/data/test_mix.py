"""mixup and cutmix: targets are exactly what the pixels are, in NumPy and PyTorch alike; cutmix boxes against torchvision's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from visum.data.augment import draws
from visum.data.mix import cutmix, draw_cut, mixup
from visum.data.pixels import fit_batch
from visum.errors import UsageError
from visum.types import Pixels, Preprocess

PHOTOS: Pixels = fit_batch(
    [data.astronaut(), data.chelsea(), data.coffee(), data.chelsea()[:, ::-1]], Preprocess(size=48)
)
TARGET = np.eye(4, dtype=np.float32)
MAPS: NDArray[np.float32] = np.ascontiguousarray(PHOTOS.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def rebuilt(x: NDArray[Any], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the pictures must be if the targets tell the truth: each target holds the share of every row."""
    return np.tensordot(target, x.astype(np.float32), 1)


@pytest.mark.parametrize("x", [MAPS, PHOTOS, MAPS.astype(np.float16)], ids=["float32", "uint8", "float16"])
def test_mixup_targets_hold_the_shares_of_the_pixels(x: NDArray[Any]) -> None:
    before = x.copy()
    for step in range(20):
        mixed, target = mixup(x, TARGET, 0.4, draws(0, step, "mixup"))
        assert mixed.dtype == x.dtype
        assert target.dtype == np.float32
        np.testing.assert_allclose(target.sum(1), 1, atol=1e-6)
        assert (target >= 0).all()
        apart = {np.uint8: 0.51, np.float16: 2e-3, np.float32: 1e-6}[x.dtype.type]
        np.testing.assert_allclose(mixed.astype(np.float32), rebuilt(x, target), atol=apart)
    np.testing.assert_array_equal(x, before)


def test_shares_are_betas() -> None:
    from scipy.stats import beta, kstest

    many = np.eye(2000, dtype=np.float32)
    for alpha in (0.2, 1.0):
        _, target = mixup(many, many, alpha, draws(0, 0, "share"))
        share = np.diag(target)[np.diag(target) < 1]  # a row that is its own partner keeps everything
        assert kstest(share[share > 0], beta(alpha, alpha).cdf).pvalue > 0.001
        assert (np.count_nonzero(target, 0) <= 2).all()  # every row is the partner of one row


@pytest.mark.parametrize("channels", ["first", "last"])
def test_cutmix_targets_are_the_exact_shares_of_the_pixels(channels: Any) -> None:
    numbered = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None, None], (4, 3, 14, 10))
    x = numbered if channels == "first" else numbered.transpose(0, 2, 3, 1)
    seen = []
    for step in range(200):
        mixed, target = cutmix(x, TARGET, 1.0, draws(0, step, "cutmix"), channels=channels)
        plane = mixed[:, 0] if channels == "first" else mixed[..., 0]
        np.testing.assert_array_equal(
            mixed, np.broadcast_to(plane[:, None] if channels == "first" else plane[..., None], x.shape)
        )
        shares = np.stack([(plane == row).mean((1, 2)) for row in range(4)], 1)
        np.testing.assert_allclose(target, shares, atol=1e-6)
        for row in range(4):
            rows, columns = np.nonzero(plane[row] != row)
            if len(rows):  # one box
                assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        seen += np.diag(target).tolist()
    assert min(seen) < 0.1
    assert max(seen) == 1
    np.testing.assert_array_equal(x, numbered if channels == "first" else numbered.transpose(0, 2, 3, 1))


def test_cutmix_boxes_are_torchvisions() -> None:
    from torchvision.transforms import v2

    theirs, image = v2.CutMix(num_classes=4), torch.zeros(2, 3, 64, 64)
    torch.manual_seed(0)
    for step in range(50):
        made = theirs.make_params([image])
        x1, y1, x2, y2 = made["box"]
        generator = draws(0, step, "")
        share = float(generator.uniform())
        rows, columns = draw_cut(generator, 64, 64, share)
        assert 0 <= rows.start <= rows.stop <= 64
        assert 0 <= columns.start <= columns.stop <= 64
        area = (rows.stop - rows.start) * (columns.stop - columns.start) / 64**2
        assert area <= 1 - share + 2 / 64
        assert made["lam_adjusted"] == pytest.approx(1 - (x2 - x1) * (y2 - y1) / 64**2)  # their law is ours
    whole = [draw_cut(draws(0, step, "0"), 64, 64, 0.0) for step in range(500)]
    area = np.mean([(r.stop - r.start) * (c.stop - c.start) for r, c in whole]) / 64**2
    assert area == pytest.approx(
        9 / 16, abs=0.03
    )  # a whole picture around a point drawn evenly covers 3/4 of each side
    assert all(r.start == r.stop for r, _ in [draw_cut(draws(0, step, "1"), 64, 64, 1.0) for step in range(5)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("function", [mixup, cutmix])
def test_tensors_are_mixed_as_arrays_are(function: Any, dtype: torch.dtype) -> None:
    x = torch.from_numpy(MAPS * 255).to(dtype)
    for step in range(5):
        ours, target = function(x.float().numpy(), TARGET, 0.5, draws(0, step, ""))
        mixed, other = function(x, torch.from_numpy(TARGET), 0.5, draws(0, step, ""))
        assert isinstance(mixed, torch.Tensor)
        assert mixed.dtype == dtype
        assert other.dtype == torch.float32
        np.testing.assert_allclose(other.numpy(), target, atol=1e-6)
        np.testing.assert_allclose(
            mixed.float().numpy(), ours, atol={torch.uint8: 0.51, torch.bfloat16: 3}.get(dtype, 1e-4)
        )
    np.testing.assert_array_equal(x.float().numpy(), torch.from_numpy(MAPS * 255).to(dtype).float().numpy())


def test_the_same_generator_mixes_the_same() -> None:
    for function in (mixup, cutmix):
        first, again = (function(MAPS, TARGET, 1.0, draws(3, 1, "step 5")) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert (function(MAPS, TARGET, 1.0, draws(3, 1, "step 6"))[1] != first[1]).any()


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "0.2", True, 101])
def test_alpha_has_a_range(alpha: Any) -> None:
    for function in (mixup, cutmix):
        with pytest.raises(
            UsageError, match=r"^alpha is .*\. Allowed: a number above 0, at most 100\. Try: alpha = 0\.2"
        ):
            function(MAPS, TARGET, alpha, draws(0, 0, ""))
