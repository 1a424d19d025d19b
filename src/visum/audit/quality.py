"""Pictures that cannot teach much, and classes with too few of them.

A picture is flagged only if it fails an absolute floor *and* is an outlier of its own data set (robust z of Iglewicz and
Hoaglin 1993, median and MAD), so that dark X-rays or 8 x 8 digits raise no alarm where that is simply how they look. The floors
were chosen on photos of garments, CIFAR-10, MNIST, Fashion-MNIST and 8 x 8 digits: none of their ordinary pictures comes near.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import UnreadableImage
from visum.types import Finding, Floats, Manifest, Pixels, Severity, in_split, targets

MEASURES = ("brightness", "contrast", "shadow", "highlight", "entropy", "saturation", "sharpness")
"""What ``measure`` returns, in order. Brightness, contrast (standard deviation), shadow and highlight (1st and 99th percentile)
are of luma in 0 … 1; entropy of its 256 levels in bits, 0 … 8; saturation is the mean of max - min over the channels, 0 … 1;
sharpness is the ratio of two Laplacian variances, 0 … about 90."""

OUTLIER = 3.0  # robust z beyond which a picture is unlike the rest
BLANK_CONTRAST = 0.02  # 5 of 255 levels; the flattest ordinary picture of the five sets has 0.032
DARK_HIGHLIGHT = 0.3
BRIGHT, BRIGHT_SHADOW = 0.85, 0.3  # mean and 1st percentile: a drawing on white paper has dark lines
BLURRED_SHARPNESS = 2.0  # a Gaussian of 1.5 px at 224 px gives 1.0 to 1.6; ordinary photos 4.6 and more
GREY_SATURATION = 0.001  # a quarter of one of 255 levels: dark photos of coloured things have more
TINY_SIDE = 32
LONG_ASPECT = 4.0
FEW_IMAGES = 20


def measure(picture: Pixels) -> Floats:
    """The numbers behind the findings, of one picture uint8 ``[h, w, 3]`` RGB: float32 ``[len(MEASURES)]``.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000) over that of the same picture after a 3 x 3 mean
    (the comparison with a re-blurred copy is of Crete et al. 2007): a sharp picture loses most of it, a blurred one next to
    nothing. The ratio depends neither on contrast nor on the number of pixels, unlike the variance itself.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    share = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel() / grey.size
    levels = np.arange(256, dtype=np.float32)
    mean = float(share @ levels)
    spread = float(np.sqrt(share @ (levels - mean) ** 2))
    shadow, highlight = np.searchsorted(np.cumsum(share), (0.01, 0.99))
    filled = share[share > 0]
    red, green, blue = cv2.split(picture)
    chroma = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    fine, coarse = (_laplacian_variance(image) for image in (grey, cv2.blur(grey, (3, 3))))
    return np.array(
        [
            mean / 255,
            spread / 255,
            shadow / 255,
            min(highlight, 255) / 255,
            abs(float(filled @ np.log2(filled))),
            cv2.mean(chroma)[0] / 255,
            fine / (coarse + 1.0),  # the 1 keeps the rounding of flat pictures from looking sharp
        ],
        np.float32,
    )


def _laplacian_variance(grey: NDArray[Any]) -> float:
    import cv2

    return float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item() ** 2)


def findings(table: Manifest, measures: Floats, unreadable: Sequence[UnreadableImage] = ()) -> list[Finding]:
    """Everything about files, sizes, classes and pixels, most basic first.

    Args:
        table: the rows that could be read, with widths and heights.
        measures: float32 ``[N, len(MEASURES)]``, rows as in ``table``.
        unreadable: one error for each file that could not be read; its ``path`` is the id.

    Raises:
        ValueError: ``measures`` has another shape.
    """
    if measures.shape != (len(table), len(MEASURES)):
        raise ValueError(f"measures are {measures.shape}, for {len(table)} rows and {len(MEASURES)} measures")
    return [
        *unreadable_files(unreadable, len(table)),
        *classes(table),
        *sizes(table),
        *pixels(table, measures),
    ]


def unreadable_files(errors: Sequence[UnreadableImage], readable: int) -> list[Finding]:
    """Files that are no pictures, counted by reason (its words before a colon)."""
    if not errors:
        return []
    count, share = len(errors), len(errors) / (len(errors) + readable)
    reasons = Counter(error.reason.split(":")[0].strip() for error in errors).most_common()
    listed = ", ".join(f"{reason} ({number})" for reason, number in reasons[:5])
    more = f" and {len(reasons) - 5} other reasons" if len(reasons) > 5 else ""
    message = (
        f"{_images(count, 'file')} could not be read and {_are(count)} left out: {listed}{more}. "
        "Export or download them again, or delete them; visum doctor FILE says more of one."
    )
    ids = tuple(error.path for error in errors if error.path)
    return [_finding("unreadable", "serious" if share >= 0.05 else "warning", message, ids, files=count, share=share)]


