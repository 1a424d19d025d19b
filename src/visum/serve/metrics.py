"""Counts and times in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/, 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]

HELP = {
    "visum_requests_total": "Requests by route and status.",
    "visum_request_seconds": "From the request's headers to the end of its answer, by route.",
    "visum_pictures_total": "Pictures answered, by model, version and answer: their shares tell of drift.",
    "visum_sure_total": "Answers by model, version and tenth of their probability: a shift to lower tenths tells of drift.",
    "visum_unknown_total": "Pictures that are like nothing learnt, by model and version: more of them tell of drift.",
    "visum_set_classes": "Classes in a prediction set, by model and version: larger sets tell of drift.",
    "visum_batch_pictures": "Pictures that ran together.",
    "visum_decode_seconds": "To decode and fit one request's pictures.",
    "visum_run_seconds": "Of a batch in the engine.",
    "visum_refusals_total": "Requests and files that were refused, by status.",
    "visum_swaps_total": "Reloads of a model, by outcome.",
    "visum_feedback_total": "Labels that were sent back.",
    "visum_decoders_replaced_total": "Decoders that died or were killed.",
    "visum_inside": "Pictures that wait or are worked on.",
    "visum_inside_limit": "How many of these there may be.",
    "visum_held_bytes": "Of request bodies in memory.",
    "visum_connections": "Open now.",
    "visum_ready": "1 if requests are taken.",
    "visum_model_info": "1 for each model and version that is served.",
    "process_resident_memory_bytes": "Of the server's own process.",
    "process_open_fds": "Of the server's own process.",
    "process_start_time_seconds": "Since 1970.",
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUCKETS = {
    "visum_request_seconds": SECONDS,
    "visum_decode_seconds": SECONDS,
    "visum_run_seconds": SECONDS,
    "visum_batch_pictures": (1.0, 2.0, 4.0, 8.0),
    "visum_set_classes": (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 100.0),
}
"""Histograms, and the upper ends of their buckets."""


@dataclass
class Histogram:
    """Counts below each upper end (and above all), and the sum."""

    ends: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.ends) + 1)

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.ends, value)] += 1
        self.total += value


class Metrics:
    """Counters and histograms by name and labels."""

    def __init__(self) -> None:
        self.counters: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self.histograms: dict[str, dict[Labels, Histogram]] = defaultdict(dict)

    def count(self, name: str, **labels: str) -> None:
        """Raise a counter; ``labels`` come from us or from a bundle, never from a request."""
        self.counters[name][tuple(labels.items())] += 1

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One more value of a histogram."""
        key = tuple(labels.items())
        if key not in self.histograms[name]:
            self.histograms[name][key] = Histogram(BUCKETS[name])
        self.histograms[name][key].add(value)

    def text(self, gauges: Mapping[str, Iterable[tuple[Labels, float]]]) -> str:
        """Everything, with what is true right now as ``gauges``."""
        lines: list[str] = []
        for name, cells in self.counters.items():
            lines += _head(name, "counter")
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in cells.items()]
        for name, histograms in self.histograms.items():
            lines += _head(name, "histogram")
            for labels, histogram in histograms.items():
                so_far = 0
                for end, count in zip((*map(_number, histogram.ends), "+Inf"), histogram.counts, strict=True):
                    so_far += count
                    lines.append(f"{name}_bucket{_labels((*labels, ('le', end)))} {so_far}")
                lines.append(f"{name}_sum{_labels(labels)} {_number(histogram.total)}")
                lines.append(f"{name}_count{_labels(labels)} {so_far}")
        for name, values in gauges.items():
            lines += _head(name, "counter" if name.endswith("_total") else "gauge")
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in values]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]


def _labels(labels: Labels) -> str:
    escaped = ((key, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")) for key, value in labels)
    inside = ",".join(f'{key}="{value}"' for key, value in escaped)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
