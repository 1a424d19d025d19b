"""Commands whose options are the keyword arguments of one function of the story: what runs it and shows what came back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from visum.cli import attacking, comparing, show, trading, trusting
from visum.cli.progress import watching


def as_text(value: Any) -> str:
    """JSON on one line."""
    from visum.cli.answers import as_line
    from visum.storage import finite

    return as_line(finite(value))


def _train(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.train import train

    with watching():
        run = train(**settings)
    if as_json:
        print(as_text(asdict(run)))
        return
    ladder = [
        (
            ("→ " if name == run.chosen else "  ") + name,
            show.percent(score.value),
            f"{show.percent(score.low)} to {show.percent(score.high)}",
            f"{score.n:,}",
        )
        for name, score in run.ladder.items()
    ]
    metric = next(iter(run.ladder.values())).name.replace("_", " ")
    print()
    show.table(("classifier", metric, "95 % interval", "n"), ladder, "Ladder, on validation images", right=(1, 2, 3))
    show.scores(
        run.scores, f"{run.chosen}, on {'test images it has never seen' if run.sealed else 'validation images'}"
    )
    serious = [finding for finding in run.findings if finding.severity != "info"]
    for finding in serious[:3]:
        print(f"{finding.severity}: {show.plain(finding.message)}")
    if len(serious) > 3:
        print(f"… and {len(serious) - 3} more in the report.")
    print(f"\nreport  {run.report}\nbundle  {run.bundle}\ntime    {run.seconds:.1f} s\n")
    print(f"Next: visum predict {run.bundle} YOUR_PHOTOS")


def _show_batch(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.showing import show_batch

    with watching():
        batch = show_batch(**_taken(show_batch, settings))
    if as_json:
        print(as_text(asdict(batch)))
        return
    rows = [(show.name(label), show.name(name)) for label, name in zip(batch.labels, batch.ids, strict=True)]
    show.table(("class", "image"), rows)
    print(f"\nsize    {batch.size} x {batch.size} pixels\npicture {show.name(str(batch.picture))}\n")
    print("Next: the same command without --show-batch")


def _find_lr(settings: dict[str, Any], as_json: bool) -> None:
    from visum.cli.again import again
    from visum.workflow.find_rate import find_learning_rate
    from visum.workflow.rate_plot import rate_text

    with watching():
        found = find_learning_rate(**_taken(find_learning_rate, settings))
    then = rate = None
    if found.suggestion is not None:
        rate = rate_text(found.suggestion)
        said = {"learning_rate": rate, **_trained(settings)}
        then = again(sys.argv[1:], said, without=("--find-lr", "--json"))
    if as_json:
        print(as_text({**asdict(found), "next": then}))
        return
    behind = "the whole network" if found.cut == "none" else f"the network after {found.cut}"
    print(f"\n{found.optimiser} on {behind}: {found.steps} rates, the loss lowest at {rate_text(found.lowest)}")
    print(f"picture {show.name(str(found.picture))}\ntable   {show.name(str(found.table))}\n")
    if then is None:
        print("No rate is suggested: the loss fell at none of them. Look at the picture.")
    else:
        print(f"Suggested learning rate: {rate}\nNext: {show.name(then)}")


def _trained(settings: dict[str, Any]) -> dict[str, Any]:
    """What must be said besides, so that a run trains a network at all."""
    from visum.models.weights import UNTRAINED
    from visum.workflow.ladder import FINETUNE, LADDER, PROBE, SCRATCH

    ladder, last = settings["ladder"], SCRATCH if settings["weights"] == UNTRAINED else FINETUNE
    if last in ladder or (ladder == LADDER and (settings["budget"] is not None or last == SCRATCH)):
        return {}
    own = () if ladder == LADDER else ladder
    return {"ladder": tuple(dict.fromkeys((*own, *((PROBE,) if last == FINETUNE else ()), last)))}


def _taken(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings that another function takes, too."""
    return {key: value for key, value in settings.items() if key in inspect.signature(function).parameters}


