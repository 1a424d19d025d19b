"""The commands. Each gathers its settings, runs one function of the story, and shows what came back."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from visum import __version__
from visum.cli import explaining, monitoring, serving, show
from visum.cli.progress import watching
from visum.cli.signed import INSTEAD, SIGNED, as_text
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
    coverage: Annotated[
        str | None, typer.Option("--coverage", help="Sets of classes that hold the truth this often.", metavar="90%")
    ] = None,
    each_class: Annotated[bool, typer.Option("--each-class", help="Promise --coverage for each class.")] = False,
    target_error: Annotated[
        str | None,
        typer.Option("--target-error", help="Say unsure, so that at most this share is wrong.", metavar="2%"),
    ] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="Say unknown of what is like nothing learnt.")] = False,
    explain: Annotated[
        str | None, typer.Option("--explain", help="Write maps of why into this folder, too.", metavar="FOLDER")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Say what is on pictures: top classes with calibrated probabilities."""
    from visum.cli.answers import WRITERS
    from visum.config import parse_share
    from visum.workflow.predict import predict as run

    chosen = format or ("jsonl" if as_json else "table")
    if chosen not in WRITERS:
        raise UsageError(f"--format {format}", allowed=", ".join(WRITERS), next="--format csv")
    if as_json and chosen != "jsonl":
        raise UsageError(f"--format {format} and --json", allowed="one of them", next="--json, which is --format jsonl")
    if top < 1:
        raise UsageError(f"--top {top}", allowed="1 or more", next="--top 5")
    extra = tuple(part for part in extra_formats.split(",") if part)
    promised: dict[str, Any] = {
        "coverage": parse_share(coverage) if coverage is not None else None,
        "each_class": each_class,
        "target_error": parse_share(target_error) if target_error is not None else None,
        "unknown": unknown,
    }
    answers = run(bundle, paths, top=top, engine=engine, extra_formats=extra, mc_dropout=mc_dropout, **promised)
    failed = WRITERS[chosen](answers, Path(out) if out else None, top)
    if explain is not None:
        explaining.beside(bundle, paths, explain, engine, extra)
    if failed:
        print(f"visum: {failed:,} {'image' if failed == 1 else 'images'} could not be read", file=sys.stderr)
        raise typer.Exit(3)


@app.command()
def verify(
    bundle: Annotated[str, typer.Argument(help="A bundle, a run folder or an export.", metavar="BUNDLE|EXPORT")],
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="Largest difference of a probability. [default: 0.02; what an export states]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the digests of a bundle or an export and replay its golden images."""
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


app.command()(explaining.explain)
app.command()(monitoring.monitor)
app.command()(serving.serve)

ORDER = (
    "train",
    "audit",
    "evaluate",
    "predict",
    "explain",
    "compare",
    "monitor",
    "attack",
    "certify",
    "corrupt",
    "tradeoff",
    "ensemble",
    "distill",
    "export",
    "verify",
    "serve",
    "doctor",
    "models",
)


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
