"""Sentences: what the numbers of a run mean, and what to do next. Each follows from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visum.ship.report import words
from visum.ship.report.words import Json, percent, plural

SEVERITIES = ("serious", "warning", "info")
_BOLD = 1


def headline(task: str, split: str, block: Json) -> list[tuple[str, int]]:
    """The result as one sentence in (text, 1 where it is to stand out) parts."""
    n, metrics = block["n"], block["metrics"]
    unseen = "it never trained on" if split == "test" else "that also chose the model"
    start = f"On {words.count(n)} {split} {'image' if n == 1 else 'images'} {unseen}, it "
    recall, precision = metrics.get("micro_recall"), metrics.get("micro_precision")
    if task == "multilabel" and words.value(recall) is not None:
        found = _range(recall)
        tail = f" of the labels{found}, and {percent(words.value(precision))} of those it gives are right."
        return [(start + "finds ", 0), (percent(words.value(recall)), _BOLD), (tail, 0)]
    name = words.main_metric(task, metrics)
    score = metrics.get(name)
    if words.value(score) is None:
        return [(f"{plural(n, split + ' image')}, and no score could be computed on them.", 0)]
    if name == "accuracy":
        return [(start + "is right ", 0), (percent(words.value(score)), _BOLD), (f" of the time{_range(score)}.", 0)]
    text = f"{words.metric_name(name)}, on {plural(n, split + ' image')}: "
    return [(text, 0), (percent(words.value(score)), _BOLD), (f"{_range(score)}.", 0)]


def _range(score: Json | None) -> str:
    text = words.interval(score)
    return f" ({text})" if text else ""


def calibration(task: str, block: Json) -> tuple[str, str, str]:
    """How far confidence can be taken at its word: a few words; a sentence with the fullest bin of the diagram; and one
    with the bin that is furthest off beyond chance (or that there is none)."""
    ece = words.value(block["metrics"].get("ece"))
    full = [b for b in block.get("reliability") or [] if b.get("n") and b.get("accuracy") is not None]
    total = sum(b["n"] for b in full)
    lean = sum(b["n"] * (b["confidence"] - b["accuracy"]) for b in full) / total if total else 0.0
    if ece is None:
        verdict = "not measured"
    elif ece <= 0.03:
        verdict = "can be taken at its word"
    elif ece <= 0.08:
        verdict = "roughly right" if abs(lean) < 0.02 else "a little too sure" if lean > 0 else "a little too modest"
    else:
        verdict = "off" if abs(lean) < 0.03 else "much too sure" if lean > 0 else "much too modest"
    if not full:
        return verdict, "There are no answers to compare confidence with.", ""
    is_right = "the class is there" if task == "multilabel" else "it is right"
    most = max(full, key=lambda b: b["n"])
    told = (
        f"When it says about {percent(most['confidence'], 0)}, {is_right} {percent(most['accuracy'], 0)} of the time."
    )
    more = ""
    outside = [b for b in full if b is not most and _misses(b)]
    if outside:
        worst = max(outside, key=lambda b: b["n"] * abs(b["confidence"] - b["accuracy"]))
        way = "too sure" if worst["confidence"] > worst["accuracy"] else "too modest"
        said, right = percent(worst["confidence"], 0), percent(worst["accuracy"], 0)
        more = f"Around {said} it is {way}: {is_right} {right} of the time ({plural(worst['n'], 'answer')})."
    elif len(full) > 1 and not _misses(most):
        more = "At every level of confidence, the difference is within what chance explains."
    return verdict, told, more


def _misses(b: Json) -> bool:
    low, high = b.get("accuracy_low"), b.get("accuracy_high")
    return low is not None and high is not None and not low <= b["confidence"] <= high


def lede(run: Json, metrics: Json, told: str) -> str:
    """Below the headline: what it learned from and how long that took, its confidence, and the best other model."""
    parts = []
    if learned := ((run.get("data") or {}).get("splits") or {}).get("train"):
        took = f" in {words.duration(run['seconds'])}" if run.get("seconds") else ""
        classes = plural(len(metrics["classes"]), "class", "classes")
        parts.append(f"It learned from {plural(learned, 'image')} of {classes}{took}.")
    parts.append(told)
    rungs = metrics.get("ladder") or []
    metric = words.main_metric(metrics["task"], rungs[-1]["metrics"] if rungs else {})
    mine, others = _scored(rungs, metric)
    if mine is not None and others:
        best = max(others, key=lambda pair: pair[0])
        gap = 100 * (mine[0] - best[0])
        of = "The only other model tried" if len(others) == 1 else f"The best of {len(others)} other models tried"
        parts.append(
            f"{of}, {words.short(best[1]['name'])}, is {abs(gap):.1f} points {'below' if gap >= 0 else 'above'} it."
        )
    return " ".join([*parts, f"Ranges are 95{words.THIN}% intervals."])


def _scored(rungs: Sequence[Json], metric: str) -> tuple[tuple[float, Json] | None, list[tuple[float, Json]]]:
    """The chosen rung and the others, each with its value of the metric; rungs without one are left out."""
    scored = [(v, rung) for rung in rungs if (v := words.value(rung["metrics"].get(metric))) is not None]
    return next((pair for pair in scored if pair[1]["chosen"]), None), [
        pair for pair in scored if not pair[1]["chosen"]
    ]


def ladder(rungs: Sequence[Json], metric: str) -> str:
    """What the chosen model gains over the simplest rung and over the best of the others."""
    mine, others = _scored(rungs, metric)
    if mine is None or not others:
        return "There is nothing to compare the model with: no second rung was measured."
    value, chosen = mine
    floor, best = min(others, key=lambda pair: pair[0]), max(others, key=lambda pair: pair[0])
    text = f"{words.short(chosen['name'])} reaches {percent(value)}"
    if floor[1] is not best[1]:
        text += f"; the lowest rung, {words.short(floor[1]['name'])}, {percent(floor[0])}"
    gain = value - best[0]
    text += f". The best of the others, {words.short(best[1]['name'])}, reaches {percent(best[0])}: "
    if gain <= 0:
        why = "; its log loss is lower, which decides where scores are too near to be told apart."
        return f"{text}by this measure the chosen model gains nothing over it{why}"
    text += f"{100 * gain:.1f} points less"
    if metric == "accuracy":
        text += f", so that the chosen model avoids {percent(gain / (1 - best[0]), 0)} of its mistakes"
    low, high = chosen["metrics"][metric].get("low"), best[1]["metrics"][metric].get("high")
    within = low is not None and high is not None and low <= high
    return text + (". Their intervals overlap: on so few images this gain is not certain." if within else ".")


def weakest(block: Json) -> Json | None:
    """The class with the lowest F1 among those that have images and a score; None where nothing is wrong with any."""
    scored = [c for c in block["per_class"] if c["n"] and words.value(c.get("f1")) is not None]
    weak = min(scored, key=lambda c: words.value(c["f1"]) or 0.0, default=None)
    return weak if len(scored) > 1 and weak is not None and words.value(weak["f1"]) != 1.0 else None


def next_steps(split: str, block: Json, metrics: Json, run: Json, findings: Sequence[Json] | None) -> list[Json]:
    """What to do next, most urgent first: {"title", "text", "link"} with the section of the page that shows it."""
    steps: list[Json] = []
    for number, finding in enumerate(findings or ()):
        if finding["severity"] == "serious" or (finding["severity"] == "warning" and len(steps) < 3):
            steps.append({"title": title(finding["kind"]), "text": finding["message"], "link": f"finding-{number}"})
    steps = steps[:5]
    if (weak := weakest(block)) is not None:
        steps.append(
            {
                "title": f"Weakest class: {words.short(weak['class'])}",
                "text": _about(weak, block, run),
                "link": "classes",
            }
        )
    score = block["metrics"].get(words.main_metric(metrics["task"], block["metrics"])) or {}
    wide = score["high"] - score["low"] if score.get("low") is not None and score.get("high") is not None else 0.0
    if wide > 0.1:
        known = f"With {plural(block['n'], split + ' image')} the result is known to {100 * wide:.0f} points"
        steps.append(
            {
                "title": "More images to test on",
                "text": f"{known}; four times as many would halve that.",
                "link": "data",
            }
        )
    if (run.get("test_openings") or 0) > 1:
        times = f"The test images were looked at {run['test_openings']} times"
        text = f"{times}. Each look makes the result a little kinder than it is; new test images make it honest again."
        steps.append({"title": "The test is worn", "text": text, "link": "record"})
    return steps


def _about(weak: Json, block: Json, run: Json) -> str:
    recall, precision = words.value(weak.get("recall")), words.value(weak.get("precision"))
    found = f"Of its {plural(weak['n'], 'image')}, {percent(recall)} are found"
    text = f"{found}; of the answers that name it, {percent(precision)} are right."
    pairs = [p for p in block.get("confused") or [] if p["truth"] == weak["class"]]
    if pairs:
        most = max(pairs, key=lambda p: int(p["count"]))
        text += f" Most often it is taken for “{words.short(words.names(most['answer']))}” ({plural(most['count'], 'time')})."
    data = run.get("data") or {}
    counts, classes = (data.get("counts") or {}).get("train"), data.get("classes") or []
    if counts and weak["class"] in classes and len(counts) == len(classes):
        have = counts[classes.index(weak["class"])]
        if have < 0.6 * sum(counts) / len(counts):
            return text + f" Only {plural(have, 'image')} taught it: more of them is the first thing to try."
    return text + " Look at its pictures below first: mixed-up labels and unclear borders between classes show there."


def title(kind: str) -> str:
    """``near_duplicate_across_splits`` → ``Near duplicate across splits``."""
    return kind.replace("_", " ").replace("-", " ").strip().capitalize()


def by_severity(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Most serious first; the order within one severity is kept."""
    return sorted(findings, key=lambda f: SEVERITIES.index(f["severity"]) if f["severity"] in SEVERITIES else 1)
