"""Training steps behind a cut: on cached maps, and with the whole network run forward for them; the same steps, in turns, in the
precision that training takes on this machine.

Maps are read from memory here; the store's reading is hidden behind the step before (``data.load.ahead``). Best of the turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from visum.learn import device, norms, optim, transfer
from visum.models import prefix, weights
from visum.runtime import threads

BATCH, STEPS, TURNS = 32, 4, 5


def main() -> None:
    torch.set_num_threads(threads())
    on = device.chosen(device.AUTO, device.AUTO)
    print(f"{on.precision}: {on.why}\n")
    backbone = weights.find()
    side = backbone.preprocess.size
    print("| cut | on cached maps, images/s | whole network forward, images/s | ratio |\n|---|---|---|---|")
    for cut in prefix.cuts(backbone):
        halves = prefix.split(backbone, cut)
        pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8))
        with torch.no_grad():
            maps = halves.prefix(pixels).reshape(BATCH, *halves.shape).to(memory_format=torch.channels_last)
            width = halves.suffix(maps).shape[1]
        zeros, spread = np.zeros(width, np.float32), np.ones(width, np.float32)
        head = np.zeros((width, 10), np.float32), np.zeros(10, np.float32)
        model = transfer.Classifier(halves.suffix, zeros, spread, *head).to(memory_format=torch.channels_last)
        norms.folded(model, maps)
        optimiser = optim.OPTIMISERS["adamw"](optim.groups(model, lr=1e-3, weight_decay=0.02), 1e-3, 0.02)
        target = torch.arange(BATCH) % 10

        def step(x: torch.Tensor, model: torch.nn.Module = model, optimiser: torch.optim.Optimizer = optimiser) -> None:
            with torch.autocast("cpu", on.dtype, enabled=on.dtype != torch.float32):
                loss = torch.nn.functional.cross_entropy(model(x), target)  # noqa: B023 - used within the turn
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()

        def whole(halves: prefix.Halves = halves, step: Callable[[torch.Tensor], None] = step) -> None:
            with torch.no_grad(), torch.autocast("cpu", on.dtype, enabled=on.dtype != torch.float32):
                x = halves.prefix(pixels).reshape(BATCH, *halves.shape)  # noqa: B023
            step(x.float().to(memory_format=torch.channels_last))

        model.train()
        norms.still(model)
        cached, forward = [], []
        for _ in range(TURNS):
            cached.append(speed(lambda step=step, maps=maps: step(maps)))  # type: ignore[misc]
            forward.append(speed(whole))
        print(f"| {cut} | {max(cached):.0f} | {max(forward):.0f} | {max(cached) / max(forward):.1f} |", flush=True)


def speed(work: Callable[[], None]) -> float:
    """Images a second."""
    begin = time.perf_counter()
    for _ in range(STEPS):
        work()
    return STEPS * BATCH / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
