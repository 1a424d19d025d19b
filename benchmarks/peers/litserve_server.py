"""Peer: LitServe with the same network, batched as its documentation says."""

from __future__ import annotations

import base64
import io
import sys

import litserve
import torch
from PIL import Image
from timm_loader import network
from torchvision import transforms

STEPS = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
)


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.net = network()

    def decode_request(self, request: dict[str, str]) -> torch.Tensor:
        return STEPS(Image.open(io.BytesIO(base64.b64decode(request["image_bytes"]))).convert("RGB"))

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(inputs)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.net(x).softmax(1)

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output)

    def encode_response(self, p: torch.Tensor) -> dict[str, object]:
        best = p.topk(5)
        found = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return {"predictions": [{"class": k, "probability": q} for q, k in found]}


if __name__ == "__main__":
    made = Classifier(max_batch_size=8, batch_timeout=0.01)
    litserve.LitServer(made, accelerator="cpu", workers_per_device=1).run(
        port=int(sys.argv[1]), generate_client_file=False
    )
