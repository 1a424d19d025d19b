"""``visum ensemble``: several trained bundles become one, which is judged like any other."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visum import __version__, storage
from visum.data import load, sources
from visum.errors import NotEnoughData, UsageError
from visum.judge import calibrate
from visum.judge import evaluate as judge
from visum.models import ensemble as joining
from visum.models import predict as running
from visum.runtime import Stages, interruptible
from visum.ship import bundle as shipping
from visum.types import Bundle, Manifest, Predictions, Score, in_split, probabilities, rows, targets
from visum.workflow import blend, origin, outcome, promise, ready, record, reference
from visum.workflow.checked import checked

SOUP = "soup"
Ways = Literal["probabilities", "logits", "vote", "soup"]
COMBINED = {
    "probabilities": "mean of probabilities",
    "logits": "mean of logits",
    "vote": "majority vote",
    SOUP: "greedy soup of weights",
}
"""For people."""


@dataclass(frozen=True)
class Member:
    """One bundle that went in, or could have.

    Attributes:
        name: its folder as it was given.
        scores: on the validation images: the headline metric, then log_loss.
        kept: whether it is part of the result; a soup leaves out what does harm.
        trained_on: how many of the validation and test images it was trained on, as far as the run beside it tells.
        seconds: to answer the validation images, whatever the store had of them.
    """

    name: str
    scores: dict[str, Score]
    kept: bool
    trained_on: int
    seconds: float


@dataclass(frozen=True)
class Ensemble:
    """Where the ensemble is, and how good.

    Attributes:
        folder: OUT, with ``metrics.json`` and ``run.json`` in it.
        bundle: the folder to ship.
        combine: probabilities, logits, vote or soup.
        members: in the order they were given.
        validation: scores by metric on the validation images, which also fitted temperature and thresholds.
        test: the same on the sealed test images; empty where there are none.
        unreadable: (id, reason).
        seconds: all in all.
    """

    folder: Path
    bundle: Path
    combine: str
    members: tuple[Member, ...]
    validation: dict[str, Score]
    test: dict[str, Score]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float


@checked
def ensemble(
    bundles: tuple[Path, ...],
    *,
    data: Path,
    out: Path,
    combine: Ways = "probabilities",
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    delimiter: str | None = None,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    overwrite: bool = False,
    seed: int = 0,
) -> Ensemble:
    """Make one bundle of several, by combining their answers or by averaging their weights.

    Args:
        bundles: folders of two or more bundles or runs of the same task and classes.
        data: as for ``train``; its validation images decide and calibrate, its test images judge. Where it has no splits of
            its own, those of the runs around the bundles count: an image that any of them was trained on is left out.
        out: folder for ``bundle/``, ``metrics.json`` and ``run.json``.
        combine: probabilities (their mean), logits (their mean), vote (the majority), soup (one network with the mean of
            the weights of those bundles with which it scores best).
        path_column, label_column, split_column, delimiter: as for ``train``.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        overwrite: replace an ensemble of other bundles or settings in ``out``.
        seed: of the bootstrap.

    Raises:
        UsageError: fewer than two bundles; a soup of different networks; ``out`` holds something else.
        BundleError: not a bundle, an ensemble among them, or bundles of other tasks or classes.
        DataError: the data has other classes, or no labelled validation images.
    """
    settings = dict(locals())
    ready.check_settings("ensemble", engine=engine, extra_formats=extra_formats)
    _check_places(bundles, out)
    stages = Stages()
    with interruptible(next="the same command again"):
        with stages.stage("read") as stage:
            named = [(str(place), shipping.read(place)) for place in bundles]
            joining.check_alike(named)
            if combine == SOUP:
                blend.check_soup(named)
            first = named[0][1]
            table = sources.read(
                data,
                path_column=path_column,
                label_column=label_column,
                split_column=split_column,
                delimiter=delimiter,
                task=first.task,
                classes=first.classes,
            ).manifest
            beside = [origin.table(place) for place in bundles]
            own = bool(in_split(table, "validation").any())
            if own:
                table = _judged(table)
                _check_held(table, data)
            elif any(run is None for run in beside):
                _refuse_unsplit(named, beside, data)
            stage.detail = f"{len(named)} bundles, {len(table):,} files"
        with record.opened(out, settings, _command(bundles)) as facts:
            facts["stages"] = stages.rows
            with stages.stage("decode", len(table)) as stage:
                table, bad = load.index(table, first.preprocess, extra_formats=extra_formats, step=stage.step)
            ready.check_readable(table, bad)
            if not own:
                table = _judged(origin.with_splits(table, [run for run in beside if run is not None]))
            _check_held(table, data)
            held = rows(table, in_split(table, "validation"))
            alone, spent = [], []
            for name, member in named:
                begin = time.perf_counter()
                with stages.stage(f"ask {name}", len(held)) as stage:
                    alone.append(blend.answers(held, member, engine, stage.step))
                    stage.detail = _headline(alone[-1])
                spent.append(time.perf_counter() - begin)
            with stages.stage("combine") as stage:
                if combine == SOUP:
                    made, kept = blend.souped(named, held, engine)
                else:
                    made, kept = joining.join([member for _, member in named], combine), tuple(range(len(named)))
                stage.detail = f"{COMBINED[combine]}, {len(kept)} of {len(named)}"
            with stages.stage("calibrate") as stage:
                said = blend.answers(held, made, engine)
                said = replace(said, temperature=calibrate.temperature(said.logits, said.labels, said.task))
                said = replace(said, thresholds=calibrate.thresholds(probabilities(said), said.labels, said.task))
                made = replace(made, temperature=said.temperature, thresholds=said.thresholds)
                stage.detail = f"{_headline(said)}, temperature {made.temperature:.3g}"
            model, answers = running.Model(made, engine), {"validation": said}
            if in_split(table, "test").any():
                with stages.stage("test", int(in_split(table, "test").sum())) as stage:
                    record.open_test(facts, table)
                    answers["test"] = running.of_table(rows(table, in_split(table, "test")), model, step=stage.step)
            blocks = {split: judge.evaluate(each, seed=seed) for split, each in answers.items()}

            seen = [origin.trained(run) for run in beside]
            members = tuple(
                Member(name, _scores(p), i in kept, sum(d in seen[i] for d in table.sha256.tolist()), spent[i])
                for i, ((name, _), p) in enumerate(zip(named, alone, strict=True))
            )
            with stages.stage("write"):
                unreadable = tuple((error.path, error.reason) for error in bad)
                rejected = [{"id": name, "reason": reason} for name, reason in unreadable]
                facts.update(data=record.data_facts(table, rejected, data), members=[asdict(each) for each in members])
                notes = _notes(facts, blocks, [b for _, b in named], members, combine)
                made = promise.equip(replace(made, notes=notes), answers, table, model)
                made = reference.equipped(made, table, model)
                shipping.write(made, out / "bundle", outcome.golden(table, model))
                storage.write_json(out / "metrics.json", _metrics(made, said, members, blocks, combine))
                if runs := [run for run in beside if run is not None]:
                    with record.saving(out / "manifest.parquet") as draft:
                        origin.joined(runs, made.classes).save(draft)
            facts["seconds"] = stages.seconds()
        storage.evict()
    scores = {
        split: {name: Score(name, **s) for name, s in block["metrics"].items()} for split, block in blocks.items()
    }
    return Ensemble(
        out,
        out / "bundle",
        combine,
        members,
        scores["validation"],
        scores.get("test", {}),
        unreadable,
        stages.seconds(),
    )


def _check_places(bundles: Sequence[Path], out: Path) -> None:
    if not joining.MEMBERS[0] <= len(bundles) <= joining.MEMBERS[1]:
        raise UsageError(
            "1 bundle" if len(bundles) == 1 else f"{len(bundles)} bundles",
            allowed=f"{joining.MEMBERS[0]} to {joining.MEMBERS[1]} of them",
            next="visum ensemble RUN1 RUN2 --data DATA --out FOLDER",
        )
    for place in bundles:
        if shipping.locate(place).is_relative_to(out.resolve()):
            raise UsageError(
                f"--out {out} holds the bundle {place}", allowed="a folder of its own", next="another --out"
            )


def _judged(table: Manifest) -> Manifest:
    """The labelled rows of validation and test."""
    y = targets(table)
    known = np.ones(len(table), bool) if y.ndim == 2 else y >= 0
    return rows(table, known & (in_split(table, "validation") | in_split(table, "test")))


def _check_held(table: Manifest, data: Path) -> None:
    if not in_split(table, "validation").any():
        raise NotEnoughData(
            f"{data} has no labelled validation image that none of the bundles was trained on",
            allowed="a validation split, which calibrates the ensemble",
            next="data with folders train, valid and test (or a split column), for training and for this",
        )


def _refuse_unsplit(named: joining.Named, beside: Sequence[Manifest | None], data: Path) -> None:
    name = next(name for (name, _), run in zip(named, beside, strict=True) if run is None)
    raise NotEnoughData(
        f"{data} has no validation images, and no run lies around {name} to tell which images it was not trained on",
        allowed="data with a validation split, or the run folders instead of bundles that were moved out of them",
        next="a folder valid beside train and test, or a split column",
    )


def _command(bundles: Iterable[Path]) -> str:
    if Path(sys.argv[0]).name == "visum":
        return shlex.join(["visum", *sys.argv[1:]])
    return f"visum.ensemble({[str(place) for place in bundles]!r})"


def _scores(said: Predictions) -> dict[str, Score]:
    return {name: judge.score(said, name) for name in (judge.headline(said.task), "log_loss")}


def _headline(said: Predictions) -> str:
    name = judge.headline(said.task)
    return f"{100 * judge.score(said, name).value:.1f} % validation {name.replace('_', ' ')}"


def _metrics(
    made: Bundle, said: Predictions, members: Sequence[Member], blocks: dict[str, Any], combine: str
) -> dict[str, Any]:
    """``metrics.json``, as a run's: the members are its ladder, the ensemble its last rung."""

    def rung(name: str, scores: dict[str, Score], chosen: bool, detail: str, seconds: float | None) -> dict[str, Any]:
        plain = {key: {k: v for k, v in asdict(score).items() if k != "name"} for key, score in scores.items()}
        spent = None if seconds is None else round(seconds, 3)
        return {"name": name, "seconds": spent, "n": len(said), "metrics": plain, "chosen": chosen, "detail": detail}

    ladder = [rung(m.name, m.scores, False, "member" if m.kept else "left out", m.seconds) for m in members]
    last = rung("ensemble", _scores(said), True, COMBINED[combine], None)
    return {
        "task": made.task,
        "classes": list(made.classes),
        "chosen": "ensemble",
        "combine": combine,
        "temperature": made.temperature,
        "thresholds": list(made.thresholds),
        "splits": blocks,
        "ladder": [*ladder, last],
        "visum": __version__,
    }


