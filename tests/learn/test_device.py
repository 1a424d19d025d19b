"""Where a network is trained and in which precision."""

from __future__ import annotations

import pytest
import torch
from test_loop import network, run

from visum.errors import UsageError
from visum.learn import device


def test_auto_takes_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for amx, avx, precision, words in (
        (False, False, "float32", "no bfloat16 of its own"),
        (False, True, "bfloat16", "AVX-512 BF16"),
        (True, True, "bfloat16", "AMX"),
    ):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        found = device.chosen("auto", "auto")
        assert (found.name, found.precision) == ("cpu", precision)
        assert words in found.why
        assert device.chosen("cpu", "float32").dtype == torch.float32
        assert device.chosen("auto", "bfloat16").facts == {
            "device": "cpu", "precision": "bfloat16", "why": "as asked for",
        }  # fmt: skip


def test_each_process_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert [device.chosen("auto", "auto", near).name for near in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device.chosen("cuda:1", "auto", 0).name == "cuda:1"
    assert device.chosen("auto", "auto").precision == "float32"
    assert device.chosen("cpu", "float32", 1).name == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:7", ""])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=r"cpu"):
        device.check(name, "auto")


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="auto, float32, bfloat16"):
        device.check("auto", "bf16")


def test_bfloat16_learns_and_weights_stay_float32() -> None:
    """The same epochs in both precisions: other numbers, and the loss falls all the same."""
    exact, rough = network(0), network(0)
    lines = [
        run(model, rows=250, steps=5, precision=kind).history
        for model, kind in ((exact, torch.float32), (rough, torch.bfloat16))
    ]
    assert all(p.dtype == torch.float32 for p in rough.parameters())
    assert lines[1][-1].loss < 0.9 * lines[1][0].loss
    assert lines[1][-1].loss == pytest.approx(lines[0][-1].loss, rel=0.1)
    assert not torch.equal(next(exact.parameters()), next(rough.parameters()))


def test_it_is_autocast_that_computes() -> None:
    """Matrix products are bfloat16 within a step and within validation, and float32 where nothing else is asked for."""
    for kind in (torch.float32, torch.bfloat16):
        seen: list[torch.dtype] = []
        model = network(0)
        model.get_submodule("5").register_forward_hook(lambda _, x, out, seen=seen: seen.append(out.dtype))
        run(model, epochs=1, precision=kind)
        assert set(seen) == {kind}
