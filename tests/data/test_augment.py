"""Augmentation as a pure function of (seed, epoch, key): its laws, its presets, and what it says to settings it cannot use."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from skimage import data

from visum.data.augment import AUGMENTATIONS, PRESETS, USUAL, Step, augment, draws, steps
from visum.data.pixels import fit_batch
from visum.errors import UsageError
from visum.types import Pixels, Preprocess

SIZE = 64
PARTS = [
    photo[top : top + 150, left : left + 150]
    for photo in (data.astronaut(), data.chelsea(), data.coffee())
    for top in (0, 100)
    for left in (40, 180)
]
PHOTOS: Pixels = fit_batch(PARTS, Preprocess(size=SIZE))
KEYS = [f"cat/{number}.jpg" for number in range(len(PHOTOS))]


def run(batch: Pixels, plan: str | Sequence[Step], **changed: Any) -> Pixels:
    return augment(batch, plan, **{"seed": 1, "epoch": 2, "keys": KEYS[: len(batch)], **changed})


def always(name: str) -> tuple[Step]:
    return (Step(name),)


def test_none_is_the_picture_in_memory_of_its_own() -> None:
    same = run(PHOTOS, "none")
    np.testing.assert_array_equal(same, PHOTOS, strict=True)
    assert not np.shares_memory(same, PHOTOS)


@pytest.mark.parametrize("name", [*PRESETS, *AUGMENTATIONS])
def test_a_picture_is_what_seed_epoch_and_key_make_of_it(name: str) -> None:
    plan = always(name) if name in AUGMENTATIONS else PRESETS[name]
    before = PHOTOS.copy()
    once = run(PHOTOS, plan)
    np.testing.assert_array_equal(PHOTOS, before)  # the store's own pages are never written to
    assert once.shape == PHOTOS.shape
    assert once.dtype == np.uint8
    order = np.random.default_rng(0).permutation(len(PHOTOS))
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run, PHOTOS[[each]], plan, keys=[KEYS[each]]) for each in order]
        for each, job in zip(order, jobs, strict=True):
            np.testing.assert_array_equal(job.result()[0], once[each])
    if name != "none" and "flip" not in name:
        for changed in ({"epoch": 3}, {"seed": 2}, {"keys": KEYS[::-1]}):
            other = run(PHOTOS, plan, **changed)
            assert np.mean([(a != b).any() for a, b in zip(once, other, strict=True)]) > 0.6


def test_decisions_are_the_same_on_every_machine_and_tomorrow() -> None:
    """Philox's raw stream, which NumPy never changes; another hash or text would make old runs unrepeatable."""
    assert draws(7, 3, "shirt/a.jpg").bit_generator.random_raw(2).tolist() == [0x9505179036366A04, 0x4DEADC28F23DA75A]
    for other in (draws(7, 3, "shirt/b.jpg"), draws(8, 3, "shirt/a.jpg"), draws(7, 4, "shirt/a.jpg"), draws(73, 0, "")):
        assert other.bit_generator.random_raw(1).item() != 0x9505179036366A04


def test_no_global_state_is_read_or_written() -> None:
    import random

    import torch

    def states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]  # noqa: NPY002

    plan = [Step(name) for name in AUGMENTATIONS]
    before, first = states(), run(PHOTOS[:3], plan)
    assert states() == before
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    np.testing.assert_array_equal(run(PHOTOS[:3], plan), first)


def test_neither_torch_nor_a_picture_library_is_loaded_at_the_door() -> None:
    code = "import sys; import visum.data.augment, visum.data.mix; print(*{'torch', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


def test_a_mapped_batch_and_views_are_read_as_they_look() -> None:
    locked = PHOTOS.copy()
    locked.flags.writeable = False
    plan = [Step(name) for name in AUGMENTATIONS]
    np.testing.assert_array_equal(run(locked, plan), run(PHOTOS, plan))
    mirrored = PHOTOS[:, :, ::-1]
    assert not mirrored.flags.c_contiguous
    np.testing.assert_array_equal(run(mirrored, plan), run(np.ascontiguousarray(mirrored), plan))


@pytest.mark.parametrize("side", [1, 2, 7, 33])
def test_every_augmentation_takes_every_size(side: int) -> None:
    small = np.ascontiguousarray(PHOTOS[:4, :side, :side])
    for name in AUGMENTATIONS:
        for epoch in range(5):
            assert run(small, always(name), epoch=epoch).shape == small.shape


def test_a_step_is_taken_as_often_as_it_says() -> None:
    count = 2000
    pictures = np.broadcast_to(PHOTOS[0, :16, :16], (count, 16, 16, 3))
    keys = [str(number) for number in range(count)]
    for probability in (0.0, 0.1, 0.5, 1.0):
        done = run(pictures, [Step("flip", probability)], keys=keys)
        share = float((done == pictures[:, :, ::-1]).all((1, 2, 3)).mean())
        assert abs(share - probability) <= 4 * (probability * (1 - probability) / count) ** 0.5


