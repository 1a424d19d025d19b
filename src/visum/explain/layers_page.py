"""The page of ``visum explain --layers``: what early, middle and late layers know. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from visum.explain import curves
from visum.explain.panels import Page, Panel, percent, tag

Score = tuple[float, float, float]
PARTS = ("early", "middle", "late")


class Known(Protocol):
    """What the stages know of one thing; see ``workflow.layers``."""

    @property
    def name(self) -> str: ...
    @property
    def words(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def chance(self) -> float: ...
    @property
    def n(self) -> int: ...
    @property
    def scores(self) -> Mapping[str, Score]: ...


class Found(Protocol):
    """What the page is about; see ``workflow.layers``."""

    @property
    def stages(self) -> Sequence[str]: ...
    @property
    def known(self) -> Sequence[Known]: ...
    @property
    def learnt(self) -> int: ...
    @property
    def judged(self) -> int: ...
    @property
    def how(self) -> str: ...
    @property
    def seen(self) -> int: ...
    @property
    def alike(self) -> Any: ...
    @property
    def against(self) -> Sequence[str]: ...
    @property
    def across(self) -> Any: ...


def page(found: Found, subject: str, other: str = "") -> Page:
    """Everything that the template names.

    Args:
        found: scores and alikeness.
        subject, other: names of the two bundles.
    """
    stages = list(found.stages)
    task = found.known[0]
    curves_of = [_curve(each, stages) for each in found.known]
    parted = tag("div", *(_part(found, part, at) for part, at in _parts(stages).items()), class_="thirds")
    panels = [
        Panel(
            "What early, middle and late layers know",
            ("A third of the layers each; the best layer of the third is the one that is told of.",),
            parted,
        ),
        Panel(
            "From layer to layer",
            (
                "At each layer a linear probe tries to read off what is asked, from the means of all its channels. Dots are "
                f"shares of right answers among {task.n:,} pictures, with 95 % intervals; the grey dot is a probe on the pixels.",
            ),
            tag("div", *curves_of, class_="gridded"),
        ),
        Panel(
            "How alike the layers are",
            (
                "Centred kernel alignment of every two layers: 1 where one is the other turned and scaled, 0 where they have "
                f"nothing to do with each other; the unbiased estimate, over {found.learnt + found.judged:,} pictures. "
                "Blocks of dark cells are layers that say much the same; a seam of bright ones is where the network changes "
                "its mind about what matters.",
            ),
            curves.heat("Alikeness of the layers", found.alike, stages, stages),
        ),
    ]
    if found.across is not None:
        best = [int(np.nanargmax(row)) if np.isfinite(row).any() else 0 for row in found.across]
        last = f"{stages[-1]} is most like {found.against[best[-1]]} ({found.across[-1][best[-1]]:.2f})"
        panels.append(
            Panel(
                f"Beside {other}",
                (f"Rows are layers of {subject}, columns those of {other}, on the same pictures: {last}.",),
                curves.heat(f"Alikeness of {subject} and {other}", found.across, stages, list(found.against)),
            )
        )
    how = (
        f"Probes learnt from {found.learnt:,} train pictures, {found.judged:,} of validation judged them; test stays sealed."
        if found.how == "split"
        else f"Each of {found.judged:,} pictures was judged by a probe that never saw it (five folds)."
    )
    notes = (
        [
            f"{found.seen:,} of the {found.judged:,} judged pictures were in the training images of this bundle: if its "
            "network was fine-tuned, late layers may look better than they are."
        ]
        if found.seen
        else []
    )
    return Page("layers", subject, _headline(task, stages), _lede(found), panels, notes, how)


def _headline(task: Known, stages: Sequence[str]) -> list[tuple[str, bool]]:
    at = reached(task, stages)
    if at == stages[0]:
        return [("The classes are as easy to tell ", False), (f"after {at}", True), (" as anywhere behind it", False)]
    return [("The classes can be read ", False), (f"from {at} on", True)]


def reached(known: Known, stages: Sequence[str]) -> str:
    """The first stage that is as good as the best one, as far as the interval around the best one tells."""
    best = max(known.scores[stage] for stage in stages)
    return next(stage for stage in stages if known.scores[stage][0] >= best[1])


def _lede(found: Found) -> str:
    task, stages = found.known[0], found.stages
    some = list(dict.fromkeys((stages[0], reached(task, stages), stages[-1])))
    said = [f"after {stage} of {_said(task.scores[stage])}" for stage in some]
    said[0] = f"after {some[0]} a linear probe names the right class of {_said(task.scores[some[0]])} of pictures"
    if task.metric != "accuracy":
        said[0] = f"after {some[0]} a linear probe ranks pictures with a mean AUC of {_said(task.scores[some[0]])}"
    words = ", ".join(said)
    return f"{words[0].upper()}{words[1:]}. Guessing would reach {percent(task.chance)}."


def _said(score: Score) -> str:
    return f"{percent(score[0])} ({100 * score[1]:.0f} to {100 * score[2]:.0f})"


def _parts(stages: Sequence[str]) -> dict[str, list[str]]:
    """Thirds of the network, first ones first; of a network of one or two stages the last parts."""
    thirds = [list(part) for part in np.array_split(np.array(stages, object), 3)]
    thirds = [part for part in thirds if part]
    return dict(zip(PARTS[-len(thirds) :] if len(thirds) < 3 else PARTS, thirds, strict=True))


def _part(found: Found, name: str, stages: Sequence[str]) -> Markup:
    best = {each.name: max((each.scores[stage], stage) for stage in stages) for each in found.known}
    gained = {each.name: _skill(best[each.name][0][0], each.chance) for each in found.known}
    top = max(gained, key=lambda key: gained[key])
    words = {each.name: each.words for each in found.known}
    rest = ", ".join(
        f"{words[key]} {_said(best[key][0])}" for key in sorted(gained, key=lambda k: -gained[k]) if key != top
    )
    sentence = f"{words[top].capitalize()} is known best: {_said(best[top][0])}. Then {rest}."
    where = stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"
    return tag("div", tag("h3", f"{name.capitalize()}: {where}"), tag("p", sentence))


def _skill(value: float, chance: float) -> float:
    """Share of the way from guessing to knowing."""
    return (value - chance) / max(1 - chance, 1e-9)


def _curve(known: Known, stages: Sequence[str]) -> Markup:
    points = [curves.Point(stage, *score) for stage, score in known.scores.items()]
    title = f"{known.words}, {'share right' if known.metric == 'accuracy' else 'mean AUC'}, %"
    return tag(
        "div", tag("h3", title), curves.curve(title, points, known.chance, apart=1), tag("p", _sentence(known, stages))
    )


def _sentence(known: Known, stages: Sequence[str]) -> str:
    """What one curve says."""
    scores = known.scores
    best = max(stages, key=lambda stage: scores[stage][0])
    first, last, pixels = scores[stages[0]], scores[stages[-1]], next(iter(scores.values()))
    words = known.words.capitalize()
    if last[2] < scores[best][1] or (last[0] < scores[best][1] and best == stages[0]):
        said = (
            f"{words} is read best after {best}, {_said(scores[best])}, and fades to {_said(last)} after {stages[-1]}"
        )
    elif last[1] > first[2]:
        said = f"{words} is easier to read deeper inside: {_said(first)} after {stages[0]}, {_said(scores[best])} after {best}"
    else:
        said = f"{words} is about as readable everywhere: best after {best}, {_said(scores[best])}"
    return f"{said}; from pixels alone {_said(pixels)}."
