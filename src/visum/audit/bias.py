"""Shortcuts: classes that the background gives away (Geirhos et al. 2020, "Shortcut learning in deep neural networks").

If a classifier that sees nothing but the frame of each picture, or nothing but its mean colour, does nearly as well as the real
one, the real one may have learnt the photographer's table and not the subject. The story trains those two small classifiers on
``border`` and ``colour`` and hands their scores to ``findings``.
"""

from __future__ import annotations

import numpy as np

from visum.types import Finding, Floats, Manifest, Pixels, Score, Severity

FRAME = 0.06  # thickness of the border, as a share of the shorter side
LEAST_SIDE = 16  # below it the frame holds part of the subject: in 8 x 8 digits it explains half of the gain
EXPLAINED = {"warning": 0.6, "serious": 0.8}
"""Share of the real model's gain over the majority class from which a shortcut rings the alarm. Measured with logistic
regression on the border: 0.15 on garment photos, 0.09 on MNIST, 0.32 on CIFAR-10, 0.52 on Fashion-MNIST, where garments touch
the frame; a frame coloured by class on garment photos gives 1.0, on half of them 0.65."""
LEAST_GAIN = 0.1  # a shortcut worth less than ten points of accuracy is not worth an alarm
BORDER_FEATURES = 4 * 6 + 4 * 3 + 64
COLOUR_FEATURES = 6


def border(picture: Pixels) -> Floats:
    """The frame of one picture uint8 ``[h, w, 3]`` and nothing inside it: float32 ``[BORDER_FEATURES]``, 0 … 1.

    Mean and standard deviation of each channel on the top, bottom, left and right side, mean of the four corners, and a
    4 x 4 x 4 colour histogram of the whole frame.
    """
    height, width = picture.shape[:2]
    edge = max(1, round(FRAME * min(height, width)))
    sides = (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:])
    corners = [side[:, part] for side in sides[:2] for part in (slice(None, edge), slice(-edge, None))]
    moments = np.concatenate([moment for side in sides for moment in _moments(side)])
    frame = np.concatenate([side.reshape(-1, 3) for side in sides]) >> 6
    cell = (frame[:, 0] << 4) | (frame[:, 1] << 2) | frame[:, 2]
    histogram = np.bincount(cell, minlength=64) / len(cell)
    return np.concatenate([moments, *(_moments(corner)[0] for corner in corners), histogram]).astype(np.float32)


def colour(picture: Pixels) -> Floats:
    """Mean and standard deviation of each channel of one picture uint8 ``[h, w, 3]``: float32 ``[6]``, 0 … 1."""
    return np.concatenate(_moments(picture)).astype(np.float32)


def _moments(pixels: Pixels) -> tuple[Floats, Floats]:
    import cv2

    mean, deviation = cv2.meanStdDev(pixels)
    return (mean.ravel() / 255).astype(np.float32), (deviation.ravel() / 255).astype(np.float32)


def findings(
    table: Manifest, border_accuracy: Score, colour_accuracy: Score, real: Score, majority: Score
) -> list[Finding]:
    """The alarm: a classifier that sees only the frame, or only the mean colour, comes close to the real one.

    Args:
        table: the images; where the typical shorter side is under ``LEAST_SIDE`` px, the border is passed over.
        border_accuracy, colour_accuracy: of classifiers on ``border`` and ``colour`` features.
        real: of the real model; all four are of one metric (accuracy) on the same images, none of them trained on.
        majority: of always answering the most frequent class.

    A shortcut must be better than the majority beyond both intervals and by ``LEAST_GAIN``, and make up a share of at least
    ``EXPLAINED`` of the real model's gain. Colour alone is never serious: it may be what the classes are about.
    """
    known = (table.widths > 0) & (table.heights > 0)
    short = np.minimum(table.widths, table.heights)[known]
    small = bool(len(short)) and float(np.median(short)) < LEAST_SIDE
    checks = (
        (
            "border_shortcut",
            border_accuracy,
            "the outermost pixels of each picture, where no subject should be,",
            "Crop to the subject or vary the background: photograph every class in every place, then train again",
        ),
        (
            "colour_shortcut",
            colour_accuracy,
            "the mean colour of each picture",
            "If colour is not what tells the classes apart, collect every class under the same light and on the same backgrounds",
        ),
    )
    out = []
    for kind, score, what, advice in checks[small:]:
        gain, full = score.value - majority.value, real.value - majority.value
        if gain < LEAST_GAIN or not score.low > majority.high:
            continue
        share = gain / max(full, gain)
        if share < EXPLAINED["warning"]:
            continue
        severity: Severity = "serious" if share >= EXPLAINED["serious"] and kind == "border_shortcut" else "warning"
        message = (
            f"A classifier that sees only {what} is right {100 * score.value:.0f} % of the time, the real one "
            f"{100 * real.value:.0f} %, always answering the most frequent class {100 * majority.value:.0f} %: "
            f"the background may give the classes away. {advice}."
        )
        numbers = {"shortcut": score.value, "real": real.value, "majority": majority.value, "share": share}
        out.append(Finding(kind, severity, message, (), numbers))
    return out
