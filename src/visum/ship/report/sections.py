"""From the files of a run to what the template lays out: plain lists and dicts, one entry per section of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from visum.errors import CorruptFile
from visum.ship.report import advice, charts, climb, words
from visum.ship.report.words import Json, percent

MISTAKES = 24
PAIRS = 10
EXAMPLES = 4
PER_FINDING = 8
PAIRED = ("duplicate", "nearer")  # in kinds of findings whose ids stand side by side
FEW = 25  # rows of a table before the rest is folded away


def view(run: Json, metrics: Json, findings: Sequence[Json] | None, history: Sequence[Json] = ()) -> dict[str, Any]:
    """Everything that ``page.html`` names but the pictures; the ids of those are under ``wanted``, best first."""
    splits = metrics["splits"]
    split = "test" if splits.get("test") else "validation"
    if not splits.get(split):
        raise CorruptFile("metrics.json has neither test nor validation scores", next="visum train again")
    block, task = splits[split], metrics["task"]
    findings = None if findings is None else advice.by_severity(findings)
    audit = [_finding(number, finding) for number, finding in enumerate(findings or ())]
    confused = [{**pair, "ids": list(pair.get("ids") or ())[:EXAMPLES]} for pair in (block.get("confused") or ())]
    wrong = list(block.get("wrong") or ())[:MISTAKES]
    unreadable = (run.get("data") or {}).get("unreadable") or ()
    groups = [p["ids"] for p in confused[:PAIRS]] + [group for f in audit for group in f["shown"]]
    verdict, told, more = advice.calibration(task, block)
    return {
        "run": run,
        "metrics": metrics,
        "task": task,
        "split": split,
        "block": block,
        "name": str((run.get("data") or {}).get("path") or "").rstrip("/\\").replace("\\", "/").rpartition("/")[2],
        "headline": advice.headline(task, split, block),
        "lede": advice.lede(run, metrics, told),
        "tiles": list(_tiles(run, metrics, block, verdict)),
        "steps": advice.next_steps(split, block, metrics, run, findings),
        "ladder": _ladder(metrics),
        "climb": _climb(run, metrics, history),
        "classes": _folded([_class_row(c) for c in sorted(block["per_class"], key=_weakness)]),
        "thresholds": [c for c in block["per_class"] if c.get("threshold") is not None],
        "matrix": charts.matrix(block["confusion"], metrics["classes"]) if block.get("confusion") else None,
        "numbered": len(metrics["classes"]) <= charts.NUMBERED,
        "confused": confused[: PAIRS * 3],
        "pairs_with_pictures": PAIRS,
        "reliability": charts.reliability(block["reliability"]) if block.get("reliability") else None,
        "calibration": f"{told} {more}",
        "wrong": wrong,
        "audit": audit,
        "reasons": {each["id"]: each["reason"] for each in unreadable},
        "audited": findings is not None,
        "scores": _scores(splits),
        "data": _data(run),
        "stages": _stages(run),
        "record": list(_record(run, metrics)),
        "wanted": [*(w["id"] for w in wrong), *chain.from_iterable(groups)],
    }


def _tiles(run: Json, metrics: Json, block: Json, verdict: str) -> Iterator[dict[str, str]]:
    """The key facts: {"name", "value", "note"}."""
    scores, data, engine = block["metrics"], run.get("data") or {}, run.get("engine") or {}
    leading = words.main_metric(metrics["task"], scores)
    for metric in dict.fromkeys((leading, "macro_f1")):
        score = scores.get(metric)
        yield {"name": words.metric_name(metric), "value": percent(words.value(score)), "note": words.interval(score)}
    ece = scores.get("ece")
    note = f"calibration error {percent(words.value(ece))}" if words.value(ece) is not None else ""
    yield {"name": "Its confidence", "value": verdict, "note": note}
    parts = [f"{words.count(n)} {name}" for name, n in (data.get("splits") or {}).items()]
    yield {"name": "Images", "value": words.count(data.get("n")), "note": ", ".join(parts)}
    kind = {"multilabel": "several may apply", "binary": "yes or no"}.get(metrics["task"], "one per image")
    yield {"name": "Classes", "value": words.count(len(metrics["classes"])), "note": kind}
    budget = run.get("budget")
    note = f"of {words.duration(budget)} allowed" if budget else "all stages together"
    yield {"name": "Time taken", "value": words.duration(run.get("seconds")), "note": note}
    if engine.get("images_per_second") is not None:
        note = ", ".join(str(engine[key]) for key in ("name", "precision") if engine.get(key))
        yield {"name": "Images per second", "value": words.count(engine["images_per_second"]), "note": note}
    if (openings := run.get("test_openings")) is not None:
        often = {0: "never", 1: "once"}.get(openings, words.plural(openings, "time"))
        yield {
            "name": "Test images looked at",
            "value": often,
            "note": "after everything was decided" if openings == 1 else "",
        }


def _bar(score: Json | None, name: str, *, chosen: bool = True) -> dict[str, Any]:
    """A score as {"svg", "text", "interval"}."""
    amount = words.value(score)
    low, high = (score.get("low"), score.get("high")) if score else (None, None)
    tip = f"{words.short(name)}: {percent(amount)}" + (f" ({words.interval(score)})" if words.interval(score) else "")
    svg = charts.bar(amount, low, high, chosen=chosen, tip=tip)
    return {"svg": svg, "text": percent(amount), "interval": words.interval(score)}


def _ladder(metrics: Json) -> dict[str, Any]:
    rungs = metrics.get("ladder") or []
    leading = words.main_metric(metrics["task"], rungs[-1]["metrics"] if rungs else {})
    rows = [{**rung, "bar": _bar(rung["metrics"].get(leading), rung["name"], chosen=rung["chosen"])} for rung in rungs]
    n = next((rung["n"] for rung in rungs if rung.get("n")), None)
    return {
        "rows": rows,
        "metric": words.metric_name(leading),
        "told": advice.ladder(rungs, leading) if rungs else "",
        "n": n,
    }


def _climb(run: Json, metrics: Json, history: Sequence[Json]) -> dict[str, Any] | None:
    """The chart of score against time, where the run tells its moments."""
    rungs = metrics.get("ladder") or []
    leading = words.main_metric(metrics["task"], rungs[-1]["metrics"] if rungs else {})
    found = climb.moments(rungs, leading, history)
    svg = climb.climb(found, words.metric_name(leading), run.get("seconds") or 0.0, run.get("budget"))
    return None if svg is None else {"svg": svg, "told": climb.told(found)}


def _weakness(entry: Json) -> tuple[bool, float]:
    f1 = words.value(entry.get("f1"))
    return (f1 is None, f1 or 0.0)


def _class_row(entry: Json) -> dict[str, Any]:
    bars = [_bar(entry.get(key), f"{entry['class']}, {key}") for key in ("f1", "recall", "precision")]
    return {"class": entry["class"], "n": entry["n"], "bars": bars}


def _folded(rows: list[Any]) -> dict[str, list[Any]]:
    """The first rows, and the rest where there are too many to show at once."""
    return {"first": rows, "rest": []} if len(rows) <= FEW + 5 else {"first": rows[:FEW], "rest": rows[FEW:]}


def _finding(number: int, finding: Json) -> dict[str, Any]:
    """A finding with its pictures in groups: pairs where it is about images that are alike, one row otherwise."""
    ids = list(finding.get("ids") or ())
    paired = any(word in finding["kind"] for word in PAIRED) and len(ids) % 2 == 0
    groups = [ids[at : at + 2] for at in range(0, len(ids), 2)] if paired else [[each] for each in ids]
    shown = groups[: PER_FINDING // 2] if paired else [ids[:PER_FINDING]]
    numbers = finding.get("numbers") or {}
    return {
        **finding,
        "anchor": f"finding-{number}",
        "title": advice.title(finding["kind"]),
        "shown": shown if ids else [],
        "paired": paired,
        "groups": groups,
        "figures": [(advice.title(key), _figure(key, v)) for key, v in numbers.items()],
    }


def _figure(key: str, number: float | None) -> str:
    if "share" in key or "fraction" in key:
        return percent(number)
    whole = number is not None and float(number).is_integer()
    return words.count(number) if whole else words.decimal(number)


def _scores(splits: Json) -> dict[str, Any]:
    """All metrics of all splits, for the table: a row of (text, interval) per metric."""
    present = [name for name in ("validation", "test") if splits.get(name)]
    keys = dict.fromkeys(chain.from_iterable(splits[name]["metrics"] for name in present))
    rows = []
    for key in keys:
        share = words.is_share(key)
        scores = [splits[name]["metrics"].get(key) for name in present]
        cells = [
            (
                (percent if share else words.decimal)(words.value(s)),
                words.interval(s, share=share),
                (s or {}).get("method"),
            )
            for s in scores
        ]
        rows.append({"name": words.metric_name(key), "cells": cells})
    return {"splits": [(name, splits[name]["n"]) for name in present], "rows": rows}


def _data(run: Json) -> dict[str, Any]:
    data = run.get("data") or {}
    classes, counts = data.get("classes") or [], data.get("counts") or {}
    names = [name for name in counts if counts[name] and sum(counts[name])]
    most = {name: max(counts[name]) for name in names}
    rows = [
        {
            "class": c,
            "cells": [
                (n := counts[name][k], charts.amount(n, most[name], tip=f"{words.short(c)}, {name}: {n}"))
                for name in names
            ],
        }
        for k, c in enumerate(classes)
    ]
    how = next((s.get("detail") for s in run.get("stages") or () if "split" in s["name"]), "")
    unreadable = data.get("unreadable") or []
    return {"splits": names, "rows": _folded(rows), "how": how, "unreadable": unreadable, "facts": data}


def _stages(run: Json) -> list[dict[str, Any]]:
    stages, at, out = run.get("stages") or [], 0.0, []
    total = max(sum(s["seconds"] or 0.0 for s in stages), run.get("seconds") or 0.0)
    for stage in stages:
        seconds = stage["seconds"] or 0.0
        tip = f"{words.short(stage['name'])}: {words.duration(seconds)}"
        out.append(
            {**stage, "svg": charts.span(at, seconds, total, tip=tip), "share": percent(seconds / (total or 1), 0)}
        )
        at += seconds
    return out


def _record(run: Json, metrics: Json) -> Iterator[tuple[str, str]]:
    """What someone needs to make the run again: (name, text)."""
    openings = run.get("test_openings")
    yield "Command", str(run.get("command") or words.NONE)
    yield "Started", str(run.get("started") or words.NONE)
    yield "Seed", str(run.get("seed", words.NONE))
    yield "Test images looked at", words.NONE if openings is None else words.plural(openings, "time")
    yield "Temperature", words.decimal(metrics.get("temperature"))
    if thresholds := metrics.get("thresholds"):
        yield (
            "Thresholds",
            ", ".join(words.decimal(t) for t in thresholds[:60]) + (" …" if len(thresholds) > 60 else ""),
        )
    yield "visum", str(run.get("visum") or words.NONE)
    for name, key in (
        ("Machine", "machine"),
        ("Engine", "engine"),
        ("Backbone", "backbone"),
        ("Preprocessing", "preprocess"),
    ):
        if run.get(key):
            yield name, _plain(run[key])
    yield "Versions", _plain(run.get("versions") or words.NONE)


def _plain(value: Any) -> str:
    """Nested JSON as ``key value, key value``."""
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {_plain(v)}" for key, v in islice(value.items(), 60))
    if isinstance(value, list):
        return " ".join(_plain(v) for v in value[:60])
    if isinstance(value, float):
        return f"{value:.6g}"
    return words.NONE if value is None else str(value)
