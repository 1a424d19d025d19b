"""Which pixels speak for a class: methods by name, and which one suits which model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from visum.errors import ModelError, UsageError
from visum.explain import attention, cams, gradients, hiding
from visum.explain.subject import Subject
from visum.types import Floats, Integers, Pixels

Run = Callable[[Subject, Pixels, Integers, Integers], Floats]
"""``(subject, squares uint8 [B, S, S, 3], targets int64 [B], contrast int64 [B], -1 for none) -> heat float32 [B, S, S]``."""
AUTO, BEST = "auto", "layercam"
"""``BEST`` was believed most often of the quick methods (benchmarks/explain.py)."""


class Explainer(NamedTuple):
    """One method.

    Attributes:
        run: what makes the maps.
        gradients: whether it needs the network in PyTorch, and not its answers only.
        words: what the map shows, in one sentence.
        cells: it looks at one layer, which may be chosen; else at the deepest with this many cells a side. 0: at none.
        classes: whether the map is another one for another class.
    """

    run: Run
    gradients: bool
    words: str
    cells: int = 0
    classes: bool = True


EXPLAINERS: dict[str, Explainer] = {
    "gradcam": Explainer(cams.cam(cams.gradcam), True, "where a coarse, late map speaks for the class", 5),
    "gradcam++": Explainer(cams.cam(cams.gradcam_plus_plus), True, "as Grad-CAM, fairer to several things at once", 5),
    "layercam": Explainer(
        cams.cam(cams.layercam), True, "as Grad-CAM, in an earlier and finer map, where each cell speaks for itself", 10
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
    "attention": Explainer(
        attention.last_layer, True, "what the class token looks at in the last layer, mean of heads", classes=False
    ),
    "attention_rollout": Explainer(
        attention.rolled, True, "what reaches the class token through the attention of all layers", classes=False
    ),
    "attention_flow": Explainer(
        attention.flowing, True, "the largest flow to the class token, attention being the capacity", classes=False
    ),
}
"""Name → explainer."""


def resolve(method: str, subject: Subject) -> tuple[str, Subject]:
    """The method that a name stands for, and the subject with the layer that it looks at.

    ``auto`` takes LayerCAM where the network has a map that is fine enough, Grad-CAM where it has a coarse one, else occlusion.

    Raises:
        UsageError: no such method, or one that needs gradients of a model without them, or a layer with a method that knows
            none; the message says what works.
        ModelError: no map of any layer, or no attention; the message says what works.
    """
    able = [name for name, each in EXPLAINERS.items() if subject.network is not None or not each.gradients]
    if method != AUTO and method not in EXPLAINERS:
        raise UsageError(f"--method {method}", allowed=f"{AUTO}, {', '.join(able)}", next=f"--method {AUTO}")
    if method == AUTO:
        try:
            return resolve(BEST if subject.network is not None else "occlusion", subject)
        except ModelError:
            return "occlusion", subject
    chosen, network = EXPLAINERS[method], subject.network
    if method not in able:
        raise UsageError(
            f"--method {method} needs gradients, which this bundle (classical, or an ensemble) does not have",
            allowed=", ".join(able),
            next=f"--method {able[0]}",
        )
    if subject.layer and not chosen.cells:
        with_layers = ", ".join(name for name, each in EXPLAINERS.items() if each.cells)
        raise UsageError(f"--layer with --method {method}", allowed=f"with {with_layers}", next=f"--method {BEST}")
    if network is not None and chosen.cells:
        subject = replace(subject, layer=subject.layer or cams.layer(network, chosen.cells))
    if network is not None and not chosen.classes:
        attention.layers(network)
    return method, subject
