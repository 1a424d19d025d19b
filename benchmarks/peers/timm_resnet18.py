"""timm's ResNet-18 from random weights with the defaults of timm's training script, for as many epochs as fit into a time.

``python timm_resnet18.py FOLDER SECONDS SIDE`` prints one JSON line; FOLDER has train/<class>/ and test/<class>/.
The defaults: batches of 128, SGD with momentum 0.9 and weight decay 2e-5, rate 0.1 for 256 images (linearly scaled), cosine
after five epochs of warm-up, label smoothing 0.1, random resized crops (0.08 to 1), mirror images, colour
jitter 0.4, random interpolation.
"""

from __future__ import annotations

import json
import sys
import time

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

BATCH, WARM_UP = 128, 5
BEGIN = time.perf_counter() - time.process_time()  # the imports count; they are processor time


def main() -> None:
    folder, seconds, side = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(0)
    torch.set_num_threads(2)
    train = create_dataset("", folder, split="train", is_training=True)
    test = create_dataset("", folder, split="test")
    shape = (3, side, side)
    loader = create_loader(
        train, shape, BATCH, is_training=True, device=torch.device("cpu"), num_workers=2, color_jitter=0.4, scale=(0.08, 1.0),
        hflip=0.5, interpolation="random", use_prefetcher=False, persistent_workers=True,
    )  # fmt: skip
    model = timm.create_model("resnet18", num_classes=len(train.reader.class_to_idx))
    optimiser = create_optimizer_v2(model, opt="sgd", lr=0.1 * BATCH / 256, momentum=0.9, weight_decay=2e-5)
    loss = LabelSmoothingCrossEntropy(0.1)
    schedule, epochs, epoch = None, None, 0
    while epochs is None or epoch < epochs:
        start = time.perf_counter()
        for pixels, labels in loader:
            optimiser.zero_grad()
            loss(model(pixels), labels).backward()
            optimiser.step()
        taken = time.perf_counter() - start
        if (
            epochs is None
        ):  # the first epoch tells how many there will be; it ran at the full rate, which warms up nothing
            epochs = max(2, int((seconds - (time.perf_counter() - BEGIN)) / taken))
            schedule = CosineLRScheduler(optimiser, epochs, warmup_t=min(WARM_UP, epochs // 2), warmup_lr_init=1e-5)
        epoch += 1
        schedule.step(epoch)
        print(f"epoch {epoch} of {epochs}: {taken:.0f} s", file=sys.stderr, flush=True)
    seen = create_loader(
        test, shape, 256, device=torch.device("cpu"), num_workers=2, use_prefetcher=False, crop_pct=0.875
    )
    right = total = 0
    model.eval()
    with torch.inference_mode():
        for pixels, labels in seen:
            right, total = right + int((model(pixels).argmax(1) == labels).sum()), total + len(labels)
    taken = time.perf_counter() - BEGIN
    print(
        json.dumps(
            {
                "peer": "timm resnet18",
                "side": side,
                "epochs": epoch,
                "seconds": round(taken, 1),
                "test_accuracy": right / total,
            }
        )
    )


if __name__ == "__main__":
    main()
