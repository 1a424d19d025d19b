"""What a few layers tell of an engine: the arithmetic is counted from the graph itself, and the time is that of the graph."""

from __future__ import annotations

import math

import pytest

from visum.models import gauge


def test_the_work_is_that_of_the_convolutions_in_the_graph() -> None:
    graph, work = gauge.blocks()
    counted = 0
    for node in graph.get_ops():
        kernel = list(node.input(1).get_shape()) if node.get_input_size() > 1 else []
        if node.get_type_name() == "Convolution":  # [O, I, h, w]
            counted += math.prod(node.output(0).get_shape()) * math.prod(kernel[1:])
        elif node.get_type_name() == "GroupConvolution":  # [G, O, I, h, w]
            counted += math.prod(node.output(0).get_shape()) * math.prod(kernel[2:])
    assert work == counted


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_what_is_reached_is_told_from_the_fastest_turn(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still but for the turns, which take 3, 1, 2 and 5 seconds."""
    moments = iter([0, 3, 10, 11, 20, 22, 30, 35])
    monkeypatch.setattr(gauge.time, "perf_counter", lambda: next(moments))
    found = gauge.multiply_adds_per_second(engine)
    if engine == "torch":
        assert found == gauge.OF_A_PRODUCT * 1024**3
    else:
        assert found == gauge.REACHED["openvino"] * gauge.blocks()[1] * gauge._AT_ONCE * gauge.threads()
