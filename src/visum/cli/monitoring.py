"""``visum monitor``: its options; what it does is in ``visum.workflow.monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from visum.cli import show
from visum.cli.progress import watching
from visum.cli.signed import as_text

DRIFT = 7
"""Exit code of ``--fail-on-drift`` where there is an alarm."""


def monitor(
    bundle: Annotated[str, typer.Argument(help="A bundle or a run folder.", metavar="BUNDLE")],
    data: Annotated[
        str, typer.Argument(help="New pictures: a folder or a table; or a server's feedback.", metavar="DATA")
    ],
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Table of paths and labels of some pictures; none. [default: those of DATA]"),
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", help="Pictures (200) or time (30m, 6h, 1d, 1w) of one window.")
    ] = None,
    time_column: Annotated[str | None, typer.Option("--time-column", help="Of a table. [default: time]")] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Labelled pictures to compare with instead of the bundle's.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Share of streams without drift with a false alarm.")] = 0.05,
    out: Annotated[str | None, typer.Option("--out", help="Folder for drift.json and drift.html.")] = None,
    path_column: Annotated[str, typer.Option("--path-column", help="Of a table.")] = "path",
    label_column: Annotated[str, typer.Option("--label-column", help="Of a table.")] = "label",
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of everything that draws.")] = 0,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help=f"Exit with {DRIFT} if there is an alarm.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare new pictures with those that a bundle was judged on: drift of pictures, classes, labels; strangers."""
    from visum.workflow.monitor import monitor as run

    with watching():
        found = run(
            Path(bundle),
            Path(data),
            labels=labels,
            window=window,
            time_column=time_column,
            reference=Path(reference) if reference else None,
            alpha=alpha,
            out=Path(out) if out else None,
            path_column=path_column,
            label_column=label_column,
            engine=engine,
            extra_formats=tuple(part for part in extra_formats.split(",") if part),
            seed=seed,
        )
    if as_json:
        print(as_text(found.facts))
    else:
        _printed(found.facts)
        if found.page is not None:
            print(f"page    {show.name(str(found.page))}")
    if fail_on_drift and found.alarms:
        raise typer.Exit(DRIFT)


def _printed(facts: dict[str, Any]) -> None:
    """What was asked, what was found, what to do."""
    from visum.ship.report.drift import NAMES, STATUS, day

    rows: list[tuple[str, ...]] = [
        (NAMES[kind], STATUS[each["status"]], _p(each["p"]), each["says"])
        for kind, each in facts["overall"]["kinds"].items()
    ]
    title = f"{facts['n']:,} new pictures against {facts['reference']['n']:,} of the reference"
    print()
    show.table(("what", "", "p", "in words"), rows, title, right=(2,))
    if len(facts["windows"]) > 1:
        rows = [
            (
                day(each["start"]) if each["start"] else str(number),
                f"{each['n']:,}",
                *(STATUS[one["status"]] for one in each["kinds"].values()),
                _accuracy(each),
            )
            for number, each in enumerate(facts["windows"], 1)
        ]
        head = ("window", "n", *(NAMES[kind].lower() for kind in facts["overall"]["kinds"]), "accuracy")
        show.table(head, rows[: 4 * show.SHOWN], right=(1, 6))
        if len(rows) > 4 * show.SHOWN:
            print(f"… and {len(rows) - 4 * show.SHOWN} more (--json lists them all)")
    if facts["overall"]["accuracy"]["says"]:
        print(facts["overall"]["accuracy"]["says"])
    if measured := facts["overall"]["accuracy"]["measured"]:
        ends = f"{show.percent(measured['low'])} to {show.percent(measured['high'])}"
        print(f"Measured on {measured['n']:,} labelled pictures: {show.percent(measured['value'])} ({ends}).")
    for kind in facts["alarms"]:
        print(f"{NAMES[kind]}: {facts['do'][kind]}")
    if facts["unreadable"]:
        print(f"{len(facts['unreadable']):,} unreadable files were left out (--json lists them)")
    if facts["left_out"]:
        print(f"{facts['left_out']:,} rows of feedback are about other bundles or classes and were left out")
    print(f"time    {facts['seconds']:.1f} s")


def _p(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _accuracy(window: dict[str, Any]) -> str:
    """Measured where there are labels, else estimated."""
    if measured := window["accuracy"]["measured"]:
        return f"{show.percent(measured['value'])} measured"
    guess = next((each for each in window["accuracy"]["estimates"] if each["method"] == "atc"), None)
    return f"~ {show.percent(guess['value'])}" if guess else "–"