def classes(table: Manifest) -> list[Finding]:
    """Unlabelled images, classes with few images or none to learn from, and imbalance."""
    k = len(table.classes)
    labels = targets(table)
    several = table.task == "multilabel"
    member = labels.astype(bool) if several else labels[:, None] == np.arange(k)
    counts = member.sum(axis=0)
    out = []
    if not several and (missing := labels < 0).any():
        number = int(missing.sum())
        message = (
            f"{_images(number)} {'has' if number == 1 else 'have'} no label and {_are(number)} not trained on. "
            "Label them, or leave them for prediction."
        )
        out.append(_finding("unlabelled", "info", message, _ids(table, missing), images=number))
    learnable = member[in_split(table, "train") | (table.splits == "")].sum(axis=0)
    orphan = np.asarray((learnable == 0) & (counts > 0), bool)
    if orphan.any():
        named = _names(table, orphan)
        message = (
            f"{named}: images in validation or test but none to train on, so that the class cannot be learnt. "
            "Move some of its images to train, or drop the class."
        )
        ids = _ids(table, np.any(member[:, orphan], axis=1))
        out.append(_finding("class_without_training_images", "serious", message, ids, classes=int(orphan.sum())))
    few = np.asarray(counts < FEW_IMAGES, bool)
    if few.any():
        listed = _names(table, few, counts)
        message = (
            f"Few images: {listed}. Results of such a class are mostly chance; "
            f"collect at least {FEW_IMAGES}, better 100, or merge it with a similar class."
        )
        ids = _ids(table, np.any(member[:, few], axis=1))
        number = int(few.sum())
        out.append(_finding("few_images", "warning", message, ids, classes=number, smallest=int(counts.min())))
    present = counts[counts > 0]
    if len(present) > 1 and (ratio := present.max() / present.min()) >= 3:
        share = present / present.sum()
        effective = float(np.exp(-(share * np.log(share)).sum()))
        largest, smallest = (
            table.classes[counts.argmax()],
            table.classes[np.where(counts > 0, counts, counts.max() + 1).argmin()],
        )
        message = (
            f"“{largest}” has {present.max()} images, “{smallest}” {present.min()}: {ratio:.1f} times as many, as if there "
            f"were {effective:.1f} balanced classes instead of {len(present)}. Judge by balanced accuracy or macro F1, "
            f"and collect more of “{smallest}” first."
        )
        numbers = {"ratio": ratio, "effective_classes": effective}
        out.append(_finding("class_imbalance", "warning" if ratio >= 10 else "info", message, (), **numbers))
    return out


def sizes(table: Manifest) -> list[Finding]:
    """Tiny files, very long ones, and sizes unlike the rest. Rows whose size is unknown (0) are passed over."""
    known = (table.widths > 0) & (table.heights > 0)
    if not known.any():
        return []
    width, height = (np.where(known, side, 1).astype(np.float64) for side in (table.widths, table.heights))
    short, long = np.minimum(width, height), np.maximum(width, height)
    usual = float(np.median(long[known]))
    tiny = known & (short < TINY_SIDE) & (long * 2 <= usual)
    stretched = np.log2(long / short)
    thin = known & ~tiny & (long / short >= LONG_ASPECT) & (_robust_z(stretched, known, 0.1) > OUTLIER)
    octaves = np.log2(long / usual)
    odd = known & ~tiny & ~thin & (np.abs(octaves) >= 2) & (np.abs(_robust_z(octaves, known, 0.25)) > OUTLIER)
    out = []
    if number := int(tiny.sum()):
        message = (
            f"{_images(number)} {_are(number)} under {TINY_SIDE} px on the shorter side, among images of about {usual:.0f} px: "
            "thumbnails or icons perhaps. Replace them by the originals or delete them."
        )
        out.append(_finding("tiny", "warning", message, _ids(table, tiny, short), images=number))
    if number := int(thin.sum()):
        message = (
            f"{_images(number)} {_are(number)} at least {LONG_ASPECT:.0f} times as long as wide, unlike the rest, so that little "
            "of the subject is left once shrunk. Crop them to the subject."
        )
        out.append(_finding("extreme_aspect_ratio", "warning", message, _ids(table, thin, -stretched), images=number))
    if number := int(odd.sum()):
        message = (
            f"{_images(number)} {_are(number)} at least four times larger or smaller than the usual {usual:.0f} px. "
            "Check that they come from the same source as the rest."
        )
        ids = _ids(table, odd, -np.abs(octaves))
        out.append(_finding("odd_size", "info", message, ids, images=number, usual=usual))
    return out


