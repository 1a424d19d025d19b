"""What ``visum corrupt`` and ``visum tradeoff`` print."""

from __future__ import annotations

from typing import Any

from visum.cli import show
from visum.cli.progress import watching


def tradeoff(settings: dict[str, Any], as_json: bool) -> None:
    """Run it and show the result."""
    from visum.cli.signed import as_text
    from visum.workflow.tradeoff import tradeoff as run

    with watching():
        made = run(**settings)
    if as_json:
        print(as_text({**made.facts, "page": str(made.page)}))
        return
    radii = [point["radius"] for point in made.facts["models"][0]["curve"]]
    rows = [
        (show.name(model["name"]), *(show.percent(point["accuracy"]["value"]) for point in model["curve"]))
        for model in made.facts["models"]
    ]
    title = f"Right on {made.n:,} images when every value may change by (black to white is 1)"
    print()
    show.table(("bundle", *(f"{r:.3g}" for r in radii)), rows, title, right=tuple(range(1, len(radii) + 1)))
    if any(model["trained_on"] for model in made.facts["models"]):
        print("Some of these images were trained on, so that the scores flatter.")
    print(f"\npage    {show.name(str(made.page))}\ntime    {made.seconds:.1f} s")


def corrupt(settings: dict[str, Any], as_json: bool) -> None:
    """Run it and show the result."""
    from visum.cli.signed import as_text
    from visum.workflow.robust import corrupt_images as run

    with watching():
        made = run(**settings)
    facts = made.facts
    if as_json:
        print(as_text({**facts, "page": str(made.page)}))
        return
    rows = [
        (
            row["kind"].replace("_", " ") + (" (held out)" if row["held_out"] else ""),
            row["family"],
            *(show.percent(point["accuracy"]["value"]) for point in row["curve"][1:]),
            _share(row["accuracy"]),
        )
        for row in facts["kinds"]
    ]
    columns = ("corruption", "family", *(f"severity {s}" for s in facts["severities"]), "right on average")
    print()
    show.table(columns, rows, f"Right on {facts['n']:,} images, worst first", right=tuple(range(2, len(columns))))
    print(facts["sentence"])
    print(f"accuracy kept: {_share(facts['kept'])}")
    if base := facts["baseline"]:
        for name, key in (
            ("mean corruption error", "mean_corruption_error"),
            ("relative", "relative_mean_corruption_error"),
        ):
            if base[key]["value"] is not None:
                print(f"{name} against {show.name(base['name'])}: {_share(base[key])}")
    if made.trained_on:
        print(f"{made.trained_on:,} of these images were trained on, so that the scores flatter.")
    print(f"\npage    {show.name(str(made.page))}\ntime    {made.seconds:.1f} s")


def _share(score: Any) -> str:
    if score["value"] is None:
        return "–"
    if score["low"] is None:
        return show.percent(score["value"])
    return f"{show.percent(score['value'])} ({show.percent(score['low'])} to {show.percent(score['high'])})"
