"""Peer: the plain script that everyone writes: open, transform, eager network, one file after the other."""

from __future__ import annotations

import json
import sys

import torch
from PIL import Image
from timm_loader import network
from torchvision import transforms


def main() -> None:
    """``timm_loop.py FILE...``: prints a JSON line with the number of images and the first answers."""
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    transform, net = transforms.Compose(steps), network()
    with torch.inference_mode():
        answers = [int(net(transform(Image.open(path).convert("RGB"))[None]).argmax()) for path in sys.argv[1:]]
    print(json.dumps({"images": len(answers), "top": answers[:8]}))


if __name__ == "__main__":
    main()