def pixels(table: Manifest, measures: Floats) -> list[Finding]:
    """Blank, dark, over-bright and blurred pictures, and a few grey ones among coloured ones (or the reverse)."""
    if not len(table):
        return []
    of = dict(zip(MEASURES, measures.T.astype(np.float64), strict=True))
    everyone = np.ones(len(table), bool)
    flat = np.log(of["contrast"] + 1e-3)
    blank = (of["contrast"] < BLANK_CONTRAST) & (_robust_z(flat, everyone, 0.2) < -OUTLIER)
    rest = ~blank
    washed_out = (of["brightness"] > BRIGHT) & (of["shadow"] > BRIGHT_SHADOW)
    soft = np.log(of["sharpness"] + 1e-2)
    checks: tuple[tuple[str, NDArray[np.bool_], NDArray[np.float64], Severity, str], ...] = (
        ("blank", blank, of["contrast"], "warning", "(almost) one flat colour. Delete them"),
        (
            "dark",
            rest & (of["highlight"] < DARK_HIGHLIGHT) & (_robust_z(of["highlight"], rest, 0.05) < -OUTLIER),
            of["highlight"],
            "info",
            "so dark that even the brightest parts are dim, unlike the rest. Brighten, retake or delete them",
        ),
        (
            "bright",
            rest & washed_out & (_robust_z(of["brightness"], rest, 0.05) > OUTLIER),
            -of["brightness"],
            "info",
            "almost white and without dark parts, unlike the rest. Retake or delete them",
        ),
        (
            "blurred",
            rest & (of["sharpness"] < BLURRED_SHARPNESS) & (_robust_z(soft, rest, 0.2) < -OUTLIER),
            of["sharpness"],
            "info",
            "blurred, unlike the rest. Delete them, or keep them if such pictures will come in use",
        ),
    )
    out = []
    for kind, where, order, severity, says in checks:
        if number := int(where.sum()):
            message = f"{_images(number)} {_are(number)} {says}."
            out.append(
                _finding(kind, severity, message, _ids(table, where, order), images=number, share=number / len(table))
            )
    return out + _colour_mix(table, of["saturation"], rest)


def _colour_mix(table: Manifest, saturation: NDArray[np.float64], rest: NDArray[np.bool_]) -> list[Finding]:
    grey, colourful = rest & (saturation <= GREY_SATURATION), rest & (saturation > GREY_SATURATION)
    minority, name, other = (
        (grey, "grey", "colour") if grey.sum() <= colourful.sum() else (colourful, "in colour", "grey")
    )
    number = int(minority.sum())
    if not number:
        return []
    message = (
        f"{_images(number)} {_are(number)} {name} while the rest are {other}. "
        "If colour matters for the classes, replace them; if grey pictures will come in use, collect some of every class."
    )
    return [
        _finding(
            "colour_mix", "info", message, _ids(table, minority, saturation), images=number, share=number / len(table)
        )
    ]


def _robust_z(values: NDArray[np.float64], among: NDArray[np.bool_], least: float) -> NDArray[np.float64]:
    """Distance to the median in robust standard deviations (1.4826 MAD, at least ``least``) of the rows ``among``."""
    if not among.any():
        return np.zeros_like(values)
    centre = np.median(values[among])
    scale = 1.4826 * np.median(np.abs(values[among] - centre))
    return np.asarray((values - centre) / max(float(scale), least), np.float64)


def _ids(table: Manifest, where: NDArray[Any], order: NDArray[Any] | None = None) -> tuple[str, ...]:
    at = np.flatnonzero(where)
    if order is not None:
        at = at[np.argsort(order[at], kind="stable")]
    return tuple(table.ids[at])


def _names(table: Manifest, where: NDArray[np.bool_], counts: NDArray[Any] | None = None) -> str:
    at = np.flatnonzero(where)
    shown = [f"“{table.classes[k]}”" + (f" ({counts[k]})" if counts is not None else "") for k in at[:8]]
    return ", ".join(shown) + (f" and {len(at) - 8} more" if len(at) > 8 else "")


def _images(number: int, noun: str = "image") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _finding(kind: str, severity: Severity, message: str, ids: tuple[str, ...], **numbers: float) -> Finding:
    return Finding(kind, severity, message, ids, {name: float(value) for name, value in numbers.items()})