def test_a_background_reaches_every_step_that_uncovers() -> None:
    white = np.full((64, 32, 32, 3), 255, np.uint8)
    keys = [str(number) for number in range(64)]
    reddened = set()
    for name in AUGMENTATIONS:
        plan = [Step(name, 1.0, {"severity": 10} if name == "aug_mix" else {})]
        red, edge = (run(white, plan, keys=keys, background=each).astype(int) for each in ((255, 0, 0), None))
        if ((red[..., 0] - red[..., 1]) > 60).any():
            reddened.add(name)
            assert (
                name in ("noise", "erasing") or not np.ptp(edge, axis=3).any()
            )  # white at its edges stays without colour
    policies = {"auto_augment", "rand_augment", "trivial_augment", "aug_mix"}
    assert reddened - {"noise", "erasing"} == {"rotation", "affine", "elastic", *policies}


def test_presets_and_names_become_steps() -> None:
    assert steps("none") == ()
    for name, preset in PRESETS.items():
        assert steps(name) == steps(preset) == preset
    assert steps(" flip ,rotation") == (Step("flip", 0.5), Step("rotation", 1.0))
    assert steps("light,erasing") == (*PRESETS["light"], Step("erasing", 0.25))
    assert [step.name for step in PRESETS["light"]] == ["random_resized_crop", "flip"]
    assert set(USUAL) <= set(AUGMENTATIONS)
    assert not set(PRESETS) & set(AUGMENTATIONS)
    for name in AUGMENTATIONS:
        assert steps(name)[0].name == name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("rotaton", r"no augmentation 'rotaton'; did you mean rotation\? Allowed: none, light, .*, aug_mix\. Try: rotation"),
        ("Random-Resized-Crop", r"did you mean random_resized_crop\?"),
        ("flip,", r"no augmentation ''"),
        ("medium,qqq", r"no augmentation 'qqq'\. Allowed: none"),
        ([Step("flp")], r"did you mean flip\?"),
        ([Step("flip", 1.5)], r"the probability of flip is 1\.5\. Allowed: a number from 0 to 1\."),
        ([Step("flip", 0.5, {"degrees": 3})], r"flip has no setting 'degrees'\. Allowed: none\."),
        ([Step("rotation", 1, {"degree": 3})], r"rotation has no setting 'degree'; did you mean degrees\?"),
        ([Step("rotation", 1, {"background": None})], r"rotation has no setting 'background'"),
        (
            [Step("rotation", 0.1, {"degrees": 200})],
            r"rotation: degrees is 200\. Allowed: a number from 0 to 180\. Try: degrees = 15\.0",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(wrong: str | list[Step], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        steps(wrong)
    many = np.repeat(PHOTOS[:1], 60, 0)
    with pytest.raises(UsageError):
        run(many, wrong, keys=[str(number) for number in range(60)])


OUT_OF_RANGE: dict[str, dict[str, list[Any]]] = {
    "random_resized_crop": {
        "area": [(0, 1), (0.5, 1.1), (0.9, 0.8), 0.5, (0.1, 0.2, 0.3)],
        "aspect": [(0, 1), ("a", 1)],
    },
    "flip": {},
    "vertical_flip": {},
    "rotation": {"degrees": [-1, 181, float("nan"), "15", True]},
    "affine": {"degrees": [181], "translate": [-0.1, 1.1], "scale": [(0, 1), (1.1, 0.9)], "shear": [81]},
    "elastic": {"strength": [-0.1, 0.3], "smoothness": [0, 2]},
    "brightness": {"strength": [-0.1, 1.1]},
    "contrast": {"strength": [-0.1, 1.1]},
    "saturation": {"strength": [-0.1, 1.1]},
    "hue": {"strength": [-0.1, 0.6]},
    "noise": {"deviation": [(-0.1, 0.1), (0, 1.1), 0.05]},
    "blur": {"sigma": [(0, 1), (2, 1), (1, 51)]},
    "erasing": {"area": [(0, 0.3), (0.2, 1.1)], "aspect": [(0, 1), (1, 11)]},
    "auto_augment": {},
    "rand_augment": {"count": [-1, 15, 2.0, True], "magnitude": [-1, 31]},
    "trivial_augment": {},
    "aug_mix": {"severity": [0, 11], "width": [0, 11], "depth": [-1, 11, 1.5], "alpha": [0, float("inf")]},
}


def test_every_setting_has_a_range() -> None:
    assert OUT_OF_RANGE.keys() == AUGMENTATIONS.keys()
    for name, wrong in OUT_OF_RANGE.items():
        keywords = [
            p.name for p in inspect.signature(AUGMENTATIONS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY
        ]
        assert [*wrong] == [each for each in keywords if each != "background"]
        for key, values in wrong.items():
            for value in values:
                with pytest.raises(UsageError, match=rf"^{name}: {key} is .*\. Allowed: .*\. Try: {key} = "):
                    steps([Step(name, 1.0, {key: value})])


def test_lists_as_recipes_have_them_are_pairs() -> None:
    plan = steps([Step("random_resized_crop", 1.0, {"area": [0.5, 0.5], "aspect": [1, 1]})])
    assert run(PHOTOS, plan).shape == PHOTOS.shape


def test_one_key_for_each_picture() -> None:
    with pytest.raises(ValueError, match="zip"):
        run(PHOTOS, "light", keys=KEYS[:-1])
