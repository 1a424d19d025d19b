"""What ``visum attack`` and ``visum certify`` print."""

from __future__ import annotations

from typing import Any

from visum.cli import show
from visum.cli.progress import watching


def attack(settings: dict[str, Any], as_json: bool) -> None:
    """Run it and show the result."""
    from visum.cli.signed import as_text
    from visum.workflow.attack import attack as run

    with watching():
        made = run(**settings)
    if as_json:
        print(as_text({**made.facts, "page": str(made.page)}))
        return
    rows = [("no attack", _share(made.clean), _share(made.clean), f"{made.n:,}")]
    rows += [
        (each["attack"], _share(each["alone"]), _share(each["worst"]), f"{each['tried']:,}")
        for each in made.facts["attacks"]
    ]
    rows.append(("→ worst of all", "", _share(made.robust), f"{made.n:,}"))
    title = f"Right on {made.n:,} images when changes of {made.epsilon} ({made.norm}) are allowed"
    print()
    show.table(("attack", "right after it alone", "after it and those above", "tried"), rows, title, right=(1, 2, 3))
    masking = made.facts.get("masking")
    if masking:
        print(("warning: " if masking["alarm"] else "") + masking["words"])
    saved = made.facts["engine"]
    if saved["n"]:
        print(
            f"{saved['fooled']:,} of {saved['n']:,} made pictures still deceive as whole pixel values in the shipped engine."
        )
    if made.facts["trained_on"]:
        print(f"{made.facts['trained_on']:,} of these images were trained on, so that the scores flatter.")
    print(f"\npage    {show.name(str(made.page))}\ntime    {made.seconds:.1f} s")


def certify(settings: dict[str, Any], as_json: bool) -> None:
    """Run it and show the result."""
    from visum.cli.signed import as_text
    from visum.workflow.certify import certify as run

    with watching():
        made = run(**settings)
    if as_json:
        print(as_text({**made.facts, "page": str(made.page)}))
        return
    facts = made.facts
    rows = [(f"{row['radius']:.2f}", _share(row["certified"]), _share(row["attacked"])) for row in facts["rows"]]
    title = f"{made.n:,} images under noise of {made.sigma:g}: right and proven against every change shorter than"
    print()
    show.table(("length", "proven", "held under attack"), rows, title, right=(0, 1, 2))
    print(f"without noise {_share(facts['plain'])} are right; abstained on {_share(facts['abstained'])}")
    if facts["smoothed"]["value"] < 0.7 * facts["plain"]["value"]:
        print("It does not stand this noise: train it under noise (--augment noise-0.25), or take a smaller --sigma.")
    if facts["trained_on"]:
        print(f"{facts['trained_on']:,} of these images were trained on, so that the numbers flatter.")
    print(f"\npage    {show.name(str(made.page))}\ntime    {made.seconds:.1f} s")


def _share(score: Any) -> str:
    if score is None:
        return "–"
    return f"{show.percent(score['value'])} ({show.percent(score['low'])} to {show.percent(score['high'])})"
