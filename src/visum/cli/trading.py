"""What ``visum tradeoff`` prints."""

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
