"""What ``visum compare`` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from visum.cli import show
from visum.cli.progress import watching

if TYPE_CHECKING:
    from visum.judge.compare import Against, Difference


def compare(settings: dict[str, Any], as_json: bool) -> None:
    """Run it and show the result."""
    from visum.cli.signed import as_text
    from visum.workflow.compare import compare as run

    with watching():
        made = run(**settings)
    if as_json:
        print(as_text(asdict(made)))
        return
    order = sorted(made.scores, key=lambda name: -made.scores[name][made.metric].value)
    wanted = list(made.scores[made.best])
    rows = [
        (("→ " if name == made.best else "  ") + show.name(name), *(_score(made.scores[name][each]) for each in wanted))
        for name in order
    ]
    columns = tuple(range(1, len(wanted) + 1))
    print()
    show.table(("run", *map(_word, wanted)), rows, f"The same {made.n:,} images ({made.split})", right=columns)
    others = sorted(made.others, key=lambda each: order.index(each.name))
    rows = [(show.name(each.name), *_difference(one), _sure(one)) for each in others for one in each.differences]
    allowed = "" if made.pairs == 1 else f"; p allows for {made.pairs} pairs"
    title = f"Difference from {show.name(made.best)}{allowed}"
    show.table(("run", "score", "difference", "95 % interval", "p", ""), rows, title, right=(2, 3, 4))
    rows = [(show.name(each.name), *_shown(each, made.n)) for each in others]
    head = ("run", "one alone is right", "seen", "smallest", "images needed", "more")
    show.table(head, rows, "Accuracy: what these images can show, 4 times out of 5", right=(1, 2, 3, 4, 5))
    for note in made.notes:
        print(show.plain(note))
    print(f"{_verdict(made.best, others, made.metric, made.n)}\n\npage    {show.name(str(made.page))}")


def _word(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")


def _score(score: Any) -> str:
    return f"{score.value:.3f}" if score.name in show.LOSSES else show.percent(score.value)


def _difference(found: Difference) -> tuple[str, str, str, str]:
    """Score, difference, interval, p-value."""
    if found.metric in show.LOSSES:
        value, ends = f"{found.value:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}"
    else:
        value, ends = f"{100 * found.value:+.1f} points", f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    p = f"{found.adjusted:.3f}" if found.adjusted >= 0.0005 else "< 0.001"
    return _word(found.metric), value, ends, p


def _sure(found: Difference) -> str:
    return "beyond chance" if found.different else "could be chance"


def _shown(each: Against, n: int) -> tuple[str, ...]:
    """Images that one alone gets right, difference seen, smallest that would be shown, images that would show the seen one."""
    apart = f"{each.only_best + each.only_this} ({each.only_best} : {each.only_this})"
    seen = f"{100 * abs(each.only_best - each.only_this) / n:.1f} points"
    smallest = "none" if each.smallest >= 1 else f"{100 * each.smallest:.1f} points"
    if each.needed is None:
        return apart, seen, smallest, "–", "no difference"
    return apart, seen, smallest, f"{each.needed:,}", f"{each.needed - n:,}" if each.needed > n else "enough"


def _verdict(best: str, others: list[Against], metric: str, n: int) -> str:
    """The answer in one sentence."""
    beaten = [each.name for each in others if any(one.different for one in each.differences if one.metric == metric)]
    same = [each.name for each in others if each.name not in beaten]
    if not same:
        return f"{show.name(best)} is better than {', '.join(map(show.name, beaten))}, beyond chance."
    if not beaten:
        return f"{n:,} images cannot tell {show.name(best)} from {', '.join(map(show.name, same))}."
    return (
        f"{show.name(best)} is better than {', '.join(map(show.name, beaten))}, beyond chance; "
        f"{n:,} images cannot tell it from {', '.join(map(show.name, same))}."
    )