def _notes(
    facts: dict[str, Any], blocks: dict[str, Any], bundles: Sequence[Bundle], members: Sequence[Member], combine: str
) -> dict[str, Any]:
    """What the model card tells; licences and findings are those of the members."""
    kept = [bundle for bundle, member in zip(bundles, members, strict=True) if member.kept]
    weights = [bundle.notes["backbone"] for bundle in kept if isinstance(bundle.notes.get("backbone"), dict)]
    lists = [found for bundle in kept if isinstance(found := bundle.notes.get("findings"), list)]
    findings = dict.fromkeys(str(message) for found in lists for message in found)
    sources = {key: _each(each.get(key) for each in weights) for key in ("name", "licence", "source")}
    return {
        "visum": __version__,
        "created": facts["started"],
        "command": facts["command"],
        "training": {
            "Combined": COMBINED[combine],
            "Members": ", ".join(member.name for member in members if member.kept),
            **{f"Member {name}": words for name, words in _made(kept).items()},
        },
        "data": {
            "name": Path(facts["data"]["path"]).name,
            **{key: facts["data"][key] for key in ("n", "digest", "splits", "counts")},
        },
        "scores": {split: block["metrics"] for split, block in blocks.items()},
        "findings": list(findings),
        "versions": facts["versions"],
        **({"backbone": sources} if weights else {}),
    }


def _made(kept: Sequence[Bundle]) -> dict[str, str]:
    """Number of a member → the command that made it, where it says."""
    return {
        str(number): str(bundle.notes["command"]) for number, bundle in enumerate(kept) if bundle.notes.get("command")
    }


def _each(values: Iterable[Any]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values if value)) or "unknown"
