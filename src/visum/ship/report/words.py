"""Numbers and strangers' text as a person reads them: pure functions from values to strings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

Json = Mapping[str, Any]
NONE = "–"
THIN = "\u202f"  # between a number and its unit
_OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
_PREFERRED = ("accuracy", "micro_f1", "macro_f1", "average_precision")

# metric: (what a person calls it, whether it is a share that reads as per cent)
METRICS: dict[str, tuple[str, bool]] = {
    "accuracy": ("Accuracy", True),
    "balanced_accuracy": ("Balanced accuracy", True),
    "top5_accuracy": ("Top-5 accuracy", True),
    "macro_precision": ("Macro precision", True),
    "macro_recall": ("Macro recall", True),
    "macro_f1": ("Macro F1", True),
    "weighted_precision": ("Weighted precision", True),
    "weighted_recall": ("Weighted recall", True),
    "weighted_f1": ("Weighted F1", True),
    "micro_precision": ("Micro precision", True),
    "micro_recall": ("Micro recall", True),
    "micro_f1": ("Micro F1", True),
    "auc_roc": ("Area under the ROC curve", False),
    "average_precision": ("Average precision", False),
    "log_loss": ("Log loss (lower is better)", False),
    "brier": ("Brier score (lower is better)", False),
    "ece": ("Expected calibration error (lower is better)", False),
}


def clean(text: str) -> str:
    """Text that cannot steer a terminal, a parser or the reading direction: control, format and surrogate characters
    are written as escapes (joiners stay, since emoji and scripts need them); line breaks and tabs become spaces."""
    if text.isascii() and text.isprintable():
        return text
    out = []
    for character in text:
        kind = unicodedata.category(character)
        if character in "\n\r\t\u2028\u2029":
            out.append(" ")
        elif kind in ("Cc", "Cs") or (kind == "Cf" and character not in "\u200c\u200d"):
            out.append(character.encode("unicode_escape").decode("ascii"))
        else:
            out.append(character)
    return "".join(out)


def shown(value: Any) -> Any:
    """What the template prints for a value: strings cleaned, None as a dash. Markup passes, since it was made here."""
    if value is None:
        return NONE
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def short(text: str, limit: int = 60) -> str:
    """At most ``limit`` characters of cleaned text; what is left out of the middle is marked by an ellipsis."""
    text = clean(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def percent(value: float | None, digits: int = 1) -> str:
    """0.898 → ``89.8 %``."""
    return NONE if value is None else f"{100 * value:.{digits}f}{THIN}%"


def decimal(value: float | None) -> str:
    """0.0214 → ``0.021``; larger numbers keep three figures."""
    if value is None:
        return NONE
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


def count(value: float | None) -> str:
    """3087 → ``3,087``."""
    return NONE if value is None else f"{value:,.0f}"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 image``, ``3,087 images``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float | str | None) -> str:
    """Seconds as ``0.4 s``, ``51 s``, ``2 min 5 s``, ``1 h 3 min``; a string is passed on."""
    if seconds is None:
        return NONE
    if isinstance(seconds, str):
        return seconds
    if seconds < 9.95:
        return f"{seconds:.1f}{THIN}s" if seconds >= 0.05 else f"{1000 * seconds:.0f}{THIN}ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min" + (f" {whole % 60}{THIN}s" if whole % 60 else "")
    whole = round(seconds / 60)
    return f"{whole // 60}{THIN}h" + (f" {whole % 60}{THIN}min" if whole % 60 else "")


def value(score: Json | None) -> float | None:
    """The number of a score, or None where there is no score or no number."""
    return None if score is None else score.get("value")


def interval(score: Json | None, *, share: bool = True) -> str:
    """``86.3 to 92.5 %``, or nothing where the score has no interval."""
    if score is None or score.get("low") is None or score.get("high") is None:
        return ""
    if share:
        return f"{100 * score['low']:.1f} to {percent(score['high'])}"
    return f"{decimal(score['low'])} to {decimal(score['high'])}"


def metric_name(metric: str) -> str:
    """The title of a metric; one that is not in ``METRICS`` is spelled out from its key."""
    return METRICS[metric][0] if metric in METRICS else metric.replace("_", " ").capitalize()


def is_share(metric: str) -> bool:
    """Whether the metric reads as per cent."""
    return METRICS.get(metric, ("", False))[1]


def main_metric(task: str, metrics: Json) -> str:
    """The metric that the page leads with: accuracy; F1 over all decisions when an image can have several labels."""
    order = _PREFERRED[1:] if task == "multilabel" else _PREFERRED
    return next((name for name in order if value(metrics.get(name)) is not None), order[0])


def names(label: Any) -> str:
    """A label as text: one class, several, or none of them."""
    if isinstance(label, (list, tuple)):
        return ", ".join(str(one) for one in label) or "none of the classes"
    return "unlabelled" if label is None else str(label) or "none of the classes"


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def prose(text: str, limit: int = 2000) -> Markup:
    """A message, escaped here, as markup in which options (``--split``) do not break at their hyphens."""
    safe = str(escape(short(text, limit)))
    return Markup(_OPTION.sub(r'<span class="option">\1</span>', safe))


FILTERS: dict[str, Callable[..., str]] = {
    "prose": prose,
    "percent": percent,
    "decimal": decimal,
    "count": count,
    "plural": plural,
    "duration": duration,
    "interval": interval,
    "short": short,
    "names": names,
}
