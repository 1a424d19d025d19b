"""Which pixels speak for a class: methods by name, and which one suits which model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from visum.errors import ModelError, UsageError
from visum.explain import cams, gradients, hiding
from visum.explain.subject import Subject
from visum.types import Floats, Integers, Pixels

Run = Callable[[Subject, Pixels, Integers, Integers], Floats]
"""``(subject, squares uint8 [B, S, S, 3], targets int64 [B], contrast int64 [B], -1 for none) -> heat float32 [B, S, S]``."""
AUTO = "auto"


class Explainer(NamedTuple):
    """One method.

    Attributes:
        run: what makes the maps.
        gradients: whether it needs them.
        words: what the map shows, in one sentence.
        layers: whether it looks at one layer, which may be chosen.
    """

    run: Run
    gradients: bool
    words: str
    layers: bool = False


EXPLAINERS: dict[str, Explainer] = {
    "gradcam": Explainer(cams.cam(cams.gradcam), True, "where the last coarse map speaks for the class", True),
    "gradcam++": Explainer(
        cams.cam(cams.gradcam_plus_plus), True, "as Grad-CAM, fairer to several things at once", True
    ),
    "layercam": Explainer(
        cams.cam(cams.layercam), True, "as Grad-CAM, each cell for itself; good in early layers", True
    ),
    "integrated_gradients": Explainer(
        gradients.each(gradients.integrated_gradients), True, "what each pixel adds on the way from a blank picture"
    ),
    "smoothgrad": Explainer(gradients.each(gradients.smoothgrad), True, "where small changes change the answer most"),
    "gradient_shap": Explainer(
        gradients.each(gradients.gradient_shap), True, "what each pixel adds, from blanks of many shades"
    ),
    "occlusion": Explainer(gradients.each(hiding.occlusion), False, "how far the answer falls when a cell is hidden"),
    "lime": Explainer(gradients.each(hiding.lime), False, "what each patch of alike pixels adds, by a linear model"),
    "kernel_shap": Explainer(
        gradients.each(hiding.kernel_shap), False, "the Shapley value of each patch of alike pixels"
    ),
}
"""Name → explainer."""


def resolve(method: str, subject: Subject) -> str:
    """The method that a name stands for; ``auto`` takes Grad-CAM where a layer's map is fine enough, else occlusion.

    Raises:
        UsageError: no such method, or one that needs gradients of a model without them; the message says what works.
    """
    able = [name for name, each in EXPLAINERS.items() if subject.network is not None or not each.gradients]
    if method == AUTO:
        return "gradcam" if "gradcam" in able and (subject.layer or _fine(subject)) else "occlusion"
    if method not in EXPLAINERS:
        raise UsageError(f"--method {method}", allowed=f"{AUTO}, {', '.join(able)}", next=f"--method {AUTO}")
    if method not in able:
        raise UsageError(
            f"--method {method} needs gradients, which this bundle (classical, or an ensemble) does not have",
            allowed=", ".join(able),
            next=f"--method {able[0]}",
        )
    return method


def _fine(subject: Subject) -> bool:
    assert subject.network is not None
    try:
        cams.layer(subject.network)
    except ModelError:
        return False
    return True