def _audit(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.audit import find_problems

    with watching():
        found = find_problems(**settings)
    if as_json:
        print(as_text([asdict(finding) for finding in found]))
    else:
        show.findings(found)


def _evaluate(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.evaluate import evaluate

    with watching():
        result = evaluate(**settings)
    if as_json:
        unreadable = [{"id": name, "reason": reason} for name, reason in result.unreadable]
        head: dict[str, Any] = {"split": result.split or "all", "trained_on": result.trained_on}
        if result.trust is not None:
            head |= {"trust": result.trust, "page": str(result.page)}
        print(as_text({**head, **result.metrics, "risk": result.risk, "unreadable": unreadable}))
        return
    show.scores(result.metrics["metrics"], f"{result.metrics['n']:,} images ({result.split or 'all'})")
    per_class = [
        (c["class"], *(show.percent(c[key]["value"]) for key in ("precision", "recall", "f1")), f"{c['n']:,}")
        for c in result.metrics["per_class"]
    ]
    show.table(("class", "precision", "recall", "F1", "n"), per_class[:50], right=(1, 2, 3, 4))
    wrong = result.metrics["wrong"]
    rows = [(show.name(w["id"]), w["label"], w["answer"], show.percent(w["p_answer"])) for w in wrong[: show.SHOWN]]
    if rows:
        title = "1 wrong image" if len(wrong) == 1 else f"{len(wrong):,} wrong images, worst first"
        show.table(("image", "label", "answer", "sure"), rows, title, right=(3,))
    if result.risk is not None:
        print(f"{result.risk['sentence']}\n{result.risk['advice']}")
    if result.trained_on:
        print(
            f"{result.trained_on:,} of these images were trained on, so that the scores flatter; give images of their own."
        )
    if result.trust is not None:
        trusting.show_steps(result.trust, result.page)
    for name, reason in result.unreadable[: show.SHOWN]:
        print(f"unreadable: {show.name(name)}: {show.plain(reason)}")
    if len(result.unreadable) > show.SHOWN:
        print(f"… and {len(result.unreadable) - show.SHOWN:,} more (--json lists them all)")


def _ensemble(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.ensemble import COMBINED, ensemble

    with watching():
        made = ensemble(**settings)
    if as_json:
        print(as_text(asdict(made)))
        return
    metric = next(iter(made.members[0].scores))
    rows = [
        (f"  {show.name(each.name)}" + ("" if each.kept else " (left out)"), *_cells(each.scores, metric))
        for each in made.members
    ]
    rows.append((f"→ {COMBINED[made.combine]}", *_cells(made.validation, metric)))
    head = ("bundle", metric.replace("_", " "), "95 % interval", "log loss", "n")
    print()
    show.table(head, rows, "On validation images", right=(1, 2, 3, 4))
    if made.test:
        show.scores(made.test, f"{COMBINED[made.combine]}, on test images")
    else:
        print("No test images, so that nothing is known but of images that calibrated it.\n")
    best = max(made.members, key=lambda each: each.scores[metric].value)
    if best.scores[metric].value > made.validation[metric].value:
        print(
            f"{show.name(best.name)} alone scores higher on the validation images: ship that, or try another --combine."
        )
    for each in made.members:
        if each.trained_on:
            print(f"{show.name(each.name)} was trained on {each.trained_on:,} of these images: scores flatter.")
    if made.unreadable:
        print(f"{len(made.unreadable):,} unreadable images were left out (--json lists them)")
    print(f"bundle  {made.bundle}\ntime    {made.seconds:.1f} s\n\nNext: visum predict {made.bundle} YOUR_PHOTOS")


def _cells(scores: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """The headline score with its interval, the log loss, and how many images."""
    score = scores[metric]
    interval = f"{show.percent(score.low)} to {show.percent(score.high)}"
    return show.percent(score.value), interval, f"{scores['log_loss'].value:.3f}", f"{score.n:,}"


def _export(settings: dict[str, Any], as_json: bool) -> None:
    from visum.workflow.export import export

    with watching():
        made = export(**settings)
    if as_json:
        print(as_text(asdict(made)))
        return
    from visum.workflow.candidate import named

    rows = [
        (
            ("→ " if each.chosen else "• " if each.best else "  ") + named(each),
            f"{each.megabytes:.1f} MB",
            f"{each.milliseconds:.1f} ms",
            *(
                (
                    show.percent(each.accuracy),
                    f"{100 * each.change:+.2f} ({100 * each.low:+.2f} to {100 * each.high:+.2f})",
                )
                if each.n
                else ("–", "–")
            ),
        )
        for each in made.tried
    ]
    n = max(each.n for each in made.tried)
    title = f"{made.target}, on one core of this machine" + (f"; {n:,} validation images" if n else "")
    print()
    show.table(("", "size", "a picture", "accuracy", "change in points"), rows, title, right=(1, 2, 3, 4))
    if any(each.best for each in made.tried):
        print("•  nothing here is at least as accurate, as small and as fast")
    print(
        f"{made.images} golden images differ from the bundle's answers by at most {made.largest_difference:.1e} "
        f"(allowed {made.tolerance:g})"
    )
    print(f"export  {show.name(str(made.folder))}\ntime    {made.seconds:.1f} s\n\nNext: visum verify {made.folder}")


SIGNED = {
    "train": ("visum.workflow.train", "train", _train),
    "distill": ("visum.workflow.distill", "distill", _train),
    "audit": ("visum.workflow.audit", "find_problems", _audit),
    "evaluate": ("visum.workflow.evaluate", "evaluate", _evaluate),
    "compare": ("visum.workflow.compare", "compare", comparing.compare),
    "attack": ("visum.workflow.attack", "attack", attacking.attack),
    "certify": ("visum.workflow.certify", "certify", attacking.certify),
    "corrupt": ("visum.workflow.robust", "corrupt_images", trading.corrupt),
    "tradeoff": ("visum.workflow.tradeoff", "tradeoff", trading.tradeoff),
    "ensemble": ("visum.workflow.ensemble", "ensemble", _ensemble),
    "export": ("visum.workflow.export", "export", _export),
}
"""Commands whose options are their function's keyword arguments: module, function, and what shows its result."""

INSTEAD = {
    "train": {
        "show_batch": ("visum.workflow.showing", "show_batch", _show_batch),
        "find_lr": ("visum.workflow.find_rate", "find_learning_rate", _find_lr),
    },
}
"""Flags of these commands that do something else with the same settings: the same three."""
