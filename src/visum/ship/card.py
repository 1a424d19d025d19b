"""The model card: what a stranger must know before using a bundle, as Markdown that travels inside it.

It is written from the bundle alone. ``Bundle.notes`` may hold these keys, all of them optional:

    visum       version that trained it                      created    date and time, ISO 8601
    command     what was typed                               training   {word: value}, free
    data        {"name", "n", "digest", "splits": {split: images}, "counts": {split: [images of each class]}}
    scores      {split: {metric: {"value", "low", "high", "n"}}}       metrics as in metrics.json
    findings    [message]                                    versions   {package: version}
    backbone    {"name", "licence", "source"}                of the pretrained weights
    conformal, abstain, unknown                              as visum.judge.promise says

Class names, messages and notes are strangers' text: each is cleaned of control characters and line breaks, and escaped for
Markdown and HTML before it is put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visum.types import Bundle, network_weights

ROWS = 100  # of a table; the rest is in bundle.json
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#|~!$^&<>:@]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", ":": "&#58;", "@": "&#64;"}  # the last two: no link by themselves
_TASKS = {
    "binary": "one of two classes for each picture",
    "multiclass": "one class for each picture",
    "multilabel": "any number of classes for each picture",
}
_FITS = {
    "pad": "the longer side is brought to {0} pixels and the rest is padded",
    "crop": "the shorter side is brought to {0} pixels and the middle is kept",
    "squash": "both sides are brought to {0} pixels",
}


def text(bundle: Bundle) -> str:
    """The card, Markdown (CommonMark with tables), ending in a line break."""
    notes = bundle.notes
    parts = [
        f"# Model card: a classifier of {len(bundle.classes)} classes\n\n{_what(bundle)}",
        "## How to use it\n\n"
        "```sh\nvisum verify BUNDLE               # do the golden images still get the answers they got when it was made?\n"
        "visum predict BUNDLE photo.jpg\nvisum evaluate BUNDLE DATA       # on labelled pictures of your own\n"
        "(cd BUNDLE && sha256sum -c SHA256SUMS)\n```\n\n"
        '```python\nimport visum\n\nmodel = visum.load("BUNDLE")\n```',
        f"## Classes\n\n{_classes(bundle)}",
        f"## Data\n\n{_data(_table(notes.get('data')))}",
        f"## Scores\n\n{_scores(_table(notes.get('scores')))}",
        f"## Preprocessing\n\n{_preprocessing(bundle)}",
        f"## Calibration and decisions\n\n{_calibration(bundle)}",
        *([f"## What it promises\n\n{said}"] if (said := _promises(notes)) else []),
        f"## Intended use and limits\n\n{_limits(bundle)}",
        f"## How it was made\n\n{_making(bundle)}",
    ]
    return "\n\n".join(parts) + "\n"


def plain(value: Any, limit: int = 200) -> str:
    """Any value as one line of text that Markdown and HTML take literally, at most ``limit`` characters before escaping."""
    from visum.ship.report import words

    line = " ".join(words.short(str(value), limit).split())
    line = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], "\\" + found[0]), line)
    line = re.sub(r"^([-+=])", r"\\\1", line)  # at the start of a line: a list or a heading
    line = re.sub(r"^(\d{1,9})([.])(?=\s|$)", r"\1\\\2", line)
    return re.sub(r"(?i)\bwww\.", "www&#46;", line)


def _what(bundle: Bundle) -> str:
    notes, backbone = bundle.notes, _table(bundle.notes.get("backbone"))
    kind, name = bundle.architecture.get("kind"), backbone.get("name", bundle.architecture.get("backbone"))
    if kind == "ensemble":
        members = bundle.architecture["members"]
        model = f"An ensemble of {len(members)} models, combined by {plain(bundle.architecture['combine'])}"
    elif kind == "probe":
        model = f"A linear classifier on the features of the frozen network {plain(name)}"
    else:
        inner = (f"{plain(k)} {plain(v)}" for k, v in bundle.architecture.items() if k != "kind" and isinstance(v, str))
        model = f"A model of kind {plain(kind)}" + "".join(f", {part}" for part in inner)
    made = f", made with visum {plain(notes['visum'])}" if notes.get("visum") else ""
    when = f" on {plain(notes['created'])}" if notes.get("created") else ""
    count = sum(value.size for value in network_weights(bundle).values())
    return f"{model}{made}{when}. It answers with {_TASKS[bundle.task]}. {count:,} numbers in its weights; no code."


def _classes(bundle: Bundle) -> str:
    counts = _table(_table(bundle.notes.get("data")).get("counts"))
    k = len(bundle.classes)
    counts = {split: n for split, n in counts.items() if isinstance(n, Sequence) and len(n) == k}
    rows = [
        [str(i), plain(name), *(_whole(n[i]) for n in counts.values())] for i, name in enumerate(bundle.classes[:ROWS])
    ]
    more = f"\n\nand {k - ROWS:,} more in `bundle.json`." if k > ROWS else ""
    return _grid(["#", "Class", *(f"Images ({plain(split)})" for split in counts)], rows) + more


def _data(data: Mapping[str, Any]) -> str:
    lines = []
    if data.get("name"):
        lines.append(f"- Name: {plain(data['name'])}")
    if data.get("n") is not None:
        lines.append(f"- Images: {_whole(data['n'])}")
    lines += [f"- {plain(split).capitalize()}: {_whole(n)} images" for split, n in _table(data.get("splits")).items()]
    if data.get("digest"):
        lines.append(f"- Digest: `{re.sub('[^0-9a-zA-Z:-]', '', str(data['digest']))[:128]}`")
    return "\n".join(lines) or "Nothing was recorded about the data."


def _scores(scores: Mapping[str, Any]) -> str:
    from visum.ship.report import words

    rows = []
    for split, metrics in scores.items():
        for metric, score in _table(metrics).items():
            entry = {k: v if _is_number(v) else None for k, v in _table(score).items()}
            share = words.is_share(metric)
            value = words.percent(entry.get("value")) if share else words.decimal(entry.get("value"))
            interval = words.interval(entry, share=share) or words.NONE
            rows.append([plain(split), plain(words.metric_name(metric)), value, interval, _whole(entry.get("n"))])
    if not rows:
        return "No scores were recorded: measure it on pictures of your own before you trust it."
    return _grid(["Split", "Score", "Value", "95 % interval", "n"], rows) + (
        "\n\nValidation pictures were used to choose and to calibrate, so that their scores flatter; test pictures were not. "
        "Scores hold for pictures like these, taken the same way."
    )


def _preprocessing(bundle: Bundle) -> str:
    spec = bundle.preprocess
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (spec.mean, spec.std))
    red, green, blue = spec.background
    several = bundle.architecture.get("kind") == "ensemble"
    first = "Each member has its own preprocessing (`bundle.json`); this is that of the first. " if several else ""
    return first + (
        f"Pictures are turned upright (EXIF), made RGB on a background of ({red}, {green}, {blue}); "
        f"{_FITS[spec.fit].format(spec.size)} ({spec.filter}, antialiased). Then (x - mean) / std with x in 0 … 255, channels "
        f"in {spec.channels} order, mean {mean} and std {std}. visum does all of it; nothing is left to the caller."
    )


def _calibration(bundle: Bundle) -> str:
    squash = "sigmoid" if bundle.task == "multilabel" else "softmax"
    lines = [
        f"Probabilities are the {squash} of logits / T with T = {bundle.temperature:.4g}, fitted on validation pictures."
    ]
    if bundle.task == "binary" and bundle.thresholds:
        lines.append(f"The answer is {plain(bundle.classes[1])} from a probability of {bundle.thresholds[0]:.4g} on.")
    elif bundle.task == "multilabel" and bundle.thresholds:
        pairs = list(zip(bundle.classes, bundle.thresholds, strict=True))[:ROWS]
        lines.append("A class is answered from its threshold on:\n")
        lines.append(_grid(["Class", "Threshold"], [[plain(name), f"{t:.4g}"] for name, t in pairs]))
    else:
        each = "Each class from 0.5 on" if bundle.task == "multilabel" else "The most probable class"
        lines.append(f"{each} is the answer.")
    return "\n".join(lines)


def _promises(notes: Mapping[str, Any]) -> str:
    """Prediction sets, abstaining and the unknown, with what each rests on; "" of a bundle that says nothing of them."""
    sets, abstain, unknown = (_table(notes.get(name)) for name in ("conformal", "abstain", "unknown"))
    lines = []
    for level in _listed(sets.get("levels")):
        test = _table(level.get("test"))
        seen = f"; on {_whole(test['n'])} test pictures: of {_percent(test.get('coverage'))}" if "n" in test else ""
        lines.append(
            f"Prediction sets with {_percent(level.get('coverage'), 0)} coverage (`visum predict --coverage`) hold the true "
            f"class of {_percent(level.get('low'))} to {_percent(level.get('high'))} of new pictures (95 % interval, "
            f"{_whole(level.get('n'))} validation pictures){seen}."
        )
    lines += [
        f"Where it is surer than {_percent(each['threshold'])}, at most {_percent(each.get('target'), 0)} of its answers are "
        f"wrong (`--target-error`), but for {_percent(each.get('delta'), 0)} of such promises; it then answers "
        f"{_percent(each.get('answered'))} of pictures."
        for each in _listed(abstain.get("targets"))
        if "threshold" in each
    ]
    if "threshold" in unknown:
        lines.append(
            f"{_percent(unknown.get('kept'), 0)} of pictures of what it knows pass, others are called unknown (`--unknown`, "
            f"detector {plain(unknown.get('detector'))}); nothing is promised about how many strange ones it finds."
        )
    for what, note in (
        ("prediction sets", sets),
        ("promise about errors", abstain),
        ("detector of the unknown", unknown),
    ):
        if "why" in note:
            lines.append(f"No {what}: {plain(note['why'], 300)}")
    if lines:
        lines.append("Promises hold for pictures that come as the validation pictures came, and for no others.")
    return "\n".join(f"- {line}" for line in lines)


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [_table(each) for each in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _percent(value: Any, digits: int = 1) -> str:
    return f"{100 * max(0.0, value):.{digits}f} %" if _is_number(value) else "–"


def _limits(bundle: Bundle) -> str:
    none = "no class at all" if bundle.task == "multilabel" else "the least wrong of its classes"
    lines = [
        f"It sorts pictures into the {len(bundle.classes)} classes above, taken as those that it was trained on were taken.",
        f"A picture of something else gets {none}, sometimes with a high probability.",
        "Other cameras, light, places, seasons or people than in the training pictures lower its scores by an unknown amount: "
        "measure that with `visum evaluate` before use.",
        "It is not made for decisions about the health, the rights or the safety of people without a person who checks.",
    ]
    findings = bundle.notes.get("findings")
    if isinstance(findings, Sequence) and not isinstance(findings, str) and findings:
        lines.append("What the audit of the data found:")
        return (
            "\n".join(f"- {line}" for line in lines)
            + "\n"
            + "\n".join(f"  - {plain(message, 400)}" for message in findings[:ROWS])
        )
    return "\n".join(f"- {line}" for line in lines)


def _making(bundle: Bundle) -> str:
    notes, backbone = bundle.notes, _table(bundle.notes.get("backbone"))
    lines = []
    if backbone:
        lines.append(
            f"- Pretrained weights: {plain(backbone.get('name', 'unnamed'))}, source {plain(backbone.get('source', 'unknown'))}, "
            f"licence **{plain(backbone.get('licence', 'unknown'))}**: it holds for the `backbone.*` tensors of this bundle."
        )
    if notes.get("command"):
        lines.append(f"- Command: {plain(notes['command'], 400)}")
    lines += [f"- {plain(key)}: {plain(value)}" for key, value in _table(notes.get("training")).items()]
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in _table(notes.get("versions")).items())
    if versions:
        lines.append(f"- Versions: {versions}")
    return "\n".join(lines) or "Nothing was recorded."


def _grid(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    first = list(head)
    lines = [first, ["---"] * len(first), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table(value: Any) -> Mapping[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if _is_number(value) else "–"
