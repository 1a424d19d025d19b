"""Results as tables for people. Everything that comes from files (names, classes) passes through ``plain``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visum.types import Finding, Score

SHOWN = 12  # wrong images and findings listed before "and N more"
MAIN = (
    "accuracy",
    "balanced_accuracy",
    "top5_accuracy",
    "macro_f1",
    "micro_f1",
    "auc_roc",
    "average_precision",
    "log_loss",
    "ece",
)
LOSSES = ("log_loss", "brier", "ece", "hamming_loss")


def plain(text: str) -> str:
    """Without control characters, so that a file's name cannot move the cursor or change colours; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def name(text: str) -> str:
    """``plain``, on one line: the name of a file or a class, which is one thing however many line breaks it has."""
    return plain(text.replace("\n", "�"))


def percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    right: Sequence[int] = (),
    foot: Sequence[str] = (),
) -> None:
    """Print a table to standard output; in a pipe without colours and borders that matter.

    Args:
        head, rows: cells as text.
        title: above it.
        right: numbers of the columns that are aligned to the right.
        foot: cells of one last row under a line.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE if foot else box.SIMPLE_HEAD,
        pad_edge=False,
        show_footer=bool(foot),
    )
    for at, name in enumerate(head):
        last = foot[at] if foot else ""
        made.add_column(name, last, justify="right" if at in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(plain(cell)) for cell in row))
    Console(highlight=False).print(made)


def scores(metrics: Mapping[str, Score | Mapping[str, Any]], title: str) -> None:
    """The main metrics with their intervals."""
    rows = []
    for name in MAIN:
        if name not in metrics:
            continue
        score = metrics[name]
        value, low, high, n = (
            (score.value, score.low, score.high, score.n)
            if not isinstance(score, Mapping)
            else (score["value"], score["low"], score["high"], score["n"])
        )
        shown = (lambda x: "–" if x is None or x != x else f"{x:.3f}") if name in LOSSES else percent
        rows.append((name.replace("_", " "), shown(value), f"{shown(low)} to {shown(high)}", f"{n:,}"))
    table(("score", "value", "95 % interval", "n"), rows, title, right=(1, 2, 3))


def findings(found: Sequence[Finding]) -> None:
    """What the audit says, most serious first."""
    if not found:
        print("Nothing to complain about.")
        return
    rows = []
    for finding in found:
        examples = ", ".join(map(name, finding.ids[:3])) + (
            f" … {len(finding.ids)} in all" if len(finding.ids) > 3 else ""
        )
        rows.append(
            (finding.severity, finding.kind.replace("_", " "), finding.message + (f"\n{examples}" if examples else ""))
        )
    table(("severity", "what", "message"), rows, "1 finding" if len(found) == 1 else f"{len(found)} findings")
