"""The commands. Each gathers its settings, runs one function of the story, and shows what came back."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from visum import __version__, runtime
from visum.cli import show
from visum.cli.progress import Lines, Live
from visum.errors import UsageError

app = typer.Typer(
    name="visum",
    help="Labelled images in, a classifier that people can trust, ship and watch out.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
FORMATS = ("table", "csv", "jsonl", "parquet")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def visum(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Labelled images in, a classifier that people can trust, ship and watch out."""


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Progress on standard error: a live bar on a terminal, lines elsewhere; of several processes only the first shows it."""
    if runtime.place().rank:
        yield
    elif sys.stderr.isatty():
        with Live() as live, runtime.watched(live):
            yield
    else:
        with runtime.watched(Lines()):
            yield


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
        head = {"split": result.split or "all", "trained_on": result.trained_on}
        print(as_text({**head, **result.metrics, "unreadable": unreadable}))
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
    if result.trained_on:
        print(
            f"{result.trained_on:,} of these images were trained on, so that the scores flatter; give images of their own."
        )
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


@app.command()
def predict(
    bundle: Annotated[str, typer.Argument(help="A bundle, a run folder, or imagenet.", metavar="BUNDLE")],
    paths: Annotated[list[str], typer.Argument(help="Images and folders of images.", metavar="FILES")],
    format: Annotated[
        str | None, typer.Option("--format", help="How to answer. [default: table]", metavar="|".join(FORMATS))
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="Write here instead of to standard output.")] = None,
    top: Annotated[int, typer.Option("--top", help="How many classes to list for each image.")] = 5,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    mc_dropout: Annotated[
        int, typer.Option("--mc-dropout", help="Passes of Monte Carlo dropout: how unsure each answer is.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Say what is on pictures: top classes with calibrated probabilities."""
    from visum.cli.answers import WRITERS
    from visum.workflow.predict import predict as run

    chosen = format or ("jsonl" if as_json else "table")
    if chosen not in WRITERS:
        raise UsageError(f"--format {format}", allowed=", ".join(WRITERS), next="--format csv")
    if as_json and chosen != "jsonl":
        raise UsageError(f"--format {format} and --json", allowed="one of them", next="--json, which is --format jsonl")
    if top < 1:
        raise UsageError(f"--top {top}", allowed="1 or more", next="--top 5")
    extra = tuple(part for part in extra_formats.split(",") if part)
    answers = run(bundle, paths, top=top, engine=engine, extra_formats=extra, mc_dropout=mc_dropout)
    failed = WRITERS[chosen](answers, Path(out) if out else None, top)
    if failed:
        print(f"visum: {failed:,} {'image' if failed == 1 else 'images'} could not be read", file=sys.stderr)
        raise typer.Exit(3)


@app.command()
def verify(
    bundle: Annotated[str, typer.Argument(help="A bundle or a run folder.", metavar="BUNDLE")],
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    tolerance: Annotated[float, typer.Option("--tolerance", help="Largest difference of a probability.")] = 0.02,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a bundle's digests and replay its golden images."""
    from visum.workflow.verify import verify as run

    result = run(bundle, engine=engine, tolerance=tolerance)
    if as_json:
        print(as_text(asdict(result)))
    else:
        rows = [(r.name, r.expected, r.got, f"{r.difference:.1e}", "ok" if r.passed else "WRONG") for r in result.rows]
        show.table(("golden image", "expected", "got", "difference", ""), rows, right=(3,))
        print(result.message + ".")
    if not result.passed:
        raise typer.Exit(4)


@app.command()
def doctor(
    image: Annotated[
        str | None, typer.Argument(help="An image: see what a model sees of it.", metavar="[IMAGE]")
    ] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="Whose preprocessing to use.")] = None,
    out: Annotated[str | None, typer.Option("--out", help="Where the PNG goes. [default: NAME.seen.png]")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Input side in pixels.")] = None,
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check this installation; or show what a model really sees of one image."""
    from visum.workflow.doctor import Seen
    from visum.workflow.doctor import doctor as run

    result = run(
        Path(image) if image else None,
        bundle=Path(bundle) if bundle else None,
        out=Path(out) if out else None,
        size=size,
        extra_formats=tuple(part for part in extra_formats.split(",") if part),
    )
    if as_json:
        print(as_text(asdict(result) if isinstance(result, Seen) else [asdict(check) for check in result]))
    elif isinstance(result, Seen):
        print(f"{show.name(str(result.path))}: {result.format}, {result.width} x {result.height}")
        for number, step in enumerate(result.alterations, 1):
            print(f"  {number}. {show.plain(step)}")
        shape = " x ".join(map(str, result.shape))
        print(f"tensor  float32 {shape}, {result.low:.3f} … {result.high:.3f}, mean {result.mean:.3f}")
        print(f"picture {show.name(str(result.picture))}")
    else:
        rows = [("✓" if c.well else "✗", c.name, c.found + ("" if c.well else f"\nTry: {c.next}")) for c in result]
        show.table(("", "what", "found"), rows)
    if not isinstance(result, Seen) and not all(check.well for check in result):
        raise typer.Exit(1)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A network, or part of the names of several.", metavar="NAME|SEARCH")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", help="Input side in pixels.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List what can be used here; or show one network: its layers, its work, its speed on this machine."""
    from visum.cli import models as pages
    from visum.workflow import catalogue, portrait

    if name is not None and portrait.is_network(name):
        with watching():
            one = portrait.describe_model(name, size=size, engine=engine)
        print(as_text(asdict(one))) if as_json else pages.portrait(one)
        return
    found = catalogue.list_models(name)
    if as_json:
        print(as_text(asdict(found)))
    elif name is None:
        pages.catalogue(found)
    else:
        pages.architectures(name, found)


SIGNED = {
    "train": ("visum.workflow.train", "train", _train),
    "distill": ("visum.workflow.distill", "distill", _train),
    "audit": ("visum.workflow.audit", "find_problems", _audit),
    "evaluate": ("visum.workflow.evaluate", "evaluate", _evaluate),
    "ensemble": ("visum.workflow.ensemble", "ensemble", _ensemble),
}
"""Commands whose options are their function's keyword arguments: module, function, and what shows its result."""

INSTEAD = {
    "train": {
        "show_batch": ("visum.workflow.showing", "show_batch", _show_batch),
        "find_lr": ("visum.workflow.find_rate", "find_learning_rate", _find_lr),
    },
}
"""Flags of these commands that do something else with the same settings: the same three."""

ORDER = ("train", "audit", "evaluate", "predict", "ensemble", "distill", "verify", "doctor", "models")


def sign(arguments: Sequence[str]) -> None:
    """Register ``SIGNED`` for this command line.

    Only the command that is asked for is imported, with NumPy and all; of the others, which the list of commands shows, the
    first sentence is read from the source.
    """
    from visum.cli.flags import Instead, command

    asked = next((each for each in arguments if not each.startswith("-")), "")
    app.registered_commands = [each for each in app.registered_commands if each.name not in SIGNED]
    for name, (module, function, run) in SIGNED.items():
        if name == asked:
            others = {
                flag: Instead(show_it, _first_sentence(*home))
                for flag, (*home, show_it) in INSTEAD.get(name, {}).items()
            }
            app.command(name)(command(name, getattr(import_module(module), function), run, others))
        else:
            app.command(name, help=_first_sentence(module, function))(lambda: None)
    app.registered_commands.sort(key=lambda each: ORDER.index(each.name or getattr(each.callback, "__name__", "")))


def _first_sentence(module: str, function: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").split("\n\n")[0]
    return ""
